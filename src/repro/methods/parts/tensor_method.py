"""What methods share whose export is the tensors they train, with the module that makes a prompt folded away."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from repro.methods.base import Tuning, no_start
from repro.methods.parts.heads import per_trial
from repro.methods.parts.reparameterisation import started


class TensorMethod:
    """Keeping, restoring, starting and counting the tensors of a `Method`; a subclass builds and injects them."""

    name: str
    parameters: dict[str, Tensor]
    tuning: Tuning | None = None
    trains_prompt_with: str | None = None
    """The setting with which an exported prompt itself is trained, for messages; None: there is no prompt to start."""

    def folded(self) -> dict[str, Tensor]:
        """The present prompt as it is kept, and the head."""
        return self.parameters

    def head_tensors(self) -> dict[str, Tensor]:
        """The head's share of `parameters`."""
        return {name: tensor for name, tensor in self.parameters.items() if name.startswith("head.")}

    def export(self) -> dict[str, Tensor]:
        """A copy of what is kept; the runner adds weights of the backbone that were trained."""
        return {name: tensor.detach().clone() for name, tensor in self.folded().items()}

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """Takes what `export` gave; a module that made the prompt is gone, and the prompt itself is the parameter."""
        self.parameters = {name: tensor.detach().clone().requires_grad_() for name, tensor in exported.items()}

    def start(self, exported: Mapping[str, Tensor]) -> None:
        """Begin training from an exported prompt.

        Raises:
            ValueError: it does not fit, or the method has no prompt.
        """
        if self.trains_prompt_with is None:
            raise no_start(self.name)
        self.parameters = started(self.parameters, exported, self.trains_prompt_with)

    def parameter_counts(self) -> dict[str, int]:
        """A module that makes the prompt trains more than is stored; the runner adds weights of the backbone."""
        stored, head = per_trial(self.folded()), per_trial(self.parameters, "head.")
        return {"trained": per_trial(self.parameters), "stored": stored, "prompt": stored - head, "head": head}
