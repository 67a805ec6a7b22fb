"""What a run of ours has that a paper's cell does not have, although no variable of the cell speaks of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from repro.papers.registry import Reported


def beyond(config: Mapping[str, Any], cell: Reported) -> list[str]:
    """One clause each.

    Args:
        config: a resolved config of ours.
        cell: with the same method, task and metric.
    """
    found = []
    if (config.get("task") or {}).get("sentinel") and "target_sentinel" not in cell.vars:
        found.append("our targets begin with a sentinel, the cell's do not")
    started = (config.get("method") or {}).get("start_from") and not str(cell.method).endswith("_multitask")
    # Without a step of training the prompt is only scored: a released one, or one for a second test set.
    if started and (config.get("trainer") or {}).get("steps") != 0:
        found.append("our runs go on from a trained prompt, the cell's do not")
    return found
