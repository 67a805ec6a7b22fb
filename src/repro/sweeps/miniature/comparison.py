"""Our records of the miniature beside the committed reference: what differs, and whether by more than seeds do.

Another machine gives other numbers (its sums round in another order, and training amplifies that): a difference is
normal. A cell without a result is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.papers import statistics
from repro.report.compare.groups import Group, groups
from repro.report.compare.rows import method_names
from repro.report.markdown import escape, number, table_text
from repro.store.record import Record
from repro.store.store import Store

EQUAL, WITHIN, OUTSIDE, ONE_RUN, MISSING, NEW = "equal", "within", "outside", "one run", "missing", "no reference"
"""Verdicts of a cell: see `MEANING`."""
MEANING = {
    EQUAL: "the same number",
    WITHIN: "another number, and the 95 % interval of the difference over seeds covers 0",
    OUTSIDE: "the interval of the difference does not cover 0",
    ONE_RUN: "another number; one run on a side has no spread to hold it against",
    MISSING: "the reference has it and this run has not",
    NEW: "this run has it and the reference has not",
}
_SAME = 0.005
"""Two numbers that print alike are equal."""


@dataclass(frozen=True)
class Difference:
    """One score of one setting on both sides."""

    setting: str
    split: str
    metric: str
    ours: float | None
    reference: float | None
    low: float | None
    """Of Welch's interval of ours minus reference; None where a side has one run or none."""
    high: float | None
    verdict: str


def compare(ours: Iterable[Record], reference: Iterable[Record], keys: Collection[str]) -> list[Difference]:
    """Every score on the reported split, and on the parts of it, of every setting.

    Args:
        ours: this run's records.
        reference: the committed ones.
        keys: run keys that were asked for; records of other trials are left out on both sides.
    """
    mine, theirs = (groups(r for r in side if r.key in keys) for side in (ours, reference))
    names = method_names([*mine, *(group for group in theirs if group.key not in {g.key for g in mine})])
    by_key = {group.key: group for group in mine}, {group.key: group for group in theirs}
    found = []
    for key in sorted(names, key=lambda key: _setting(by_key[0].get(key) or by_key[1][key], names)):
        sides = [side.get(key) for side in by_key]
        measures = dict.fromkeys(measure for group in sides if group is not None for measure in _measures(group))
        setting = _setting(by_key[0].get(key) or by_key[1][key], names)
        found += [_difference(setting, split, metric, sides) for split, metric in measures]
    return found


def _setting(group: Group, names: dict[str, str]) -> str:
    return f"{group.names.task_name}, {group.names.model_name}, {names[group.key]}"


def _measures(group: Group) -> list[tuple[str, str]]:
    reported = str(group.trial.task.report_split)
    return [measure for measure in group.measures if measure[0].startswith(reported)]


def _difference(setting: str, split: str, metric: str, sides: Sequence[Group | None]) -> Difference:
    mine, theirs = ([] if group is None else group.values(split, metric) for group in sides)
    here, there = (sum(values) / len(values) if values else None for values in (mine, theirs))
    if not mine or not theirs:
        return Difference(setting, split, metric, here, there, None, None, MISSING if theirs else NEW)
    gap = statistics.difference_of_means(mine, theirs)
    if len(mine) < len(theirs):
        verdict = MISSING
    elif abs(gap.difference) < _SAME:
        verdict = EQUAL
    elif gap.low is None or gap.high is None:
        verdict = ONE_RUN
    else:
        verdict = WITHIN if gap.low <= 0 <= gap.high else OUTSIDE
    return Difference(setting, split, metric, here, there, gap.low, gap.high, verdict)


def summary(found: Sequence[Difference]) -> str:
    """How many cells are equal, within the spread of seeds, outside of it, or missing."""
    counts = {verdict: sum(one.verdict == verdict for one in found) for verdict in MEANING}
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return f"{len(found)} scores beside the reference: {told or 'none'}."


def document(found: Sequence[Difference]) -> str:
    """The comparison as a page: what each word means, then every cell that is not equal."""
    other = [one for one in found if one.verdict != EQUAL]
    means = "".join(f"- *{verdict}*: {text}\n" for verdict, text in MEANING.items())
    head = ["setting", "split", "metric", "here", "reference", "difference [95 %]", "verdict"]
    lines = [[escape(text) for text in _line(one)] for one in other]
    table = table_text(head, lines) if lines else "Every score is equal.\n"
    return f"# This run beside the reference\n\n{summary(found)}\n\n{means}\n{table}"


def _line(one: Difference) -> list[str]:
    gap = None if one.ours is None or one.reference is None else one.ours - one.reference
    interval = "" if one.low is None or one.high is None else f" [{one.low:+.2f}, {one.high:+.2f}]"
    shown = [number(one.ours), number(one.reference), number(gap, sign="+") + interval]
    return [one.setting, one.split, one.metric, *shown, one.verdict]


def read(folder: Path) -> list[Record]:
    """The records of a results folder, without their per-example statistics."""
    return list(Store(folder / "records").records(statistics=False))
