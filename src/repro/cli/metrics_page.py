"""The page of metrics: what every class of `repro.metrics` says of itself, and which tasks of `conf/task` use it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import repro.metrics
from repro.config.compose import conf_dir
from repro.config.task_files import task_config, task_names

PERCENT = "percent"
_GENERAL = ("test_metrics_import_light", "test_score_split", "test_evaluate")
"""Tests of all metrics: no evidence for one."""

_HEAD = """\
# Metrics

<!-- Written by `repro metrics --write docs/metrics.md` from src/repro/metrics and conf/task; a test compares. Do not
edit. -->

A metric keeps statistics of each example and reduces their sum, so that any aggregate, a part of a split and a paired
bootstrap can be had from a record without scoring again. `equals` names the scorer, its version and its mode.

A value that a machine cannot compute (METEOR without Java, say) is **missing**: absent from the record, with the reason
in `missing` and among the deviations, and shown so in the report. It is never 0. `repro metrics --score KEY` computes
the missing values of a stored trial from its stored predictions, once the machine can.

`costly` metrics are left out of evaluations during training, unless the checkpoint is chosen by them.

Any metric of the `evaluate` library, by name or by the path of a local script, may stand among a task's metrics:

```yaml
metrics:
  - {_target_: repro.metrics.from_evaluate.FromEvaluate, path: chrf, key: score}
```

It gives one value a split and no statistics, so there is no bootstrap for it. A metric that cannot be loaded is refused
before anything is read or trained. The other way round, `repro.metrics.as_evaluate.load(NAME)` gives each of ours as an
`evaluate.Metric`. NAME is one of {names}, or `module.Class` of any other.

`pip install 'repro[generation-metrics]'` brings the jars of METEOR 1.5 and of the PTB tokeniser (the package
pycocoevalcap, 100 MB; a Java runtime is needed too); `pip install 'repro[neural-metrics]'` brings bert-score."""


def page() -> str:
    """The whole page as Markdown."""
    from repro.metrics.as_evaluate import METRICS

    found = list(metrics())
    users = tasks()
    head = _HEAD.replace("{names}", ", ".join(f"`{name}`" for name in METRICS))
    lines = ["| metric | values | better | used by |", "| --- | --- | --- | --- |"]
    for target, kind in found:
        values = ", ".join(f"`{value}`" for value in kind.outputs)
        better = "higher" if kind.higher_is_better else "**lower**"
        used = ", ".join(users.get(target, ())) or "no task yet"
        lines.append(f"| [{kind.__name__}](#{kind.__name__.lower()}) | {values} | {better} | {used} |")
    return "\n\n".join([head, "\n".join(lines), *(_section(target, kind) for target, kind in found)]) + "\n"


def metrics() -> Iterator[tuple[str, Any]]:
    """(`_target_`, class) of every metric that says what it equals, sorted by module and place."""
    for module in sorted(pkgutil.iter_modules(repro.metrics.__path__), key=lambda one: one.name):
        loaded = importlib.import_module(f"repro.metrics.{module.name}")
        own = [kind for kind in vars(loaded).values() if inspect.isclass(kind) and kind.__module__ == loaded.__name__]
        for kind in own:
            if isinstance(getattr(kind, "equals", None), str):
                yield f"{loaded.__name__}.{kind.__name__}", kind


@cache
def tasks() -> Mapping[str, tuple[str, ...]]:
    """{`_target_`: names of the tasks in conf/task that use it, sorted}."""
    found = defaultdict(set)
    for name in task_names():
        task = task_config(name, "")
        own = [task, *task["parts"].values()]
        for metric in (one for part in own for key in ("metrics", "also_metrics") for one in part.get(key) or ()):
            found[metric["_target_"]].add(name)
    return {target: tuple(sorted(names)) for target, names in found.items()}


def _section(target: str, kind: Any) -> str:
    said, deviations = _said(kind)
    units: Mapping[str, str] = getattr(kind, "units", {})
    values = ", ".join(f"`{value}` ({units.get(value, PERCENT)})" for value in kind.outputs)
    facts = {
        "class": f"`{target}`",
        "values": f"{values}; {'higher' if kind.higher_is_better else 'lower'} is better",
        "equals": kind.equals,
        "evidence": getattr(kind, "golden", None) or ", ".join(tests_of(kind.__name__)) or "none",
        "needs": getattr(kind, "needs", None) or "nothing more",
    }
    lines = [f"## {kind.__name__}", "", said, "", *(f"- {name}: {text}" for name, text in facts.items())]
    lines += ["- costly"] if getattr(kind, "costly", False) else []
    return "\n".join([*lines, *(f"- deviation: {text}" for text in deviations)])


def tests_of(name: str) -> list[str]:
    """Test files that name a class: those of tests/metrics, or any where there is none."""
    folder = conf_dir().parent / "tests"
    word = re.compile(rf"\b{name}\b")
    found = [path for path in sorted(folder.rglob("test_*.py")) if word.search(path.read_text(encoding="utf-8"))]
    own = [path for path in found if path.parent.name == "metrics" and path.stem not in _GENERAL]
    return [path.relative_to(folder.parent).as_posix() for path in own or found]


def _said(kind: Any) -> tuple[str, list[str]]:
    """The first paragraph of a class's docstring, and its paragraphs that begin with `Deviation:`, each on one line."""
    paragraphs = [" ".join(text.split()) for text in re.split(r"\n\s*\n", inspect.getdoc(kind) or "")]
    deviations = [text.removeprefix("Deviation:").strip() for text in paragraphs if text.startswith("Deviation:")]
    return paragraphs[0], deviations


def default_path() -> Path:
    """`docs/metrics.md` of the checkout."""
    return conf_dir().parent / "docs" / "metrics.md"
