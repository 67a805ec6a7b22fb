"""A trial that was stopped or killed, and started again in fresh objects, ends bit-equal to one that never stopped."""

from dataclasses import asdict
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.errors import Interrupted
from repro.training.checkpoint import Checkpoints, Progress
from repro.training.trainable import TrainableTrial
from tests.training.tiny_training import Crash, Recorder, copies, make_trial, same_bits, train_step, train_trial

STEPS, PER_EPOCH = 8, 3  # evaluated after 3, 6 and 8

ADAFACTOR = {"name": "adafactor", "weight_decay": 1e-3, "factored": "always"}
CASES: dict[str, dict[str, Any]] = {
    "prompt tuning, T5, adafactor": {"model": "tiny-t5", "method": "prompt_tuning", "rate": 0.3, **ADAFACTOR},
    "prefix tuning, GPT-2, adamw": {"model": "tiny-gpt2", "method": "prefix_mlp_dropout", "microbatches": 2},
    "P-Tuning v2, BERT, adamw": {"model": "tiny-bert", "method": "p_tuning_v2_dropout", "format": "pair"},
    "P-Tuning v2, BERT tagging, adafactor": {
        "model": "tiny-bert", "method": "p_tuning_v2_dropout", "format": "tagging", **ADAFACTOR,
    },
    "fine-tuning, GPT-2, adamw": {"model": "tiny-gpt2", "method": "fine_tuning", "rate": 1e-3, "weight_decay": 0.1},
    "fine-tuning, T5, adafactor": {"model": "tiny-t5", "method": "fine_tuning", "rate": 1e-3, **ADAFACTOR},
}  # fmt: skip


def start(case: str) -> TrainableTrial:
    """Fresh objects, with every dropout on, in float32."""
    options = {"dtype": "float32", "dropout": 0.1, "steps": STEPS, **CASES[case]}
    return make_trial(options.pop("model"), options.pop("method"), **options)


def outcome(progress: Progress) -> dict[str, Any]:
    """Everything but times."""
    return {name: value for name, value in asdict(progress).items() if not name.endswith("_seconds")}


Result = tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]


def result(run: TrainableTrial, folder: Path, progress: Progress) -> Result:
    """The chosen tensors, the last step's with the optimiser's, and curve and selection."""
    found = Checkpoints(folder).load()
    assert found is not None
    return copies(run.tensors), found[1], outcome(progress)


@cache
def uninterrupted(case: str) -> Result:
    with TemporaryDirectory() as folder:
        run = start(case)
        progress = train_trial(run, Checkpoints(Path(folder)), Recorder())
        return result(run, Path(folder), progress)


def finish(case: str, folder: Path) -> None:
    """Run to the end in fresh objects and compare with the run that never stopped."""
    run = start(case)
    progress = train_trial(run, Checkpoints(folder), Recorder())
    chosen, last, told = result(run, folder, progress)
    expected_chosen, expected_last, expected_told = uninterrupted(case)
    same_bits(chosen, expected_chosen)
    same_bits(last, expected_last)
    assert told == expected_told
    assert len(told["curve"]) == 3 and told["step"] == STEPS
    files = {path.name for path in folder.iterdir()}
    assert {"state.json", f"step-{STEPS}.safetensors", f"best-{told['best']['step']}.safetensors"} <= files
    assert len(files) <= 6 and len([name for name in files if name.startswith(("step-", "best-"))]) <= 4


@pytest.mark.parametrize("case", CASES)
def test_the_case_is_sensitive(case: str) -> None:
    """Training moves the tensors, and it would go elsewhere with another seed of dropout."""
    _, last, told = uninterrupted(case)
    run = start(case)
    assert not all(torch.equal(tensor, last[name]) for name, tensor in run.tensors.items())
    assert len({row["train_loss"] for row in told["curve"]}) == 3
    run.seed += 1  # feeds dropout alone: data order and initial values have streams of their own
    progress = Progress()
    for _ in range(PER_EPOCH):
        train_step(run, progress)
    assert sum(progress.losses) / PER_EPOCH != told["curve"][0]["train_loss"]


@pytest.mark.parametrize("case", CASES)
def test_stopping_at_arbitrary_steps(tmp_path: Path, case: str) -> None:
    for stop in (1, 2, 3, 5, 8):
        with pytest.raises(Interrupted):
            train_trial(start(case), Checkpoints(tmp_path), Recorder(stop_at=stop))
    finish(case, tmp_path)


def stop_in_evaluation(run: TrainableTrial, call: int) -> None:
    """Raise Interrupted in the middle of an evaluation, after it has used the model."""
    inner, calls = run.evaluate, []

    def evaluate() -> tuple[float, dict[str, Any]]:
        found = inner()
        calls.append(found)
        if len(calls) == call:
            raise Interrupted("asked to stop")
        return found

    run.evaluate = evaluate


@pytest.mark.parametrize("case", CASES)
def test_stopping_during_evaluations(tmp_path: Path, case: str) -> None:
    for call, step in ((1, 3), (1, 3), (2, 6), (2, 8)):
        run = start(case)
        stop_in_evaluation(run, call)
        with pytest.raises(Interrupted):
            train_trial(run, Checkpoints(tmp_path), Recorder())
        found = Checkpoints(tmp_path).load()
        assert found is not None and found[0].step == step and found[0].evaluated_step < step
    finish(case, tmp_path)


@pytest.mark.parametrize("case", CASES)
def test_a_crash_loses_only_the_steps_since_the_last_checkpoint(tmp_path: Path, case: str) -> None:
    for save_at, crash_at in (([2], 4), ([4, 5], 7)):
        with pytest.raises(Crash):
            train_trial(start(case), Checkpoints(tmp_path), Recorder(save_at=save_at, crash_at=crash_at))
        found = Checkpoints(tmp_path).load()
        assert found is not None and found[0].step == save_at[-1]
    finish(case, tmp_path)


def test_a_crash_before_the_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    case = next(iter(CASES))
    with pytest.raises(Crash):  # after an evaluation, so that best tensors lie there without a state
        train_trial(start(case), Checkpoints(tmp_path), Recorder(crash_at=4))
    assert Checkpoints(tmp_path).load() is None and list(tmp_path.glob("best-3*"))
    finish(case, tmp_path)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 3.0, 3.0]])
def test_a_crash_after_a_better_evaluation_keeps_the_best_that_the_state_names(
    tmp_path: Path, values: list[float]
) -> None:
    seen: dict[int, dict[str, Tensor]] = {}

    def begin() -> TrainableTrial:
        run = make_trial("tiny-gpt2", "prompt_tuning", steps=STEPS)

        def evaluate() -> tuple[float, dict[str, Any]]:
            step = run.optimiser.count
            seen[step] = copies(run.tensors)
            return values[[3, 6, 8].index(step)], {}

        run.evaluate = evaluate
        return run

    # The state is of step 4 and names step 3; step 6 is evaluated, perhaps better, and the process dies.
    with pytest.raises(Crash):
        train_trial(begin(), Checkpoints(tmp_path), Recorder(save_at=[4], crash_at=6))
    found = Checkpoints(tmp_path).load()
    assert found is not None and found[0].best is not None and found[0].best["step"] == 3
    same_bits(Checkpoints(tmp_path).load_best(3), seen[3])
    run = begin()
    progress = train_trial(run, Checkpoints(tmp_path), Recorder())
    best = [3, 6, 8][values.index(max(values))]
    assert progress.best is not None and progress.best["step"] == best
    same_bits(copies(run.tensors), seen[best])


def test_a_finished_trial_trains_no_more(tmp_path: Path) -> None:
    case = next(iter(CASES))
    train_trial(start(case), Checkpoints(tmp_path), Recorder())
    run, watcher = start(case), Recorder()
    run.examples = None  # type: ignore[assignment]
    run.evaluate = None  # type: ignore[assignment]
    progress = train_trial(run, Checkpoints(tmp_path), watcher)
    assert not watcher.losses and not watcher.rows
    same_bits(copies(run.tensors), uninterrupted(case)[0])
    assert outcome(progress) == uninterrupted(case)[2]
