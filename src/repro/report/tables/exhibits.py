"""The papers' exhibits with our scores: for each cell of a table or figure, the paper's number and ours."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from repro.papers import arithmetic, exhibits, registry
from repro.papers.exhibits import UNPRINTED, Exhibit
from repro.papers.registry import Reported, canonical_metric
from repro.report.compare.combined import combined, combined_scores
from repro.report.compare.compare import COMPARABLE_KINDS, data_limit, mismatches
from repro.report.compare.our_cells import Results
from repro.report.compare.rows import Score, answers, ranked
from repro.store.record import Record

NOT_RUN = "not run"
NO_CELL = "—"
"""A cell that is empty in the paper too."""


@dataclass(frozen=True)
class TableCell:
    """A cell of a paper, and our scores that agree with it in everything, the best match first."""

    reported: Reported
    scores: tuple[Score, ...] = ()
    settings: int = 1
    """From how many settings the answer was chosen (points of a search, say)."""

    @property
    def printed(self) -> bool:
        """Whether the paper has a number here."""
        return self.reported.kind != UNPRINTED

    @property
    def doubtful(self) -> bool:
        """Whether the paper's number contradicts its other numbers, or cannot be: marked."""
        return self.printed and (not self.reported.usable or self.reported.id in _contradicted(self.reported.paper))

    @property
    def verdict(self) -> str:
        """One of `compare.VERDICTS`, or `no number in the paper` for a run of ours that stands alone."""
        if not self.scores:
            return NOT_RUN
        return self.scores[0].comparison.verdict if self.printed else "no number in the paper"

    @property
    def n(self) -> int:
        """Our runs with a score."""
        summary = self.scores[0].comparison.summary if self.scores else None
        return summary.n if summary else 0

    @property
    def collapsed(self) -> int:
        """How many of our runs collapsed."""
        return sum(record.status == "collapsed" for record in answering(self))

    @property
    def _digits(self) -> int:
        """Digits after the point, as the paper prints them in this column."""
        if not self.printed:
            return 1
        if self.reported.precision == "figure":
            return max(registry.decimals(self.reported.value), 1)
        return max(0, round(-math.log10(2 * registry.rounding(self.reported) / self.reported.scale)))

    def paper_text(self) -> str:
        """The paper's number as printed, with its spread; `~` before one that was read off a plot."""
        if not self.printed:
            return "not printed"
        about = "~" if self.reported.precision == "figure" else ""
        digits = max(self._digits, registry.decimals(self.reported.std))
        spread = "" if self.reported.std is None else f" ± {self.reported.std:.{digits}f}"
        return f"{about}{float(self.reported.value):.{self._digits}f}{spread}"

    def ours_text(self) -> str:
        """Our mean in the paper's unit with interval and n: `90.0 [87.5, 92.5] (n = 3)`; `not run` if there is none."""
        if not self.scores or (summary := self.scores[0].comparison.summary) is None:
            return NOT_RUN
        digits = self._digits + (self.reported.scale > 1)
        interval = "(no interval)"
        if summary.low is not None and summary.high is not None:
            ends = (f"{end / self.reported.scale:.{digits}f}" for end in (summary.low, summary.high))
            interval = f"[{', '.join(ends)}]"
        collapsed = f", {self.collapsed} collapsed" if self.collapsed else ""
        chosen = f", chosen from {self.settings} settings" if self.settings > 1 else ""
        return f"{summary.mean / self.reported.scale:.{digits}f} {interval} (n = {summary.n}{collapsed}{chosen})"

    def difference_text(self) -> str:
        """Our mean minus the paper's number, in the paper's unit, signed."""
        difference = self.scores[0].comparison.difference if self.scores else None
        if difference is None:
            return NO_CELL
        # Adding 0.0 turns -0.0 into 0.0.
        digits = self._digits + (self.reported.scale > 1)
        return f"{round(difference / self.reported.scale, digits) + 0.0:+.{digits}f}"


def answering(cell: TableCell) -> list[Record]:
    """The runs that our number comes from, failed ones among them."""
    scores = cell.scores[: None if combined(cell.reported) else 1]
    return [record for score in scores for record in score.group.records]


@cache
def _contradicted(paper: str) -> frozenset[str]:
    """Cells that arithmetic contradicts; a constant's score is odd, but no contradiction."""
    return frozenset(finding.cell.id for finding in arithmetic.findings(paper) if finding.kind != "constant")


@dataclass(frozen=True)
class Filled:
    """An exhibit with our scores in it."""

    layout: Exhibit
    cells: Mapping[tuple[str, str], TableCell]

    @property
    def name(self) -> str:
        """`liu2022-table2`; with the edition where the paper has several."""
        edition = f"-{self.layout.edition}" if len(self.layout.editions) > 1 else ""
        return f"{self.layout.paper}-{self.layout.key}{edition}"

    @property
    def ran(self) -> int:
        """In how many cells there is a score of ours."""
        return sum(bool(cell.scores) for cell in self.cells.values())

    def column_heads(self) -> list[list[tuple[str, int]]]:
        """(text, width) of each head, a line a part of the column labels; equal neighbours share a head."""
        split = [column.split(" / ") for column in self.layout.columns]
        depth = max((len(parts) for parts in split), default=1)
        padded = [[*parts, *[""] * (depth - len(parts))] for parts in split]
        # Columns are neighbours under one head only if all heads above are equal too.
        return [
            [(above[-1], len(list(neighbours))) for above, neighbours in groupby(padded, key=lambda p: p[: level + 1])]
            for level in range(depth)
        ]

    def row(self, label: str) -> list[TableCell | None]:
        """The cells of a row, in the order of the columns; None where the paper has none."""
        return [self.cells.get((label, column)) for column in self.layout.columns]


def filled(all_scores: Sequence[Score], results: Results) -> list[Filled]:
    """All exhibits with results, every edition of them, in the papers' order, with our scores in their cells.

    Args:
        all_scores: `rows.scores`.
        results: the same runs, asked for averages over tasks and for ensembles.
    """
    by_cell = answers(all_scores)
    by_name: dict[tuple[str | None, ...], list[Score]] = defaultdict(list)
    for score in all_scores:
        by_name[_names(score)].append(score)
    return [
        Filled(layout, {at: _filled(cell, by_cell, by_name, results) for at, cell in layout.cells.items()})
        for layout in layouts()
    ]


def _filled(
    cell: Reported,
    by_cell: Mapping[str, Sequence[Score]],
    by_name: Mapping[tuple[str | None, ...], Sequence[Score]],
    results: Results,
) -> TableCell:
    if combined(cell):
        ours = results.of(cell)
        scores = combined_scores(cell, results, cell.kind != UNPRINTED)
        return TableCell(cell, tuple(scores), ours.settings if ours else 1)
    scores = _described(cell, by_name) if cell.kind == UNPRINTED else list(by_cell.get(cell.id, ()))
    return TableCell(cell, tuple(scores), max(1, len({score.group.key for score in scores})))


def layouts() -> Iterator[Exhibit]:
    """The exhibits that a training run can answer to, every edition: none of data sets, counts or times."""
    for paper in registry.PAPERS:
        for key in exhibits.keys(paper):
            first = exhibits.exhibit(paper, key)
            if any(_trained(cell) for cell in first.cells.values()):
                yield first
                yield from (exhibits.exhibit(paper, key, edition) for edition in first.editions[1:])


def _trained(cell: Reported) -> bool:
    return cell.kind in COMPARABLE_KINDS or (cell.kind == UNPRINTED and cell.task is not None)


def _names(score: Score) -> tuple[str | None, ...]:
    names = score.group.names
    return names.method, names.task, canonical_metric(score.metric, names.task)


def _described(cell: Reported, by_name: Mapping[tuple[str | None, ...], Sequence[Score]]) -> list[Score]:
    """Scores whose runs are what an unprinted cell describes, in order; runs on a part of the data are none."""
    described = [
        score
        for score in by_name.get((cell.method, cell.task, cell.our_metric), ())
        if score.comparison.summary is not None
        and data_limit(score.group) is None
        and not mismatches(score.group, score.split, cell)
    ]
    return ranked(described, cell.paper)
