"""Widely misquoted numbers: the quotation, what the paper prints, and the cells that show it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from repro.errors import DataError
from repro.papers import registry
from repro.papers.expressions import Evaluation, Key
from repro.papers.registry import Reported

VERDICTS = ("wrong", "incomplete", "overstated", "other edition")
_FIELDS = {"id", "paper", "verdict", "quoted", "printed", "right", "wrong"}


@dataclass(frozen=True)
class Correction:
    """One quotation and its correction."""

    id: str
    paper: str
    verdict: str
    """One of `VERDICTS`."""
    quoted: str
    printed: str
    right: str
    """What the paper has, as a predicate over cells: it holds."""
    wrong: str | None = None
    """The quotation as a predicate: it fails. None where it cannot be put so."""

    @property
    def evidence(self) -> tuple[Reported, ...]:
        """The cells that the predicates name."""
        names = re.findall(r"c\['([^']+)'\]", f"{self.right} {self.wrong or ''}")
        return tuple(registry.cell(name) for name in dict.fromkeys(names))


@cache
def corrections(paper: str | None = None) -> tuple[Correction, ...]:
    """All corrections, or those of one paper.

    Raises:
        DataError: an unknown paper, a broken entry, or one whose predicates the registry contradicts.
    """
    if paper is not None:
        registry.load(paper)
    entries = registry.read_yaml(Path(__file__).with_suffix(".yaml"))
    found = [_checked(entry) for entry in entries]
    return tuple(one for one in found if paper in (None, one.paper))


def _checked(entry: Mapping[str, str]) -> Correction:
    if set(entry) - _FIELDS or _FIELDS - {"wrong"} - set(entry) or entry["verdict"] not in VERDICTS:
        raise DataError(f"corrections.yaml, {entry.get('id')}: fields are {', '.join(sorted(_FIELDS))}.")
    one = Correction(**entry)
    if not _holds(one.right) or (one.wrong is not None and _holds(one.wrong)):
        raise DataError(f"corrections.yaml, {one.id}: the cells of the registry do not say so.")
    return one


def _holds(predicate: str) -> bool:
    def number(family: str, keys: tuple[Key, ...]) -> float:
        if family != "c":
            raise DataError(f"a correction names cells as c['id'], not {family}.")
        return registry.cell(str(keys[0])).number

    return bool(Evaluation(number, {}).truth(predicate).true[0])


def page(paper: str | None = None) -> str:
    """The corrections as a Markdown table."""
    lines = ["| often quoted | verdict | what the paper prints | cells |\n", "| --- | --- | --- | --- |\n"]
    for one in corrections(paper):
        cells = ", ".join(f"`{cell.id}`" for cell in one.evidence)
        lines.append(f"| {one.quoted} | {one.verdict} | {one.printed} | {cells} |\n")
    return "".join(lines)
