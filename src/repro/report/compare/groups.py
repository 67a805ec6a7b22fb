"""Records that differ only in their seed, put together: the basis of a number with an interval."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

from repro.config.run_key import flat, result_fields, run_key
from repro.papers.registry import PAPERS, method_settings
from repro.store.record import Record
from repro.store.trial_facts import TrialFacts, group_of, value_at


@dataclass(frozen=True)
class Names:
    """What a group trained, in the papers' words and in ours."""

    method: str | None
    """As the papers call it; the method's own name where no paper has it."""
    model: str | None
    """The papers' key of the model; None: no paper used it."""
    task: str | None
    """The papers' key of the task; None: no paper reports it."""
    model_name: str
    task_name: str
    paper: str | None
    """The paper that the recipe or the experiment names, or None."""


@dataclass(frozen=True)
class Group:
    """Records that differ only in their seed, and in which draw of a low-data set they saw, in the order of the seeds.

    The papers' low-data points are means over draws and seeds (Li and Liang 2021: 5 draws, 2 seeds each).
    """

    key: str
    records: tuple[Record, ...]

    @property
    def trial(self) -> TrialFacts:
        """The config of the first record."""
        return self.records[0].trial

    def value(self, path: str) -> object:
        """The value at a dotted path of the first record's config, for a path that is data itself."""
        return value_at(self.records[0].config, path)

    @cached_property
    def names(self) -> Names:
        """What was trained."""
        model, task = self.trial.model, self.trial.task
        method = paper_method(self.records[0].config)
        paper = self.trial.recipe.paper or self.exhibit[0]
        known = paper if paper in PAPERS else None
        return Names(method, model.paper_name, task.paper_name, str(model.name), str(task.name), known)

    @cached_property
    def fields(self) -> dict[str, object]:
        """{dotted path: value} of every field of the config that can change a result."""
        fields = result_fields(self.records[0].config)
        return {path: value for path, value in flat(fields) if path != "seed"}

    @cached_property
    def scored(self) -> tuple[Record, ...]:
        """Records with a score: done and collapsed. A collapsed run is a result, a failed one is none."""
        return tuple(record for record in self.records if record.status in ("done", "collapsed"))

    @cached_property
    def exhibit(self) -> tuple[str, str]:
        """Paper and exhibit of the experiment, else of the recipe, e.g. ("liu2022", "figure4"); else empty texts."""
        recipe = self.trial.recipe
        stated = self.trial.experiment or (f"{recipe.paper}/{recipe.exhibit}" if recipe.exhibit else "")
        paper, _, exhibit = stated.partition("/")
        return paper, plain_text(exhibit)

    def values(self, split: str, metric: str) -> list[float]:
        """One finite value per scored record, in the order of the seeds."""
        values = (record.metrics.get(split, {}).get(metric) for record in self.scored)
        return [float(value) for value in values if value is not None and math.isfinite(value)]

    @cached_property
    def measures(self) -> Sequence[tuple[str, str]]:
        """(split, metric) of every score but losses, the reported split and the metric of selection first."""
        pairs = {pair for record in self.scored for pair in record.scores if pair[0] != "train" and pair[1] != "loss"}
        main_split = self.trial.task.report_split
        main_metrics = {record.selection.get("metric") for record in self.records}
        return sorted(pairs, key=lambda pair: (pair[0] != main_split, pair[0], pair[1] not in main_metrics, pair[1]))


def groups(records: Iterable[Record]) -> list[Group]:
    """Records put together that differ only in their seed, in an order that does not depend on the input's."""
    members: dict[str, dict[str, Record]] = defaultdict(dict)
    known: dict[str, str] = {}
    for record in records:
        members[_group_key(record, known)][record.key] = record
    grouped = [
        Group(key, tuple(sorted(by_key.values(), key=lambda record: (record.seed, record.key))))
        for key, by_key in members.items()
    ]
    return sorted(grouped, key=lambda g: (g.names.task_name, g.names.model_name, str(g.names.method), g.key))


def paper_method(config: Mapping[str, object]) -> str | None:
    """The method of a trial's config as the papers' cells call it; None: the config names none."""
    plain = dict(config)
    for name, fields in method_settings():
        if all(_agrees(value_at(plain, path), wanted) for path, wanted in fields.items()):
            return name
    return TrialFacts(plain).method.name


def _agrees(value: object, wanted: str | bool) -> bool:
    return bool(value) == wanted if isinstance(wanted, bool) else fnmatchcase(str(value), wanted)


def _group_key(record: Record, known: dict[str, str]) -> str:
    """The key of a record's settings; `known` holds those of configs without their seed, as most share one."""
    settings = {name: value for name, value in record.config.items() if name != "seed"}
    text = repr(settings)
    if text not in known:
        known[text] = _settings_key(settings, record.trial)
    return known[text]


def _settings_key(settings: dict[str, object], trial: TrialFacts) -> str:
    """The run key of settings whatever draw of a low-data set they saw, and the papers' names.

    The run key leaves those names out: a record that claims another name must not share a row.
    """
    task = group_of(settings.get("task"))
    if not trial.task.limit:
        task = {name: value for name, value in task.items() if name != "limit"}
    if trial.task.low_data:
        task = task | {"low_data": {**trial.task.low_data, "subset": 0}}
    return ":".join([run_key(settings | {"task": task}), str(trial.model.paper_name), str(trial.task.paper_name)])


def plain_text(text: str) -> str:
    """Letters and digits in lower case."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
