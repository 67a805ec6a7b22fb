"""Searches: the budget, the setting that validation chose, and every setting's value, not only the best.

Two kinds: searches by a sampler (`hydra/sweeper=optuna`), whose files stand beside the records, and the authors' grids
(`search: true`), recognised by `recipe.search` of the records. Settings are compared by the validation value that
selected their checkpoints; the score of another split is shown for the chosen setting only, and chooses nothing.
"""

from __future__ import annotations

import copy
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from repro.errors import ConfigError
from repro.report.markdown import csv_text, escape, escaped_table, file_names, number
from repro.store.record import Record
from repro.store.searches.journal import Search
from repro.store.searches.outcomes import SPLIT, Outcome, Tried, direction, outcome
from repro.store.searches.summary import QUANTILES, Distribution, chosen
from repro.store.trial_facts import value_at

_OUTSIDE = ("paths", "tracker", "recipe", "experiment_name", "rerun", "seed")
"""Parts of a config in which the trials of one grid may differ."""
_LISTED = 30
"""Settings of a longer search are in its file alone."""
_DRAWS = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class SearchSummary:
    """One search, as the report shows it."""

    title: str
    how: str
    """Who proposed the settings."""
    space: Mapping[str, str]
    """{override: its values}"""
    budget: str
    """How many settings there were to try, as a text."""
    metric: str
    direction: str
    tried: tuple[Tried, ...]
    keys: tuple[tuple[str, ...], ...]
    """Run keys of each setting."""
    reported: str | None
    """The chosen setting's score on the reported split, where that is another one; None where it is not."""
    at_random: bool
    """Whether settings were drawn independently of the outcomes, so that smaller budgets can be estimated."""
    seeds: int
    name: str = ""
    """Of its file of settings."""

    @property
    def chosen(self) -> int | None:
        """Position of the setting that validation chose."""
        return chosen(self.tried, self.direction)

    @property
    def distribution(self) -> Distribution | None:
        """Of the settings that have a value."""
        values = tuple(tried.outcome.value for tried in self.tried if tried.outcome.value is not None)
        return Distribution(values, self.direction) if values else None


def searched(searches: Iterable[Search], records: Iterable[Record]) -> list[SearchSummary]:
    """All searches: those of samplers by their files' names, then the authors' grids.

    Args:
        searches: the files.
        records: of the store.
    """
    known = {record.key: record for record in records}
    summaries = [*(_of_sampler(search, known) for search in searches), *_grids(known.values())]
    names = file_names("search", [summary.title for summary in summaries], str)
    return [replace(summary, name=name) for summary, name in zip(summaries, names, strict=True)]


def _of_sampler(search: Search, known: Mapping[str, Record]) -> SearchSummary:
    outcomes = [
        Outcome("failed", reason=setting.refused)
        if setting.refused
        else _outcome([known.get(key) for key in setting.keys])
        for setting in search.settings
    ]
    sampler = search.sampler
    startup = f", the first {sampler.startup} at random" if sampler.name == "tpe" else ""
    summary = SearchSummary(
        title=search.id,
        how=f"proposed by optuna's sampler {sampler.name} (seed {sampler.seed}{startup})",
        space=search.space,
        budget=f"{search.budget} settings",
        metric=search.metric,
        direction=search.direction,
        tried=tuple(Tried(setting.values, out) for setting, out in zip(search.settings, outcomes, strict=True)),
        keys=tuple(tuple(setting.keys) for setting in search.settings),
        reported=None,
        at_random=sampler.name == "random",
        seeds=max(1, len(search.seeds)),
    )
    return _with_reported(summary, known)


def _outcome(records: Sequence[Record | None]) -> Outcome:
    try:
        return outcome(records)
    except ConfigError as error:
        return Outcome("failed", reason=str(error))


def _grids(records: Iterable[Record]) -> list[SearchSummary]:
    """The authors' grids of which a point ran."""
    cells: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.trial.recipe.search:
            cells[_cell(record)].append(record)
    return sorted((_of_grid(members) for members in cells.values()), key=lambda summary: summary.title)


def _cell(record: Record) -> str:
    """What the trials of one grid share: everything but what is searched, the seed, and what changes no result."""
    recipe = record.trial.recipe
    shared: dict[str, object] = copy.deepcopy({k: v for k, v in record.config.items() if k not in _OUTSIDE})
    for path in recipe.search:
        *parents, last = path.split(".")
        node = value_at(shared, ".".join(parents)) if parents else shared
        if isinstance(node, dict):
            node.pop(last, None)
    return json.dumps([recipe.name, recipe.search, shared], sort_keys=True)


def _of_grid(members: Sequence[Record]) -> SearchSummary:
    trial = members[0].trial
    recipe, search = trial.recipe, trial.recipe.search
    points: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in sorted(members, key=lambda member: (member.seed, member.key)):
        points[tuple(str(value_at(record.config, path)) for path in search)].append(record)
    order = sorted(points, key=lambda point: [_natural(text) for text in point])
    metric = next((str(m) for record in members if (m := record.selection.get("metric"))), "loss")
    names = f"{trial.method.name}, {trial.model.name}, {trial.task.name}"
    summary = SearchSummary(
        title=f"{recipe.paper or 'grid'}: {names}",
        how=f"the authors' grid (recipe {recipe.name})",
        space={path: ", ".join(map(str, values)) for path, values in search.items()},
        budget=f"{math.prod(len(values) for values in search.values())} points",
        metric=metric,
        direction=direction(trial.task.metrics, metric) or "maximize",
        tried=tuple(Tried(dict(zip(search, point, strict=True)), _outcome(points[point])) for point in order),
        keys=tuple(tuple(record.key for record in points[point]) for point in order),
        reported=None,
        at_random=True,
        seeds=max(len(scores) for scores in points.values()),
    )
    return _with_reported(summary, {record.key: record for record in members})


def _natural(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), ""
    except ValueError:
        return True, 0.0, text


def _with_reported(summary: SearchSummary, known: Mapping[str, Record]) -> SearchSummary:
    """With the chosen setting's score on the reported split: looked up when the choice is made."""
    best = summary.chosen
    if best is None:
        return summary
    records = [known[key] for key in summary.keys[best] if key in known]
    split = str(records[0].trial.task.report_split)
    values = [record.metrics.get(split, {}).get(summary.metric) for record in records]
    if split == SPLIT or any(value is None for value in values):
        return summary
    mean = sum(float(value) for value in values if value is not None) / len(values)
    return replace(summary, reported=f"{summary.metric} {number(mean)} ({split})")


def facts(search: SearchSummary) -> list[tuple[str, str]]:
    """The facts about a search, as (what, text)."""
    statuses = [tried.outcome.status for tried in search.tried]
    words = {"done": "with a value", "failed": "failed", "open": "open"}
    counts = ", ".join(f"{statuses.count(status)} {word}" for status, word in words.items())
    best, spread = search.chosen, search.distribution
    seeds = f", {search.seeds} seeds each" if search.seeds > 1 else ""
    texts = [
        ("settings", search.how),
        ("space", "; ".join(f"{name}: {values}" for name, values in search.space.items())),
        (
            "budget",
            f"{len(statuses)} of {search.budget} tried{seeds}: {counts}",
        ),
    ]
    if best is None or spread is None:
        return [*texts, ("chosen", "nothing: no setting has a validation value")]
    extreme = "greatest" if search.direction == "maximize" else "least"
    texts.append(("chosen", f"the {extreme} {search.metric} on {SPLIT}: {_setting(search.tried[best])}"))
    names = ("least", "quarter", "median", "three quarters", "greatest")
    quantiles = zip(names, QUANTILES, strict=True)
    texts.append(
        (
            f"all {len(spread.values)} values of {search.metric} ({SPLIT})",
            ", ".join(f"{name} {number(spread.quantile(share))}" for name, share in quantiles),
        )
    )
    if search.at_random and len(spread.values) > 1:
        draws = [count for count in _DRAWS if count <= len(spread.values)]
        text = ", ".join(f"{number(spread.expected_best(count))} of {count}" for count in draws)
        texts.append(("expected best of fewer settings (Dodge et al. 2019)", text))
    if search.reported is not None:
        texts.append(("the chosen setting's score", search.reported))
    else:
        texts.append(("caution", "the value that chose is also the score: the best of several is an optimistic one"))
    return texts


def _setting(tried: Tried) -> str:
    values = ", ".join(f"{name}={value}" for name, value in tried.values.items())
    return f"{values} ({number(tried.outcome.value)})"


def head(search: SearchSummary) -> list[str]:
    """Head of the table of settings."""
    return ["", *search.space, f"{search.metric} ({SPLIT})", "status", "runs"]


def settings(search: SearchSummary) -> list[list[str]]:
    """Every setting, in the order in which they were tried (a grid's: of its values)."""
    lines = []
    for index, (tried, keys) in enumerate(zip(search.tried, search.keys, strict=True)):
        mark = "chosen" if index == search.chosen else str(index + 1)
        values = [tried.values.get(name, "") for name in search.space]
        status = " ".join(text for text in (tried.outcome.status, tried.outcome.reason) if text)
        lines.append([mark, *values, number(tried.outcome.value), status, ", ".join(keys)])
    return lines


def section(searches: Sequence[SearchSummary]) -> str:
    """`## Searches` of REPORT.md."""
    parts = [
        "## Searches\n\nSettings are compared by the validation value that selected their checkpoints, never by a test "
        "score. Every setting that was tried counts, failed ones too.\n"
    ]
    if not searches:
        parts.append("Nothing was searched.\n")
    for search in searches:
        lines = "".join(f"- {escape(what)}: {escape(text)}\n" for what, text in facts(search))
        link = f"[all settings](tables/{search.name}.csv)\n"
        listed = escaped_table(head(search), settings(search))
        shown = f"{listed}\n" if len(search.tried) <= _LISTED else ""
        parts.append(f"### {escape(search.title)}\n\n{lines}\n{shown}{link}")
    return "\n".join(parts)


def files(searches: Sequence[SearchSummary]) -> dict[str, str]:
    """{path below the output folder: content}: the settings of each search."""
    texts = {}
    for search in searches:
        at = 1 + len(search.space)  # the column of the value
        values = (tried.outcome.value for tried in search.tried)
        lines = [
            [number, *line[1:at], value, *line[at + 1 :]]
            for number, (line, value) in enumerate(zip(settings(search), values, strict=True), start=1)
        ]
        texts[f"tables/{search.name}.csv"] = csv_text(["setting", *head(search)[1:]], lines)
    return texts
