"""Baselines that train weights of the backbone: all of them, its top blocks, its biases, or low-rank layers in it.

Fine-tuning is "model tuning" in Lester et al.; FT-top2 is Li and Liang's; BitFit, LoRA and IA3 are baselines of ours.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from repro.methods.base import Context, Injection, Tuning, no_start
from repro.methods.parts.heads import build_head, head_of, per_trial

ALL = Tuning("all")


class FineTuning:
    """No prompt; a linear head on encoders; the weights that `tuning` names are in the optimiser (K is 1).

    Args:
        tuning: None where no weights are trained (prompt design).
    """

    def __init__(self, name: str = "fine_tuning", tuning: Tuning | None = ALL):
        self.name, self.tuning = name, tuning
        self.parameters: dict[str, Tensor] = {}

    def build(self, context: Context) -> None:
        """Only the head is new."""
        self.parameters = build_head(context)

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """The head alone."""
        return Injection(head=head_of(self.parameters))

    def export(self) -> dict[str, Tensor]:
        """The head; the runner adds the weights that were trained."""
        return {name: tensor.detach().clone() for name, tensor in self.parameters.items()}

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """Takes what `export` gave."""
        self.parameters = {name: tensor.detach().clone().requires_grad_() for name, tensor in exported.items()}

    def start(self, exported: Mapping[str, Tensor]) -> None:
        """There is no prompt to start.

        Raises:
            ValueError: always.
        """
        raise no_start(self.name)

    def parameter_counts(self) -> dict[str, int]:
        """The head only: the runner adds the tuned weights, which are trained and stored."""
        head = per_trial(self.parameters)
        return {"trained": head, "stored": head, "prompt": 0, "head": head}
