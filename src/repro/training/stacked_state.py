"""Several trials' tensors on one trial axis, so that one update serves them all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from repro.training.optimisers import clip_gradients, gradient_norms, options
from repro.training.trainable import TrainableTrial


def stacked(parts: Sequence[Tensor]) -> Tensor:
    """One tensor [K, ...] of the parts [1, ...], which share its memory afterwards."""
    whole = torch.cat([part.detach() for part in parts])
    for index, part in enumerate(parts):
        part.data = whole[index : index + 1]
    return whole


class Stack:
    """Trials whose tensors have equal shapes and whose optimisers have equal options.

    Their tensors and moments are slices of [K, ...] ones as long as the stack lasts; `release` gives them memory of
    their own back. A stack of one trial is that trial's own tensors.
    """

    def __init__(self, trials: Sequence[TrainableTrial]):
        self.trials = list(trials)
        first = self.trials[0]
        self.tensors, self.optimiser = first.tensors, first.optimiser
        self._norms = torch.zeros(len(self.trials))
        if len(self.trials) > 1:
            each = [trial.tensors for trial in self.trials]
            self.tensors = {name: stacked([tensors[name] for tensors in each]) for name in first.tensors}
            states = [trial.optimiser.state for trial in self.trials]
            moments = {name: stacked([state[name] for state in states]) for name in first.optimiser.state}
            self.optimiser = first.optimiser.over(self.tensors, moments)

    @torch.no_grad()
    def gather(self) -> Tensor:
        """Put the trials' gradients on the stack's tensors; their norms [K]."""
        if len(self.trials) == 1:
            self._norms = self.trials[0].group.norms(self.tensors)
            return self._norms
        each = [trial.tensors for trial in self.trials]
        for name, tensor in self.tensors.items():
            gradients = [grad for tensors in each if (grad := tensors[name].grad) is not None]
            assert len(gradients) in (0, len(each)), f"{name} has a gradient in some trials only"
            tensor.grad = torch.cat(gradients) if gradients else None
        self._norms = gradient_norms(self.tensors)
        return self._norms

    @torch.no_grad()
    def clip(self) -> None:
        """Scale each trial's gradients to its own `clip_norm`."""
        limits = [torch.inf if trial.clip_norm is None else trial.clip_norm for trial in self.trials]
        if any(limit != torch.inf for limit in limits):
            limit = torch.tensor(limits, dtype=torch.float64).to(self._norms)
            clip_gradients(self.tensors, self._norms, limit)

    @torch.no_grad()
    def update(self, steps: Sequence[int]) -> None:
        """One step of the optimiser.

        Args:
            steps: updates that each trial has had.
        """
        rates = torch.cat([trial.rate(step) for trial, step in zip(self.trials, steps, strict=True)])
        device = self._norms.device
        self.optimiser.count = steps[0] if len(set(steps)) == 1 else torch.tensor(steps, device=device)
        self.optimiser.step(rates.to(device))
        for trial, step in zip(self.trials, steps, strict=True):
            trial.optimiser.count = step + 1
        for tensor in self.tensors.values():
            tensor.grad = None

    @torch.no_grad()
    def release(self) -> None:
        """Give every trial memory of its own again."""
        if len(self.trials) > 1:
            for trial in self.trials:
                for tensor in (*trial.tensors.values(), *trial.optimiser.state.values()):
                    tensor.data = tensor.detach().clone()


def stacks(trials: Sequence[TrainableTrial]) -> list[Stack]:
    """The trials in stacks, in the order of the first trial of each."""
    kinds: dict[Hashable, list[TrainableTrial]] = {}
    for trial in trials:
        shapes = tuple((name, tuple(tensor.shape), tensor.dtype) for name, tensor in trial.tensors.items())
        kinds.setdefault((shapes, options(trial.optimiser)), []).append(trial)
    return [Stack(alike) for alike in kinds.values()]
