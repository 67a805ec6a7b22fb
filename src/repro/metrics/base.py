"""What a metric is: statistics of one example, and a reduction over examples.

Keeping the statistics makes a paired bootstrap one matrix product, and any aggregate can be recomputed from a record
without scoring again (architecture: Metric).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Metric(Protocol):
    """One scorer. Values are in percent (0 to 100), as the papers print them, unless `unit` says otherwise."""

    name: str
    """Key of the metric in configs and records."""
    equals: str
    """Reference scorer, its version and mode."""
    outputs: tuple[str, ...]
    """Names of the values that `reduce` returns; the first is the metric's main value."""
    higher_is_better: bool

    def score(self, prediction: Any, references: Sequence[Any]) -> Sequence[float]:
        """Sufficient statistics [S] of one example.

        Args:
            prediction: a class id (-1 when the output named no class), a list of tags, or a string.
            references: the gold answers of the same type, at least one.
        """
        ...

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """Corpus values from statistics [N, S] (a sum over the first axis is enough for every metric)."""
        ...
