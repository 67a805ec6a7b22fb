"""A step's passes as CUDA graphs: recorded once for each of their shapes, replayed with other numbers.

A frozen model of a few hundred tokens keeps a GPU waiting for the host, which needs longer to launch its kernels than
they take. A graph launches them all at once. Passes must have one of few shapes for that (`filling`), and nothing in
them may look at the value of a tensor (`models.base.Reading`).

A recording is compared with the pass that it was made of before it is trusted; where they differ, where a pass cannot
be recorded, or where memory does not suffice, that is said, and steps are computed anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from repro.errors import print_line
from repro.methods.base import Injection
from repro.models.attention.varlen_kernel import first_line
from repro.models.interface import ModelAdapter
from repro.models.tensor_tree import mapped, tensors_of
from repro.training.passes import Pass, losses

SEEN_BEFORE = 2
"""Passes of a shape that are computed as usual before it is recorded: a rare one is not worth it."""
MOST = 48
"""Graphs at most: each has its kernels and some memory of its own."""
AGREES = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""By the dtype of the weights: how far, as a share of its norm, a replayed gradient may be from the computed one."""

Work = Callable[[], list[Tensor]]


class Recorder(Protocol):
    """Makes a function of tensors in fixed places into one that is cheap to repeat."""

    def record(self, work: Work) -> Work:
        """`work` reads tensors whose values change between calls of what is returned, and returns tensors whose values
        are overwritten by the next call."""
        ...


class CudaRecorder:
    """CUDA graphs that share one pool of memory, as no two of them run at the same time."""

    failed = False
    """A recording was broken off in this process: what it began cannot be undone fully, so there is no other."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()  # type: ignore[no-untyped-call]

    def record(self, work: Work) -> Work:
        """As `Recorder`."""
        here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
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
    """What all graphs of a company share: where they read the injection and leave gradients."""

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
    """The recordings of one company of trials. They hold for its injection's structure: another company, other ones."""

    def __init__(self, adapter: ModelAdapter, recorder: Recorder, z: dict[str, Any]) -> None:
        self._adapter, self._recorder, self._z = adapter, recorder, z
        self._seen: dict[Any, int] = {}
        self._recorded: dict[Any, _Recorded] = {}
        self._buffers: _Buffers | None = None
        self.replays = 0
        """Passes that were replayed."""
        self.broken = False
        """Passes are not recorded and replayed any more."""

    def gradients(self, one: Pass, injection: Injection, divisor: Tensor) -> tuple[Tensor, list[Tensor | None]] | None:
        """Losses [K] and the gradients of the injection's leaves, from a recording; None: compute the pass as usual.

        Raises:
            torch.OutOfMemoryError: while recording; without graphs memory may suffice (`give_up`).
        """
        if not one.fixed or self.broken:
            return None
        shape = _shape(one)
        found = self._recorded.get(shape)
        if found is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] <= SEEN_BEFORE or len(self._recorded) >= MOST:
                return None
            found = self._record(one, injection, divisor)
            if found is None:
                return None
            self._recorded[shape] = found
        assert self._buffers is not None
        self._buffers.fill(injection, divisor)
        with torch.no_grad():
            for own, new in zip(found.inputs, tensors_of(one), strict=True):
                own.copy_(new)
            values = [value.clone() for value in found.replay()]
        self.replays += 1
        return values[0], [value if used else None for value, used in zip(values[1:], found.used, strict=True)]

    def _record(self, one: Pass, injection: Injection, divisor: Tensor) -> _Recorded | None:
        """A recording of this pass with tensors of its own; None: it is not to be trusted, which is said."""
        own, buffers = mapped(one, lambda tensor: tensor.clone()), self._shared(injection, divisor)
        buffers.fill(injection, divisor)
        inputs = tensors_of(own)  # before a pass adds masks
        used: list[bool] = []

        def work() -> list[Tensor]:
            for site in (own.reading.sites or {}).values():
                site.lay_out()
            share = losses(self._adapter, own, buffers.injection, buffers.divisor, None, self._z)
            found = torch.autograd.grad(share.sum(), buffers.leaves, allow_unused=True)
            used[:] = [gradient is not None for gradient in found]
            for place, gradient in zip(buffers.gradients, found, strict=True):
                place.zero_() if gradient is None else place.copy_(gradient)
            return [share.detach(), *buffers.gradients]

        try:
            wanted = [value.clone() for value in work()]
            if not all(bool(value.isfinite().all()) for value in wanted):
                return None  # a trial that has diverged: nothing can be compared with it
            replay = self._recorder.record(work)
            with torch.no_grad():
                differs = _difference(replay(), wanted)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:
            self.give_up(_reason(error))
            return None
        if not differs <= AGREES[self._adapter.backbone.dtype]:
            self.give_up(f"what was replayed differs by {differs:.3g} of its norm")
            return None
        return _Recorded(replay, inputs, list(used))

    def _shared(self, injection: Injection, divisor: Tensor) -> _Buffers:
        if self._buffers is None:
            own = mapped(injection, lambda tensor: tensor.detach().clone().requires_grad_(tensor.requires_grad))
            leaves = [tensor for tensor in tensors_of(own) if tensor.requires_grad]
            self._buffers = _Buffers(own, divisor.clone(), leaves, [torch.zeros_like(leaf) for leaf in leaves])
        return self._buffers

    def give_up(self, why: str) -> None:
        """Use no recordings any more, and say so."""
        self.broken, self._buffers = True, None
        self._recorded.clear()
        print_line(f"steps are not recorded as graphs ({why}): each is computed anew (trainer.graphs).", sys.stderr)


def _reason(error: BaseException) -> str:
    """The first thing that went wrong: torch's error at the end of a recording hides what broke it off."""
    while error.__context__ is not None:
        error = error.__context__
    return first_line(error)


def _shape(one: Pass) -> Any:
    """What passes have in common that one recording serves."""
    absorbed = tuple(site.absorbed for site in (one.reading.sites or {}).values())
    tensors = tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors_of(one))
    return absorbed, one.reading.batch.counted, tensors


def _difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The larger difference of the losses and of all gradients together, as a share of the norm of what was wanted."""

    def away(ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
        one, other = (torch.cat([value.double().flatten() for value in values]) for values in (ours, theirs))
        return (one - other).norm() / other.norm().clamp(min=1e-12)

    return float(torch.stack([away(found[:1], wanted[:1]), away(found[1:], wanted[1:])]).max())
