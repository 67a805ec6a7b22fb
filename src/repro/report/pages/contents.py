"""Everything a report shows, computed once from the records; the files only differ in how they write it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from repro.papers import registry
from repro.papers.registry import Reported
from repro.report.claims import miniature
from repro.report.claims.claims import ClaimRow, claim_rows
from repro.report.compare.groups import Group, groups
from repro.report.compare.our_cells import Results
from repro.report.compare.rows import Row, Score, method_names, rows, scores
from repro.report.figures import miniature_figures
from repro.report.figures.figures import Figure, figures
from repro.report.figures.own_figures import own_figures
from repro.report.pages.searches import SearchSummary, searched
from repro.report.tables.checklist import Item, checklist
from repro.report.tables.exhibits import Filled, filled
from repro.report.tables.own_tables import OwnTable, own_tables
from repro.store.damage import Damaged
from repro.store.record import Record
from repro.store.searches.journal import Search


@dataclass(frozen=True)
class Contents:
    """What there is to report."""

    groups: Sequence[Group]
    cells: Sequence[Reported]
    scores: Sequence[Score]
    rows: Sequence[Row]
    names: Mapping[str, str]
    """{group key: method with its variables}."""
    exhibits: Sequence[Filled]
    own: Sequence[OwnTable]
    figures: Sequence[Figure]
    claims: Sequence[ClaimRow]
    """Of all papers, in their order."""
    searches: Sequence[SearchSummary] = ()
    miniature: Sequence[miniature.ClaimRow] = ()
    """The claims in miniature; none where no trial of the miniature ran."""
    damaged: Sequence[Damaged] = ()
    """Files of the store that were left out."""
    papers: bool = True
    """Whether the papers' exhibits, claims and corrections are part of the report."""

    @cached_property
    def checklist(self) -> list[Item]:
        """The reproducibility checklist, filled."""
        return checklist(self.groups)


def contents(
    records: Iterable[Record],
    cells: Sequence[Reported],
    searches: Iterable[Search] = (),
    papers: bool = True,
    damaged: Sequence[Damaged] = (),
) -> Contents:
    """Compares all records with all cells.

    Args:
        records: of the store, with or without their statistics.
        cells: `registry.cells()`.
        searches: what stands beside the records (`repro.store.searches.journal.all_of`).
        damaged: files that could not be trusted; complete once the records and searches are read.
        papers: False leaves the papers' own sections out: a report of trials that no paper has.
    """
    known = list(records)
    grouped = groups(known)
    all_scores, names = scores(grouped, cells), method_names(grouped)
    table = rows(all_scores, names)
    results, settings = Results(grouped), miniature.Settings(grouped)
    exhibits, own = filled(all_scores, results) if papers else [], own_tables(table)
    drawn = figures(exhibits, own, grouped) if papers else own_figures(own, grouped)
    return Contents(
        groups=grouped,
        cells=cells,
        scores=all_scores,
        rows=table,
        names=names,
        exhibits=exhibits,
        own=own,
        figures=[*miniature_figures.figures(settings), *drawn],
        claims=[row for paper in registry.PAPERS for row in claim_rows(paper, results)] if papers else [],
        searches=searched(searches, known),
        miniature=miniature.claim_rows(settings),
        damaged=tuple(damaged),
        papers=papers,
    )
