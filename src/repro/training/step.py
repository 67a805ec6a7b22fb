"""One update of several trials over one frozen model: one forward and backward pass over all their examples.

Rows of a batch name their trial; every trial has its own denominator, so its gradient does not depend on who else is in
the batch, and clipping and the optimiser act on the trial axis. Results equal a trial's own run up to the order of
summation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from repro.errors import TrialFailed, print_line
from repro.methods.parts.joining import joined
from repro.models.encoding.batch import IGNORE, Batch
from repro.models.threads import side_by_side
from repro.training.batching import WHOLE, Share, training_batches
from repro.training.checkpoint import Progress
from repro.training.cuda_graphs import CudaRecorder, Graphs, Recorder
from repro.training.passes import Pass, owners, prompt_lengths, ready
from repro.training.passes import losses as pass_losses
from repro.training.shared_injection import Shared
from repro.training.stacked_state import Stack, stacks
from repro.training.trainable import TrainableTrial

TOKENS_A_PASS = 16_384
"""On a GPU: beyond this a larger pass is hardly faster, but takes memory."""


TOKENS_A_WORKER = 128
"""On a CPU: with fewer a pass is not worth a thread of its own."""
STATES_A_PASS = 400_000
"""On a CPU: a gang's pass of this many numbers (tokens times width) runs about as fast as any; more take memory."""


def passes(runs: Sequence[TrainableTrial], shares: Sequence[Share], device: torch.device) -> int:
    """Into how many passes of like length a step is cut: as often as a trial says, and

    - of a gang on a GPU, so often that a pass stays within `TOKENS_A_PASS`;
    - on a CPU, so often that there is work for every thread to the end (`models.workers`), and a pass of a gang holds
      `STATES_A_PASS`, or one trial's examples where these are more. Not cut are trials whose passes cannot run side
      by side: those that tune weights of the backbone, as passes add to the same gradients, and those of several
      processes.
    """
    own = max(run.microbatches for run in runs)
    tokens = sum(len(item.ids) for share in shares for items in share.examples for item in items)
    if device.type != "cpu":
        return own if len(runs) == 1 else max(own, -(-tokens // TOKENS_A_PASS))
    if any(run.tuned or run.part != WHOLE for run in runs):
        return own
    workers = max(1, min(torch.get_num_threads(), tokens // (own * TOKENS_A_WORKER)))
    states = tokens * runs[0].adapter.backbone.spec.width
    rounds = min(-(-len(runs) // workers), -(-states // (own * workers * STATES_A_PASS)))
    return own * workers * rounds


def denominators(runs: Sequence[TrainableTrial], batches: Sequence[Batch]) -> Tensor:
    """What each trial's summed loss over a step is divided by [K]: its labels, or its examples."""
    by_example = torch.tensor([run.example_sum for run in runs])
    found = torch.zeros(len(runs), dtype=torch.long)
    for batch in batches:
        counts, owner = batch.label_counts().cpu(), owners(batch).cpu()
        found.index_add_(0, owner, torch.where(by_example[owner], torch.ones_like(counts), counts))
    return found


def injected(runs: Sequence[TrainableTrial], keys: Sequence[int] | None) -> Shared:
    """What the trials put into the model at a step, for all its passes; `keys` as in `backward`."""
    device = runs[0].adapter.backbone.device
    draws = [None] * len(runs) if keys is None else [torch.tensor([key], device=device) for key in keys]
    return Shared(joined([run.method.injection(training=True, keys=key) for run, key in zip(runs, draws, strict=True)]))


def z_options(runs: Sequence[TrainableTrial]) -> dict[str, float]:
    """What the adapter's loss is told."""
    return {"z_loss": runs[0].z_loss} if runs[0].z_loss else {}


def backward(
    runs: Sequence[TrainableTrial],
    batches: Sequence[Batch],
    keys: Sequence[int] | None = None,
    whole: Sequence[Batch] | None = None,
    shared: Shared | None = None,
    prepared: Sequence[Pass] | None = None,
    graphs: Graphs | None = None,
    prompts: Sequence[int] | None = None,
) -> Tensor:
    """Gradients of every trial's loss over the whole step (all passes together); returns the losses [K].

    Args:
        keys: of each trial's step, for dropout inside a method.
        whole: the step's passes, where `batches` are one process's part of them.
        shared: what the trials put into the model, where it was made before.
        prepared: the batches as passes, likewise.
        graphs: recordings, where there are any.
        prompts: rows of the trials' prompts, where they are known.
    """
    adapter, trials = runs[0].adapter, len(runs)
    device = adapter.backbone.device
    divisor = denominators(runs, batches if whole is None else whole).clamp(min=1).to(device)
    losses = torch.zeros(trials, dtype=torch.float64, device=device)
    given = injected(runs, keys) if shared is None else shared
    step_key = keys[0] if keys and trials == 1 else None
    fixed = graphs is not None and not graphs.broken
    lengths = prompt_lengths(given.injection, trials) if prompts is None else prompts

    def one_pass(item: Batch | Pass) -> tuple[Tensor, list[Tensor | None]]:
        injection, leaves = given.copy()
        one = item if isinstance(item, Pass) else ready(adapter, item, injection, device, lengths, fixed)
        found = None if graphs is None else graphs.gradients(one, injection, divisor)
        if found is not None:
            return found
        share = pass_losses(adapter, one, injection, divisor, step_key, z_options(runs))
        share.sum().backward()
        return share.detach(), [leaf.grad for leaf in leaves]

    tuned = any(run.tuned for run in runs)  # passes add to the gradients of the same weights
    items: Sequence[Batch | Pass] = batches if prepared is None else prepared
    for share, gradients in map(one_pass, items) if tuned else side_by_side(one_pass, items, device):
        losses += share
        given.take(gradients)
    given.send_back()
    for run in runs:
        run.sync_gradients()
    return runs[0].summed(losses)


@dataclass(frozen=True)
class Ahead:
    """A step that is made ready while the device works on the one before."""

    steps: list[int]
    cuts: int
    shares: list[Share]
    batches: list[Batch]
    passes: list[Pass]


class TrialBatch:
    """The trials that step together, with their stacks; they may change between steps."""

    def __init__(self, recorder: Recorder | None = None, ahead: bool | None = None) -> None:
        """`recorder` and `ahead` (steps are made ready one ahead): by default what the device is good for."""
        self._runs: list[TrainableTrial] = []
        self._stacks: list[Stack] = []
        self.cuts = 1
        """Times the usual number of passes: doubled where memory did not suffice."""
        self.recomputes = False
        """Gradient checkpointing was turned on, as memory did not suffice."""
        self._starved = False
        """Memory did not suffice for recordings."""
        self._recorder, self._looks_ahead = recorder, ahead
        self.graphs: Graphs | None = None
        """Recordings of the present trials' passes."""
        self.ahead: Ahead | None = None
        """The next step, if it is ready."""
        self._prompts: list[int] | None = None
        """Rows of the present trials' prompts: to ask the device for them is to wait for it."""

    def gather(self, runs: Sequence[TrainableTrial]) -> list[Stack]:
        """The stacks of exactly these trials."""
        if [id(run) for run in runs] != [id(run) for run in self._runs]:
            self.release()
            self._runs, self._stacks = list(runs), stacks(runs)
            self.graphs = self._graphs_of(runs)
        return self._stacks

    def _graphs_of(self, runs: Sequence[TrainableTrial]) -> Graphs | None:
        """Recordings to be made, if these trials' passes can be recorded."""
        if not runs:
            return None
        backbone = runs[0].adapter.backbone
        changes = any(run.tuned or run.part != WHOLE for run in runs) or backbone.model.is_gradient_checkpointing
        if changes or backbone.packing is False or not all(run.graphs for run in runs):
            return None
        recorder = self._recorder
        if recorder is None and backbone.device.type == "cuda" and not CudaRecorder.failed and not self._starved:
            recorder = CudaRecorder()
        return None if recorder is None else Graphs(runs[0].adapter, recorder, z_options(runs))

    def release(self) -> None:
        """Every trial has its own memory again."""
        for stack in self._stacks:
            stack.release()
        self._runs, self._stacks, self.graphs, self.ahead, self._prompts = [], [], None, None, None

    def step(self, runs: Sequence[TrainableTrial], progresses: Sequence[Progress]) -> list[TrialFailed | None]:
        """One update of every trial that can make one; why the others failed, in order."""
        started = time.monotonic()
        self.gather(runs)
        model = runs[0].adapter.backbone.model
        model.train(self.recomputes or any(run.train_mode for run in runs))
        losses, batches = self._gradients(runs, [progress.step for progress in progresses])
        found = self._update(runs, progresses, losses)
        _count(runs, progresses, found, losses, batches, time.monotonic() - started)
        return found

    def _gradients(self, runs: Sequence[TrainableTrial], steps: list[int]) -> tuple[Tensor, list[Batch]]:
        """Losses [K] and the batches of the step (of all processes); in more passes where memory does not suffice."""
        device, part = runs[0].adapter.backbone.device, runs[0].part
        known = self.ahead if self.ahead is not None and self.ahead.steps == steps else None
        self.ahead = None
        shares = [run.share(step) for run, step in zip(runs, steps, strict=True)] if known is None else known.shares
        keys = [share.key for share in shares]
        rows = sum(len(share.examples) for share in shares)
        while True:
            cuts = passes(runs, shares, device) * self.cuts
            if known is not None and known.cuts == cuts:
                batches, prepared = known.batches, known.passes
            else:
                batches, prepared = training_batches(shares, runs[0].pad_id, cuts), None
            mine = batches if part == WHOLE else training_batches(shares, runs[0].pad_id, cuts, part)
            try:
                shared = injected(runs, keys)
                if self._prompts is None:
                    self._prompts = prompt_lengths(shared.injection, len(runs))
                losses = backward(runs, mine, keys, batches, shared, prepared, self.graphs, self._prompts)
                self._look_ahead(runs, steps, shared)
                return losses, batches
            except torch.OutOfMemoryError:
                if self.graphs is not None and not self.graphs.broken:
                    self._starved = True
                    self.graphs.give_up("memory does not suffice")
                elif part != WHOLE or not self._take_less(runs, cuts < rows):
                    raise
                for run in runs:
                    run.sync_gradients()  # what passes before left on weights of the backbone
                    forget_gradients(run)

    def _look_ahead(self, runs: Sequence[TrainableTrial], steps: Sequence[int], shared: Shared) -> None:
        """Make the next step of the same trials ready; nothing here waits for the device."""
        device, following = runs[0].adapter.backbone.device, [step + 1 for step in steps]
        wanted = device.type == "cuda" if self._looks_ahead is None else self._looks_ahead
        if not wanted or runs[0].part != WHOLE or any(s >= run.steps for run, s in zip(runs, following, strict=True)):
            return
        shares = [run.share(step) for run, step in zip(runs, following, strict=True)]
        cuts = passes(runs, shares, device) * self.cuts
        batches = training_batches(shares, runs[0].pad_id, cuts)
        adapter, fixed = runs[0].adapter, self.graphs is not None and not self.graphs.broken
        assert self._prompts is not None
        made = [ready(adapter, batch, shared.injection, device, self._prompts, fixed) for batch in batches]
        self.ahead = Ahead(following, cuts, shares, batches, made)

    def _take_less(self, runs: Sequence[TrainableTrial], divisible: bool) -> bool:
        """Let a step need less memory, at first by shorter passes, then by computing activations twice; False where
        both are done. The gradient stays what it is, up to the order of sums."""
        model = runs[0].adapter.backbone.model
        if divisible:
            self.cuts *= 2
            print_line(f"out of memory: a step is cut into {self.cuts} times as many passes from here on.", sys.stderr)
            return True
        if self.recomputes or model.is_gradient_checkpointing or not model.supports_gradient_checkpointing:
            return False
        print_line(
            "out of memory: activations are computed twice from here on (trainer.gradient_checkpointing).", sys.stderr
        )
        model.gradient_checkpointing_enable({"use_reentrant": False})
        self.recomputes = True
        model.train()  # the library checkpoints in train mode only; dropout has rates of its own
        return True

    def _update(
        self, runs: Sequence[TrainableTrial], progresses: Sequence[Progress], losses: Tensor
    ) -> list[TrialFailed | None]:
        norms = _by_run(self._stacks)
        values = [*losses.tolist()], [float(norms[id(run)]) for run in runs]
        found = [
            _failure(run, progress, loss, norm)
            for run, progress, loss, norm in zip(runs, progresses, *values, strict=True)
        ]
        if any(found):
            for run, failure in zip(runs, found, strict=True):
                if failure is not None:
                    forget_gradients(run)
            self.gather([run for run, failure in zip(runs, found, strict=True) if failure is None])
        step_of = {id(run): progress.step for run, progress in zip(runs, progresses, strict=True)}
        for stack in self._stacks:
            own = stack.gather() if any(found) else torch.stack([norms[id(run)] for run in stack.runs])
            counts = [step_of[id(run)] for run in stack.runs]
            rates = torch.cat([run.rate(step_of[id(run)]) for run in stack.runs])
            stack.update(own, rates, counts)
        for run in runs:
            forget_gradients(run)
        return found


def forget_gradients(run: TrainableTrial) -> None:
    """No gradient is left on the trial's tensors."""
    for tensor in run.tensors.values():
        tensor.grad = None


def _by_run(of: Sequence[Stack]) -> dict[int, Tensor]:
    """{id of a run: the norm of its gradients}"""
    return {id(run): norm for stack in of for run, norm in zip(stack.runs, stack.gather(), strict=True)}


def _failure(run: TrainableTrial, progress: Progress, loss: float, norm: float) -> TrialFailed | None:
    for what, value in (("loss", loss), ("gradient", norm)):  # a finite loss may have an infinite gradient
        if value - value != 0:
            return TrialFailed(
                f"the {what} became {value} at step {progress.step + 1}: lower "
                f"trainer.optimiser.learning_rate (now {float(run.rate(progress.step)[0]):g}) or use "
                "trainer.dtype=float32. A checkpoint written before is kept."
            )
    return None


def _count(
    runs: Sequence[TrainableTrial],
    progresses: Sequence[Progress],
    failures: Sequence[TrialFailed | None],
    losses: Tensor,
    batches: Sequence[Batch],
    seconds: float,
) -> None:
    """What the step cost each trial: its own rows' tokens and places, and its share of the time by its tokens."""
    tokens, places = [0] * len(runs), [0] * len(runs)
    for batch in batches:
        lengths = batch.mask.sum(1)
        width = batch.ids.shape[1]
        if batch.target_ids is not None:
            lengths = lengths + (batch.target_ids != IGNORE).sum(1)
            width += batch.target_ids.shape[1]
        for trial, length in zip(batch.rows.tolist(), lengths.tolist(), strict=True):
            tokens[trial] += length
            places[trial] += width
    for trial, (progress, failure) in enumerate(zip(progresses, failures, strict=True)):
        if failure is None:
            progress.step += 1
            progress.tokens += tokens[trial]
            progress.padded_tokens += places[trial]
            progress.losses.append(float(losses[trial]))
            progress.train_seconds += seconds * tokens[trial] / max(1, sum(tokens))
