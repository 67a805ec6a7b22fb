"""The numbers that the papers report, one cell an entry, read from `reported/<paper>.yaml` and checked.

A cell states a value, what was measured (model, method, task, split, metric, `vars`), where it is printed (`at`,
`edition`) and how far it can be trusted (`precision`, `plus_minus`, `independent_sources`, `caveat`). Split and metric
names stay as printed; `canonical_split` and `canonical_metric` translate them into ours, or say None: never comparable.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from repro.errors import DataError

Yaml = Mapping[str, Any]  # the content of a data file, before it is checked

PAPERS = ("lester2021", "liliang2021", "liu2022", "liu2021_v1")
"""Keys of the papers, in the order in which reports show them."""

KINDS = {
    "result": "a number of the paper's own tables and figures",
    "author_rerun": "the authors' own re-run (README)",
    "other_paper": "another paper's number, or its re-run",
    "released_artifact": "the score of a released prompt",
    "parameters": "a parameter count",
    "cost": "a training time",
    "dataset": "a count or share of a data set",
    "statement": "a number in the running text",
    "code_comment": "a number in a comment of the official code",
}
SCORE_KINDS = ("result", "author_rerun", "other_paper", "released_artifact")
"""Kinds of scores, best first."""
PRECISIONS = ("exact", "figure", "text")
"""As printed | read off a plot, with the reading error `plus_minus` | from running text."""

_VALIDATION = "validation, dev, squad v1.1 validation, glue validation, superglue dev, superglue validation"
_SPLITS = {
    "train": "train",
    **dict.fromkeys((*_VALIDATION.split(", "), "superglue validation (dev)", "dev (best epoch)"), "validation"),
    # Sets of another domain than the one trained on: our tasks have them as `test`, the trained one's as `validation`.
    **dict.fromkeys(("mrqa 2019 ood dev", "glue mrpc validation", "glue qqp validation", "test", "test-all"), "test"),
}
_SUBSETS = {"test-seen": "test_seen", "test-unseen": "test_unseen"}
"""WebNLG: parts of a split. Not a split of ours; comparable with a record that has exactly this key."""

DEFAULT_FLOOR = 1.0
"""Points within which two numbers count as equal: runs of one code on a large set differ by about this much (the
P-tuning v2 README against its paper; independent runs of prefix-tuning on E2E, BLEU 68.8 against 69.7 and 70.3)."""


@dataclass(frozen=True)
class Reported:
    """One number that a paper reports."""

    paper: str
    id: str
    at: str
    """Table, figure or section."""
    kind: str
    metric: str
    value: float | str
    """In the printed unit; `percent` converts. A text only in cells of kind `statement`."""
    edition: str | None = None
    """acl | v1 | both | code, where editions of the paper differ."""
    model: str | None = None
    method: str | None = None
    task: str | None = None
    split: str | None = None
    std: float | None = None
    n_runs: int | None = None
    unit: str | None = None
    vars: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """What else defines the cell."""
    precision: str = "exact"
    plus_minus: float | None = None
    independent_sources: int | None = None
    """How many separate copies of the paper agree on the value."""
    caveat: str | None = None
    usable: bool = True
    """False for a value that cannot be right, as its caveat explains: it is shown, never compared."""

    @property
    def scale(self) -> float:
        """Factor from the printed unit to ours (100 for METEOR 0.46 of WebNLG, else 1)."""
        return 100.0 if (self.paper, self.task, self.metric) in _metrics().fractions else 1.0

    @property
    def number(self) -> float:
        """The value in our unit (percent, except NIST and CIDEr).

        Raises:
            DataError: the cell holds a text.
        """
        if isinstance(self.value, str):
            raise DataError(
                f"the cell {self.id} holds the text {self.value!r}: only cells of kind result can be compared."
            )
        # Rounded, because 0.46 * 100 is 46.00000000000001 otherwise.
        return round(self.value * self.scale, 6)

    @property
    def spread(self) -> float | None:
        """The printed standard deviation in our unit; None where there is none."""
        return None if self.std is None else round(self.std * self.scale, 6)

    @cached_property
    def our_split(self) -> str | None:
        """Key under which a record of ours holds this split, or None."""
        return split_key(self.split)

    @cached_property
    def our_metric(self) -> str | None:
        """Canonical name of the metric, or None."""
        return canonical_metric(self.metric, self.task)


@dataclass(frozen=True)
class Paper:
    """One paper and its cells, in the order of the file."""

    key: str
    title: str
    authors: str
    venue: str
    arxiv: str
    read: str
    """Which edition was read."""
    cells: tuple[Reported, ...]


def canonical_split(name: str | None) -> str | None:
    """train, validation or test; None for a split that is unstated, a part of one, or unknown."""
    return _SPLITS.get(name.strip().lower()) if name else None


def split_key(name: str | None) -> str | None:
    """As `canonical_split`, and `test_seen` / `test_unseen` for the two halves of WebNLG's test set."""
    if not name:
        return None
    return canonical_split(name) or _SUBSETS.get(name.strip().lower().replace("_", "-"))


def canonical_metric(name: str | None, task: str | None = None) -> str | None:
    """Our name of a metric, for names in papers and in records alike; None if it has none.

    Args:
        name: as printed or recorded.
        task: the paper's key of the task: a bare `f1` and SPoT's `task_score` mean different things on different tasks.
    """
    if not name:
        return None
    known, plain = _metrics(), name.strip()
    if plain == "task_score":
        if task in known.single_metric_tasks:
            return "accuracy"
        return plain if task in known.two_metric_tasks else None
    ours = known.aliases.get(plain) or known.aliases.get(plain.lower()) or (plain if plain in _scores() else None)
    return known.f1_of_task.get(task or "", "f1") if ours == "f1" else ours


@cache
def method_settings() -> tuple[tuple[str, Mapping[str, str | bool]], ...]:
    """(name in the cells, {path of a config's field: pattern, or whether it holds anything}) of `methods.yaml`."""
    entries = read_yaml(Path(__file__).with_name("methods.yaml"))
    return tuple((entry["name"], entry["fields"]) for entry in entries)


@dataclass(frozen=True)
class _Metrics:
    """The file `metrics.yaml`."""

    aliases: Mapping[str, str]
    differences: frozenset[str]
    f1_of_task: Mapping[str, str]
    single_metric_tasks: frozenset[str]
    two_metric_tasks: frozenset[str]
    fractions: frozenset[tuple[str, str | None, str]]
    """(paper, task, metric)"""
    task_floors: Mapping[str, float]
    metric_floors: Mapping[str, float]


@cache
def _metrics() -> _Metrics:
    data = read_yaml(Path(__file__).with_name("metrics.yaml"))
    fractions = [(e["paper"], task, name) for e in data["fractions"] for task in e["tasks"] for name in e["metrics"]]
    return _Metrics(
        aliases=data["aliases"],
        differences=frozenset(data["differences"]),
        f1_of_task=data["f1_of_task"],
        single_metric_tasks=frozenset(data["single_metric_tasks"]),
        two_metric_tasks=frozenset(data["two_metric_tasks"]),
        fractions=frozenset(fractions),
        task_floors=data["floors"]["tasks"],
        metric_floors=data["floors"]["metrics"],
    )


@cache
def _scores() -> frozenset[str]:
    """Names that the papers print for scores, and our names for them."""
    printed = {cell.metric for key in PAPERS for cell in load(key).cells if cell.kind in SCORE_KINDS}
    return frozenset(printed - _metrics().differences - {"task_score"}) | set(_metrics().aliases.values())


@cache
def load(paper: str) -> Paper:
    """One paper with all its cells.

    Raises:
        DataError: an unknown paper, or a file that breaks the schema (the message names the file and the cell).
    """
    if paper not in PAPERS:
        raise DataError(f"no paper is called {paper!r}: the papers are {', '.join(PAPERS)}.")
    path = Path(__file__).parent / "reported" / f"{paper}.yaml"
    return parse_paper(read_yaml(path), path.name)


def cells(**filters: object) -> tuple[Reported, ...]:
    """All cells whose fields equal the filters, e.g. `cells(paper="liu2022", kind="result", model="bert-large")`.

    A filter given as a tuple, list or set means "any of these". Properties such as `our_split` can be filters too.

    Raises:
        DataError: a filter that is no field of a cell.
    """
    allowed = {f.name for f in fields(Reported)} | {"our_split", "our_metric"}
    unknown = sorted(set(filters) - allowed)
    if unknown:
        raise DataError(
            f"cells cannot be filtered by {', '.join(unknown)}: the fields are {', '.join(sorted(allowed))}."
        )
    of_papers = (cell for key in PAPERS if _passes(key, filters.get("paper", PAPERS)) for cell in load(key).cells)
    return tuple(
        cell for cell in of_papers if all(_passes(getattr(cell, name), want) for name, want in filters.items())
    )


def cell(name: str) -> Reported:
    """The cell with this id.

    Raises:
        DataError: there is none.
    """
    found = _by_id().get(name)
    if found is None:
        raise DataError(f"there is no cell {name!r}: an id is `<paper>/...` as in the files of papers/reported.")
    return found


@cache
def _by_id() -> dict[str, Reported]:
    return {found.id: found for key in PAPERS for found in load(key).cells}


def rounding(cell: Reported) -> float:
    """Half a unit of the last printed digit, in our unit; the reading error for a value read off a plot.

    Yaml drops trailing zeros (0.40 becomes 0.4), so the digits are the most that any exact result of the same table,
    task and metric shows.
    """
    if cell.precision == "figure" and cell.plus_minus is not None:
        return cell.plus_minus * cell.scale
    return round(0.5 * 10.0 ** -printed_decimals(cell) * cell.scale, 9)


def floor(cell: Reported) -> float:
    """Half width within which our mean counts as equal to the cell whatever the spread, in our unit."""
    by_task = _metrics().task_floors.get(cell.task or "", DEFAULT_FLOOR)
    return _metrics().metric_floors.get(cell.our_metric or "", by_task)


def printed_decimals(cell: Reported) -> int:
    """Digits after the point as printed: the most that any exact result of the same table, task and metric shows."""
    return max(decimals(cell.value), _printed_decimals().get(_column(cell), 0))


def decimals(value: object) -> int:
    """Digits after the point of a number as Python prints it; 0 for a text."""
    text = repr(value)
    return len(text.partition(".")[2]) if isinstance(value, float) and "e" not in text else 0


def _column(cell: Reported) -> tuple[str, str, str | None, str]:
    # "ACL Table 2 = arXiv-v1 Table 1" is the same table as "ACL Table 2".
    return cell.paper, cell.at.partition(" = ")[0], cell.task, cell.metric


@cache
def _printed_decimals() -> dict[tuple[str, str, str | None, str], int]:
    """{(paper, table, task, metric): most digits after the point among exact results}."""
    most: dict[tuple[str, str, str | None, str], int] = {}
    for cell in cells(kind="result", precision="exact"):
        most[_column(cell)] = max(most.get(_column(cell), 0), decimals(cell.value))
    return most


def _passes(value: object, want: object) -> bool:
    return value in want if isinstance(want, (tuple, list, set, frozenset)) else value == want


def read_yaml(path: Path) -> Any:
    """The content of a data file of this package.

    Raises:
        DataError: it cannot be read, or is no yaml.
    """
    import yaml

    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, Loader=loader)
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"the file of reported numbers {path.name} cannot be read: {error}.") from error


def data_file(folder: str, paper: str, key: str, kind: type) -> Yaml:
    """The content of `<folder>/<paper>.yaml`, which says `paper: <paper>` and has a list or a dict under a key.

    Raises:
        DataError: an unknown paper, or another content.
    """
    load(paper)  # refuses an unknown paper
    data: Yaml = read_yaml(Path(__file__).parent / folder / f"{paper}.yaml")
    if not isinstance(data, dict) or data.get("paper") != paper or not isinstance(data.get(key), kind):
        raise DataError(f"{folder}/{paper}.yaml needs `paper: {paper}` and a {kind.__name__} `{key}`.")
    return data


def parse_paper(data: Yaml, where: str) -> Paper:
    """A paper from the content of its yaml file, checked.

    Args:
        data: what the yaml loader gave.
        where: name of the file, for messages.

    Raises:
        DataError: missing header fields, an unknown kind or precision, a value that is no number, a repeated id, ...
    """
    header = ("paper", "title", "authors", "venue", "arxiv", "read", "cells")
    missing = [key for key in header if not isinstance(data, dict) or key not in data]
    if missing:
        raise DataError(f"{where}: the header lacks {', '.join(missing)}; it needs {', '.join(header)}.")
    if not isinstance(data["cells"], list):
        raise DataError(f"{where}: `cells` must be a list of cells, it is {type(data['cells']).__name__}.")
    found: dict[str, Reported] = {}
    for index, raw in enumerate(data["cells"]):
        cell = _parse_cell(raw, data["paper"], f"{where}, cell {index + 1}")
        if cell.id in found:
            raise DataError(f"{where}, cell {index + 1}: the id {cell.id} is used twice; ids must be unique.")
        found[cell.id] = cell
    return Paper(key=data["paper"], cells=tuple(found.values()), **{key: str(data[key]) for key in header[1:-1]})


def _parse_cell(raw: Yaml, paper: str, where: str) -> Reported:
    required = ("id", "at", "kind", "metric", "value")
    missing = [key for key in required if not isinstance(raw, dict) or raw.get(key) is None]
    if missing:
        raise DataError(f"{where}: it lacks {', '.join(missing)}.")
    where = f"{where} ({raw['id']})"
    if not str(raw["id"]).startswith(f"{paper}/"):
        raise DataError(f"{where}: the id must start with {paper}/.")
    for name, allowed in (("kind", KINDS), ("precision", PRECISIONS)):
        if raw.get(name, "exact") not in allowed:
            raise DataError(f"{where}: the {name} {raw[name]!r} is unknown; allowed are {', '.join(allowed)}.")
    if not isinstance(raw.get("vars") or {}, dict):
        raise DataError(f"{where}: `vars` must map names to values, it is {raw['vars']!r}.")
    if unknown := sorted(set(raw) - {f.name for f in fields(Reported)}):
        raise DataError(f"{where}: unknown keys {', '.join(unknown)}.")
    values = dict(raw)
    values |= {"vars": raw.get("vars") or {}, "caveat": raw.get("caveat") or None, "value": _value(raw, where)}
    for name in ("std", "n_runs", "plus_minus", "independent_sources"):
        if raw.get(name) is not None and not _is_number(raw[name]):
            raise DataError(f"{where}: {name} must be a number, it is {raw[name]!r}.")
    return Reported(paper=paper, **values)


def _value(raw: Yaml, where: str) -> float | str:
    """The value as a number; a text only where the kind allows it. Yaml 1.1 reads 7e-05, without a point, as text."""
    value: float | str = raw["value"]
    may_be_text = raw["kind"] == "statement"  # such as `<20`
    if isinstance(value, str) and not may_be_text:
        with contextlib.suppress(ValueError):
            value = float(value)
    if _is_number(value) or (isinstance(value, str) and may_be_text):
        return value
    raise DataError(f"{where}: the value of a {raw['kind']} must be a number, it is {raw['value']!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
