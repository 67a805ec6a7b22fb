"""Joint training of unlike trials: each ends as it does alone, whichever trials join, end, fail or resume beside it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from repro.errors import Interrupted, TrialFailed
from repro.models.interface import RowLoss
from repro.models.threads import worker
from repro.training.checkpoint import Progress
from repro.training.loop import ActiveTrial, TrainingLoop, train
from repro.training.stacked_state import stacks
from repro.training.step import TrialBatch
from repro.training.trainable import TrainableTrial
from tests.training.joint_cases import FIRST, KINDS, Scene, alone, assert_same_run, negligible, watch_losses
from tests.training.tiny_training import Crash, Recorder, close, copies, same_bits


def ignore(_: ActiveTrial) -> None:
    """An ended trial."""


@pytest.mark.parametrize(("case", "dropout"), [(case, (None, 0.1)[number % 2]) for number, case in enumerate(KINDS)])
def test_every_trial_ends_as_it_does_alone(tmp_path: Path, case: str, dropout: float | None) -> None:
    scene, left = Scene(case, tmp_path, dropout), list[ActiveTrial]()
    trials = scene.all()
    train(trials, left.append)
    assert [left.index(active) for active in trials] == [2, 0, 1, 3], "they end at steps 8, 6, 7 and 8"
    for number, active in enumerate(trials):
        assert active.failure is None and active.joint_size == 4
        assert_same_run(case, active, alone(case, number, dropout))
    for name, start in scene.trial(0).tensors.items():
        assert negligible(name, scene.kind.format) or not torch.equal(start, trials[0].trial.tensors[name])


@pytest.mark.parametrize(("case", "packing"), list(zip(FIRST, (True, False, True), strict=True)))
def test_results_do_not_depend_on_thread_timing(tmp_path: Path, case: str, packing: bool, two_threads: None) -> None:
    """Two runs with two threads are equal to the bit, and close to one thread."""
    runs, workers = [], set[int]()
    for name in ("first", "again"):
        scene = Scene(case, tmp_path / name, 0.1, packing)
        trials = scene.all()
        watch_losses(trials[0].trial, lambda _: workers.add(worker()))
        train(trials, ignore)
        runs.append(trials)
    assert len(workers - {0}) == 2
    for number, (first, again) in enumerate(zip(*runs, strict=True)):
        assert_same_run(case, first, alone(case, number, 0.1, packing), 1e-6 if packing else 1e-10)
        assert first.reporter.losses == again.reporter.losses
        same_bits(first.trial.tensors, again.trial.tensors)


def test_a_trial_alone_uses_both_threads(tmp_path: Path, two_threads: None) -> None:
    workers = set[int]()
    active = Scene(FIRST[1], tmp_path).active(0)
    watch_losses(active.trial, lambda _: workers.add(worker()))
    train([active], ignore)
    assert_same_run(FIRST[1], active, alone(FIRST[1], 0))
    assert len(workers - {0}) == 2


@pytest.mark.parametrize("case", FIRST)
def test_packed_sequences_train_as_padded_ones(tmp_path: Path, case: str) -> None:
    """With dropout on: its masks depend on row and position, wherever a token lies."""
    trials = Scene(case, tmp_path, 0.1, packing=True).all()
    train(trials, ignore)
    for number, active in enumerate(trials):
        assert_same_run(case, active, alone(case, number, 0.1, packing=False), 1e-6)


@pytest.mark.parametrize("case", KINDS)
def test_a_step_from_one_state_differs_by_the_order_of_sums(tmp_path: Path, case: str) -> None:
    """1e-12 of the largest number: a trajectory may grow it, a step must not."""
    scene = Scene(case, tmp_path, 0.1)
    together, apart = ([scene.trial(number) for number in range(4)] for _ in range(2))
    progresses, others = ([Progress() for _ in together] for _ in range(2))
    batch = TrialBatch()
    for step in range(3):
        for trial, other in zip(together, apart, strict=True):
            other.load(copies(trial.snapshot()))
        assert batch.step(together, progresses) == [None] * 4
        for trial, other, progress, theirs in zip(together, apart, progresses, others, strict=True):
            assert TrialBatch().step([other], [theirs]) == [None]
            assert progress.losses[-1] == pytest.approx(theirs.losses[-1], rel=1e-12)
            assert progress.step == theirs.step == step + 1
            for name, tensor in trial.tensors.items():
                if not negligible(name, scene.kind.format):
                    close(tensor, other.tensors[name], 1e-12)


@pytest.mark.parametrize(
    ("case", "dtype", "tolerance"),
    [(FIRST[0], "float32", 1e-4), (FIRST[1], "bfloat16", 3e-2), (FIRST[2], "float32", 1e-4)],
)
def test_in_single_and_half_precision(tmp_path: Path, case: str, dtype: str, tolerance: float) -> None:
    """Losses only: which sums a product makes depends on how many rows it has. Low rates keep rounding from growing."""
    scene = Scene(case, tmp_path / "joint", dtype=dtype)
    trials = scene.all(rate=0.01)
    train(trials, ignore)
    scene.folder = tmp_path / "alone"
    for number, active in enumerate(trials):
        other = scene.alone(number, rate=0.01)
        assert active.reporter.losses == pytest.approx(other.reporter.losses, rel=tolerance)


def test_trials_of_one_shape_are_updated_as_one(tmp_path: Path) -> None:
    scene = Scene("prompt tuning, T5, adafactor", tmp_path)
    trials = [scene.trial(number) for number in range(4)]
    before = [copies(trial.snapshot()) for trial in trials]
    made = stacks(trials)
    assert [len(stack.trials) for stack in made] == [2, 1, 1], "lengths 5, 2, 5 and 9"
    whole = made[0].tensors["method.prompt"]
    assert whole.shape[0] == 2
    for trial, old in zip(trials, before, strict=True):
        same_bits(trial.snapshot(), old)
    for _ in range(2):  # the second change is after the release
        with torch.no_grad():
            whole[1] += 1
        assert torch.equal(trials[2].tensors["method.prompt"], before[2]["method.prompt"] + 1)
        for stack in made:
            stack.release()


def poison(trial: TrainableTrial, at: int) -> None:
    """The trial's own rows get a loss of NaN at one step (counted from 1), wherever they stand."""
    inner, share = trial.adapter.losses, trial.share(at - 1)
    keys = {share.row_key(place, 0) for place in range(len(share.examples))}

    def losses(batch: Any, injection: Any, **given: Any) -> RowLoss:
        rows = inner(batch, injection, **given)
        if batch.draws is None:
            return rows
        hit = torch.tensor([torch.nan if key in keys else 1.0 for key in batch.draws[:: batch.choices].tolist()])
        return RowLoss(rows.total * hit, rows.count)

    trial.adapter.losses = losses  # type: ignore[method-assign]


@pytest.mark.parametrize("case", [*FIRST, "prompt tuning, BERT choices, adamw", "prefix tuning, Llama, adamw"])
def test_a_trial_that_fails_does_not_disturb_the_others(tmp_path: Path, case: str) -> None:
    trials = Scene(case, tmp_path).all()
    for active in trials:
        active.trial.adapter = trials[0].trial.adapter
    poison(trials[2].trial, at=4)
    left: list[ActiveTrial] = []
    train(trials, left.append)
    assert left[0] is trials[2] and isinstance(left[0].failure, TrialFailed)
    assert "the loss became nan at step 4: " in str(left[0].failure) and left[0].progress.step == 3
    for number in (0, 1, 3):
        assert_same_run(case, trials[number], alone(case, number))


@pytest.mark.parametrize("case", FIRST[1:])
def test_numbers_that_overflow_stay_in_their_rows(tmp_path: Path, case: str) -> None:
    scene = Scene(case, tmp_path / "joint", dtype="float32")
    trials = [scene.active(number, **({"rate": 1e38} if number == 1 else {})) for number in range(4)]
    train(trials, ignore)
    assert [active.failure is None for active in trials] == [True, False, True, True]
    scene.folder = tmp_path / "alone"
    for number in (0, 2, 3):
        other = scene.alone(number)
        assert trials[number].reporter.losses[0] == pytest.approx(other.reporter.losses[0], rel=1e-6)
        assert trials[number].progress.step == other.progress.step == other.trial.steps


@pytest.mark.parametrize("error", [TrialFailed("no checkpoint can be chosen"), ValueError("empty split")])
def test_a_trial_whose_evaluation_fails_leaves(tmp_path: Path, error: Exception) -> None:
    scene = Scene(FIRST[1], tmp_path / "joint")

    def evaluate() -> tuple[float, dict[str, Any]]:
        raise error

    trials = [scene.active(number) for number in range(3)]
    trials[2].trial.evaluate = evaluate
    train(trials, ignore)
    assert trials[2].progress.step == 2 and str(error) in str(trials[2].failure)
    for number in range(2):
        assert_same_run(FIRST[1], trials[number], alone(FIRST[1], number))
    scene.folder = tmp_path / "alone"
    only = scene.active(2)
    only.trial.evaluate = evaluate
    train([only], ignore)
    assert only.failure is not None and only.failure.args == trials[2].failure.args, "one outcome either way"


@pytest.mark.parametrize(("case", "dropout"), [(FIRST[0], None), (FIRST[1], 0.1), (FIRST[2], 0.1)])
def test_trials_may_join_late(tmp_path: Path, case: str, dropout: float | None) -> None:
    trials = Scene(case, tmp_path, dropout).all()
    waiting, sizes = list(trials), []

    def next_trial(loop: TrainingLoop) -> ActiveTrial | None:
        sizes.append(len(loop.trials))
        room = not loop.trials or (loop.steps >= 2 and len(loop.trials) < 3)
        return waiting.pop(0) if waiting and room else None

    TrainingLoop(next_trial, ignore).train()
    assert max(sizes) == 3 and not waiting
    for number, active in enumerate(trials):
        assert_same_run(case, active, alone(case, number, dropout))


def interrupt_evaluation(trial: TrainableTrial, call: int) -> None:
    """Interrupt the trial's evaluation number `call`."""
    inner, calls = trial.evaluate, []

    def evaluate() -> tuple[float, dict[str, Any]]:
        calls.append(inner())
        if len(calls) == call:
            raise Interrupted("asked to stop")
        return calls[-1]

    trial.evaluate = evaluate


@pytest.mark.parametrize(
    ("case", "how"), list(zip(FIRST, ["killed", "interrupted", "interrupted in an evaluation"], strict=True))
)
def test_what_ended_early_continues_beside_other_trials(tmp_path: Path, case: str, how: str) -> None:
    scene = Scene(case, tmp_path, 0.1)
    reporters = [Recorder(save_at=[3]) for _ in range(4)]
    if how == "killed":
        reporters[1] = Recorder(crash_at=4)
    elif how == "interrupted":
        reporters[1] = Recorder(stop_at=4)
    trials = [scene.active(number, reporter) for number, reporter in enumerate(reporters)]
    if how == "interrupted in an evaluation":
        interrupt_evaluation(trials[2].trial, call=2)
    with pytest.raises(Crash if how == "killed" else Interrupted):
        train(trials, ignore)
    saved = [scene.checkpoints(number).load() for number in range(4)]
    steps = [state[0].step for state in saved if state is not None]
    assert steps == [3 if how == "killed" else 4] * 4
    for numbers in ([3, 1], [2], [0]):  # one pair, and two alone
        some = [scene.active(number) for number in numbers]
        assert [active.progress.step for active in some] == [steps[number] for number in numbers]
        train(some, ignore)
        for number, active in zip(numbers, some, strict=True):
            assert_same_run(case, active, alone(case, number, 0.1))


def test_a_step_that_memory_does_not_hold_is_cut_further(tmp_path: Path) -> None:
    scene = Scene(FIRST[0], tmp_path)
    trials, expected = ([scene.trial(number) for number in range(4)] for _ in range(2))
    for trial in trials:
        trial.adapter = trials[0].adapter
    sizes: list[int] = []

    def limit(batch: Any) -> None:
        sizes.append(len(batch.ids))
        if len(batch.ids) > 2:
            raise torch.OutOfMemoryError("no room")

    watch_losses(trials[0], limit)
    assert TrialBatch().step(trials, [Progress() for _ in trials]) == [None] * 4
    assert max(sizes) > 2 >= sizes[-1]
    TrialBatch().step(expected, [Progress() for _ in expected])
    for trial, other in zip(trials, expected, strict=True):
        for name, tensor in trial.tensors.items():
            close(tensor, other.tensors[name], 1e-12)


@pytest.mark.parametrize("case", FIRST)
def test_a_trial_that_memory_does_not_hold_goes_on_with_less(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """First its passes become shorter, then activations are computed twice; the step is the one it would have been."""
    scene, other = Scene(case, tmp_path), Scene(case, tmp_path)
    trial, expected = scene.trial(1), other.trial(1)
    backbone, tries, never = scene.backbone, [], []

    def limit(batch: Any) -> None:
        tries.append((len(batch.ids), backbone.recomputes))
        if not backbone.recomputes or never:
            raise torch.OutOfMemoryError("no room")

    watch_losses(trial, limit)
    batch, progress, theirs = TrialBatch(), Progress(), Progress()
    for _ in range(2):
        assert batch.step([trial], [progress]) == [None]
        TrialBatch().step([expected], [theirs])
        for name, tensor in trial.tensors.items():
            close(tensor, expected.tensors[name], 1e-9)
    assert progress.losses == pytest.approx(theirs.losses, rel=1e-10)
    sizes = [size for size, recomputed in tries if not recomputed]
    assert sizes[0] == 5 and sizes[-1] == 1 and sizes == sorted(sizes, reverse=True), "the second step begins with less"
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 4 and "passes" in printed[0] and "computed twice" in printed[-1]
    never.append(True)
    with pytest.raises(torch.OutOfMemoryError):
        batch.step([trial], [progress])


def test_the_time_of_a_step_is_shared_by_tokens(tmp_path: Path) -> None:
    scene = Scene(FIRST[0], tmp_path)
    progresses = [Progress() for _ in range(4)]
    TrialBatch().step([scene.trial(number) for number in range(4)], progresses)
    per_token = [progress.train_seconds / progress.tokens for progress in progresses]
    assert per_token == pytest.approx([per_token[0]] * 4)
    assert all(progress.tokens <= progress.padded_tokens for progress in progresses)
