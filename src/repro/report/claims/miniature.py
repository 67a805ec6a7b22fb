"""Claims of the papers in miniature: the same orderings on the small models and tasks that come with the project.

`miniature.yaml` holds them, in the format of the papers' claims (`papers/claims.py`), but a cell is a setting of ours
and not a paper's number, so nothing here enters a paper's row:

    sets: {sizes: [xs, s, m, l]}
    cells:
      pt: {method: prompt_tuning, model: "mini-t5-{0}", task: mini_rte, metric: accuracy, where: {method.length: 16}}
    claims:
      - id: M1
        of: [lester2021 C2]       # the paper's claims that this is a miniature of
        sentence: ...
        reading: ...              # optional: how words without a number were made a number
        holds: "decreasing([ft[s] - pt[s] for s in sizes])"
        shows: {gaps: "[(s, ft[s] - pt[s]) for s in sizes]"}
    figures: ...                  # see report/figures/miniature_figures.py

`{0}`, `{1}` stand for the keys of `pt[...]`; `not 0` under `where` is any other value; `split` is the task's reported
one by default. A cell is the one group of runs that agrees with all of it. Where several agree, those of the
experiments `mini/*` count; if these are several too, the cell is missing and the claim says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Required, TypedDict, cast

from repro.errors import DataError
from repro.papers import claims as predicates
from repro.papers import registry
from repro.papers.expressions import Evaluation, Key
from repro.report.claims.claims import DRAWS, NOT_RUN, VERDICTS, judged
from repro.report.compare.groups import Group
from repro.report.compare.our_cells import Ours

if TYPE_CHECKING:
    from repro.papers.statistics import Floats

FILE = Path(__file__).with_name("miniature.yaml")
EXPERIMENTS = "mini"
"""Folder of `conf/experiment` whose trials these are."""
HEAD = ("claim", "says, in miniature", "of the papers' claims", "on our miniature", "why")
NOTE = (
    "The papers' claims on small models and tasks that the project brings along (docs/mini.md). No paper used these, "
    "so a verdict here is none on a paper's claim."
)
_NEEDED = {"method", "model", "task", "metric"}
_NOT = "not "
_SHOWN = 3


@dataclass(frozen=True)
class Claim:
    """One claim in miniature."""

    id: str
    of: tuple[str, ...]
    """`<paper> <id>` of the papers' claims."""
    sentence: str
    holds: str
    reading: str | None = None
    shows: Mapping[str, str] = field(default_factory=dict, hash=False)


class CellSpec(TypedDict, total=False):
    """A family of cells in the file."""

    method: Required[str]
    model: Required[str]
    task: Required[str]
    metric: Required[str]
    split: str
    where: dict[str, object]


class PanelSpec(TypedDict, total=False):
    """A panel of a figure in the file."""

    title: Required[str]
    x_label: Required[str]
    y_label: Required[str]
    x: Required[str]
    keys: Required[list[str | float]]
    series: Required[dict[str, str]]
    labels: list[str]
    apart: bool


class FigureSpec(TypedDict):
    """A figure in the file."""

    name: str
    title: str
    panels: list[PanelSpec]


@dataclass(frozen=True)
class Content:
    """The file, checked."""

    sets: Mapping[str, Sequence[str | float]]
    cells: Mapping[str, CellSpec]
    claims: tuple[Claim, ...]
    figures: tuple[FigureSpec, ...]


@cache
def content() -> Content:
    """The file, checked.

    Raises:
        DataError: a claim that breaks the format or names a paper's claim that does not exist.
    """
    data = registry.read_yaml(FILE)
    cells = cast(dict[str, CellSpec], data["cells"])
    for name, spec in cells.items():
        if not set(spec) >= _NEEDED or set(spec) - set(CellSpec.__annotations__):
            raise DataError(
                f"miniature.yaml, cell {name}: it needs {', '.join(sorted(_NEEDED))}; at most split and where."
            )
    claims = tuple(_claim(raw) for raw in cast(list[dict[str, object]], data["claims"]))
    if len({claim.id for claim in claims}) < len(claims):
        raise DataError("miniature.yaml: an id is used twice.")
    known = {f"{paper} {claim.id}" for paper in registry.PAPERS for claim in predicates.claims(paper)}
    for claim in claims:
        if not claim.of or set(claim.of) - known:
            raise DataError(f"miniature.yaml, {claim.id}: of {list(claim.of)}, and the papers' claims have none such.")
    sets = cast(dict[str, list[str | float]], data.get("sets") or {})
    return Content(sets, cells, claims, tuple(cast(list[FigureSpec], data.get("figures") or [])))


def _claim(raw: Mapping[str, object]) -> Claim:
    fields = {"of": tuple(cast(list[str], raw.get("of") or []))}
    try:
        return Claim(**cast(dict[str, str], {**raw, **fields}))  # type: ignore[arg-type]
    except TypeError as error:
        raise DataError(f"miniature.yaml, {raw.get('id')}: {error}.") from error


@dataclass(frozen=True)
class Cell:
    """A setting of ours: which group, and which of its scores."""

    name: str
    """`pt[xs]`"""
    where: tuple[tuple[str, str], ...]
    """(dotted path of the config, value as text)"""
    split: str | None
    metric: str


@dataclass(frozen=True)
class ClaimRow:
    """One claim with its verdict."""

    claim: Claim
    verdict: str
    """holds | fails | undecided | not run"""
    why: str
    share: float | None
    """Share of the draws in which it holds; None where cells are missing."""
    cells: tuple[tuple[Cell, Ours | None], ...]

    @property
    def one_run(self) -> bool:
        """Whether a number rests on one run."""
        return any(ours is not None and ours.n == 1 for _, ours in self.cells)


class Settings:
    """Our runs, asked for the cells of the miniature."""

    def __init__(self, groups: Iterable[Group]):
        self._groups = [group for group in groups if group.scored]
        self._known: dict[Cell, Ours | str] = {}

    @property
    def any(self) -> bool:
        """Whether a run of the miniature is among them."""
        return any(map(_of_experiments, self._groups))

    def cell(self, family: str, keys: Sequence[object]) -> Cell:
        """The cell `family[keys]`.

        Raises:
            DataError: there is no such family, or it takes more keys.
        """
        families = content().cells
        if family not in families:
            raise DataError(f"miniature.yaml: there is no family {family!r}; there are {', '.join(families)}.")
        spec = families[family]
        try:
            paths: dict[str, object] = {"method.name": spec["method"], "model.name": spec["model"]}
            paths |= {"task.name": spec["task"]} | (spec.get("where") or {})
            where = tuple((path, str(value).format(*keys)) for path, value in paths.items())
        except IndexError as error:
            raise DataError(f"miniature.yaml: {family} takes more keys than {list(keys)}.") from error
        shown = f"[{', '.join(map(str, keys))}]" if keys else ""
        return Cell(f"{family}{shown}", where, spec.get("split"), spec["metric"])

    def of(self, cell: Cell) -> Ours | str:
        """Our number for a cell, or why there is none."""
        if cell not in self._known:
            self._known[cell] = self._look(cell)
        return self._known[cell]

    def _look(self, cell: Cell) -> Ours | str:
        fitting = [group for group in self._groups if _agrees(group, cell)]
        if len(fitting) > 1:
            fitting = [group for group in fitting if _of_experiments(group)]
        if len(fitting) > 1:
            return f"{len(fitting)} settings agree with {cell.name}"
        if not fitting:
            return f"no run of {cell.name}"
        split = cell.split or str(fitting[0].trial.task.report_split)
        values = fitting[0].values(split, cell.metric)
        if not values:
            return f"the runs of {cell.name} have no {cell.metric} on {split}"
        return Ours((tuple(values),), (fitting[0],))


def _agrees(group: Group, cell: Cell) -> bool:
    for path, wanted in cell.where:
        value = str(group.value(path))
        if value == wanted.removeprefix(_NOT) if wanted.startswith(_NOT) else value != wanted:
            return False
    return True


def _of_experiments(group: Group) -> bool:
    names = (record.trial.experiment or "" for record in group.records)
    return any(name.partition("/")[0] == EXPERIMENTS for name in names)


def claim_rows(settings: Settings) -> list[ClaimRow]:
    """All claims in miniature, tested as the papers' are on our runs; none where no run of the miniature is there."""
    return [_row(claim, settings) for claim in content().claims] if settings.any else []


def _row(claim: Claim, settings: Settings) -> ClaimRow:
    used: dict[str, tuple[Cell, Ours | str]] = {}

    def number(family: str, keys: tuple[Key, ...]) -> Floats | None:
        cell = settings.cell(family, keys)
        ours = settings.of(cell)
        used[cell.name] = (cell, ours)
        return None if isinstance(ours, str) else ours.draws(DRAWS)

    evaluation = Evaluation(number, content().sets, DRAWS)
    truth = evaluation.truth(claim.holds)
    exceptions = [", ".join(str(value) for value in bound.values()) for bound in evaluation.exceptions]
    shown = {label: predicates.shown_text(evaluation.value(text)) for label, text in claim.shows.items()}
    missing = [why for _, why in used.values() if isinstance(why, str)]
    verdict, share = judged(truth, bool(used), bool(missing))
    cells = tuple((cell, None if isinstance(ours, str) else ours) for cell, ours in used.values())
    outcome = predicates.Outcome(truth, shown, tuple(exceptions), (), ())
    return ClaimRow(claim, verdict, _why(outcome, verdict, cells, missing), share, cells)


def _why(
    outcome: predicates.Outcome, verdict: str, cells: Sequence[tuple[Cell, Ours | None]], missing: Sequence[str]
) -> str:
    parts = [predicates.explained(outcome, verdict)] if verdict != NOT_RUN else []
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        parts.append(f"{len(cells) - len(missing)} of {len(cells)} cells run: {', '.join(missing[:_SHOWN])}{more}")
    counts = sorted({ours.n for _, ours in cells if ours is not None})
    if counts:
        runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        parts.append(f"{runs} run{'s' if counts[-1] > 1 else ''} a cell")
        if counts[0] == 1:
            parts.append("a cell with one run has no interval")
    return ". ".join(part for part in parts if part)


def line(rows: Sequence[ClaimRow]) -> str:
    """How many claims hold, fail, are undecided or were not run."""
    counts = {verdict: sum(row.verdict == verdict for row in rows) for verdict in VERDICTS}
    return f"{len(rows)} claims in miniature: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}."


def texts(row: ClaimRow) -> list[str]:
    """One line of the table under `HEAD`, not escaped."""
    claim = row.claim
    says = claim.sentence + (f" (Our reading: {claim.reading}.)" if claim.reading else "")
    return [claim.id, says, ", ".join(claim.of), row.verdict + (" (one run)" if row.one_run else ""), row.why]


def as_data(row: ClaimRow) -> dict[str, object]:
    """A row as plain JSON values."""
    cells = [
        {
            "cell": cell.name,
            "where": dict(cell.where),
            "metric": cell.metric,
            "ours": None if ours is None else round(ours.value, 6),
            "interval": None if ours is None or ours.interval is None else [round(end, 6) for end in ours.interval],
            "n": 0 if ours is None else ours.n,
        }
        for cell, ours in row.cells
    ]
    return {
        "id": row.claim.id,
        "of": list(row.claim.of),
        "sentence": row.claim.sentence,
        "reading": row.claim.reading,
        "predicate": row.claim.holds,
        "verdict": row.verdict,
        "why": row.why,
        "share_of_draws": row.share,
        "cells": cells,
    }
