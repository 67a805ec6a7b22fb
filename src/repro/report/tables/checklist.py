"""The reproducibility checklist, filled from the records: runs, ranges searched, cost, hardware, data, software.

After the machine-learning reproducibility checklist of Pineau et al. (2021): ranges searched, how values were chosen,
number of runs, centre and spread, failures, compute, data and software.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from repro.report.compare.groups import Group
from repro.report.compare.rows import MISSING, natural
from repro.store.record import STATUSES, Record


@dataclass(frozen=True)
class Item:
    """One point of the checklist."""

    name: str
    answers: tuple[str, ...]
    """Plain sentences or facts, at least one."""


def checklist(groups: Sequence[Group]) -> list[Item]:
    """Every point, answered from the records; a point without data says `not recorded`.

    Args:
        groups: all groups of the store.
    """
    records = [record for group in groups for record in group.records]
    parts = [
        ("Number of runs", _runs(groups, records)),
        ("Ranges searched", _ranges(groups)),
        ("How the reported checkpoint was chosen", _selection(records)),
        ("Centre and spread", [_SPREAD]),
        ("Failed and collapsed runs", _bad(records)),
        ("Compute", _compute(records)),
        ("Hardware", _counted(_hardware(record) for record in records)),
        ("Data, with fingerprints", _data(records)),
        ("Weights, with fingerprints", _weights(records)),
        ("Software", _software(records)),
        ("Source revisions", _counted(revision(record) for record in records)),
        ("Stated by neither paper nor code", _unknown(groups)),
        ("Deviations from the papers", _deviations(records)),
    ]
    return [Item(name, tuple(texts) or ("not recorded",)) for name, texts in parts]


_SPREAD = (
    "Mean over runs that differ in the seed only; sample standard deviation; 95 % Student-t interval of the mean. A "
    "single run has no interval and is marked. Collapsed runs are in the mean and counted beside it; failed are not."
)


def _runs(groups: Sequence[Group], records: Sequence[Record]) -> list[str]:
    counts = Counter(record.status for record in records)
    sizes = Counter(len(group.records) for group in groups)
    each = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    seeds_each = ", ".join(f"{number} with {size} seed{'s' * (size > 1)}" for size, number in sorted(sizes.items()))
    seeds = ", ".join(map(str, sorted({record.seed for record in records})))
    counted = f"{len(records)} runs ({each}) of {len(groups)} settings: {seeds_each}."
    return [counted, f"Seeds: {seeds}."] if records else []


def _ranges(groups: Sequence[Group]) -> list[str]:
    """For each experiment the fields that vary in it, with their values, in a sentence."""
    members: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        members[group.trial.experiment or "no experiment file"].append(group)
    texts = []
    for experiment in sorted(members):
        varying = varied([group.fields for group in members[experiment]])
        shown = "; ".join(f"{path} in {{{', '.join(values)}}}" for path, values in varying.items())
        texts.append(f"{experiment}: {shown or 'one setting'}.")
    return texts


_FOLLOWS = ("model.", "task.", "method.vocabulary_size", "method.uniform_", "method.init_words")
"""A field that follows from the choice of another one is not a range that was searched."""
_NAMES = ("model.name", "task.name")
_MOST_VALUES = 12


def varied(fields: Sequence[Mapping[str, object]]) -> dict[str, list[str]]:
    """{path: its values} of the fields that differ among settings which all have them, names of groups first."""
    ranges = {}
    for path in dict.fromkeys(path for setting in fields for path in setting):
        followed = path not in _NAMES and any(path.startswith(mark) for mark in _FOLLOWS)
        have = [setting[path] for setting in fields if setting.get(path) is not None]
        values = sorted({str(value) for value in have}, key=_by_size)
        if not followed and len(values) > 1:
            more = [f"and {len(values) - _MOST_VALUES} more"] * (len(values) > _MOST_VALUES)
            ranges[path] = [*values[:_MOST_VALUES], *more]
    return ranges


def _by_size(text: str) -> tuple[float, list[object], str]:
    """Sort key: numbers by size, then words. `natural` alone takes 0.01 and 0.001 for equal."""
    try:
        return float(text), [], text
    except ValueError:
        return math.inf, natural(text), text


def _selection(records: Sequence[Record]) -> list[str]:
    chosen = (record.selection for record in records if record.selection)
    return _counted(f"{row.get('rule')} {row.get('metric')} on {row.get('split')}" for row in chosen)


def _bad(records: Sequence[Record]) -> list[str]:
    bad = [record for record in records if record.status != "done"]
    if not bad:
        return ["None."] if records else []
    return [
        f"{record.key} (seed {record.seed}): {record.status}. {record.reason or 'No reason recorded.'}"
        for record in bad
    ]


def _compute(records: Sequence[Record]) -> list[str]:
    def total(name: str) -> float:
        return sum(record.cost.get(name) or 0 for record in records)

    def missing(name: str) -> str:
        lacking = sum(record.cost.get(name) is None for record in records)
        return f" ({lacking} runs do not say)" if lacking else ""

    if not records:
        return []
    texts = [f"{total('seconds') / 3600:.1f} hours of wall time over all runs{missing('seconds')}."]
    texts.append(
        f"{total('steps'):,.0f} training steps{missing('steps')}, {total('tokens'):,.0f} tokens{missing('tokens')}."
    )
    texts.append(f"{total('flops'):.3g} floating-point operations, estimated{missing('flops')}.")
    peaks = [record.cost["peak_memory_bytes"] for record in records if record.cost.get("peak_memory_bytes")]
    return texts + ([f"Most memory of one run: {max(peaks) / 2**30:.1f} GiB."] if peaks else [])


def _hardware(record: Record) -> str:
    facts = record.provenance
    cpus = facts.get("cpus")
    parts = [facts.get("device"), facts.get("platform"), f"{cpus} CPU cores" if cpus else None]
    return ", ".join(str(part) for part in parts if part) or "not recorded"


def _data(records: Sequence[Record]) -> list[str]:
    """One line a task and split: rows and the first digits of the hash, and how many runs used it."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        for split, facts in record.provenance.get("data", {}).items():
            text = f"{facts.get('rows', 0):,} rows, SHA-256 {facts.get('sha256', MISSING)[:16]}"
            seen[str(record.trial.task.name), split, text] += 1
    return [f"{task}, {split}: {text} ({_of(count)})." for (task, split, text), count in sorted(seen.items())]


def _weights(records: Sequence[Record]) -> list[str]:
    seen: Counter[tuple[str, str]] = Counter()
    for record in records:
        facts = record.provenance.get("weights") or {}
        if facts:
            text = f"{facts.get('location', MISSING)}, SHA-256 {facts.get('sha256', MISSING)[:16]}"
            seen[str(record.trial.model.name), text] += 1
    return [f"{model}: {text} ({_of(count)})." for (model, text), count in sorted(seen.items())]


def _software(records: Sequence[Record]) -> list[str]:
    versions: dict[str, set[str]] = defaultdict(set)
    for record in records:
        for name, version in record.provenance.get("packages", {}).items():
            if version:
                versions[name].add(version)
        if record.provenance.get("python"):
            versions["python"].add(record.provenance["python"])
    return [f"{name} {', '.join(sorted(numbers, key=natural))}" for name, numbers in sorted(versions.items())]


def revision(record: Record) -> str:
    """The commit that a run was made with."""
    git = record.provenance.get("git", {})
    commit = git.get("commit")
    return f"{commit[:12]}{' with local changes' if git.get('dirty') else ''}" if commit else "not recorded"


def _unknown(groups: Sequence[Group]) -> list[str]:
    recipes = (group.trial.recipe for group in groups)
    names = {(str(recipe.name), name) for recipe in recipes for name in recipe.unknown}
    nothing = ["Nothing listed by the recipes used."] if groups else []
    return [f"{recipe}: {name}" for recipe, name in sorted(names)] or nothing


def _deviations(records: Sequence[Record]) -> list[str]:
    counts = Counter(text for record in records for text in dict.fromkeys(record.deviations))
    return [f"{text} ({_of(count)})" for text, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _counted(texts: Iterable[str]) -> list[str]:
    counts = Counter(texts)
    return [f"{text} ({_of(count)})" for text, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _of(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
