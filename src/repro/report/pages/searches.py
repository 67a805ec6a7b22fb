"""What was searched: the budget, the setting that validation chose, and every setting's value, not only the best.

Two kinds: searches by a sampler (`hydra/sweeper=optuna`), whose files stand beside the records, and the authors' grids
(`search: true`), which are told from `recipe.search` of the records. Settings are compared by the validation value that
selected their checkpoints; a score of another split is shown of the chosen setting alone, and chooses nothing.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from repro.errors import ConfigError
from repro.report.compare.groups import lookup
from repro.report.markdown import escape, number, table_text
from repro.store.record import Record
from repro.store.searches.journal import Search
from repro.store.searches.outcomes import SPLIT, Outcome, Tried, direction, outcome
from repro.store.searches.summary import QUANTILES, Distribution, chosen

_OUTSIDE = ("paths", "tracker", "recipe", "experiment_name", "rerun", "seed")
"""Parts of a config in which the trials of one grid may differ."""
_LISTED = 30
"""Settings of a longer search are in its file alone."""
_DRAWS = (1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Searched:
    """One search, as the report tells it."""

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
    """Whether settings were drawn independently of what was found, so that a smaller budget can be reckoned."""
    seeds: int

    @property
    def name(self) -> str:
        """Of its file of settings."""
        return "search-" + (re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "other")

    @property
    def chosen(self) -> int | None:
        """Position of the setting that validation chose."""
        return chosen(self.tried, self.direction)

    @property
    def distribution(self) -> Distribution | None:
        """Of the settings that have a value."""
        values = tuple(one.outcome.value for one in self.tried if one.outcome.value is not None)
        return Distribution(values, self.direction) if values else None


def searched(searches: Iterable[Search], records: Iterable[Record]) -> list[Searched]:
    """All searches: those of samplers by their files' names, then the authors' grids.

    Args:
        searches: the files.
        records: of the store.
    """
    known = {record.key: record for record in records}
    found = [_of_sampler(search, known) for search in searches]
    return [*found, *_grids(list(known.values()))]


def _of_sampler(search: Search, known: Mapping[str, Record]) -> Searched:
    tried, keys = [], []
    for one in search.settings:
        result = Outcome("failed", reason=one.refused) if one.refused else _outcome([known.get(k) for k in one.keys])
        tried.append(Tried(one.values, result))
        keys.append(tuple(one.keys))
    sampler = search.sampler
    startup = f", the first {sampler.startup} at random" if sampler.name == "tpe" else ""
    found = Searched(
        title=search.id,
        how=f"proposed by optuna's sampler {sampler.name} (seed {sampler.seed}{startup})",
        space=search.space,
        budget=f"{search.budget} settings",
        metric=search.metric,
        direction=search.direction,
        tried=tuple(tried),
        keys=tuple(keys),
        reported=None,
        at_random=sampler.name == "random",
        seeds=max(1, len(search.seeds)),
    )
    return _with_reported(found, known)


def _outcome(records: Sequence[Record | None]) -> Outcome:
    try:
        return outcome(records)
    except ConfigError as error:
        return Outcome("failed", reason=str(error))


def _grids(records: Sequence[Record]) -> list[Searched]:
    """The authors' grids of which a point ran."""
    cells: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if lookup(record.config, "recipe.search"):
            cells[_cell(record.config)].append(record)
    found = [_of_grid(members) for members in cells.values()]
    return sorted(found, key=lambda one: one.title)


def _cell(config: Mapping[str, Any]) -> str:
    """What the trials of one grid share: everything but what is searched, the seed, and what changes no result."""
    search = lookup(config, "recipe.search")
    plain = copy.deepcopy({name: value for name, value in config.items() if name not in _OUTSIDE})
    for path in search:
        *parents, last = path.split(".")
        node: Any = plain
        for parent in parents:
            node = node.get(parent) or {}
        node.pop(last, None)
    return json.dumps([lookup(config, "recipe.name"), search, plain], sort_keys=True)


def _of_grid(members: Sequence[Record]) -> Searched:
    search: Mapping[str, Sequence[Any]] = lookup(members[0].config, "recipe.search")
    points: dict[tuple[str, ...], list[Record]] = defaultdict(list)
    for record in sorted(members, key=lambda one: (one.seed, one.key)):
        points[tuple(str(lookup(record.config, path)) for path in search)].append(record)
    order = sorted(points, key=lambda point: [_natural(text) for text in point])
    tried = [Tried(dict(zip(search, point, strict=True)), _outcome(points[point])) for point in order]
    config, size = members[0].config, math.prod(len(values) for values in search.values())
    metric = next((str(m) for record in members if (m := record.selection.get("metric"))), "loss")
    names = [str(lookup(config, f"{part}.name")) for part in ("method", "model", "task")]
    found = Searched(
        title=f"{lookup(config, 'recipe.paper') or 'grid'}: {', '.join(names)}",
        how=f"the authors' grid (recipe {lookup(config, 'recipe.name')})",
        space={path: ", ".join(map(str, values)) for path, values in search.items()},
        budget=f"{size} points",
        metric=metric,
        direction=direction(members[0].trial.task.metrics, metric) or "maximize",
        tried=tuple(tried),
        keys=tuple(tuple(record.key for record in points[point]) for point in order),
        reported=None,
        at_random=True,
        seeds=max(len(own) for own in points.values()),
    )
    return _with_reported(found, {record.key: record for record in members})


def _natural(text: str) -> tuple[bool, float, str]:
    try:
        return False, float(text), ""
    except ValueError:
        return True, 0.0, text


def _with_reported(found: Searched, known: Mapping[str, Record]) -> Searched:
    """With the chosen setting's score on the reported split: looked up when the choice is made."""
    best = found.chosen
    if best is None:
        return found
    records = [known[key] for key in found.keys[best] if key in known]
    split = str(lookup(records[0].config, "task.report_split"))
    values = [record.metrics.get(split, {}).get(found.metric) for record in records]
    if split == SPLIT or any(value is None for value in values):
        return found
    mean = sum(float(value) for value in values if value is not None) / len(values)
    return Searched(**{**vars(found), "reported": f"{found.metric} {number(mean)} ({split})"})


def facts(one: Searched) -> list[tuple[str, str]]:
    """What is said of a search, as (what, text)."""
    statuses = [tried.outcome.status for tried in one.tried]
    done, failed, left = (statuses.count(name) for name in ("done", "failed", "open"))
    best, spread = one.chosen, one.distribution
    seeds = f", {one.seeds} seeds each" if one.seeds > 1 else ""
    said = [
        ("settings", one.how),
        ("space", "; ".join(f"{name}: {values}" for name, values in one.space.items())),
        ("budget", f"{len(statuses)} of {one.budget} tried{seeds}: {done} with a value, {failed} failed, {left} open"),
    ]
    if best is None or spread is None:
        return [*said, ("chosen", "nothing: no setting has a validation value")]
    words = "greatest" if one.direction == "maximize" else "least"
    said.append(("chosen", f"the {words} {one.metric} on {SPLIT}: {_setting(one.tried[best])}"))
    names = ("least", "quarter", "median", "three quarters", "greatest")
    quantiles = zip(names, QUANTILES, strict=True)
    said.append(
        (
            f"all {len(spread.values)} values of {one.metric} ({SPLIT})",
            ", ".join(f"{name} {number(spread.quantile(share))}" for name, share in quantiles),
        )
    )
    if one.at_random and len(spread.values) > 1:
        draws = [count for count in _DRAWS if count <= len(spread.values)]
        text = ", ".join(f"{number(spread.expected_best(count))} of {count}" for count in draws)
        said.append(("expected best of fewer settings (Dodge et al. 2019)", text))
    if one.reported is not None:
        said.append(("the chosen setting's score", one.reported))
    else:
        said.append(("caution", "the value that chose is also the score: the best of several is an optimistic one"))
    return said


def _setting(tried: Tried) -> str:
    values = ", ".join(f"{name}={value}" for name, value in tried.values.items())
    return f"{values} ({number(tried.outcome.value)})"


def head(one: Searched) -> list[str]:
    """Of the table of settings."""
    return ["", *one.space, f"{one.metric} ({SPLIT})", "status", "runs"]


def settings(one: Searched) -> list[list[str]]:
    """Every setting, in the order in which they were tried (a grid's: of its values)."""
    lines = []
    for index, (tried, keys) in enumerate(zip(one.tried, one.keys, strict=True)):
        mark = "chosen" if index == one.chosen else str(index + 1)
        values = [tried.values.get(name, "") for name in one.space]
        status = " ".join(text for text in (tried.outcome.status, tried.outcome.reason) if text)
        lines.append([mark, *values, number(tried.outcome.value), status, ", ".join(keys)])
    return lines


def section(found: Sequence[Searched]) -> str:
    """`## Searches` of REPORT.md."""
    parts = [
        "## Searches\n\nSettings are compared by the validation value that selected their checkpoints, never by a test "
        "score. Every setting that was tried counts, failed ones too.\n"
    ]
    if not found:
        parts.append("Nothing was searched.\n")
    for one in found:
        lines = "".join(f"- {escape(what)}: {escape(text)}\n" for what, text in facts(one))
        link = f"[all settings](tables/{one.name}.csv)\n"
        listed = table_text([escape(text) for text in head(one)], ([escape(text) for text in line]
                            for line in settings(one)))  # fmt: skip
        shown = f"{listed}\n" if len(one.tried) <= _LISTED else ""
        parts.append(f"### {escape(one.title)}\n\n{lines}\n{shown}{link}")
    return "\n".join(parts)


def files(found: Sequence[Searched]) -> dict[str, str]:
    """{path below the output folder: content}: the settings of each search."""
    texts = {}
    for one in found:
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["setting", *head(one)[1:]])
        for index, line in enumerate(settings(one)):
            value = one.tried[index].outcome.value
            exact = "" if value is None else round(value, 6)
            writer.writerow([index + 1, *line[1 : 1 + len(one.space)], exact, *line[2 + len(one.space) :]])
        texts[f"tables/{one.name}.csv"] = stream.getvalue()
    return texts
