"""A paired comparison of two groups of runs: the difference, with intervals over seeds, over the test set, and both.

Used by `repro versus`. Groups are those of the report (runs that differ in the seed only). Examples are paired: both
sides must have been scored on the same data (equal fingerprints).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ReproError
from repro.metrics.registry import build_metric
from repro.papers import statistics
from repro.papers.statistics import Aggregated, MeanDifference, PairedDifference, Summary
from repro.report.compare.groups import Group, groups
from repro.report.markdown import escaped_table
from repro.store.damage import OnDamage
from repro.store.record import Record
from repro.store.store import Store

if TYPE_CHECKING:
    from repro.metrics.base import AnyMetric
    from repro.papers.statistics import Floats

RESAMPLES = 1000
SEVERAL = 3
"""From so many tasks on, an interquartile mean and a probability of improvement are shown."""


@dataclass(frozen=True)
class PairedComparison:
    """One task: a minus b."""

    task: str
    split: str
    metric: str
    a: Summary
    b: Summary
    seeds: MeanDifference
    """Over other seeds (Welch), on this test set."""
    examples: PairedDifference | None
    """Over other test sets, for these runs; None: there are no statistics that can be paired."""
    both: PairedDifference | None
    """Over both."""
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Total:
    """All tasks that both sides have."""

    mean_a: Aggregated
    mean_b: Aggregated
    iqm_a: Aggregated | None
    iqm_b: Aggregated | None
    improvement: Aggregated | None
    """The chance that a run of a scores higher than one of b; None below `SEVERAL` tasks."""


def select(groups: Sequence[Group], text: str) -> dict[str, Group]:
    """{task: the group} of a side.

    Args:
        groups: all of them.
        text: a record's key, or conditions joined by commas: `method.name=p_tuning_v2,model.name=minilm`.

    Raises:
        ReproError: nothing fits, an unreadable condition, or two groups of one task.
    """
    if "=" not in text:
        fitting = [group for group in groups if any(record.key == text for record in group.records)]
    else:
        conditions = [part.partition("=") for part in text.split(",")]
        if any(not sign or not path for path, sign, _ in conditions):
            raise ReproError(f"{text!r}: a side is a record's key, or FIELD=VALUE joined by commas.")
        fitting = [g for g in groups if all(_equals(g.value(path), wanted) for path, _, wanted in conditions)]
    fitting = [group for group in fitting if group.scored]
    if not fitting:
        raise ReproError(f"{text!r}: no group of runs with a score fits. `repro report` lists what there is.")
    by_task: dict[str, Group] = {}
    for group in fitting:
        name = group.names.task_name
        if name in by_task:
            raise ReproError(f"{text!r}: two groups fit on {name}; they differ in {_differing(by_task[name], group)}.")
        by_task[name] = group
    return by_task


def _equals(value: object, wanted: str) -> bool:
    return str(value) == wanted or (value is None and wanted in ("null", "None"))


def _differing(a: Group, b: Group) -> str:
    left, right = (dict(_flat(group.records[0].config)) for group in (a, b))
    paths = sorted(path for path in left.keys() | right.keys() if left.get(path) != right.get(path) and path != "seed")
    return (
        ", ".join(f"{path} ({left.get(path)} or {right.get(path)})" for path in paths[:4]) or "no field of the config"
    )


def _flat(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, repr(node)


@dataclass(frozen=True)
class _Paired:
    """Statistics of both sides on the same examples."""

    metric: AnyMetric
    a: list[Floats]
    """[N, S] per run."""
    b: list[Floats]
    clusters: list[int]


def compare_pair(a: Group, b: Group, metric: str | None = None) -> PairedComparison:
    """Two groups on one task, on its reported split and main metric.

    Args:
        a, b: groups of one task.
        metric: another value of the records.

    Raises:
        ReproError: the metric is not there.
    """
    split, name = _measure(a, metric)
    left, right = a.values(split, name), b.values(split, name)
    if not left or not right:
        raise ReproError(f"{a.names.task_name}: not both sides have {name} on {split}.")
    paired, notes = _paired(a, b, split, name)
    examples = both = None
    if paired is not None:
        examples, both = _resampled(paired, name, fixed_runs=True), _resampled(paired, name, fixed_runs=False)
        if paired.clusters:
            notes.append(f"{len(set(paired.clusters))} clusters of {len(paired.clusters)} examples")
        if not paired.metric.higher_is_better:
            notes.append("lower is better")
    if min(len(left), len(right)) == 1:
        notes.append("a side has one run: nothing is known of its seeds")
    seeds = statistics.difference_of_means(left, right)
    summaries = statistics.summary(left), statistics.summary(right)
    return PairedComparison(a.names.task_name, split, name, *summaries, seeds, examples, both, tuple(notes))


def _resampled(paired: _Paired, name: str, fixed_runs: bool) -> PairedDifference:
    return statistics.hierarchical_difference(
        paired.a, paired.b, paired.metric.reduce, name, RESAMPLES, clusters=paired.clusters, fixed_runs=fixed_runs
    )


def _measure(group: Group, metric: str | None) -> tuple[str, str]:
    for split, name in group.measures:
        if metric in (None, name):
            return split, name
    there = ", ".join(sorted({name for _, name in group.measures})) or "none"
    raise ReproError(f"{group.names.task_name}: there is no value {metric}; there is {there}.")


def _paired(a: Group, b: Group, split: str, name: str) -> tuple[_Paired | None, list[str]]:
    """The statistics of both sides; None, and the reason, where they cannot be paired."""
    import numpy as np

    fingerprints = {_fingerprint(record, split) for group in (a, b) for record in group.scored}
    if len(fingerprints) > 1 or None in fingerprints:
        return None, ["not scored on data that is known to be the same: examples are not paired"]
    built = (build_metric(config) for config in a.trial.task.metrics)
    metric = next((candidate for candidate in built if name in candidate.outputs), None)
    kept = [] if metric is None else [[r.statistics.get(split, {}).get(metric.name) for r in g.scored] for g in (a, b)]
    left, right = ([np.asarray(rows) for rows in side if rows is not None] for side in kept or ([], []))
    if metric is None or len(left) < len(a.scored) or len(right) < len(b.scored):
        return None, [f"the records keep no statistics of {name}"]
    if metric.every_row:
        return None, [f"{name} is chosen on the test set itself: it has no interval over examples"]
    return _Paired(metric, left, right, a.scored[0].clusters.get(split, [])), []


def _fingerprint(record: Record, split: str) -> str | None:
    facts = record.provenance.get("data", {}).get(split)
    return None if facts is None else facts.get("sha256")


def total(pairs: Sequence[tuple[Group, Group, PairedComparison]]) -> Total:
    """Means over tasks with stratified intervals; more where there are several tasks."""
    a = [group.values(pair.split, pair.metric) for group, _, pair in pairs]
    b = [group.values(pair.split, pair.metric) for _, group, pair in pairs]
    means = statistics.aggregated(a), statistics.aggregated(b)
    if len(pairs) < SEVERAL:
        return Total(*means, None, None, None)
    iqms = [statistics.aggregated(side, statistics.interquartile_mean) for side in (a, b)]
    return Total(*means, iqms[0], iqms[1], statistics.improvement(a, b))


# ---- text


def page(pairs: Sequence[PairedComparison], totals: Total | None) -> str:
    """The rows as a Markdown table, and the totals."""
    head = ["task", "metric", "a", "b", "a - b", "seeds", "test set", "both", "p (both)", "notes"]
    text = escaped_table(head, map(_row, pairs))
    text += (
        "\nIntervals of 95 %: other seeds (Welch), another test set (paired bootstrap over examples), both together.\n"
    )
    if totals is None:
        return text
    text += f"\nMean over {len(pairs)} tasks: a {_aggregate(totals.mean_a)}, b {_aggregate(totals.mean_b)}.\n"
    if totals.iqm_a and totals.iqm_b and totals.improvement:
        text += f"Interquartile mean: a {_aggregate(totals.iqm_a)}, b {_aggregate(totals.iqm_b)}.\n"
        text += f"Probability that a run of a scores higher: {_aggregate(totals.improvement)}.\n"
    return text


def _row(pair: PairedComparison) -> list[str]:
    both = [_interval(pair.both), f"{pair.both.p:.3f}"] if pair.both else ["—", "—"]
    sides = [_side(pair.a), _side(pair.b), f"{pair.seeds.difference:+.2f}"]
    intervals = [_interval(pair.seeds), _interval(pair.examples), *both]
    return [pair.task, f"{pair.metric} ({pair.split})", *sides, *intervals, "; ".join(pair.notes) or "—"]


def _side(side: Summary) -> str:
    return f"{side.mean:.2f} (one run)" if side.std is None else f"{side.mean:.2f} ± {side.std:.2f} (n {side.n})"


def _interval(difference: MeanDifference | PairedDifference | None) -> str:
    if difference is None or difference.low is None or difference.high is None:
        return "—"
    return f"[{difference.low:+.2f}, {difference.high:+.2f}]"


def _aggregate(value: Aggregated) -> str:
    return f"{value.value:.2f}" + (
        "" if value.low is None or value.high is None else f" [{value.low:.2f}, {value.high:.2f}]"
    )


def versus(a: str, b: str, results: Path, metric: str | None = None, on_damage: OnDamage | None = None) -> str:
    """The page of two sides.

    Args:
        a, b: see `select`.
        results: folder with records/.
        metric: a value of the records; None: the metric of selection.
        on_damage: as for `Store.records`.

    Raises:
        ReproError: a side that selects nothing or too much, or sides that share no task.
    """
    store = Store(results / "records")
    known = groups(store.records(on_damage, statistics=False))
    left, right = select(known, a), select(known, b)
    tasks = sorted(left.keys() & right.keys())
    if not tasks:
        raise ReproError(f"the two sides share no task: {', '.join(sorted(left))} against {', '.join(sorted(right))}.")
    sides = [(_with_statistics(left[task], store), _with_statistics(right[task], store)) for task in tasks]
    pairs = [(a_group, b_group, compare_pair(a_group, b_group, metric)) for a_group, b_group in sides]
    return page([pair for _, _, pair in pairs], total(pairs) if len(pairs) > 1 else None)


def _with_statistics(group: Group, store: Store) -> Group:
    """The group with its records' per-example statistics, most of a store's bytes, which selecting does without."""
    records = (store.get(record.key) for record in group.records)
    return replace(group, records=tuple(record for record in records if record is not None))
