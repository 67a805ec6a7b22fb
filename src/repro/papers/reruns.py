"""How far published re-runs of a recipe are from the paper: pairs of cells in `reruns.yaml`, distances computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from repro.papers import registry
from repro.papers.registry import Reported


@dataclass(frozen=True)
class Reruns:
    """One group of `reruns.yaml`."""

    group: str
    pairs: tuple[tuple[Reported, Reported], ...]
    """(the paper's cell, the re-run's)"""

    @property
    def distances(self) -> tuple[float, ...]:
        """Re-run minus paper of each pair, in our unit."""
        return tuple(round(again.number - printed.number, 6) for printed, again in self.pairs)


def spread(cell: Reported) -> tuple[float, str] | None:
    """Largest distance of the re-runs of a cell's group, in our unit, and the group; None: nobody re-ran it."""
    return _spreads().get(cell.id)


@cache
def groups() -> tuple[Reruns, ...]:
    """Each group of `reruns.yaml`."""
    entries = registry.read_yaml(Path(__file__).with_suffix(".yaml"))
    return tuple(
        Reruns(
            entry["group"], tuple((registry.cell(printed), registry.cell(again)) for printed, again in entry["pairs"])
        )
        for entry in entries
    )


@cache
def _spreads() -> dict[str, tuple[float, str]]:
    widths = {entry: max(abs(distance) for distance in entry.distances) for entry in groups()}
    return {printed.id: (width, entry.group) for entry, width in widths.items() for printed, _ in entry.pairs}
