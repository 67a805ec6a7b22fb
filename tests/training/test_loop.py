"""The loop: how far it runs, when it evaluates, what it keeps, and what it does when the loss is no number."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.errors import TrialFailed
from repro.models.interface import RowLoss
from repro.training.checkpoint import Checkpoints, Progress
from repro.training.trainable import TrainableTrial
from tests.training.tiny_training import (
    Crash,
    Recorder,
    batches,
    copies,
    make_trial,
    same_bits,
    train_step,
    train_trial,
)

PER_EPOCH = 3  # 7 examples by 3


def scripted(run: TrainableTrial, values: list[float]) -> list[dict[str, Tensor]]:
    """Let evaluation return these values; gives the list to which it adds the tensors it saw."""
    seen: list[dict[str, Tensor]] = []

    def evaluate() -> tuple[float, dict[str, Any]]:
        assert not run.adapter.backbone.model.training
        seen.append(copies(run.tensors))
        return values[len(seen) - 1], {"validation": {"value": values[len(seen) - 1]}}

    run.evaluate = evaluate
    return seen


def small(**options: Any) -> TrainableTrial:
    return make_trial("tiny-gpt2", "prompt_tuning", **options)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [
        (10, PER_EPOCH, [3, 6, 9, 10]),  # every epoch, and at the end
        (9, PER_EPOCH, [3, 6, 9]),  # the end of an epoch is the end: once
        (10, 4, [4, 8, 10]),
        (4, 100, [4]),
        (3, 1, [1, 2, 3]),
    ],
)
def test_trains_to_the_last_step_and_evaluates_when_due(
    tmp_path: Path, steps: int, every: int, expected: list[int]
) -> None:
    run, watcher = small(steps=steps, evaluate_every=every), Recorder()
    seen = scripted(run, [0.0] * len(expected))
    progress = train_trial(run, Checkpoints(tmp_path), watcher)
    assert progress.step == run.optimiser.count == len(watcher.losses) == steps
    assert [row["step"] for row in progress.curve] == expected
    assert [row["step"] for row in watcher.rows] == expected
    assert [row["epoch"] for row in progress.curve] == [round(step / PER_EPOCH, 4) for step in expected]
    assert len({seen_once["method.prompt"].sum().item() for seen_once in seen}) == len(expected)


def test_a_row_of_the_curve_says_what_happened_since_the_one_before(tmp_path: Path) -> None:
    run, watcher = small(steps=5), Recorder()
    scripted(run, [1.5, 2.5])
    progress = train_trial(run, Checkpoints(tmp_path), watcher)
    first, second = progress.curve
    assert first["train_loss"] == pytest.approx(sum(watcher.losses[:3]) / 3)
    assert second["train_loss"] == pytest.approx(sum(watcher.losses[3:]) / 2)
    assert first["learning_rate"] == pytest.approx(float(run.rate(2)[0]))  # of the update before
    assert (first["validation"], second["validation"]) == ({"value": 1.5}, {"value": 2.5})
    made = [batch for step in range(5) for batch in batches(run, step)]
    assert progress.tokens == sum(int(batch.mask.sum()) for batch in made)
    assert progress.padded_tokens == sum(batch.ids.numel() for batch in made) > progress.tokens


@pytest.mark.parametrize(
    ("values", "best"),
    [
        ([1.0, 5.0, 5.0, 2.0], 6),  # the first on ties
        ([4.0, 3.0, 2.0, 1.0], 3),
        ([-4.0, -3.0, -2.0, -1.0], 10),
        ([float("nan"), -3.0, float("nan"), -4.0], 6),
        ([float("-inf"), float("nan"), -1e9, float("-inf")], 9),
    ],
)
def test_the_best_tensors_are_loaded_back(tmp_path: Path, values: list[float], best: int) -> None:
    run = small(steps=10)
    seen = scripted(run, values)
    progress = train_trial(run, Checkpoints(tmp_path), Recorder())
    at = [3, 6, 9, 10].index(best)
    assert progress.best == {"step": best, "epoch": round(best / PER_EPOCH, 4), "value": values[at]}
    same_bits(copies(run.tensors), seen[at])
    for other in range(4):
        assert other == at or not torch.equal(seen[other]["method.prompt"], seen[at]["method.prompt"])


@pytest.mark.parametrize(("keep_best", "values"), [(False, [9.0, 1.0, 1.0, 1.0]), (True, [float("nan")] * 4)])
def test_without_a_best_the_last_tensors_stay(tmp_path: Path, keep_best: bool, values: list[float]) -> None:
    run = small(steps=10, keep_best=keep_best)
    seen = scripted(run, values)
    progress = train_trial(run, Checkpoints(tmp_path), Recorder())
    assert progress.best is None and not list(tmp_path.glob("best-*"))
    same_bits(copies(run.tensors), seen[-1])


@pytest.mark.parametrize("dropout", [None, 0.2])
def test_the_backbone_is_in_train_mode_only_where_dropout_asks_for_it(tmp_path: Path, dropout: float | None) -> None:
    run, modes, inner = small(steps=4, dropout=dropout, dtype="float32"), [], None
    inner, steps = run.adapter.losses, []

    def losses(batch: Any, injection: Any, **given: Any) -> RowLoss:
        modes.append((run.adapter.backbone.model.training, torch.is_grad_enabled()))
        steps.append(inner(batch, injection, **given))
        return steps[-1]

    run.adapter.losses = losses  # type: ignore[method-assign]
    train_trial(run, Checkpoints(tmp_path), Recorder())
    training = [mode for mode, with_gradient in modes if with_gradient]
    evaluating = [mode for mode, with_gradient in modes if not with_gradient]
    assert training == [dropout is not None] * 4
    assert evaluating and not any(evaluating)


def test_dropout_of_a_step_depends_on_the_seed_and_the_step_alone() -> None:
    def loss_of(step: int, seed: int, noise: int) -> float:
        run = small(dropout=0.3, dtype="float32", steps=9)
        first = run.examples(0)
        run.examples, run.seed = lambda step: first, seed  # the same examples, so that only dropout differs
        torch.manual_seed(noise)
        torch.rand(noise)
        return train_step(run, Progress(step=step))

    assert loss_of(4, seed=1, noise=3) == loss_of(4, seed=1, noise=8)
    assert len({loss_of(4, 1, 3), loss_of(5, 1, 3), loss_of(4, 2, 3)}) == 3


FROZEN = [
    ("tiny-t5", "prompt_tuning", "text_to_text"),
    ("tiny-gpt2", "prefix_mlp", "text_to_text"),
    ("tiny-bert", "p_tuning_v2", "pair"),
]


@pytest.mark.parametrize(("model", "method", "format"), FROZEN)
def test_the_backbone_of_a_frozen_method_stays_bit_equal(tmp_path: Path, model: str, method: str, format: str) -> None:
    run = make_trial(model, method, format, steps=4, dropout=0.1, dtype="float32")
    before, start = copies(run.adapter.backbone.model.state_dict()), copies(run.tensors)
    train_trial(run, Checkpoints(tmp_path), Recorder())
    same_bits(copies(run.adapter.backbone.model.state_dict()), before)
    assert all(parameter.grad is None for parameter in run.adapter.backbone.model.parameters())
    # The last step is the best for models whose loss is the value: there the trained tensors moved.
    assert format == "pair" or any(not torch.equal(start[name], tensor) for name, tensor in run.tensors.items())


def poison(run: TrainableTrial, step: int, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Change the loss of one step (counted from 1); gives a dict that gets the tensors before that step."""
    inner, state = run.adapter.losses, {}

    def losses(batch: Any, injection: Any, **given: Any) -> RowLoss:
        found = inner(batch, injection, **given)
        if torch.is_grad_enabled() and run.optimiser.count == step - 1:
            state.setdefault("before", copies(run.snapshot()))
            return RowLoss(change(found.total), found.count)
        return found

    run.adapter.losses = losses  # type: ignore[method-assign]
    return state


class InfiniteGradient(torch.autograd.Function):
    """The identity, but its gradient is infinite."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient * torch.inf


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("loss became nan", lambda total: total * torch.nan),
        ("loss became inf", lambda total: total * torch.inf),
        ("gradient became", InfiniteGradient.apply),
    ],
)
@pytest.mark.parametrize("microbatches", [1, 2])
def test_a_loss_that_is_no_number_ends_the_trial(
    tmp_path: Path, what: str, change: Callable[[Tensor], Tensor], microbatches: int
) -> None:
    run = small(steps=10, microbatches=microbatches)
    state = poison(run, 5, change)
    with pytest.raises(TrialFailed, match=r"trainer\.optimiser\.learning_rate") as caught:
        train_trial(run, Checkpoints(tmp_path), Recorder(save_at=[3]))
    assert what in str(caught.value) and "at step 5:" in str(caught.value)
    same_bits(copies(run.snapshot()), state["before"])
    assert run.optimiser.count == 4

    found = Checkpoints(tmp_path).load()
    assert found is not None and found[0].step == 3
    again = small(steps=10)  # without the poison the trial goes on from there
    assert train_trial(again, Checkpoints(tmp_path), Recorder()).step == 10


def test_a_rate_far_too_high_is_noticed(tmp_path: Path) -> None:
    run = small(steps=30, dtype="float32", rate=1e30, clip_norm=None)
    with pytest.raises(TrialFailed, match=r"\(now [0-9.e+]+\) or use trainer.dtype=float32"):
        train_trial(run, Checkpoints(tmp_path), Recorder())


def test_an_error_of_a_watcher_passes_through(tmp_path: Path) -> None:
    run = small(steps=5)
    with pytest.raises(Crash):
        train_trial(run, Checkpoints(tmp_path), Recorder(crash_at=2))
    assert run.optimiser.count == 2 and Checkpoints(tmp_path).load() is None


def test_checkpoints_are_written_as_often_as_asked(tmp_path: Path) -> None:
    class Counting(Checkpoints):
        steps: list[int] = []  # noqa: RUF012

        def save(self, progress: Progress, tensors: Any) -> None:
            self.steps.append(progress.step)
            super().save(progress, tensors)

    run = small(steps=4)
    run.checkpoint_seconds = -1.0
    often = Counting(tmp_path / "often")
    train_trial(run, often, Recorder())
    assert often.steps == [1, 2, 3, 4, 4]
    Counting.steps = []
    seldom = Counting(tmp_path / "seldom")
    train_trial(small(steps=4), seldom, Recorder())
    assert seldom.steps == [4]
