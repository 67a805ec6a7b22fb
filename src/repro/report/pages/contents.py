"""Everything a report says, computed once from the records: the files are only ways to write it down."""

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
from repro.report.pages.searches import Searched, searched
from repro.report.tables.checklist import Item, checklist
from repro.report.tables.exhibits import Filled, filled
from repro.report.tables.own_tables import OwnTable, own_tables
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
    searches: Sequence[Searched] = ()
    miniature: Sequence[miniature.ClaimRow] = ()
    """The claims in miniature; none where no trial of the miniature ran."""
    papers: bool = True
    """Whether the papers' exhibits, claims and corrections are part of the report."""

    @cached_property
    def checklist(self) -> list[Item]:
        """The reproducibility checklist, filled."""
        return checklist(self.groups)


def contents(
    records: Iterable[Record], cells: Sequence[Reported], searches: Iterable[Search] = (), papers: bool = True
) -> Contents:
    """Compares all records with all cells.

    Args:
        records: of the store, with or without their statistics.
        cells: `registry.cells()`.
        searches: what stands beside the records (`repro.store.searches.journal.all_of`).
        papers: False leaves the papers' own sections out: a report of trials that no paper has.
    """
    known = list(records)
    found = groups(known)
    all_scores, names = scores(found, cells), method_names(found)
    table = rows(all_scores, names)
    results, settings = Results(found), miniature.Settings(found)
    shown, own = filled(all_scores, results) if papers else [], own_tables(table)
    tested = [row for paper in registry.papers() for row in claim_rows(paper, results)] if papers else []
    theirs = figures(shown, own, found) if papers else own_figures(own, found)
    drawn = [*miniature_figures.figures(settings), *theirs]
    small, tried = miniature.claim_rows(settings), searched(searches, known)
    return Contents(found, cells, all_scores, table, names, shown, own, drawn, tested, tried, small, papers)
