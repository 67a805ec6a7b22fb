"""Several trials' tensors on one trial axis, so that one update serves them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from repro.training.optimisers import clip_gradients, gradient_norms, over_stack, settings
from repro.training.trainable import TrainableTrial


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """The parts [1, ...] as slices of one tensor [K, ...], which is returned: afterwards they share its memory."""
    whole = torch.cat([part.detach() for part in parts])
    for index, part in enumerate(parts):
        part.data = whole[index : index + 1]
    return whole


class Stack:
    """Trials whose tensors have equal shapes and whose optimisers have equal settings but for the learning rate.

    Their tensors and moments are slices of [K, ...] ones as long as the stack lasts; `release` gives them their own
    memory back. A stack of one trial is that trial's own tensors.
    """

    def __init__(self, runs: Sequence[TrainableTrial]):
        self.runs = list(runs)
        first = self.runs[0]
        self.tensors, self.optimiser = first.tensors, first.optimiser
        if len(self.runs) > 1:
            owned = [run.tensors for run in self.runs]
            self.tensors = {name: stacked([own[name] for own in owned]) for name in first.tensors}
            states = [run.optimiser.state for run in self.runs]
            moments = {name: stacked([state[name] for state in states]) for name in first.optimiser.state}
            self.optimiser = over_stack(first.optimiser, self.tensors, moments)

    @staticmethod
    def kind(run: TrainableTrial) -> tuple[Any, ...]:
        """What trials of one stack have in common."""
        shapes = tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in run.tensors.items())
        return shapes, settings(run.optimiser)

    @torch.no_grad()
    def gather(self) -> Tensor:
        """Put the trials' gradients on the stack's tensors; their norms [K]."""
        if len(self.runs) > 1:
            owned = [run.tensors for run in self.runs]
            for name, tensor in self.tensors.items():
                grads = [own[name].grad for own in owned]
                given = [grad for grad in grads if grad is not None]
                assert len(given) in (0, len(grads)), f"{name} has a gradient in some trials only"
                tensor.grad = torch.cat(given) if given else None
            return gradient_norms(self.tensors)
        return self.runs[0].norms(self.tensors)

    @torch.no_grad()
    def update(self, norms: Tensor, rates: Tensor, counts: Sequence[int]) -> None:
        """Clip, and one step of the optimiser.

        Args:
            norms: of the gradients [K].
            rates: learning rates [K].
            counts: updates that each trial has had.
        """
        limits = [torch.inf if run.clip_norm is None else run.clip_norm for run in self.runs]
        if any(limit != torch.inf for limit in limits):
            clip_gradients(self.tensors, norms, torch.tensor(limits, dtype=torch.float64).to(norms))
        same = counts[0] if len(set(counts)) == 1 else torch.tensor(counts, device=norms.device)
        self.optimiser.count = same
        self.optimiser.step(rates.to(norms.device))
        for run, count in zip(self.runs, counts, strict=True):
            run.optimiser.count = count + 1
        for tensor in self.tensors.values():
            tensor.grad = None

    @torch.no_grad()
    def release(self) -> None:
        """Give every trial memory of its own again."""
        if len(self.runs) > 1:
            for run in self.runs:
                for tensor in (*run.tensors.values(), *run.optimiser.state.values()):
                    tensor.data = tensor.detach().clone()


def stacks(runs: Sequence[TrainableTrial]) -> list[Stack]:
    """The runs in stacks of one kind each, in the order of their first members."""
    kinds: dict[tuple[Any, ...], list[TrainableTrial]] = {}
    for run in runs:
        kinds.setdefault(Stack.kind(run), []).append(run)
    return [Stack(own) for own in kinds.values()]
