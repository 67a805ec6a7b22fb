"""Recorded passes: replayed on other batches they give what computing these anew gives.

`Traced` stands in for CUDA graphs where there is no GPU: it notes every operation of a pass with the tensors that it
had, and repeats the operations, whatever these tensors hold by then. So a number of the recorded batch that got into
the operations shows, as it would in a CUDA graph, and so does an operation that a CUDA graph cannot have.
"""

import random
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from repro.methods.parts.joining import joined
from repro.models.attention.packing import Packed, Site
from repro.models.encoding.batch import IGNORE, Batch, Encoded, collate
from repro.models.tensor_tree import mapped, pinnable, tensors_of
from repro.training import cuda_graphs, fixed_shapes
from repro.training.checkpoint import Progress
from repro.training.cuda_graphs import Graphs, RecordingRunner, Work
from repro.training.fixed_shapes import filled, lay_out_fixed, rounded
from repro.training.passes import PassRunner, PlainRunner
from repro.training.step import TrialBatch
from tests.training.joint_cases import FIRST, KINDS, Scene, negligible
from tests.training.tiny_training import METHODS, batches, close, copies, load, make_trial


class Tape(TorchDispatchMode):
    """Every operation on tensors, with its arguments, in order.

    Refuses what a CUDA graph cannot hold: shapes that depend on values, values read by the host, numbers it copies.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_index = func is torch.ops.aten.index.Tensor  # its shape depends on values with a mask only
        if by_index and any(index is not None and index.dtype == torch.bool for index in args[1]):
            raise RuntimeError(f"{func} by a mask")
        tags = () if by_index else func.tags
        if torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags:
            raise RuntimeError(f"{func} depends on values")
        if "lift_fresh" in str(func):
            raise RuntimeError(f"{func}: numbers come from the host")
        out = func(*args, **(kwargs or {}))
        self.lines.append((func, args, kwargs or {}, out))
        return out

    def play(self, wanted: list[Tensor]) -> list[Tensor]:
        """The operations again, on what the tensors that they began with hold now; returns the new `wanted`."""
        now: dict[int, Tensor] = {}

        def current(value: Any) -> Any:
            return now.get(id(value), value) if isinstance(value, Tensor) else value

        for func, args, kwargs, out in self.lines:
            made = func(*tree_map(current, args), **tree_map(current, kwargs))
            for old, new in zip(tree_leaves(out), tree_leaves(made), strict=True):
                if isinstance(old, Tensor):
                    now[id(old)] = new
        return [current(value) for value in wanted]


class Traced:
    """Records on a tape."""

    def __init__(self) -> None:
        self.records = 0

    def record(self, work: Work) -> Work:
        """As `cuda_graphs.Recorder`."""
        tape = Tape()
        with tape:
            outputs = work()
        self.records += 1
        return lambda: tape.play(outputs)


class Never:
    """Records nothing: passes are filled up and computed."""

    def record(self, work: Work) -> Work:
        raise AssertionError("nothing is recorded before it was seen often")


class Wrong(Traced):
    """A recorder whose replays are off."""

    def record(self, work: Work) -> Work:
        replay = super().record(work)
        return lambda: [1.01 * value for value in replay()]


class NoNumber(Traced):
    """A recorder whose replays hold a NaN somewhere in the gradients."""

    def record(self, work: Work) -> Work:
        replay = super().record(work)
        return lambda: [*replay()[:-1], replay()[-1] * torch.nan]


class Failing:
    """A recorder that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def record(self, work: Work) -> Work:
        raise self.error


def packing(case: str, dropout: float | None = None) -> Scene:
    """The trials of a kind over a backbone that packs whatever it can."""
    return Scene(case, Path(), dropout, packing=True)


def assert_same_steps(runner: PassRunner, scene: Scene, steps: int, numbers: Sequence[int]) -> None:
    """A runner and the plain one make the same steps from the same states: losses and tensors agree every time."""
    batch, other = TrialBatch(runner), TrialBatch(PlainRunner())
    ours, theirs = ([scene.trial(number, steps=steps + 1) for number in numbers] for _ in range(2))
    mine, others = ([Progress() for _ in numbers] for _ in range(2))
    for _ in range(steps):
        assert not any(batch.step(ours, mine)) and not any(other.step(theirs, others))
        for trial, reference, progress, wanted in zip(ours, theirs, mine, others, strict=True):
            assert progress.losses[-1] == pytest.approx(wanted.losses[-1], rel=1e-9)
            assert (progress.tokens, progress.padded_tokens) == (wanted.tokens, wanted.padded_tokens)
            for name, tensor in trial.tensors.items():
                if not negligible(name, scene.kind.format):
                    close(tensor, reference.tensors[name], 1e-6)
            trial.load(copies(reference.snapshot()))


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding so coarse that the first recording serves batches of very different lengths: tracing takes seconds."""
    monkeypatch.setattr(fixed_shapes, "rounded", lambda count: 8 if count <= 8 else -(-count // 48) * 48)
    monkeypatch.setattr(fixed_shapes, "LEAST", 200)
    monkeypatch.setattr(cuda_graphs, "SEEN_BEFORE", 0)


ALONE_AND_JOINT = [
    *((case, None, 6, (0,)) for case in KINDS if case not in FIRST),
    *((case, 0.1, 6, (0, 1, 2)) for case in FIRST),
]


@pytest.mark.parametrize(("case", "dropout", "steps", "numbers"), ALONE_AND_JOINT)
def test_replayed_steps_are_the_steps(
    case: str, dropout: float | None, steps: int, numbers: Sequence[int], few_shapes: None
) -> None:
    recorder = Traced()
    runner = RecordingRunner(recorder)
    assert_same_steps(runner, packing(case, dropout), steps, numbers)
    assert runner.graphs is not None and not runner.graphs.broken
    assert runner.graphs.replays > recorder.records > 0


def test_a_shape_is_recorded_once_it_was_seen() -> None:
    recorder = Traced()
    runner = RecordingRunner(recorder)
    batch, trial, progress = TrialBatch(runner), packing(FIRST[0]).trial(0, count=3), Progress()
    replays = []
    for _ in range(5):  # the same three examples at every step
        batch.step([trial], [progress])
        assert runner.graphs is not None
        replays.append(runner.graphs.replays)
    assert replays == [0] * cuda_graphs.SEEN_BEFORE + list(range(1, 6 - cuda_graphs.SEEN_BEFORE))
    assert recorder.records == 1


@pytest.mark.parametrize(
    ("recorder", "why"),
    [
        (Wrong(), "differs by 0.0"),
        (NoNumber(), "differs by nan"),
        (Failing(RuntimeError("not permitted when stream is capturing\nmore lines")), "stream is capturing): "),
        (Failing(torch.OutOfMemoryError("CUDA out of memory")), "memory does not suffice"),
    ],
)
def test_a_recording_that_fails_or_differs_is_not_used(
    recorder: Any, why: str, few_shapes: None, capsys: pytest.CaptureFixture[str]
) -> None:
    runner = RecordingRunner(recorder)
    assert_same_steps(runner, packing(FIRST[2]), 3, (0,))
    assert runner.graphs is not None and runner.graphs.broken and not runner.graphs.replays
    printed = capsys.readouterr().err
    assert why in printed and printed.count("trainer.graphs") == 1


@pytest.mark.parametrize("case", KINDS)
def test_fillers_change_nothing(case: str) -> None:
    assert_same_steps(RecordingRunner(Never()), packing(case, 0.1), cuda_graphs.SEEN_BEFORE, (0, 1, 2))


@pytest.mark.parametrize("method", ["prompt_tuning", "fine_tuning"])
def test_nothing_is_recorded_where_it_cannot_be(method: str) -> None:
    backbone, runner = load("tiny-t5"), RecordingRunner(Never())
    backbone.packing = method == "fine_tuning"
    TrialBatch(runner).step([make_trial("tiny-t5", METHODS[method](), backbone=backbone)], [Progress()])
    assert runner.graphs is None


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("case", FIRST)
def test_a_prepared_step_is_the_step(case: str, recording: bool) -> None:
    def runner(prefetch: bool) -> Any:
        return RecordingRunner(Never(), prefetch) if recording else PlainRunner(prefetch)

    scene, ahead = packing(case, 0.1), runner(prefetch=True)
    trials, others = ([scene.trial(number, steps=4) for number in (0, 1)] for _ in range(2))
    progresses, theirs = ([Progress(), Progress()] for _ in range(2))
    batch, other = TrialBatch(ahead), TrialBatch(runner(prefetch=False))
    plain = ahead.plain if recording else ahead
    for step in range(4):
        prepared = plain.prepared
        assert (None if prepared is None else prepared.keys) == (
            None if step == 0 else [trial.share(step).key for trial in trials]
        )
        batch.step(trials, progresses)
        other.step(others, theirs)
        assert plain.prepared is not prepared
    assert plain.prepared is None, "the last step has none behind it"
    for trial, reference, progress, wanted in zip(trials, others, progresses, theirs, strict=True):
        assert progress.losses == wanted.losses
        assert all(torch.equal(tensor, reference.tensors[name]) for name, tensor in trial.tensors.items())


def test_a_prepared_step_is_not_taken_for_another() -> None:
    """A trial that leaves, and one whose step is not the next."""
    scene, runner = packing(FIRST[0]), PlainRunner(prefetch=True)
    batch = TrialBatch(runner)
    trials, progresses = [scene.trial(number, steps=9) for number in (0, 1)], [Progress(), Progress()]
    batch.step(trials, progresses)
    assert runner.prepared is not None
    batch.step(trials[:1], progresses[:1])
    reference, progress = scene.trial(0, steps=9), Progress()
    for _ in range(2):
        TrialBatch().step([reference], [progress])
    assert progresses[0].losses == pytest.approx(progress.losses, rel=1e-12)
    progresses[0].step = 5
    batch.step(trials[:1], progresses[:1])
    assert runner.prepared is not None and runner.prepared.keys == [trials[0].share(6).key]


def numbers(limit: int) -> list[int]:
    """4, 5, 6, 7, 8, 10, ...: three binary digits, then zeros."""
    return sorted({first * 2**power for first in (4, 5, 6, 7) for power in range(12)} | {1, 2, 3})[:limit]


def test_numbers_are_rounded_up() -> None:
    listed = numbers(200)
    for count in range(1, 3000):
        assert rounded(count) == min(number for number in listed if number >= count)


@pytest.mark.parametrize("case", KINDS)
def test_what_fillers_are(case: str) -> None:
    """The batch's own rows stay, and every number that a shape depends on is one of the list."""
    scene = packing(case)
    trial = scene.trial(1)
    prompts = [trial.method.injection(training=False).prompt_length]
    for batch in (batches(trial, step)[0] for step in range(6)):
        full, count = filled(batch, prompts), len(batch.ids)
        assert full is not None
        assert len(full.ids) % batch.choices == 0 and len(full.ids) > count
        assert batch.choices > 1 or len(full.ids) in numbers(60)
        assert int(full.mask.sum()) + prompts[0] * len(full.ids) in numbers(60)
        assert full.ids.shape[1] in numbers(60)
        for one in fields(Batch):
            own, made = getattr(batch, one.name), getattr(full, one.name)
            if isinstance(own, Tensor):
                wide = made[: len(own)]
                assert torch.equal(wide[:, : own.shape[1]] if own.dim() > 1 else wide, own), one.name
        lengths = full.mask.sum(1)
        assert int(lengths.max()) == int(batch.mask.sum(1).max()), "fillers are no longer than real sequences"
        if full.target_ids is not None:
            assert int((full.target_ids != IGNORE).sum()) in numbers(60)
            assert bool((full.target_ids != IGNORE).any(1).all())
        elif scene.kind.format == "text_to_text" and full.token_labels is not None:
            said = full.token_labels != IGNORE
            assert int(said.sum()) in numbers(60)
            assert bool((said.sum(1) < lengths).all()), "there is a source before what is said"


def short(lengths: Sequence[int], rows: Sequence[int], target: int = 2) -> Batch:
    items = [Encoded(tuple(range(5, 5 + n)), n, target_ids=(3,) * target) for n in lengths]
    return collate(items, 0, rows)


@pytest.mark.parametrize("prompt", [0, 20, 100, 128, 512])
def test_fillers_that_cost_too_much_are_left_out(prompt: int) -> None:
    """Each brings a prompt: short inputs behind long prompts would need ever more of them."""
    full = filled(short((14,) * 16, [0] * 16), [prompt])
    assert (full is None) == (prompt >= 100)
    if full is not None:
        tokens = [int(batch.mask.sum()) + prompt * len(batch.ids) for batch in (short((14,) * 16, [0] * 16), full)]
        assert tokens[1] <= 1.5 * max(512, tokens[0])


def test_fillers_have_positions() -> None:
    """A table of 512 rows serves trial 0 with its long prompt and trial 1 with its long inputs: no filler is longer
    than a row that there is."""
    for draw in range(200):
        generator = random.Random(draw)
        rows = [draw % 2 for draw in range(generator.randint(2, 12))]
        lengths = [generator.randint(20, 508 if row else 412) for row in rows]
        prompts = [100, 4]
        full = filled(short(lengths, rows, 4), prompts)
        if full is not None:
            each = full.mask.sum(1) + torch.tensor(prompts)[full.rows]
            assert int(each.max()) == int(each[: len(rows)].max()) <= 512


def test_what_is_pinned_has_a_place_for_every_element() -> None:
    """`arange` expanded over rows, as placement `template` has it: pinning copies it stride by stride."""
    where = torch.arange(5).expand(3, -1)
    assert not where.is_contiguous() and pinnable(where).is_contiguous() and torch.equal(pinnable(where), where)


def first_passes(scene: Scene, count: int) -> tuple[Graphs, Any, list[Any]]:
    """Recordings, the injection of trial 0, and its first passes of fixed shapes."""
    trial = scene.trial(0)
    injection = joined([trial.method.injection(training=False)])
    some = [batches(trial, step)[0] for step in range(count)]
    passes = [lay_out_fixed(trial.adapter, batch, injection, [injection.prompt_length]) for batch in some]
    assert all(one.fixed for one in passes)
    return Graphs(trial.adapter, Traced()), injection, passes


def test_a_diverged_trial_does_not_end_recordings() -> None:
    graphs, injection, [one] = first_passes(packing(FIRST[2]), 1)
    divisor = torch.ones(1)
    for _ in range(cuda_graphs.SEEN_BEFORE + 1):
        assert graphs.gradients(one, injection, divisor * torch.nan) is None
    assert not graphs.broken
    assert graphs.gradients(one, injection, divisor) is not None


def test_batches_of_other_shapes_are_other_recordings() -> None:
    graphs, injection, passes = first_passes(packing(FIRST[2]), 2)
    for one in passes:
        for _ in range(cuda_graphs.SEEN_BEFORE):
            assert graphs.gradients(one, injection, torch.ones(1)) is None


def test_values_are_mapped_with_what_they_share() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    packed = Packed(mask, torch.arange(2))
    site = Site(packed, packed, causal=True, width=4)
    site.lay_out()
    twice = mapped({"a": site, "b": packed}, lambda tensor: tensor * 2)
    assert twice["a"] is not site and twice["a"].queries is twice["a"].keys is twice["b"]
    assert torch.equal(twice["b"].counts, 2 * packed.counts) and packed.counts.tolist() == [2, 1]
    assert torch.equal(twice["a"].groups[0].rows, 2 * site.groups[0].rows)
    assert [tuple(one.shape) for one in tensors_of(site)] == [tuple(one.shape) for one in tensors_of(twice["a"])]
    assert len({id(one) for one in tensors_of(site)}) == len(tensors_of(site))
