"""A step's passes as CUDA graphs: recorded once for each of their shapes, replayed with other numbers.

A frozen model of a few hundred tokens keeps a GPU waiting for the host, which needs longer to launch its kernels than
they take. A graph launches them all at once. Passes must have one of few shapes for that (`filling`), and nothing in
them may look at the value of a tensor (`models.base.Reading`).

A recording is compared with the pass that it was made of before it is trusted; where they differ, or where a pass
cannot be recorded, that is said, and every step is computed as without graphs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.models.base import ModelAdapter
from repro.models.moving import mapped, tensors_of
from repro.saying import say
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

    def record(self, work: Work, inputs: list[Tensor]) -> Work:
        """`work` reads `inputs`, whose values change between calls of what is returned, and returns tensors whose
        values are overwritten by the next call."""
        ...


class CudaRecorder:
    """CUDA graphs that share one pool of memory, as no two of them run at the same time."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, work: Work, inputs: list[Tensor]) -> Work:
        """As `Recorder`."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):  # libraries set themselves up at their first calls, which cannot be recorded
            for _ in range(2):
                work()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = work()
        self._pool = graph.pool()

        def replay() -> list[Tensor]:
            graph.replay()
            return outputs

        return replay


@dataclass
class _Recorded:
    """A graph and the tensors that it reads."""

    replay: Work
    inputs: list[Tensor]
    used: list[bool]
    """Of every leaf, whether it has a gradient."""


class Graphs:
    """The recordings of one company of trials. They hold for its injection's structure: another company, other ones."""

    def __init__(self, adapter: ModelAdapter, recorder: Recorder, z: dict[str, Any]) -> None:
        self._adapter, self._recorder, self._z = adapter, recorder, z
        self._seen: dict[Any, int] = {}
        self._recorded: dict[Any, _Recorded] = {}
        self.replays = 0
        """Passes that were replayed."""
        self.broken = False
        """A recording failed or differed: none is used any more."""

    def gradients(self, one: Pass, injection: Injection, divisor: Tensor) -> tuple[Tensor, list[Tensor | None]] | None:
        """Losses [K] and the gradients of the injection's leaves, from a recording; None: compute the pass as usual."""
        if not one.fixed or self.broken:
            return None
        given = tensors_of((_Inputs(one, injection, divisor),))
        shape = _shape(one, given)
        found = self._recorded.get(shape)
        if found is None:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] <= SEEN_BEFORE or len(self._recorded) >= MOST:
                return None
            found = self._record(one, injection, divisor)
            if found is None:
                return None
            self._recorded[shape] = found
        with torch.no_grad():
            for own, new in zip(found.inputs, given, strict=True):
                own.copy_(new)
            values = [value.clone() for value in found.replay()]
        self.replays += 1
        rest = iter(values[1:])
        return values[0], [next(rest) if used else None for used in found.used]

    def _record(self, one: Pass, injection: Injection, divisor: Tensor) -> _Recorded | None:
        """A recording of this pass with tensors of its own; None: it is not to be trusted, which is said."""
        own = mapped(_Inputs(one, injection, divisor), _fresh)
        inputs = [tensor.detach() for tensor in tensors_of((own,))]
        leaves = [tensor for tensor in tensors_of((own,)) if tensor.requires_grad]
        used: list[bool] = []

        def work() -> list[Tensor]:
            for site in (own.one.reading.sites or {}).values():
                site.lay_out()
            share = losses(self._adapter, own.one, own.injection, own.divisor, None, self._z)
            found = torch.autograd.grad(share.sum(), leaves, allow_unused=True)
            used[:] = [gradient is not None for gradient in found]
            return [share.detach(), *(gradient for gradient in found if gradient is not None)]

        try:
            wanted = [value.clone() for value in work()]
            replay = self._recorder.record(work, inputs)
            with torch.no_grad():
                differs = _difference(replay(), wanted)
        except (RuntimeError, NotImplementedError) as error:
            self._give_up(str(error).splitlines()[0])
            return None
        if not differs <= AGREES[self._adapter.backbone.dtype]:
            self._give_up(f"what was replayed differs by {differs:.3g} of its norm")
            return None
        return _Recorded(replay, inputs, list(used))

    def _give_up(self, why: str) -> None:
        self.broken = True
        self._recorded.clear()
        say(f"steps cannot be recorded as graphs here ({why}): each is computed anew (trainer.graphs).", sys.stderr)


@dataclass(frozen=True)
class _Inputs:
    one: Pass
    injection: Injection
    divisor: Tensor


def _fresh(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.requires_grad)


def _shape(one: Pass, tensors: list[Tensor]) -> Any:
    """What passes have in common that one recording serves."""
    absorbed = tuple(site.absorbed for site in (one.reading.sites or {}).values())
    return absorbed, one.reading.batch.counted, tuple((tuple(tensor.shape), tensor.dtype) for tensor in tensors)


def _difference(found: list[Tensor], wanted: list[Tensor]) -> float:
    """The largest norm of a difference, as a share of the norm of what was wanted."""
    pairs = zip(found, wanted, strict=True)
    return max(float((one - other).norm() / other.norm().clamp(min=1e-12)) for one, other in pairs)
