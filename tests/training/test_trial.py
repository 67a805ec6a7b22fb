"""A trial's tensors, and a whole trial on a tiny model: what the record then says."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from repro.config.schema import OptimiserConfig, ScheduleConfig, SelectionConfig, TrainerConfig, TrialConfig
from repro.errors import Interrupted, TrialFailed
from repro.evaluation.decoding import mean_loss, predict
from repro.metrics.accuracy import Accuracy
from repro.metrics.base import Metric
from repro.training.checkpoint import Checkpoints, Progress
from repro.training.loop import train
from repro.training.progress import ProgressReporter
from repro.trials.prepared import Trial
from repro.trials.recording import Trained
from repro.trials.tensors import build_tensors
from tests.training.tiny_training import (
    CPU,
    DECODING,
    LENGTHS,
    METHODS,
    ToyTask,
    batches,
    facts,
    load,
    make_trial,
    same_bits,
    toy_examples,
    train_step,
)

KINDS = [
    ("tiny-t5", "prompt_tuning", "text_to_text"),
    ("tiny-gpt2", "prefix_mlp", "text_to_text"),
    ("tiny-bert", "p_tuning_v2", "pair"),
    ("tiny-bert", "p_tuning_v2", "choice"),
    ("tiny-bert", "fine_tuning", "tagging"),
]


def built(
    model: str, method: str, format: str, seeds: Sequence[int], dtype: str = "float32"
) -> dict[str, torch.Tensor]:
    made = METHODS[method]()
    build_tensors(made, load(model, dtype), ToyTask(format), seeds)
    assert all(tensor.is_leaf and tensor.requires_grad for tensor in made.parameters.values())
    return {name: tensor.detach() for name, tensor in made.parameters.items()}


@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_starting_values_are_the_seeds_alone(model: str, method: str, format: str) -> None:
    first, other = built(model, method, format, [1]), built(model, method, format, [2])
    torch.manual_seed(5)
    same_bits(built(model, method, format, [1]), first)
    random = [name for name in first if name != "head.bias"]
    assert random and all(not torch.equal(first[name], other[name]) for name in random)
    together = built(model, method, format, [2, 7, 1])
    same_bits({name: tensor[2:] for name, tensor in together.items()}, first)
    same_bits({name: tensor[:1] for name, tensor in together.items()}, other)


@pytest.mark.parametrize(("format", "outputs"), [("pair", 3), ("tagging", 3), ("choice", 1)])
def test_a_head_has_an_output_a_label_and_one_for_choices(format: str, outputs: int) -> None:
    assert built("tiny-bert", "p_tuning_v2", format, [1])["head.weight"].shape == (1, outputs, 32)
    assert "head.weight" not in built("tiny-gpt2", "prefix_mlp", "text_to_text", [1])


@pytest.mark.parametrize(
    ("dtype", "expected"), [("bfloat16", torch.float32), ("float32", torch.float32), ("float64", torch.float64)]
)
def test_prompts_are_at_least_float32(dtype: str, expected: torch.dtype) -> None:
    for model, method, format in KINDS[:3]:
        tensors = built(model, method, format, [1], dtype)
        assert {tensor.dtype for tensor in tensors.values()} == {expected}
        assert load(model, dtype).dtype == getattr(torch, dtype)


@pytest.mark.parametrize(("model", "method", "format"), KINDS[:4])
def test_training_over_a_bfloat16_backbone_is_near_float32(model: str, method: str, format: str) -> None:
    losses = {}
    for dtype in ("float32", "bfloat16"):
        run, progress = make_trial(model, method, format, dtype=dtype, steps=5, rate=0.02), Progress()
        for _ in range(run.steps):
            train_step(run, progress)
        assert {tensor.dtype for tensor in run.snapshot().values()} == {torch.float32}
        assert {p.dtype for p in run.adapter.backbone.model.parameters()} == {getattr(torch, dtype)}
        losses[dtype] = progress.losses
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert losses["bfloat16"] != losses["float32"]


class ExactMatch(Metric[str, str]):
    """Percent of strings that are equal to a reference."""

    name, outputs, higher_is_better, equals = "exact_match", ("exact_match",), True, "=="

    def score(self, prediction: Any, references: Sequence[Any]) -> list[int]:
        return [int(prediction in references)]

    def reduce(self, statistics: Any) -> dict[str, float]:
        return {"exact_match": 100 * float(statistics.mean())}


class Log:
    """A tracker that keeps what it is told."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.rows.append((step, dict(values)))


def prepared(
    model: str, method: str, format: str, metric: Any, selection: str, rate: float = 0.01, **trainer: Any
) -> Trial:
    settings = TrainerConfig(
        optimiser=OptimiserConfig(learning_rate=rate),
        schedule=ScheduleConfig(name="linear", warmup_steps=1),
        selection=SelectionConfig(metric=selection),
        device="cpu",
        **{"epochs": 2, "batch_size": 3, "microbatches": 2, "evaluation_batch_size": 2, **trainer},
    )
    decoding = {**DECODING, "batch_size": 2}
    task = {**LENGTHS, "decoding": decoding, "report_split": "test", "name": "toy", "data_dir": "", "metrics": []}
    plain = {"seed": 4, "model": facts(model), "trainer": asdict(settings), "method": {"name": "fine_tuning"}}
    config = TrialConfig.from_dict(plain | {"task": task | {"kind": "classification", "formats": [format]}})
    examples = {split: toy_examples(format, count, seed) for seed, (split, count) in enumerate(SPLITS.items())}
    return Trial.prepare(config, ToyTask(format, metrics=(metric,)), examples, selection, CPU, METHODS[method]())


def fit(trial: Trial, folder: Path, console: ProgressReporter) -> Trained:
    """Train alone; a failure is raised."""
    member = trial.member(Checkpoints(folder), console)
    train([member], lambda _: None)
    if member.failure is not None:
        raise member.failure
    return trial.trained(member.progress)


SPLITS = {"train": 7, "validation": 5, "test": 4}
WHOLE = [
    ("tiny-t5", "prompt_tuning", "text_to_text", ExactMatch(), "loss"),
    ("tiny-gpt2", "prefix_mlp", "text_to_text", ExactMatch(), "exact_match"),
    ("tiny-bert", "p_tuning_v2_dropout", "pair", Accuracy(), "accuracy"),
    ("tiny-bert", "p_tuning_v2", "choice", Accuracy(), "loss"),
]


@pytest.mark.parametrize(("model", "method", "format", "metric", "selection"), WHOLE)
def test_a_whole_trial_fills_its_record(
    tmp_path: Path, model: str, method: str, format: str, metric: Any, selection: str
) -> None:
    trial = prepared(model, method, format, metric, selection)
    log = Log()
    with ProgressReporter("toy", trial.steps, log) as console:
        trained = fit(trial, tmp_path / "checkpoint", console)
        scores = trial.report(tmp_path, console)
    assert [row["step"] for row in trained.curve] == [3, 6]
    assert [row["learning_rate"] for row in trained.curve] == pytest.approx([0.01 * 4 / 5, 0.01 * 1 / 5])
    by_step = {row["step"]: row["validation"][selection] for row in trained.curve}
    best = min(by_step.values()) if selection == "loss" else max(by_step.values())
    assert trained.selection["value"] == by_step[trained.selection["step"]] == best
    assert {name: trained.selection[name] for name in ("rule", "split", "metric")} == {
        "rule": "best", "split": "validation", "metric": selection,
    }  # fmt: skip
    assert trained.cost["steps"] == 6 and trained.cost["examples"] == 14
    made = [batch for step in range(6) for batch in batches(trial._fit(console), step)]
    assert trained.cost["tokens"] == sum(batch.tokens for batch in made)
    assert set(scores.metrics) == {"validation", "test"} == set(scores.statistics)
    for split in ("validation", "test"):
        assert len(scores.statistics[split][metric.name]) == SPLITS[split]
    assert {step for step, values in log.rows if "train/loss" in values} == {1, 2, 3, 4, 5, 6}
    assert [step for step, values in log.rows if f"validation/{selection}" in values] == [3, 6]
    said = [json.loads(line) for line in (tmp_path / "predictions-test.jsonl").read_text().splitlines()]
    assert [row["id"] for row in said] == [example.id for example in trial.examples["test"]]

    # What was exported gives the same predictions, and the loss by which it was chosen, in a fresh model.
    fresh = prepared(model, method, format, metric, selection)
    fresh.method.restore(load_file(tmp_path / "prompt.safetensors"))
    injection = fresh.method.injection(training=False)
    again = predict(fresh.adapter, fresh.task, fresh.examples["test"], injection, DECODING, 4, lambda count: None)
    assert [row["prediction"] for row in said] == again
    if selection == "loss":
        loss = mean_loss(fresh.adapter, fresh.task, fresh.examples["validation"], injection, 2, lambda count: None)
        assert loss == pytest.approx(trained.selection["value"], rel=1e-6)


def test_counts_of_parameters() -> None:
    whole = sum(parameter.numel() for parameter in load("tiny-bert").model.parameters())
    frozen = prepared("tiny-bert", "p_tuning_v2", "pair", Accuracy(), "accuracy").parameters
    head = 3 * 32 + 3
    assert frozen == {
        "trained": 4 * 2 * 2 * 32 + head, "stored": 4 * 2 * 2 * 32 + head, "prompt": 4 * 2 * 2 * 32, "head": head,
        "frozen": whole,
    }  # fmt: skip
    tuned = prepared("tiny-bert", "fine_tuning", "pair", Accuracy(), "accuracy").parameters
    assert tuned == {"trained": whole + head, "stored": whole + head, "prompt": 0, "head": head, "frozen": 0}


@pytest.mark.parametrize(
    ("trainer", "steps", "every"),
    [
        ({"epochs": 4}, 12, 3),
        ({"epochs": None, "steps": 7}, 7, 3),
        ({"epochs": None, "steps": 7, "evaluate_every": "2"}, 7, 2),
        ({"epochs": 2, "batch_size": 50}, 2, 1),
    ],
)
def test_steps_and_evaluations_follow_the_config(trainer: dict[str, Any], steps: int, every: int) -> None:
    trial = prepared("tiny-gpt2", "prompt_tuning", "text_to_text", ExactMatch(), "loss", **trainer)
    assert (trial.steps, trial.evaluate_every) == (steps, every)


def test_a_failed_trial_keeps_the_curve_of_its_last_checkpoint(tmp_path: Path) -> None:
    options = {"epochs": None, "steps": 30, "evaluate_every": "1", "checkpoint_seconds": -1.0, "clip_norm": None}
    trial = prepared("tiny-gpt2", "prefix_mlp", "text_to_text", ExactMatch(), "exact_match", rate=1e36, **options)
    with pytest.raises(TrialFailed), ProgressReporter("toy", 30, Log()) as console:
        fit(trial, tmp_path, console)
    known = trial.last_known(Checkpoints(tmp_path))
    assert 1 <= known.cost["steps"] == len(known.curve) < 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_trial_after_a_checkpoint_and_it_can_go_on(tmp_path: Path, number: signal.Signals) -> None:
    kind = ("tiny-gpt2", "prefix_mlp", "text_to_text", ExactMatch(), "loss")

    class Killer(Log):
        def log(self, values: Mapping[str, float], step: int) -> None:
            super().log(values, step)
            if step == 4:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    stopped = prepared(*kind)
    with pytest.raises(Interrupted, match="same command continues"), ProgressReporter("toy", 6, Killer()) as console:
        fit(stopped, tmp_path / "stopped", console)
    assert signal.getsignal(number) is before
    known = stopped.last_known(Checkpoints(tmp_path / "stopped"))
    assert known.cost["steps"] == 4 and [row["step"] for row in known.curve] == [3]

    results = []
    for folder in ("stopped", "whole"):
        trial, log = prepared(*kind), Log()
        with ProgressReporter("toy", 6, log) as console:
            trained = fit(trial, tmp_path / folder, console)
        results.append((trial.method.export(), trained.curve, trained.selection))
        assert min(step for step, _ in log.rows) == (5 if folder == "stopped" else 1)
    same_bits(results[0][0], results[1][0])
    assert results[0][1:] == results[1][1:]
