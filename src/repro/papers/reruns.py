"""How far published re-runs of a recipe are from the paper: pairs of cells in `reruns.yaml`, distances computed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from repro.papers import registry
from repro.papers.registry import Reported


def spread(cell: Reported) -> tuple[float, str] | None:
    """Largest distance of the re-runs of a cell's group, in our unit, and the group; None: nobody re-ran it."""
    return _spreads().get(cell.id)


@cache
def groups() -> tuple[dict[str, Any], ...]:
    """Each group of `reruns.yaml` with its pairs as cells: {group, pairs: [(paper's, re-run)], distances: [points]}."""
    found = []
    entries: Any = registry.read_yaml(Path(__file__).with_suffix(".yaml"))
    for entry in entries:
        pairs = [(registry.cell(printed), registry.cell(again)) for printed, again in entry["pairs"]]
        distances = [round(again.number - printed.number, 6) for printed, again in pairs]
        found.append({"group": entry["group"], "pairs": pairs, "distances": distances})
    return tuple(found)


@cache
def _spreads() -> dict[str, tuple[float, str]]:
    found: dict[str, tuple[float, str]] = {}
    for group in groups():
        width = max(abs(distance) for distance in group["distances"])
        found |= {printed.id: (width, group["group"]) for printed, _ in group["pairs"]}
    return found
