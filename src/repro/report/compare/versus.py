"""Two groups of runs against each other: the difference, and how far seeds, the test set and both leave it open.

Used by `repro versus`. Groups are those of the report (runs that differ in the seed only). Examples are paired: both
sides must have been scored on the same data (equal fingerprints).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repro.errors import ReproError
from repro.metrics.building import build_metric
from repro.papers import statistics
from repro.papers.statistics import Aggregated, MeanDifference, PairedDifference, Summary
from repro.report.compare.groups import Group, groups, lookup
from repro.store.store import Store

if TYPE_CHECKING:
    from repro.metrics.base import Metric

RESAMPLES = 1000
SEVERAL = 3
"""Tasks from which on an interquartile mean and a probability of improvement are told."""


@dataclass(frozen=True)
class Duel:
    """One task: a minus b."""

    task: str
    split: str
    metric: str
    a: Summary
    b: Summary
    seeds: MeanDifference
    """What other seeds leave open (Welch), the test set as it is."""
    examples: PairedDifference | None
    """What another test set leaves open, the runs as they are; None: no statistics that can be paired."""
    both: PairedDifference | None
    """Both at once."""
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
        ReproError: nothing fits, a condition that is none, or two groups of one task.
    """
    if "=" not in text:
        found = [group for group in groups if any(record.key == text for record in group.records)]
    else:
        conditions = [part.partition("=") for part in text.split(",")]
        if any(not sign or not path for path, sign, _ in conditions):
            raise ReproError(f"{text!r}: a side is a record's key, or FIELD=VALUE joined by commas.")
        found = [g for g in groups if all(_is(lookup(g.config, path), value) for path, _, value in conditions)]
    found = [group for group in found if group.scored]
    if not found:
        raise ReproError(f"{text!r}: no group of runs with a score fits. `repro report` lists what there is.")
    by_task: dict[str, Group] = {}
    for group in found:
        name = str(group.names["task_name"])
        if name in by_task:
            raise ReproError(f"{text!r}: two groups fit on {name}; they differ in {_differing(by_task[name], group)}.")
        by_task[name] = group
    return by_task


def _is(value: Any, wanted: str) -> bool:
    return str(value) == wanted or (value is None and wanted in ("null", "None"))


def _differing(a: Group, b: Group) -> str:
    flat = [dict(_flat(group.config)) for group in (a, b)]
    paths = sorted(p for p in flat[0].keys() | flat[1].keys() if flat[0].get(p) != flat[1].get(p) and p != "seed")
    return ", ".join(f"{p} ({flat[0].get(p)} or {flat[1].get(p)})" for p in paths[:4]) or "what the report cannot name"


def _flat(node: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(node, Mapping):
        return [pair for key, value in node.items() for pair in _flat(value, f"{path}.{key}" if path else str(key))]
    return [(path, repr(node))]


def duel(a: Group, b: Group, metric: str | None = None) -> Duel:
    """Two groups on one task, on its reported split and main metric.

    Args:
        a, b: groups of one task.
        metric: another value of the records.

    Raises:
        ReproError: the metric is not there.
    """
    split, name = _measure(a, metric)
    values = [group.values(split, name) for group in (a, b)]
    if not all(values):
        raise ReproError(f"{a.names['task_name']}: not both sides have {name} on {split}.")
    notes: list[str] = []
    paired = _paired(a, b, split, name, notes)
    examples = both = None
    if paired is not None:
        built, (runs_a, runs_b), clusters = paired

        def resampled(fixed_runs: bool) -> PairedDifference:
            return statistics.hierarchical_difference(
                runs_a, runs_b, built.reduce, name, RESAMPLES, clusters=clusters, fixed_runs=fixed_runs
            )

        examples, both = resampled(fixed_runs=True), resampled(fixed_runs=False)
        notes += [f"{len(set(clusters))} clusters of {len(clusters)} examples"] if clusters else []
        notes += ["lower is better"] if not built.higher_is_better else []
    summaries = [statistics.summary(own) for own in values]
    if min(one.n for one in summaries) == 1:
        notes.append("a side has one run: nothing is known of its seeds")
    seeds = statistics.difference_of_means(values[0], values[1])
    return Duel(str(a.names["task_name"]), split, name, summaries[0], summaries[1], seeds, examples, both, tuple(notes))


def _measure(group: Group, metric: str | None) -> tuple[str, str]:
    found = [pair for pair in group.measures if metric in (None, pair[1])]
    if not found:
        there = ", ".join(sorted({name for _, name in group.measures})) or "none"
        raise ReproError(f"{group.names['task_name']}: there is no value {metric}; there is {there}.")
    return found[0]


def _paired(
    a: Group, b: Group, split: str, name: str, notes: list[str]
) -> tuple[Metric, tuple[list[Any], list[Any]], list[int]] | None:
    """The metric, the runs' statistics [N, S] of both sides and the clusters; None (and why) where they cannot pair."""
    import numpy as np

    prints = {_fingerprint(record.provenance, split) for group in (a, b) for record in group.scored}
    if len(prints) > 1 or None in prints:
        notes.append("not scored on data that is known to be the same: examples are not paired")
        return None
    configs = [one for key in ("metrics", "also_metrics") for one in lookup(a.config, f"task.{key}") or []]
    built = next((m for config in configs if name in (m := build_metric(config)).outputs), None)
    kept = [[record.statistics.get(split, {}).get(built.name) for record in g.scored] for g in (a, b)] if built else []
    if built is None or any(rows is None for side in kept for rows in side):
        notes.append(f"the records keep no statistics of {name}")
        return None
    if getattr(built, "every_row", False):
        notes.append(f"{name} is chosen on the test set itself: it has no interval over examples")
        return None
    clusters = a.scored[0].clusters.get(split, [])
    return built, ([np.asarray(r) for r in kept[0]], [np.asarray(r) for r in kept[1]]), clusters


def _fingerprint(provenance: Mapping[str, Any], split: str) -> str | None:
    found = lookup(provenance, f"data.{split}.sha256")
    return None if found is None else str(found)


def total(duels: Sequence[tuple[Group, Group, Duel]]) -> Total:
    """Means over tasks with stratified intervals; more where there are several tasks."""
    a = [x.values(one.split, one.metric) for x, _, one in duels]
    b = [y.values(one.split, one.metric) for _, y, one in duels]
    means = statistics.aggregated(a), statistics.aggregated(b)
    if len(duels) < SEVERAL:
        return Total(*means, None, None, None)
    iqms = [statistics.aggregated(side, statistics.interquartile_mean) for side in (a, b)]
    return Total(*means, iqms[0], iqms[1], statistics.improvement(a, b))


# ---- text


def page(duels: Sequence[Duel], everything: Total | None) -> str:
    """The rows as a Markdown table, and the totals."""
    head = ["task", "metric", "a", "b", "a - b", "seeds", "test set", "both", "p (both)", "notes"]
    lines = [head, ["---"] * len(head), *(_row(one) for one in duels)]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    text += (
        "\nIntervals of 95 %: other seeds (Welch), another test set (paired bootstrap over examples), both together.\n"
    )
    if everything is None:
        return text
    text += f"\nMean over {len(duels)} tasks: a {_aggregate(everything.mean_a)}, b {_aggregate(everything.mean_b)}.\n"
    if everything.iqm_a and everything.iqm_b and everything.improvement:
        text += f"Interquartile mean: a {_aggregate(everything.iqm_a)}, b {_aggregate(everything.iqm_b)}.\n"
        text += f"Probability that a run of a scores higher: {_aggregate(everything.improvement)}.\n"
    return text


def _row(one: Duel) -> list[str]:
    both = [_interval(one.both), f"{one.both.p:.3f}"] if one.both else ["—", "—"]
    texts = [one.task, f"{one.metric} ({one.split})", _side(one.a), _side(one.b), f"{one.seeds.difference:+.2f}"]
    return [*texts, _interval(one.seeds), _interval(one.examples), *both, "; ".join(one.notes) or "—"]


def _side(one: Summary) -> str:
    return f"{one.mean:.2f} (one run)" if one.std is None else f"{one.mean:.2f} ± {one.std:.2f} (n {one.n})"


def _interval(one: MeanDifference | PairedDifference | None) -> str:
    return "—" if one is None or one.low is None or one.high is None else f"[{one.low:+.2f}, {one.high:+.2f}]"


def _aggregate(one: Aggregated) -> str:
    return f"{one.value:.2f}" + ("" if one.low is None or one.high is None else f" [{one.low:.2f}, {one.high:.2f}]")


def versus(a: str, b: str, results: Path, metric: str | None = None) -> str:
    """The page of two sides.

    Args:
        a, b: see `select`.
        results: folder with records/.
        metric: a value of the records; None: the metric of selection.

    Raises:
        ReproError: sides that cannot be told, or that share no task.
    """
    everything = groups(Store(results / "records").records())
    sides = select(everything, a), select(everything, b)
    tasks = sorted(sides[0].keys() & sides[1].keys())
    if not tasks:
        raise ReproError(
            f"the two sides share no task: {', '.join(sorted(sides[0]))} against {', '.join(sorted(sides[1]))}."
        )
    duels = [(sides[0][task], sides[1][task], duel(sides[0][task], sides[1][task], metric)) for task in tasks]
    return page([one for _, _, one in duels], total(duels) if len(duels) > 1 else None)
