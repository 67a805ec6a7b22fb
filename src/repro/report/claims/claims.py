"""The papers' claims on their own numbers and on ours: holds, fails, undecided, not run.

On ours every cell is drawn from what the mean over seeds may be (Student's t around the mean of our runs), all cells
at once: a claim holds if it does in at least 97.5 % of the draws, fails if it fails in as many, and is undecided in
between (its numbers' intervals cross). A cell with one run has no interval and counts with its value: the row says so.
A claim that misses cells is not run, unless the cells that are there refute it already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.papers import claims as predicates
from repro.papers.claims import FAILS, HOLDS, Claim, Outcome
from repro.papers.expressions import Truth
from repro.papers.registry import Reported
from repro.report.compare.groups import Group
from repro.report.compare.our_cells import Ours, Results

if TYPE_CHECKING:
    from repro.papers.statistics import Floats

UNDECIDED, NOT_RUN = "undecided", "not run"
VERDICTS = (HOLDS, FAILS, UNDECIDED, NOT_RUN)
DRAWS = 2000
_SURE = 0.975
_SHOWN_MISSING = 3


@dataclass(frozen=True)
class ClaimRow:
    """One claim with both verdicts."""

    claim: Claim
    paper: dict[str | None, tuple[str, str]]
    """{edition: (holds | fails | not printed, why)} on the paper's own numbers."""
    ours: str
    """One of `VERDICTS`."""
    why: str
    """What decides ours: numbers, runs, missing cells."""
    share: float | None
    """Share of the draws in which the claim holds; None where cells are missing."""
    cells: tuple[tuple[Reported, Ours | None], ...]
    """The cells that the claim reads, and our numbers for them."""

    @property
    def one_run(self) -> bool:
        """Whether a number of ours rests on one run (to be greyed)."""
        return any(ours is not None and ours.n == 1 for _, ours in self.cells)

    @property
    def on_paper(self) -> str:
        """The verdict on the paper's numbers; with the editions where they differ."""
        verdicts = {verdict for verdict, _ in self.paper.values()}
        if len(verdicts) == 1:
            return verdicts.pop()
        return ", ".join(f"{verdict} ({edition})" for edition, (verdict, _) in self.paper.items())

    @property
    def why_on_paper(self) -> str:
        """The reason, once where the editions agree."""
        reasons = {why for _, why in self.paper.values()}
        if len(reasons) == 1:
            return reasons.pop()
        return "; ".join(f"{edition}: {why}" for edition, (_, why) in self.paper.items() if why)


def claim_rows(paper: str, groups: Iterable[Group] | Results) -> list[ClaimRow]:
    """All claims of a paper, tested.

    Args:
        paper: its key.
        groups: our runs (`groups.groups`), or what was made of them for another paper already.
    """
    results = groups if isinstance(groups, Results) else Results(groups)
    return [_row(claim, results) for claim in predicates.claims(paper)]


def _row(claim: Claim, results: Results) -> ClaimRow:
    on_paper = predicates.on_paper(claim)
    if claim.holds is None:
        return ClaimRow(claim, on_paper, NOT_RUN, str(claim.unmeasured), None, ())

    def source(cell: Reported, wanted: str) -> Floats | float | None:
        ours = results.of(cell)
        if ours is None:
            return None
        return ours.std if wanted == "std" else ours.draws(DRAWS)

    outcome = predicates.evaluate(claim, source, predicates.editions(claim.paper)[0], DRAWS)
    cells = tuple((cell, results.of(cell)) for cell in outcome.used)
    verdict, share = judged(outcome.truth, bool(outcome.used), bool(outcome.missing))
    return ClaimRow(claim, on_paper, verdict, _why(outcome, cells, verdict), share, cells)


def judged(truth: Truth, used: bool, missing: bool) -> tuple[str, float | None]:
    """The verdict of a predicate on draws, and the share of the draws in which it holds.

    Args:
        used: whether it reads any cell.
        missing: whether some of the cells that it reads have no number.
    """
    if not used:
        return NOT_RUN, None
    true, false = float(truth.true.mean()), float(truth.false.mean())
    if false >= _SURE:
        return FAILS, None if missing else true
    if missing and true < _SURE:
        return NOT_RUN, None
    return (HOLDS if true >= _SURE else UNDECIDED), true


def _why(outcome: Outcome, cells: Sequence[tuple[Reported, Ours | None]], verdict: str) -> str:
    if not cells:
        return "the claim is about counts that follow from the method: see `repro params`"
    run = [ours for _, ours in cells if ours is not None]
    parts = [predicates.explained(outcome, verdict)] if verdict != NOT_RUN else []
    if outcome.missing:
        names = [cell.id for cell in outcome.missing]
        more = f" and {len(names) - _SHOWN_MISSING} more" if len(names) > _SHOWN_MISSING else ""
        parts.append(f"{len(run)} of {len(cells)} cells run; missing {', '.join(names[:_SHOWN_MISSING])}{more}")
    if run:
        counts = sorted({ours.n for ours in run})
        runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts.append(f"{runs} run{'s' if counts[-1] > 1 else ''} a cell")
        if counts[0] == 1:
            parts.append("a cell with one run has no interval")
        if (most := max(ours.settings for ours in run)) > 1:
            parts.append(f"a cell is the best of up to {most} settings, by the score that selects checkpoints")
    return ". ".join(part for part in parts if part)


def as_data(row: ClaimRow) -> dict[str, object]:
    """A row as plain JSON values."""
    claim = row.claim
    return {
        "paper": claim.paper,
        "id": claim.id,
        "sentence": claim.sentence,
        "source": claim.source,
        "reading": claim.reading,
        "predicate": claim.holds,
        "on_paper": {edition or "only": {"verdict": v, "why": why} for edition, (v, why) in row.paper.items()},
        "on_ours": {"verdict": row.ours, "why": row.why, "share_of_draws": row.share, "one_run": row.one_run},
        "cells": [_cell_data(cell, ours) for cell, ours in row.cells],
    }


def _cell_data(cell: Reported, ours: Ours | None) -> dict[str, object]:
    paper = predicates.printed(cell, "value")
    if ours is None:
        return {"id": cell.id, "paper": paper, "ours": None, "interval": None, "n": 0, "runs": []}
    return {
        "id": cell.id,
        "paper": paper,
        "ours": round(ours.value, 6),
        "interval": None if ours.interval is None else [round(end, 6) for end in ours.interval],
        "n": ours.n,
        "runs": list(dict.fromkeys(record.key for group in ours.groups for record in group.scored)),
        "settings": ours.settings,
    }
