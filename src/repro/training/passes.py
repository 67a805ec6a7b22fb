"""Forward and backward passes over the examples of a step, behind one seam: `PassRunner`.

`step.py` knows only the seam. Into how many passes a step is cut, what to do when memory runs out, and preparing the
next step while the device computes are the business of a runner. `PlainRunner` computes every pass; `cuda_graphs.py`
has a runner that replays recorded ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.methods.parts.joining import joined
from repro.models.encoding.batch import Batch
from repro.models.interface import ModelAdapter, Reading
from repro.models.tensor_tree import moved
from repro.models.threads import side_by_side
from repro.training.batching import WHOLE, Share, training_batches
from repro.training.out_of_memory import MemoryPolicy
from repro.training.shared_injection import SharedInjection
from repro.training.trainable import TrainableTrial

TOKENS_A_PASS = 16_384
"""On a GPU: a larger pass is hardly faster but takes more memory."""
TOKENS_A_WORKER = 128
"""On a CPU: a pass with fewer tokens is not worth a thread of its own."""
STATES_A_PASS = 400_000
"""On a CPU: numbers (tokens times width) in a pass of joint training; larger ones are not faster but take memory."""

Gradients = tuple[Tensor, list[Tensor | None]]
"""The losses of a pass [K], and the gradients of the injection's tensors that need one."""


class PassRunner(Protocol):
    """Computes the gradients of a step."""

    def backward(self, trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> tuple[Tensor, list[Batch]]:
        """Put the gradients of every trial's loss on its tensors.

        Returns:
            The losses [K], and the batches of the step (of all processes).
        """
        ...

    def prepare(self, trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> None:
        """Make the next step of the same trials ready, without waiting for the device."""
        ...

    def release(self) -> None:
        """Drop what holds for the present trials only: others follow."""
        ...


@dataclass(frozen=True)
class Pass:
    """Everything in a pass that depends on the values of its batch, on the device."""

    reading: Reading
    owner: Tensor
    """Trial of every example [N / choices], without fillers"""
    fixed: bool = False
    """It has shapes that many batches share (`fixed_shapes.py`)."""


LayOut = Callable[[ModelAdapter, Batch, Injection, Sequence[int]], Pass]
"""As `lay_out`."""
Replay = Callable[[Pass, Injection, Tensor], Gradients | None]
"""The gradients of a pass from a recording; None: it must be computed."""


def owners(batch: Batch) -> Tensor:
    """The trial of every example [N / choices]."""
    return batch.rows[:: batch.choices]


def prompt_lengths(injection: Injection, trials: int) -> list[int]:
    """Length of each trial's prompt at the input; waits for the device where they differ."""
    if injection.embeds_mask is None:
        return [injection.prompt_length] * trials
    lengths: list[int] = injection.embeds_mask.sum(1).tolist()
    return lengths


def on_host(injection: Injection, prompts: Sequence[int]) -> Injection:
    """With the mask of prompts of different lengths on the CPU, where batches are laid out."""
    if injection.embeds_mask is None:
        return injection
    mask = torch.arange(injection.prompt_length)[None] < torch.tensor(prompts)[:, None]
    return replace(injection, embeds_mask=mask)


def on_device(adapter: ModelAdapter, reading: Reading, batch: Batch, fixed: bool = False) -> Pass:
    """The pass of a reading of `batch`, which lies on the CPU."""
    device = adapter.backbone.device
    for site in (reading.sites or {}).values():
        site.lay_out()
    return Pass(moved(reading, device), moved(owners(batch), device), fixed)


def lay_out(adapter: ModelAdapter, batch: Batch, injection: Injection, prompts: Sequence[int]) -> Pass:
    """A batch on the CPU as a pass on the device.

    Args:
        prompts: as `prompt_lengths`.
    """
    return on_device(adapter, adapter.reading(batch, on_host(injection, prompts)), batch)


def losses(
    adapter: ModelAdapter, one: Pass, injection: Injection, divisor: Tensor, key: int | None, z_loss: float
) -> Tensor:
    """What the pass adds to every trial's loss [K]: sums over its examples, divided by `divisor` [K].

    Args:
        key: for dropout of tables that all rows share, where there is one trial.
    """
    batch = one.reading.batch
    adapter.backbone.dropout.fill(batch.draws, key)
    rows = adapter.losses(batch, injection, z_loss=z_loss, reading=one.reading)
    each = rows.total[: len(one.owner)]
    total = each.new_zeros(len(divisor)).index_add(0, one.owner, each)
    return total / divisor * (1.0 if batch.counted else 0.0)


def pass_count(trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> int:
    """Into how many passes of similar length a step is cut: at least `microbatches`, and

    - in joint training on a GPU, so many that a pass has at most `TOKENS_A_PASS`;
    - on a CPU, so many that every thread has work to the end (`models.threads`), and a pass of joint training has about
      `STATES_A_PASS`, or one trial's examples if these are more. Trials whose passes cannot run side by side are not
      cut: those that tune backbone weights, whose passes add to the same gradients, and those of several processes.
    """
    least = max(trial.microbatches for trial in trials)
    tokens = sum(len(item.ids) for share in shares for items in share.examples for item in items)
    backbone = trials[0].adapter.backbone
    if backbone.device.type != "cpu":
        return least if len(trials) == 1 else max(least, -(-tokens // TOKENS_A_PASS))
    if any(trial.tuned or trial.group.part != WHOLE for trial in trials):
        return least
    workers = max(1, min(torch.get_num_threads(), tokens // (least * TOKENS_A_WORKER)))
    states = tokens * backbone.spec.width
    rounds = min(-(-len(trials) // workers), -(-states // (least * workers * STATES_A_PASS)))
    return least * workers * rounds


def denominators(trials: Sequence[TrainableTrial], batches: Sequence[Batch]) -> Tensor:
    """What each trial's summed loss over a step is divided by [K]: its labels, its examples, or 1."""
    by_example = torch.tensor([trial.example_sum for trial in trials])
    totals = torch.zeros(len(trials), dtype=torch.long)
    for batch in batches:
        counts, owner = batch.label_counts().cpu(), owners(batch).cpu()
        totals.index_add_(0, owner, torch.where(by_example[owner], torch.ones_like(counts), counts))
    return totals.masked_fill(torch.tensor([trial.summed for trial in trials]), 1)


class StepWork:
    """What the passes of one step share: the trials' injection, their denominators, the dropout key.

    Args:
        keys: of each trial's step, for dropout inside a method.
        prompts: length of each trial's prompt, where it is known.
    """

    def __init__(
        self,
        trials: Sequence[TrainableTrial],
        keys: Sequence[int] | None,
        prompts: Sequence[int] | None = None,
        lay_out: LayOut = lay_out,
        replay: Replay | None = None,
    ) -> None:
        self.trials, self.adapter = trials, trials[0].adapter
        device = self.adapter.backbone.device
        draws = [None] * len(trials) if keys is None else [torch.tensor([key], device=device) for key in keys]
        made = [trial.method.injection(training=True, keys=key) for trial, key in zip(trials, draws, strict=True)]
        self.injection = SharedInjection(joined(made))
        self.prompts = prompt_lengths(self.injection.whole, len(trials)) if prompts is None else prompts
        self._key = keys[0] if keys and len(trials) == 1 else None
        self._lay_out, self._replay = lay_out, replay

    def backward(self, items: Sequence[Batch | Pass], batches: Sequence[Batch]) -> Tensor:
        """Gradients of every trial's loss over the whole step; returns the losses [K].

        Args:
            items: this process's passes.
            batches: the passes of all processes.
        """
        device = self.adapter.backbone.device
        divisor = denominators(self.trials, batches).clamp(min=1).to(device)
        total = torch.zeros(len(self.trials), dtype=torch.float64, device=device)

        def run(item: Batch | Pass) -> Gradients:
            return self._run(item, divisor)

        tuned = any(trial.tuned for trial in self.trials)  # passes add to the gradients of the same weights
        for share, gradients in map(run, items) if tuned else side_by_side(run, items, device):
            total += share
            self.injection.add(gradients)
        self.injection.send_back()
        for trial in self.trials:
            trial.sync_gradients()
        return self.trials[0].group.sum(total)

    def _run(self, item: Batch | Pass, divisor: Tensor) -> Gradients:
        injection, leaves = self.injection.copy()
        one = item if isinstance(item, Pass) else self._lay_out(self.adapter, item, injection, self.prompts)
        replayed = None if self._replay is None else self._replay(one, injection, divisor)
        if replayed is not None:
            return replayed
        share = losses(self.adapter, one, injection, divisor, self._key, self.trials[0].z_loss)
        torch.autograd.backward(share.sum())
        return share.detach(), [leaf.grad for leaf in leaves]


def forget_gradients(trials: Sequence[TrainableTrial]) -> None:
    """Leave no gradient on the trials' tensors."""
    for trial in trials:
        for tensor in trial.tensors.values():
            tensor.grad = None


@dataclass(frozen=True)
class Prepared:
    """The next step, made ready while the device works on the one before."""

    keys: list[int]
    batches: list[Batch]
    passes: list[Pass]


class PlainRunner:
    """Computes every pass of a step; uses less memory from the step on that does not fit.

    Args:
        prefetch: `prepare` lays the next step out; None: on GPUs.
    """

    def __init__(self, prefetch: bool | None = None, lay_out: LayOut = lay_out, replay: Replay | None = None) -> None:
        self.memory = MemoryPolicy()
        self.prepared: Prepared | None = None
        self._prefetch, self._lay_out, self._replay = prefetch, lay_out, replay
        self._injection: Injection | None = None
        """Of the last step: the next one has the same structure."""
        self._prompts: Sequence[int] | None = None

    def backward(self, trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> tuple[Tensor, list[Batch]]:
        """As `PassRunner.backward`.

        Raises:
            torch.OutOfMemoryError: the step fits in none of the ways.
        """
        while True:
            try:
                return self.attempt(trials, shares)
            except torch.OutOfMemoryError:
                if not self.memory.use_less(trials, divisible=self._passes(trials, shares) < _examples(shares)):
                    raise

    def attempt(self, trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> tuple[Tensor, list[Batch]]:
        """`backward` once.

        Raises:
            torch.OutOfMemoryError: there is not enough memory; the trials have no gradients.
        """
        adapter, part, pad = trials[0].adapter, trials[0].group.part, trials[0].pad_id
        keys, count = [share.key for share in shares], self._passes(trials, shares)
        prepared, self.prepared = self.prepared, None
        items: Sequence[Batch | Pass]
        if prepared is not None and (prepared.keys, len(prepared.batches)) == (keys, count):
            batches, items = prepared.batches, prepared.passes
        else:
            batches = training_batches(shares, pad, count)
            items = batches if part == WHOLE else training_batches(shares, pad, count, part)
        # The library recomputes in train mode only; dropout has rates of its own.
        adapter.backbone.model.train(adapter.backbone.recomputes or any(trial.train_mode for trial in trials))
        try:
            work = StepWork(trials, keys, self._prompts, self._lay_out, self._replay)
            self._prompts, self._injection = work.prompts, work.injection.whole
            return work.backward(items, batches), batches
        except torch.OutOfMemoryError:
            for trial in trials:
                trial.sync_gradients()  # takes what earlier passes left on backbone weights
            forget_gradients(trials)
            raise

    def prepare(self, trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> None:
        """As `PassRunner.prepare`."""
        injection, self._injection = self._injection, None
        on_gpu = trials[0].adapter.backbone.device.type == "cuda"
        wanted = on_gpu if self._prefetch is None else self._prefetch
        if not wanted or injection is None or self._prompts is None or trials[0].group.part != WHOLE:
            return
        batches = training_batches(shares, trials[0].pad_id, self._passes(trials, shares))
        try:
            passes = [self._lay_out(trials[0].adapter, batch, injection, self._prompts) for batch in batches]
        except torch.OutOfMemoryError:
            return  # there may be memory again when the step begins
        self.prepared = Prepared([share.key for share in shares], batches, passes)

    def release(self) -> None:
        """As `PassRunner.release`."""
        self.prepared, self._injection, self._prompts = None, None, None

    def _passes(self, trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> int:
        return pass_count(trials, shares) * self.memory.times_as_many


def _examples(shares: Sequence[Share]) -> int:
    return sum(len(share.examples) for share in shares)
