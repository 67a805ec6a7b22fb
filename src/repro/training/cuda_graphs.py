"""Passes as CUDA graphs: recorded once for each of their shapes, replayed with other numbers.

With a frozen model and a few hundred tokens a GPU waits for the host, which needs longer to launch kernels than they
take. A graph launches them all at once. For that, passes must have one of few shapes (`fixed_shapes.py`), and nothing
in them may look at the value of a tensor (`models.backbone.Reading`).

A recording is compared with the pass that it was made of before it is used; where they differ, where a pass cannot be
recorded, or where memory runs out, a message says so and steps are computed as usual.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from repro.errors import print_line
from repro.methods.base import Injection
from repro.models.attention.varlen_kernel import first_line
from repro.models.encoding.batch import Batch
from repro.models.interface import ModelAdapter
from repro.models.tensor_tree import mapped, tensors_of
from repro.training.batching import WHOLE, Share
from repro.training.fixed_shapes import lay_out_fixed
from repro.training.passes import Gradients, Pass, PlainRunner, lay_out, losses
from repro.training.trainable import TrainableTrial

SEEN_BEFORE = 2
"""Passes of a shape that are computed as usual before it is recorded: a rare one is not worth it."""
MOST = 48
"""Graphs at most: each has its kernels and some memory of its own."""
AGREES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""By the dtype of the weights: largest distance of a replayed gradient from the computed one, relative to its norm."""

Work = Callable[[], list[Tensor]]


class Recorder(Protocol):
    """Turns a function of tensors at fixed addresses into one that is cheap to repeat."""

    def record(self, work: Work) -> Work:
        """`work` reads tensors whose values change between calls of what is returned, and returns tensors whose values
        are overwritten by the next call."""
        ...


class CudaRecorder:
    """CUDA graphs that share one pool of memory, as no two of them run at the same time."""

    failed = False
    """A recording was aborted in this process, which cannot be undone fully: there is no other."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, work: Work) -> Work:
        """As `Recorder`."""
        here = torch.cuda.current_stream()
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(here)
        with torch.cuda.stream(aside):  # libraries set themselves up at their first calls, which cannot be recorded
            for _ in range(2):
                work()
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool):
                outputs = work()
        except BaseException:
            CudaRecorder.failed = True
            torch.cuda.set_stream(here)  # torch leaves its own where a recording cannot be ended
            raise

        def replay() -> list[Tensor]:
            graph.replay()
            return outputs

        return replay


@dataclass
class _Recorded:
    """A graph and the tensors of a pass that it reads."""

    replay: Work
    inputs: list[Tensor]
    used: list[bool]
    """Of every leaf, whether it has a gradient."""


@dataclass
class _Buffers:
    """What all graphs of a trial batch share: where they read the injection and leave gradients."""

    injection: Injection
    divisor: Tensor
    leaves: list[Tensor]
    """The injection's tensors that gather gradients."""
    gradients: list[Tensor]

    def fill(self, injection: Injection, divisor: Tensor) -> None:
        """Copy a step's values to where the graphs read them."""
        with torch.no_grad():
            for own, new in zip(tensors_of(self.injection), tensors_of(injection), strict=True):
                own.copy_(new)
            self.divisor.copy_(divisor)


class Graphs:
    """The recordings of one batch of trials: they depend on the structure of its injection."""

    def __init__(self, adapter: ModelAdapter, recorder: Recorder, z_loss: float = 0.0) -> None:
        self._adapter, self._recorder, self._z_loss = adapter, recorder, z_loss
        self._seen: dict[Hashable, int] = {}
        self._recorded: dict[Hashable, _Recorded] = {}
        self._buffers: _Buffers | None = None
        self.replays = 0
        """Passes that were replayed."""
        self.broken = False
        """Passes are not recorded and replayed any more."""

    def gradients(self, one: Pass, injection: Injection, divisor: Tensor) -> Gradients | None:
        """What a recording gives for the pass; None: compute it as usual.

        Raises:
            torch.OutOfMemoryError: while recording; without graphs memory may suffice (`give_up`).
        """
        if not one.fixed or self.broken:
            return None
        shape = _shape(one)
        recorded = self._recorded.get(shape)
        if recorded is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] <= SEEN_BEFORE or len(self._recorded) >= MOST:
                return None
            recorded = self._record(one, injection, divisor)
            if recorded is None:
                return None
            self._recorded[shape] = recorded
        self._shared(injection, divisor).fill(injection, divisor)
        with torch.no_grad():
            for place, new in zip(recorded.inputs, tensors_of(one), strict=True):
                place.copy_(new)
            values = [value.clone() for value in recorded.replay()]
        self.replays += 1
        return values[0], [value if used else None for value, used in zip(values[1:], recorded.used, strict=True)]

    def _record(self, one: Pass, injection: Injection, divisor: Tensor) -> _Recorded | None:
        """A recording of this pass with tensors of its own; None: it cannot be used, and a message says so."""
        own, buffers = mapped(one, lambda tensor: tensor.clone()), self._shared(injection, divisor)
        buffers.fill(injection, divisor)
        inputs = tensors_of(own)  # before a pass adds masks
        used: list[bool] = []

        def work() -> list[Tensor]:
            for site in (own.reading.sites or {}).values():
                site.lay_out()
            share = losses(self._adapter, own, buffers.injection, buffers.divisor, None, self._z_loss)
            gradients = torch.autograd.grad(share.sum(), buffers.leaves, allow_unused=True)
            used[:] = [gradient is not None for gradient in gradients]
            for place, gradient in zip(buffers.gradients, gradients, strict=True):
                place.zero_() if gradient is None else place.copy_(gradient)
            return [share.detach(), *buffers.gradients]

        try:
            wanted = [value.clone() for value in work()]
            if not all(bool(value.isfinite().all()) for value in wanted):
                return None  # a trial has diverged: there is nothing to compare with
            replay = self._recorder.record(work)
            with torch.no_grad():
                differs = _difference(replay(), wanted)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            self.give_up(_reason(error))
            return None
        if not differs <= AGREES[self._adapter.backbone.dtype]:
            self.give_up(f"a replayed pass differs by {differs:.3g} of its norm")
            return None
        return _Recorded(replay, inputs, list(used))

    def _shared(self, injection: Injection, divisor: Tensor) -> _Buffers:
        if self._buffers is None:
            own = mapped(injection, lambda tensor: tensor.detach().clone().requires_grad_(tensor.requires_grad))
            leaves = [tensor for tensor in tensors_of(own) if tensor.requires_grad]
            self._buffers = _Buffers(own, divisor.clone(), leaves, [torch.zeros_like(leaf) for leaf in leaves])
        return self._buffers

    def give_up(self, why: str) -> None:
        """Use no recordings from here on, and print why."""
        self.broken, self._buffers = True, None
        self._recorded.clear()
        print_line(f"steps are not recorded as graphs ({why}): each is computed anew (trainer.graphs).", sys.stderr)


class RecordingRunner:
    """A `passes.PassRunner` that replays recordings where the passes of the trials can be recorded.

    Args:
        recorder: None: CUDA graphs, on a GPU.
        prefetch: as in `PlainRunner`.
    """

    def __init__(self, recorder: Recorder | None = None, prefetch: bool | None = None) -> None:
        self.plain = PlainRunner(prefetch, self._lay_out, self._replay)
        self.graphs: Graphs | None = None
        """Recordings of the present trials' passes."""
        self._recorder = recorder
        self._considered = False
        """Whether the present trials' passes can be recorded is known."""
        self._starved = False
        """Memory did not suffice for recordings."""

    def backward(self, trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> tuple[Tensor, list[Batch]]:
        """As `PassRunner.backward`. Where memory runs out, recordings are given up first."""
        if not self._considered:
            self.graphs, self._considered = self._graphs_of(trials), True
        if self.graphs is not None and not self.graphs.broken:
            try:
                return self.plain.attempt(trials, shares)
            except torch.OutOfMemoryError:
                self._starved = True
                self.graphs.give_up("memory does not suffice")
        return self.plain.backward(trials, shares)

    def prepare(self, trials: Sequence[TrainableTrial], shares: Sequence[Share]) -> None:
        """As `PassRunner.prepare`."""
        self.plain.prepare(trials, shares)

    def release(self) -> None:
        """As `PassRunner.release`."""
        self.graphs, self._considered = None, False
        self.plain.release()

    def _graphs_of(self, trials: Sequence[TrainableTrial]) -> Graphs | None:
        """Recordings to be made, if these trials' passes can be recorded."""
        backbone = trials[0].adapter.backbone
        changes = any(trial.tuned or trial.group.part != WHOLE for trial in trials)
        if changes or backbone.recomputes or backbone.packing is False:
            return None
        if not all(trial.graphs for trial in trials):
            return None
        recorder = self._recorder
        if recorder is None and backbone.device.type == "cuda" and not CudaRecorder.failed and not self._starved:
            recorder = CudaRecorder()
        return None if recorder is None else Graphs(trials[0].adapter, recorder, trials[0].z_loss)

    def _lay_out(self, adapter: ModelAdapter, batch: Batch, injection: Injection, prompts: Sequence[int]) -> Pass:
        recording = self.graphs is not None and not self.graphs.broken
        return (lay_out_fixed if recording else lay_out)(adapter, batch, injection, prompts)

    def _replay(self, one: Pass, injection: Injection, divisor: Tensor) -> Gradients | None:
        return None if self.graphs is None else self.graphs.gradients(one, injection, divisor)


def _reason(error: BaseException) -> str:
    """The first thing that went wrong: torch's error at the end of a recording hides it."""
    while error.__context__ is not None:
        error = error.__context__
    return first_line(error)


def _shape(one: Pass) -> Hashable:
    """Passes with equal shapes can be served by one recording."""
    absorbed = tuple(site.absorbed for site in (one.reading.sites or {}).values())
    tensors = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors_of(one))
    return absorbed, one.reading.batch.counted, tensors


def _difference(ours: list[Tensor], expected: list[Tensor]) -> float:
    """The larger relative difference of the losses and of all gradients together, in norm."""

    def relative(one: list[Tensor], other: list[Tensor]) -> Tensor:
        left, right = (torch.cat([value.double().flatten() for value in values]) for values in (one, other))
        distance: Tensor = (left - right).norm() / right.norm().clamp(min=1e-12)
        return distance

    return float(torch.stack([relative(ours[:1], expected[:1]), relative(ours[1:], expected[1:])]).max())
