"""Fine-tuning: every weight of the backbone is trained. The papers' baseline ("model tuning" in Lester et al.)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from repro.methods.base import Context, Injection, Tuning
from repro.methods.heads import build_head, head_of, per_trial


class FineTuning:
    """No prompt; a linear head on encoders; the backbone's own weights are in the optimiser (K is 1)."""

    name = "fine_tuning"
    tuning = Tuning("all")

    def __init__(self, head: str = "linear"):
        self.head = head
        self.parameters: dict[str, Tensor] = {}

    def build(self, context: Context) -> None:
        """Only the head is new."""
        self.parameters = build_head(context)

    def injection(self, training: bool) -> Injection:
        """The head alone."""
        return Injection(head=head_of(self.parameters))

    def export(self) -> dict[str, Tensor]:
        """The head; the runner adds the backbone's weights."""
        return {name: tensor.detach().clone() for name, tensor in self.parameters.items()}

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """Takes what `export` gave."""
        self.parameters = {name: tensor.detach().clone().requires_grad_() for name, tensor in exported.items()}

    def parameter_counts(self) -> dict[str, int]:
        """The head only: the runner adds the backbone, which is trained and stored whole."""
        head = per_trial(self.parameters)
        return {"trained": head, "stored": head, "prompt": 0, "head": head}
