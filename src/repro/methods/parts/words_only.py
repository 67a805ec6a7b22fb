"""Prompt design: words in front of the input and nothing trained (Lester et al. section 1; their GPT-3 comparison)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from repro.methods.base import Context, Injection, no_start


class PromptDesign:
    """The plain model; the task puts `text` and `shots` worked examples in front of its source (`tasks.wording`)."""

    name = "prompt_design"
    tuning = None

    def __init__(self) -> None:
        self.parameters: dict[str, Tensor] = {}

    def build(self, context: Context) -> None:
        """Nothing to make."""

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """Nothing put in."""
        return Injection()

    def export(self) -> dict[str, Tensor]:
        """Nothing to keep."""
        return {}

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """Nothing to take."""

    def start(self, exported: Mapping[str, Tensor]) -> None:
        """There is no prompt to start.

        Raises:
            ValueError: always.
        """
        raise no_start(self.name)

    def parameter_counts(self) -> dict[str, int]:
        """Four zeros."""
        return {"trained": 0, "stored": 0, "prompt": 0, "head": 0}
