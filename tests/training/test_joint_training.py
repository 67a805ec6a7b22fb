"""Joint training of unlike trials: each ends as it does alone, whichever trials join, end, fail or resume beside it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from repro.errors import Interrupted, TrialFailed
from repro.methods.parts.encoded_prompt import PTuning
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from repro.models.backbone import Backbone
from repro.models.interface import RowLoss
from repro.models.threads import worker
from repro.training.checkpoint import Checkpoints, Progress
from repro.training.loop import ActiveTrial, TrainingLoop, train, train_trial
from repro.training.stacked_state import stacks
from repro.training.step import TrialBatch
from repro.training.trainable import TrainableTrial
from tests.training.tiny_training import Crash, Recorder, close, copies, load, make_fit, same_bits

ADAFACTOR = {"name": "adafactor", "weight_decay": 1e-3, "factored": "always"}


@dataclass
class Kind:
    """Unlike trials over one model."""

    model: str
    format: str
    methods: Sequence[Any]
    options: dict[str, Any] = field(default_factory=dict)

    def member(self, number: int, backbone: Backbone, **changes: Any) -> TrainableTrial:
        """Trial `number`: other seed, rate, prompt, batch, steps, clipping, data and reduction than the others."""
        unlike: list[dict[str, Any]] = [
            {"batch_size": 3, "steps": 8, "clip_norm": 0.3},
            {"batch_size": 5, "steps": 6, "clip_norm": None, "count": 11, "example_sum": True},
            {"batch_size": 2, "steps": 7, "clip_norm": 1e-3, "evaluate_every": 2},
            {"batch_size": 4, "steps": 8, "microbatches": 2, "count": 9},
        ]
        dtype = str(backbone.dtype).removeprefix("torch.")
        options = {"seed": 3 + number, "rate": (0.02, 0.2, 0.05, 0.1)[number], "dtype": dtype}
        method = self.methods[number]()
        return make_fit(
            self.model,
            method,
            self.format,
            backbone=backbone,
            **{**options, **unlike[number], **self.options, **changes},
        )


def prompts(*lengths: int, **options: Any) -> list[Any]:
    return [lambda length=length: PromptTuning(length, "uniform", **options) for length in lengths]


KINDS = {
    "prompt tuning, T5, adafactor": Kind("tiny-t5", "text_to_text", prompts(5, 2, 5, 9), ADAFACTOR),
    "prompt tuning, T5, adamw": Kind("tiny-t5", "text_to_text", prompts(5, 5, 5, 5), {"weight_decay": 0.01}),
    "prefix tuning with MLP, GPT-2, adamw": Kind(
        "tiny-gpt2", "text_to_text",
        [
            lambda n=n, d=d: build_method("prefix_tuning", length=n, hidden=6, prefix_dropout=d)
            for n, d in ((3, 0.3), (3, 0.3), (6, 0.0), (2, 0.5))
        ],
    ),
    "prompt tuning after the input, GPT-2, adafactor": Kind(
        "tiny-gpt2", "text_to_text", prompts(4, 1, 4, 3, placement="after"), ADAFACTOR
    ),
    "P-Tuning v2, BERT pairs, adamw": Kind(
        "tiny-bert", "pair",
        [lambda n=n: build_method("p_tuning_v2", length=n, prefix_dropout=0.3) for n in (4, 4, 7, 4)],
    ),
    "P-Tuning v2 with MLP, BERT tagging, adafactor": Kind(
        "tiny-bert", "tagging",
        [
            lambda n=n, h=h: build_method(
                "p_tuning_v2", length=n, reparameterisation="mlp", hidden=h, prefix_dropout=0.1
            )
            for n, h in ((4, 8), (2, 8), (4, 6), (4, 8))
        ],
        ADAFACTOR,
    ),
    "P-tuning with LSTM dropout, BERT pairs, adamw": Kind(
        "tiny-bert", "pair",
        [lambda n=n: PTuning(n, "lstm", 6, lstm_dropout=0.4, placement="before") for n in (3, 3, 5, 2)],
    ),
    "prompt tuning, BERT choices, adamw": Kind("tiny-bert", "choice", prompts(4, 2, 4, 3)),
    "prompt tuning, BART, adamw": Kind("tiny-bart", "text_to_text", prompts(5, 2, 5, 9)),
    "prefix tuning, Llama, adamw": Kind(
        "tiny-llama", "text_to_text",
        [lambda n=n: build_method("prefix_tuning", length=n, hidden=6) for n in (3, 5, 2, 3)],
    ),
}  # fmt: skip
FIRST = ("prompt tuning, T5, adafactor", "prefix tuning with MLP, GPT-2, adamw", "P-Tuning v2, BERT pairs, adamw")


def own(folder: Path, number: int) -> Checkpoints:
    return Checkpoints(folder / str(number))


def alone(kind: Kind, number: int, backbone: Backbone, folder: Path) -> tuple[TrainableTrial, Progress, Recorder]:
    run, watcher = kind.member(number, backbone), Recorder()
    return run, train_trial(run, own(folder, number), watcher), watcher


def negligible(name: str, format: str) -> bool:
    """All choices of an example share the head's bias: its gradient is rounding, which Adam makes a step of."""
    return format == "choice" and name == "method.head.bias"


def the_same(
    kind: Kind,
    ours: tuple[TrainableTrial, Progress, Recorder],
    theirs: tuple[TrainableTrial, Progress, Recorder],
    tolerance: float,
) -> None:
    """Losses step by step, curve, selection, counts and the chosen tensors of two runs of one trial."""
    (run, progress, watcher), (other, expected, recorder) = ours, theirs
    assert len(watcher.losses) == len(recorder.losses) > 0
    assert watcher.losses == pytest.approx(recorder.losses, rel=tolerance)
    assert (progress.step, progress.tokens) == (expected.step, expected.tokens)
    assert [row["step"] for row in progress.curve] == [row["step"] for row in expected.curve]
    for row, wanted in zip(progress.curve, expected.curve, strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=tolerance)
        assert row["validation"] == pytest.approx(wanted["validation"], rel=tolerance)
    assert progress.best is not None and expected.best is not None
    assert progress.best["step"] == expected.best["step"]
    for name, tensor in run.tensors.items():
        if not negligible(name, kind.format):
            close(tensor, other.tensors[name], 10 * tolerance)


@pytest.mark.parametrize("dropout", [None, 0.1])
@pytest.mark.parametrize("case", KINDS)
def test_every_member_ends_as_it_does_alone(tmp_path: Path, case: str, dropout: float | None) -> None:
    kind, backbone = KINDS[case], load(KINDS[case].model, dropout=dropout)
    options = {"dropout": dropout}
    kind = Kind(kind.model, kind.format, kind.methods, {**kind.options, **options})
    solo = [alone(kind, number, backbone, tmp_path / "alone") for number in range(4)]
    members = [
        ActiveTrial(kind.member(number, backbone), own(tmp_path / "gang", number), Recorder()) for number in range(4)
    ]
    left: list[ActiveTrial] = []
    train(members, left.append)
    assert [left.index(member) for member in members] == [2, 0, 1, 3], "they end at steps 8, 6, 7 and 8"
    for member, expected in zip(members, solo, strict=True):
        assert member.failure is None
        the_same(kind, (member.trial, member.progress, member.reporter), expected, 1e-10)
    starts = [kind.member(number, backbone).tensors for number in range(4)]
    assert all(
        not torch.equal(t, members[0].trial.tensors[n]) for n, t in starts[0].items() if not negligible(n, kind.format)
    )


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize("case", FIRST)
def test_passes_side_by_side_make_the_same_gang(tmp_path: Path, case: str, packing: bool, two_threads: None) -> None:
    """Twice: what threads do when must not show in a single bit. Those alone are computed in one thread."""
    backbone = load(KINDS[case].model, dropout=0.1)
    backbone.packing = packing
    kind = Kind(KINDS[case].model, KINDS[case].format, KINDS[case].methods, {**KINDS[case].options, "dropout": 0.1})
    torch.set_num_threads(1)
    solo = [alone(kind, number, backbone, tmp_path / "alone") for number in range(4)]
    torch.set_num_threads(2)
    gangs, workers = [], set()
    for name in ("first", "again"):
        runs = [kind.member(number, backbone) for number in range(4)]
        members = [ActiveTrial(run, own(tmp_path / name, number), Recorder()) for number, run in enumerate(runs)]
        inner = runs[0].adapter.losses

        def losses(*args: Any, inner: Any = inner, **z: Any) -> RowLoss:
            workers.add(worker())
            return inner(*args, **z)  # type: ignore[no-any-return]

        runs[0].adapter.losses = losses  # type: ignore[method-assign]
        train(members, lambda member: None)
        gangs.append(members)
    assert len(workers - {0}) == 2
    for first, again, expected in zip(*gangs, solo, strict=True):
        the_same(kind, (first.trial, first.progress, first.reporter), expected, 1e-6 if packing else 1e-10)
        assert first.reporter.losses == again.reporter.losses
        same_bits(first.trial.tensors, again.trial.tensors)


@pytest.mark.parametrize("case", FIRST)
def test_a_trial_alone_uses_both_threads(tmp_path: Path, case: str, two_threads: None) -> None:
    kind, backbone = KINDS[case], load(KINDS[case].model)
    run, workers = kind.member(0, backbone), set()
    inner = run.adapter.losses

    def losses(*args: Any, **z: Any) -> RowLoss:
        workers.add(worker())
        return inner(*args, **z)

    run.adapter.losses = losses  # type: ignore[method-assign]
    watcher = Recorder()
    ours = run, train_trial(run, own(tmp_path, 0), watcher), watcher
    torch.set_num_threads(1)
    the_same(kind, ours, alone(kind, 0, backbone, tmp_path / "one thread"), 1e-10)
    assert len(workers - {0}) == 2


@pytest.mark.parametrize("case", FIRST)
def test_packed_sequences_make_the_same_gang(tmp_path: Path, case: str) -> None:
    """With dropout on: its masks are found by row and position, wherever a token lies."""
    backbone = load(KINDS[case].model, dropout=0.1)
    kind = Kind(KINDS[case].model, KINDS[case].format, KINDS[case].methods, {**KINDS[case].options, "dropout": 0.1})
    backbone.packing = False
    solo = [alone(kind, number, backbone, tmp_path / "alone") for number in range(4)]
    backbone.packing = True
    members = [
        ActiveTrial(kind.member(number, backbone), own(tmp_path / "gang", number), Recorder()) for number in range(4)
    ]
    train(members, lambda member: None)
    for member, expected in zip(members, solo, strict=True):
        the_same(kind, (member.trial, member.progress, member.reporter), expected, 1e-6)


@pytest.mark.parametrize("case", KINDS)
def test_a_step_from_one_state_differs_by_the_order_of_sums(case: str) -> None:
    """1e-12 of the largest number: a trajectory may grow it, a step must not."""
    kind, backbone = KINDS[case], load(KINDS[case].model, dropout=0.1)
    kind = Kind(kind.model, kind.format, kind.methods, {**kind.options, "dropout": 0.1})
    together = [kind.member(number, backbone) for number in range(4)]
    apart = [kind.member(number, backbone) for number in range(4)]
    progresses, others = [Progress() for _ in together], [Progress() for _ in apart]
    company = TrialBatch()
    for step in range(3):
        for run, other in zip(together, apart, strict=True):
            other.load(copies(run.snapshot()))
        assert company.step(together, progresses) == [None] * 4
        for run, other, progress, theirs in zip(together, apart, progresses, others, strict=True):
            assert TrialBatch().step([other], [theirs]) == [None]
            assert progress.losses[-1] == pytest.approx(theirs.losses[-1], rel=1e-12)
            assert progress.step == theirs.step == step + 1
            for name, tensor in run.tensors.items():
                if not negligible(name, kind.format):
                    close(tensor, other.tensors[name], 1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("case", FIRST)
def test_in_single_and_half_precision(tmp_path: Path, case: str, dtype: str, tolerance: float) -> None:
    """Losses only: which sums a product makes depends on how many rows it has. Rates are low, lest rounding grow."""
    kind, backbone = KINDS[case], load(KINDS[case].model, dtype)
    runs = [kind.member(number, backbone, rate=0.01) for number in range(4)]
    members = [ActiveTrial(run, own(tmp_path / "gang", number), Recorder()) for number, run in enumerate(runs)]
    train(members, lambda member: None)
    for number, member in enumerate(members):
        run, watcher = kind.member(number, backbone, rate=0.01), Recorder()
        train_trial(run, own(tmp_path / "alone", number), watcher)
        assert member.reporter.losses == pytest.approx(watcher.losses, rel=tolerance)


def test_trials_of_one_shape_are_updated_as_one() -> None:
    kind = KINDS["prompt tuning, T5, adafactor"]
    backbone = load("tiny-t5")
    runs = [kind.member(number, backbone) for number in range(4)]
    before = [copies(run.snapshot()) for run in runs]
    found = stacks(runs)
    assert [len(stack.runs) for stack in found] == [2, 1, 1], "lengths 5, 2, 5 and 9"
    whole = found[0].tensors["method.prompt"]
    assert whole.shape[0] == 2
    for run, old in zip(runs, before, strict=True):
        same_bits(run.snapshot(), old)
    with torch.no_grad():
        whole[1] += 1
    assert torch.equal(runs[2].tensors["method.prompt"], before[2]["method.prompt"] + 1)
    for stack in found:
        stack.release()
    with torch.no_grad():
        whole[1] += 1
    assert torch.equal(runs[2].tensors["method.prompt"], before[2]["method.prompt"] + 1)


def poisoned(run: TrainableTrial, at: int) -> TrainableTrial:
    """The run's own rows get a loss of NaN at one step (counted from 1), wherever they stand."""
    inner, key = run.adapter.losses, run.share(at - 1)

    def losses(batch: Any, injection: Any, **given: Any) -> RowLoss:
        found = inner(batch, injection, **given)
        mine = {key.row_key(place, 0) for place in range(len(key.examples))}
        if batch.draws is None:
            return found
        hit = [draw in mine for draw in batch.draws[:: batch.choices].tolist()]
        return RowLoss(found.total * torch.tensor([torch.nan if one else 1.0 for one in hit]), found.count)

    run.adapter.losses = losses  # type: ignore[method-assign]
    return run


@pytest.mark.parametrize("case", KINDS)
def test_a_member_that_fails_disturbs_nobody(tmp_path: Path, case: str) -> None:
    kind, backbone = KINDS[case], load(KINDS[case].model)
    solo = [alone(kind, number, backbone, tmp_path / "alone") for number in range(4)]
    runs = [kind.member(number, backbone) for number in range(4)]
    for run in runs:
        run.adapter = runs[0].adapter
    poisoned(runs[2], at=4)
    members = [ActiveTrial(run, own(tmp_path / "gang", number), Recorder()) for number, run in enumerate(runs)]
    left: list[ActiveTrial] = []
    train(members, left.append)
    assert left[0] is members[2] and isinstance(left[0].failure, TrialFailed)
    assert "the loss became nan at step 4: " in str(left[0].failure) and left[0].progress.step == 3
    for number in (0, 1, 3):
        member = members[number]
        the_same(kind, (member.trial, member.progress, member.reporter), solo[number], 1e-10)


@pytest.mark.parametrize("case", FIRST[1:])
def test_numbers_that_overflow_stay_in_their_rows(tmp_path: Path, case: str) -> None:
    kind, backbone = KINDS[case], load(KINDS[case].model, "float32")
    runs = [kind.member(number, backbone, **({"rate": 1e38} if number == 1 else {})) for number in range(4)]
    members = [ActiveTrial(run, own(tmp_path / "gang", number), Recorder()) for number, run in enumerate(runs)]
    train(members, lambda member: None)
    assert [member.failure is None for member in members] == [True, False, True, True]
    for number in (0, 2, 3):
        run, progress, watcher = alone(kind, number, backbone, tmp_path / "alone")
        assert members[number].reporter.losses[0] == pytest.approx(watcher.losses[0], rel=1e-6)
        assert members[number].progress.step == progress.step == run.steps


@pytest.mark.parametrize("error", [TrialFailed("no checkpoint can be chosen"), ValueError("empty split")])
def test_a_member_whose_evaluation_fails_leaves(tmp_path: Path, error: Exception) -> None:
    kind, backbone = KINDS[FIRST[1]], load("tiny-gpt2")
    solo = [alone(kind, number, backbone, tmp_path / "alone") for number in range(2)]
    members = [
        ActiveTrial(kind.member(number, backbone), own(tmp_path / "gang", number), Recorder()) for number in range(3)
    ]

    def evaluate() -> tuple[float, dict[str, Any]]:
        raise error

    members[2].trial.evaluate = evaluate
    train(members, lambda member: None)
    assert members[2].progress.step == 2 and str(error) in str(members[2].failure)
    for member, expected in zip(members[:2], solo, strict=True):
        the_same(kind, (member.trial, member.progress, member.reporter), expected, 1e-10)
    run = kind.member(2, backbone)
    run.evaluate = evaluate
    with pytest.raises(type(error), match=str(error)):  # alone, it is the caller's
        train_trial(run, own(tmp_path / "other", 2), Recorder())


@pytest.mark.parametrize("dropout", [None, 0.1])
@pytest.mark.parametrize("case", FIRST)
def test_members_may_join_late(tmp_path: Path, case: str, dropout: float | None) -> None:
    kind, backbone = KINDS[case], load(KINDS[case].model, dropout=dropout)
    kind = Kind(kind.model, kind.format, kind.methods, {**kind.options, "dropout": dropout})
    solo = [alone(kind, number, backbone, tmp_path / "alone") for number in range(4)]
    members = [
        ActiveTrial(kind.member(number, backbone), own(tmp_path / "gang", number), Recorder()) for number in range(4)
    ]
    waiting, sizes = list(members), []

    def arriving(loop: TrainingLoop) -> ActiveTrial | None:
        sizes.append(len(loop.trials))
        room = not loop.trials or (loop.steps >= 2 and len(loop.trials) < 3)
        return waiting.pop(0) if waiting and room else None

    TrainingLoop(arriving, lambda member: None).train()
    assert max(sizes) == 3 and not waiting
    for member, expected in zip(members, solo, strict=True):
        the_same(kind, (member.trial, member.progress, member.reporter), expected, 1e-10)


@pytest.mark.parametrize("how", ["killed", "interrupted", "interrupted in an evaluation"])
@pytest.mark.parametrize("case", FIRST)
def test_a_gang_that_ended_early_continues_in_other_company(tmp_path: Path, case: str, how: str) -> None:
    kind, backbone = KINDS[case], load(KINDS[case].model, dropout=0.1)
    kind = Kind(kind.model, kind.format, kind.methods, {**kind.options, "dropout": 0.1})
    solo = [alone(kind, number, backbone, tmp_path / "alone") for number in range(4)]

    def watcher(number: int) -> Recorder:
        if number != 1 or how == "interrupted in an evaluation":
            return Recorder(save_at=[3])
        return Recorder(crash_at=4) if how == "killed" else Recorder(stop_at=4)

    def members(numbers: Sequence[int]) -> dict[int, ActiveTrial]:
        return {n: ActiveTrial(kind.member(n, backbone), own(tmp_path / "gang", n), watcher(n)) for n in numbers}

    first = members(range(4))
    if how == "interrupted in an evaluation":
        stop_in(first[2].trial, call=2)
    with pytest.raises(Crash if how == "killed" else Interrupted):
        train(list(first.values()), lambda member: None)
    steps = {number: found[0].step for number in range(4) if (found := own(tmp_path / "gang", number).load())}
    assert steps == ({0: 3, 1: 3, 2: 3, 3: 3} if how == "killed" else dict.fromkeys(range(4), 4))

    again = {}
    for company in ([3, 1], [2], [0]):  # one pair, and two alone
        some = {
            number: ActiveTrial(kind.member(number, backbone), own(tmp_path / "gang", number), Recorder())
            for number in company
        }
        assert all(member.progress.step == steps[number] for number, member in some.items())
        train(list(some.values()), lambda member: None)
        again |= some
    for number, member in again.items():
        run, progress, recorder = solo[number]
        recorder.losses = recorder.losses[steps[number] :]
        the_same(kind, (member.trial, member.progress, member.reporter), (run, progress, recorder), 1e-10)


def stop_in(run: TrainableTrial, call: int) -> None:
    """Interrupt the run's evaluation number `call`."""
    inner, calls = run.evaluate, []

    def evaluate() -> tuple[float, dict[str, Any]]:
        calls.append(inner())
        if len(calls) == call:
            raise Interrupted("asked to stop")
        return calls[-1]

    run.evaluate = evaluate


def test_a_step_that_memory_does_not_hold_is_cut_further() -> None:
    kind, backbone = KINDS[FIRST[0]], load("tiny-t5")
    runs, expected = ([kind.member(number, backbone) for number in range(4)] for _ in range(2))
    for run in runs:
        run.adapter = runs[0].adapter
    inner, sizes = runs[0].adapter.losses, []

    def losses(batch: Any, injection: Any, **given: Any) -> RowLoss:
        sizes.append(len(batch.ids))
        if len(batch.ids) > 2:
            raise torch.OutOfMemoryError("no room")
        return inner(batch, injection, **given)

    runs[0].adapter.losses = losses  # type: ignore[method-assign]
    progresses, others = [Progress() for _ in runs], [Progress() for _ in runs]
    assert TrialBatch().step(runs, progresses) == [None] * 4
    assert max(sizes) > 2 >= sizes[-1]
    TrialBatch().step(expected, others)
    for run, other in zip(runs, expected, strict=True):
        for name, tensor in run.tensors.items():
            close(tensor, other.tensors[name], 1e-12)


@pytest.mark.parametrize("kind", [KINDS[case] for case in FIRST], ids=FIRST)
def test_a_trial_that_memory_does_not_hold_goes_on_with_less(kind: Kind, capsys: pytest.CaptureFixture[str]) -> None:
    """First its passes become shorter, then activations are computed twice; the step is the one it would have been."""
    backbone, other = load(kind.model), load(kind.model)
    run, expected = kind.member(1, backbone), kind.member(1, other)
    inner, tries = run.adapter.losses, []

    def losses(batch: Any, injection: Any, **z: Any) -> RowLoss:
        tries.append((len(batch.ids), backbone.model.is_gradient_checkpointing))
        if not backbone.model.is_gradient_checkpointing:
            raise torch.OutOfMemoryError("no room")
        return inner(batch, injection, **z)

    run.adapter.losses = losses  # type: ignore[method-assign]
    company, progress, theirs = TrialBatch(), Progress(), Progress()
    for _ in range(2):
        assert company.step([run], [progress]) == [None]
        TrialBatch().step([expected], [theirs])
        for name, tensor in run.tensors.items():
            close(tensor, expected.tensors[name], 1e-9)
    assert progress.losses == pytest.approx(theirs.losses, rel=1e-10)
    sizes = [size for size, recomputed in tries if not recomputed]
    assert sizes[0] == 5 and sizes[-1] == 1 and sizes == sorted(sizes, reverse=True), "the second step begins with less"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 4 and "passes" in said[0] and "computed twice" in said[-1]
    backbone.model.gradient_checkpointing_disable()
    with pytest.raises(torch.OutOfMemoryError):
        company.step([run], [progress])


def test_the_time_of_a_step_is_shared_by_tokens(tmp_path: Path) -> None:
    kind, backbone = KINDS[FIRST[0]], load("tiny-t5")
    runs, progresses = [kind.member(number, backbone) for number in range(4)], [Progress() for _ in range(4)]
    TrialBatch().step(runs, progresses)
    per_token = [progress.train_seconds / progress.tokens for progress in progresses]
    assert per_token == pytest.approx([per_token[0]] * 4)
    assert all(progress.tokens <= progress.padded_tokens for progress in progresses)
