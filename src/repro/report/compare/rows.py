"""Our scores, each compared once: as rows of the comparison, and as answers to a cell of a paper.

Everything is sorted and nothing depends on the clock or on the order of the input: equal records give equal bytes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from repro.papers import registry
from repro.papers.registry import Reported, canonical_metric
from repro.report.compare.compare import Comparison, against, compare, describe
from repro.report.compare.groups import Group
from repro.report.compare.our_cells import rank
from repro.store.record import Record

MISSING = "—"
"""Printed where there is no number: never a blank, never a zero."""

_SHOWN_VARIABLES = ("method.length", "method.reparameterisation", "method.initialisation")
"""Always part of a method's name in a row; other fields only where two rows differ in them."""


@dataclass(frozen=True)
class Row:
    """One score of one group beside the paper's. Numbers in the metric's unit; None where there is none."""

    paper: str
    task: str
    model: str
    method: str
    """With its variables, e.g. `prefix_tuning (length=5)`."""
    metric: str
    split: str
    ours: float | None
    spread: float | None
    n: int
    low: float | None
    high: float | None
    trained: int | None
    """Trained parameters."""
    status: str
    """Counts of done, collapsed and failed runs."""
    theirs: float | None
    source: str
    """Paper, table and edition of `theirs`."""
    difference: float | None
    verdict: str
    reason: str
    context: str
    """The paper's nearest cells when nothing is compared."""
    deviations: tuple[str, ...] = ()
    experiment: str = MISSING
    """The experiment file that asked for the runs."""
    group: str = ""
    """Key of the group."""
    keys: tuple[str, ...] = ()
    """Keys of its records."""


@dataclass(frozen=True)
class Score:
    """One measure of one group, compared with the papers."""

    group: Group
    split: str
    metric: str
    comparison: Comparison
    first: bool
    """Whether it is the group's main score: the reported split and the metric of selection."""

    @property
    def compared(self) -> bool:
        """Whether a paper's cell stands beside it."""
        return self.comparison.reported is not None and self.comparison.verdict != "not run"


def scores(groups: Sequence[Group], cells: Sequence[Reported]) -> list[Score]:
    """Every score that has a name in some paper, and the main one of each group.

    Args:
        groups: our groups.
        cells: the papers' cells.
    """
    # A comparison looks at cells of its own task only; looking at all of them is slow with thousands of groups.
    by_task: dict[str | None, list[Reported]] = defaultdict(list)
    for cell in cells:
        by_task[cell.task].append(cell)
    all_scores = []
    for group in groups:
        of_task = by_task.get(group.names.task, []) if group.names.task is not None else []
        for index, (split, metric) in enumerate(_measures(group)):
            comparison = compare(group, of_task, split, metric)
            all_scores.append(Score(group, split, metric, comparison, index == 0))
    return all_scores


def answers(all_scores: Iterable[Score]) -> dict[str, list[Score]]:
    """{id of a paper's cell: our scores that agree with it in everything, the one that answers first: see `ours.rank`}.

    A score may agree with several cells (two editions, two tables): it is compared with each one for itself.
    """
    by_cell: dict[str, list[Score]] = defaultdict(list)
    for score in all_scores:
        reported = score.comparison.reported
        if not score.compared or reported is None:
            continue
        by_cell[reported.id].append(score)
        for cell in score.comparison.also:
            by_cell[cell.id].append(replace(score, comparison=_against(cell, score)))
    return {cell: ranked(agreeing, cell.partition("/")[0]) for cell, agreeing in by_cell.items()}


def ranked(agreeing: Iterable[Score], paper: str) -> list[Score]:
    """Scores that agree with one cell of a paper, the one that answers it first."""
    return sorted(agreeing, key=lambda s: rank(s.group, paper, s.comparison.summary.n if s.comparison.summary else 0))


def _against(cell: Reported, score: Score) -> Comparison:
    """The comparison of a score with another cell that it agrees with."""
    summary = score.comparison.summary
    assert summary is not None  # a score that is compared has values
    caveat = f" Caveat: {cell.caveat}." if cell.caveat else ""
    return against(cell, score.group.values(score.split, score.metric), summary, after=caveat)


def rows(all_scores: Sequence[Score], names: Mapping[str, str]) -> list[Row]:
    """All rows, sorted by paper, task, model, method, metric and split.

    Splits beside the reported one are shown only where a paper has the number.

    Args:
        all_scores: of `scores`.
        names: `method_names` of the same groups.
    """
    main = {score.group.key: score.split for score in all_scores if score.first}
    shown = [score for score in all_scores if score.comparison.reported or score.split == main[score.group.key]]
    order = [*registry.PAPERS, MISSING]
    table = [_row(score, names[score.group.key]) for score in shown]
    return sorted(table, key=lambda row: (order.index(row.paper), _sort_key(row)))


def _sort_key(row: Row) -> list[object]:
    return [row.task, row.model, natural(row.method), row.metric, row.split, row.source, repr(row)]


def natural(text: str) -> list[object]:
    """Sort key that puts length=20 before length=128."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", text))]


def _measures(group: Group) -> list[tuple[str, str]]:
    """The scores to show: the first one, and those that have a name in some paper. A group that failed shows one."""
    measures = group.measures
    if not measures:
        return [(group.trial.task.report_split or MISSING, MISSING)]
    return [pair for index, pair in enumerate(measures) if index == 0 or canonical_metric(pair[1], group.names.task)]


def _row(score: Score, method: str) -> Row:
    group, comparison = score.group, score.comparison
    reported, summary = comparison.reported, comparison.summary
    near = comparison.nearest[0].paper if comparison.nearest else MISSING
    trained = sorted({record.parameters["trained"] for record in group.scored if "trained" in record.parameters})
    return Row(
        paper=reported.paper if reported else group.names.paper or near,
        task=group.names.task_name,
        model=group.names.model_name,
        method=method,
        metric=score.metric,
        split=score.split,
        ours=summary.mean if summary else None,
        spread=summary.std if summary else None,
        n=summary.n if summary else 0,
        low=summary.low if summary else None,
        high=summary.high if summary else None,
        trained=trained[0] if trained else None,
        status=status_counts(group.records),
        theirs=reported.number if reported and comparison.verdict != "not run" else None,
        source=describe(reported) if reported else MISSING,
        difference=comparison.difference,
        verdict=comparison.verdict,
        reason=comparison.reason,
        context=_context(comparison.nearest),
        deviations=tuple(dict.fromkeys(text for record in group.records for text in record.deviations)),
        experiment=group.trial.experiment or MISSING,
        group=group.key,
        keys=tuple(record.key for record in group.records),
    )


def status_counts(records: Iterable[Record]) -> str:
    """`2 done, 1 collapsed`."""
    counts = Counter(record.status for record in records)
    return ", ".join(f"{counts[name]} {name}" for name in ("done", "collapsed", "failed") if counts[name])


def _context(nearest: Sequence[Reported]) -> str:
    """`liu2022: bert-large 84.5, roberta-large 88.4 (dev)`."""
    by_paper: dict[str, list[str]] = defaultdict(list)
    for cell in nearest:
        by_paper[cell.paper].append(f"{cell.model} {cell.number:g} ({cell.split})")
    return "; ".join(f"{paper}: {', '.join(texts)}" for paper, texts in by_paper.items())


def method_names(groups: Sequence[Group]) -> dict[str, str]:
    """{group key: method with its variables}: those always shown, and fields that tell apart rows of equal names."""
    by_names: dict[tuple[str | None, ...], list[Group]] = defaultdict(list)
    for group in groups:
        by_names[group.names.task_name, group.names.model_name, group.names.method].append(group)
    names = {}
    for (_, _, method), members in by_names.items():
        flat = {group.key: group.fields for group in members}
        paths = sorted({path for fields in flat.values() for path in fields})
        differing = [path for path in paths if len({repr(fields.get(path)) for fields in flat.values()}) > 1]
        for key, fields in flat.items():
            shown = [path for path in _SHOWN_VARIABLES if fields.get(path) is not None]
            shown += [path for path in differing if path not in shown]
            texts = [f"{path.partition('.')[2]}={fields.get(path)}" for path in shown]
            names[key] = f"{method} ({', '.join(texts)})" if texts else str(method)
    return names
