"""A trial in two processes (gloo) is the trial in one: losses, evaluations, weights, moments, whoever resumes it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.errors import ModelError
from repro.methods.parts.backbone_weights import FineTuning
from repro.models.tuning import tune
from repro.training.batching import Part, Share, training_batches
from repro.training.distributed.process_group import ProcessGroup
from repro.training.distributed.sharding import Shards, shard
from repro.training.optimisers import Adafactor, gradient_norms
from tests.training.sharded_worker import CASES, RESUMED
from tests.training.tiny_training import backward, load, make_trial, optimiser_config

CORE = (
    *("encoder", "decoder", "encoder_decoder", "the best of them", "three passes", "dropout", "adafactor", "lora"),
    *("prompt", "packed", "gradient checkpointing", "resumed"),
)
ALL = bool(os.environ.get("REPRO_LONG_TESTS"))
WORKER = Path(__file__).parent / "sharded_worker.py"
ROUNDING = {"float64": (1e-13, 1e-10), "float32": (1e-5, 1e-3), "bfloat16": (1e-2, 3e-2)}
"""{arithmetic: largest relative difference of a loss, of a trained number}."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """What two processes found: started once for all cases, with what torchrun says in the environment."""
    folder, cases = tmp_path_factory.mktemp("sharded"), () if ALL else CORE
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(folder), *cases],
            env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        (out, err), (_, other) = [process.communicate(timeout=300) for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0, 0], err + other
    result: dict[str, dict[str, float]] = json.loads(out.splitlines()[-1])
    return result


def some(cases: Iterable[str]) -> list[Any]:
    """The cases, those beyond CORE for whoever has the time."""
    skipped = pytest.mark.skipif(not ALL, reason="more cases of two processes: REPRO_LONG_TESTS=1")
    return [case if case in CORE else pytest.param(case, marks=skipped) for case in cases]


@pytest.mark.parametrize("case", some(CASES))
def test_two_processes_train_as_one(found: dict[str, dict[str, float]], case: str) -> None:
    loss, number = ROUNDING[CASES[case].get("dtype", "float64")]
    assert found[case]["losses"] <= loss and found[case]["evaluations"] <= 10 * loss
    assert found[case]["tensors"] <= number
    assert found[case]["moved"] > 1e-3, "nothing was trained"


@pytest.mark.parametrize("case", ["encoder", "decoder", "encoder_decoder"])
def test_each_process_holds_its_half_of_the_weights(found: dict[str, dict[str, float]], case: str) -> None:
    assert found[case]["share"] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("how", ["two, two", "two, one", "one, two"])
@pytest.mark.parametrize("case", some(RESUMED))
def test_whoever_continues_ends_where_one_process_would(
    found: dict[str, dict[str, float]], case: str, how: str
) -> None:
    assert found[case][how] <= 1e-10


def test_errors_reach_all_processes(found: dict[str, dict[str, float]]) -> None:
    assert found["errors"] == {"told": 2.0}  # the worker itself holds who is told what


# In one process -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("passes", [1, 2])
def test_the_parts_of_a_step_are_the_step(count: int, passes: int) -> None:
    run = make_trial("tiny-gpt2", "fine_tuning", count=5, batch_size=5)
    share: Share = run.share(0)
    whole = training_batches([share], 0, passes)
    parts = [training_batches([share], 0, passes, Part(rank, count)) for rank in range(count)]
    assert {len(own) for own in parts} == {len(whole)}, "every process must make equally many passes"
    for number, batch in enumerate(whole):
        counted = [own[number] for own in parts if own[number].counted]
        rows = [one.ids[row][one.mask[row].bool()].tolist() for one in counted for row in range(len(one.ids))]
        assert sorted(rows) == sorted(batch.ids[row][batch.mask[row].bool()].tolist() for row in range(len(batch.ids)))
        keys = torch.cat([one.draws for one in counted if one.draws is not None])
        assert batch.draws is not None and sorted(keys.tolist()) == sorted(batch.draws.tolist())
        assert all(len(own[number].ids) == 1 for own in parts if not own[number].counted)


def test_gradients_of_the_parts_add_up_to_the_step_s() -> None:
    def gradients(parts: Sequence[Part]) -> tuple[float, dict[str, Tensor]]:
        run = make_trial("tiny-t5", "fine_tuning", count=3, batch_size=3, dropout=0.1)
        run.adapter.backbone.model.train()
        share, total = run.share(0), {name: torch.zeros_like(tensor) for name, tensor in run.tensors.items()}
        whole, loss = training_batches([share], 0, 1), 0.0
        for part in parts:
            loss += float(backward([run], training_batches([share], 0, 1, part), [share.key], whole))
            for name, tensor in run.tensors.items():
                if tensor.grad is not None:
                    total[name] += tensor.grad
        return loss, total

    alone, wanted = gradients([Part()])
    split, ours = gradients([Part(rank, 4) for rank in range(4)])  # the last has no example
    assert split == pytest.approx(alone, rel=1e-12) and alone > 0
    assert all(torch.allclose(ours[name], wanted[name], rtol=1e-9, atol=1e-12) for name in wanted)
    assert any(bool(gradient.any()) for gradient in wanted.values())


class Half:
    """Stands for two processes that have equal rows of a matrix: sums of one are doubled."""

    def __init__(self, rows: int):
        self._rows = rows

    def rows(self, name: str) -> int:
        return self._rows

    def sum(self, name: str, values: Tensor) -> Tensor:
        return values * 2


@pytest.mark.parametrize("factored", ["always", "never"])
def test_adafactor_takes_its_means_over_all_rows(factored: str) -> None:
    """Of two equal halves each alone must be updated as the whole: what the other adds to every sum is known."""
    generator = torch.Generator().manual_seed(1)
    half, gradient = (torch.randn(1, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    config = optimiser_config(name="adafactor", weight_decay=0.01, factored=factored, parameter_scaling=True)
    whole, own = {"m": torch.cat([half, half], 1)}, {"m": half.clone()}
    whole["m"].grad, own["m"].grad = torch.cat([gradient, gradient], 1), gradient.clone()
    Adafactor(whole, config).step(torch.tensor([0.1]))
    Adafactor(own, config, Half(6)).step(torch.tensor([0.1]))
    assert torch.allclose(own["m"], whole["m"][:, :3], rtol=1e-12)
    assert not torch.allclose(own["m"], half)


def test_whether_adafactor_factors_is_asked_of_the_whole_matrix() -> None:
    mine, nothing = {"m": torch.zeros(1, 65, 128)}, {"m": torch.zeros(1, 0, 128)}  # more processes than rows
    config = optimiser_config(name="adafactor")
    assert "row.m" in Adafactor(mine, config, Half(130)).state and "second.m" in Adafactor(mine, config).state
    assert "row.m" in Adafactor(nothing, config, Half(130)).state


class SingleProcess(ProcessGroup):
    """A process alone, without a process group."""

    def __init__(self) -> None:
        self.rank, self.count, self.first, self.device = 0, 1, True, torch.device("cpu")

    def sum(self, values: Tensor) -> Tensor:
        return values


def test_which_moments_have_rows() -> None:
    shards = Shards(SingleProcess(), {"backbone.w": 5})
    named = ("backbone.w", "optimiser.first.backbone.w", "optimiser.second.backbone.w", "optimiser.row.backbone.w")
    assert [shards.rows(name) for name in named] == [5, 5, 5, 5]
    assert shards.rows("optimiser.column.backbone.w") is None
    assert shards.rows("method.w") is None and shards.rows("optimiser.first.method.w") is None


def test_norms_count_each_number_once() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(1, 5, 3, generator=generator) for name in ("backbone.w", "method.h")}
    for tensor in tensors.values():
        tensor.grad = torch.randn(tensor.shape, generator=generator)
    shards = Shards(SingleProcess(), {"backbone.w": 5})
    assert torch.allclose(shards.norms(tensors).float(), gradient_norms(tensors))
    shards.processes.sum = lambda values: values * 4  # type: ignore[method-assign]
    only = gradient_norms({"w": tensors["backbone.w"]}).square() * 3
    assert torch.allclose(shards.norms(tensors).square().float(), gradient_norms(tensors).square() + only)


def test_weights_of_several_types_are_refused() -> None:
    backbone = load("tiny-bert")
    tune(backbone, FineTuning().tuning, 0)
    backbone.model.pooler.float()
    with pytest.raises(ModelError, match=r"several types \(torch.float32, torch.float64\)"):
        shard(backbone, SingleProcess())
