"""Records put together that differ only in their seed: what a number with an interval is made of."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from repro.config.run_key import flat, result_fields, run_key
from repro.papers.registry import PAPERS
from repro.store.record import Record


@dataclass(frozen=True)
class Group:
    """Records that differ only in their seed, and in which draw of a low-data set they saw, in the order of the seeds.

    The papers' low-data points are means over draws and seeds (Li and Liang 2021: 5 draws, 2 seeds each).
    """

    key: str
    records: tuple[Record, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved config of the first record."""
        return self.records[0].config

    @cached_property
    def names(self) -> dict[str, str | None]:
        """model, method and task as the papers call them (None: no paper has it); model_name, task_name: as we do."""
        found = {name: lookup(self.config, f"{name}.paper_name") for name in ("model", "task")}
        found |= {f"{name}_name": lookup(self.config, f"{name}.name") for name in ("model", "task")}
        return found | {"method": paper_method(self.config)}

    @cached_property
    def fields(self) -> dict[str, Any]:
        """{dotted path: value} of every field of the config that can change a result."""
        fields = result_fields(self.config)
        return {path: value for path, value in flat(fields) if path != "seed"}

    @cached_property
    def scored(self) -> tuple[Record, ...]:
        """Records with a score: done and collapsed. A collapsed run is a result, a failed one is none."""
        return tuple(record for record in self.records if record.status in ("done", "collapsed"))

    @cached_property
    def paper(self) -> str | None:
        """The paper that the recipe or the experiment names, or None."""
        named = lookup(self.config, "recipe.paper") or self.exhibit[0]
        return named if named in PAPERS else None

    @cached_property
    def exhibit(self) -> tuple[str, str]:
        """Paper and exhibit of `experiment_name`, e.g. ("liu2022", "figure4"); empty texts if there is none."""
        paper, _, exhibit = str(lookup(self.config, "experiment_name") or "").partition("/")
        return paper, plain_text(exhibit)

    def values(self, split: str, metric: str) -> list[float]:
        """One finite value a scored record, in the order of the seeds."""
        found = (record.metrics.get(split, {}).get(metric) for record in self.scored)
        return [float(value) for value in found if value is not None and math.isfinite(value)]

    @cached_property
    def measures(self) -> Sequence[tuple[str, str]]:
        """(split, metric) of every score but losses, the reported split and the metric of selection first."""
        pairs = {pair for record in self.scored for pair in record.scores if pair[0] != "train" and pair[1] != "loss"}
        main_split = lookup(self.config, "task.report_split")
        main_metrics = {record.selection.get("metric") for record in self.records}
        return sorted(pairs, key=lambda pair: (pair[0] != main_split, pair[0], pair[1] not in main_metrics, pair[1]))


def groups(records: Iterable[Record]) -> list[Group]:
    """Records put together that differ only in their seed, in an order that does not depend on the input's."""
    members: dict[str, dict[str, Record]] = defaultdict(dict)
    known: dict[str, str] = {}
    for record in records:
        members[_group_key(record, known)][record.key] = record
    rows = {key: sorted(found.values(), key=lambda r: (r.seed, r.key)) for key, found in members.items()}
    found = [Group(key, tuple(row)) for key, row in rows.items()]
    return sorted(found, key=lambda g: (*(str(g.names[n]) for n in ("task_name", "model_name", "method")), g.key))


def paper_method(config: Mapping[str, Any]) -> str | None:
    """The method as the registry calls it: some settings of one method of ours are methods of their own there."""
    name = lookup(config, "method.name")
    special = {
        "fine_tuning_multitask": name == "fine_tuning"
        and bool(lookup(config, "task.parts"))
        and not lookup(config, "task.metrics"),
        "pet_fine_tuning": name == "fine_tuning" and lookup(config, "method.head") == "verbaliser",
        "fine_tuning_top2": name == "ft_top" and lookup(config, "method.blocks") == 2,
        "p_tuning_v1": name == "p_tuning",
        "p_tuning_v2_multitask": name == "p_tuning_v2" and str(lookup(config, "method.start_task")).startswith("mpt_"),
    }
    return next((theirs for theirs, here in special.items() if here), None if name is None else str(name))


def _group_key(record: Record, known: dict[str, str]) -> str:
    plain = {name: value for name, value in record.config.items() if name != "seed"}
    limit = lookup(plain, "task.limit") or {}
    if not any(limit.get(split) for split in ("train", "validation", "test")):
        plain = plain | {"task": {name: value for name, value in plain.get("task", {}).items() if name != "limit"}}
    if low := lookup(plain, "task.low_data"):
        plain = plain | {"task": plain["task"] | {"low_data": {**low, "subset": 0}}}
    # The run key leaves the papers' names out: a record that claims another name must not share a row.
    names = (str(lookup(record.config, f"{n}.paper_name")) for n in ("model", "task"))
    # Most records share their config but for the seed, and a run key takes long to compute.
    text = json.dumps(plain, sort_keys=True)
    if text not in known:
        known[text] = run_key(plain)
    return ":".join([known[text], *names])


def lookup(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path of a resolved config; None if the path does not exist."""
    node: Any = config
    for part in path.split("."):
        # A config is made of plain dicts; asking for a Mapping takes most of the time of a large store.
        node = node.get(part) if isinstance(node, (dict, Mapping)) else None
    return node


def plain_text(text: str) -> str:
    """Letters and digits in lower case."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
