"""What every metric says of itself, and which tasks of `conf/task` use it: docs/metrics.md, and one metric's story."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache

from repro.config.compose import conf_dir
from repro.config.task_files import task_names, typed_task
from repro.metrics.registry import metric_class, names

_HEAD = """\
# Metrics

<!-- Written by `repro metrics --write docs/metrics.md` from src/repro/metrics and conf/task; a test compares. Do not
edit. -->

A task's config names its metrics, with their options beside the name: `metrics: [{name: accuracy}]`.
`repro metrics NAME` prints what a metric equals (the reference scorer, its version and mode), what proves it, what it
needs and where it deviates. A metric of your own is one module ([own-data.md](own-data.md)).

A metric keeps statistics of each example and reduces their sum, so any aggregate, a part of a split and a paired
bootstrap can be computed from a record without scoring again.

A value that a machine cannot compute (METEOR without Java, say) is **missing**: absent from the record, with the reason
in `missing` and among the deviations, and shown so in the report. It is never 0. `repro metrics --score KEY` computes
the missing values of a stored trial from its stored predictions, once the machine can. Costly metrics (marked `*`) are
left out of evaluations during training, unless the checkpoint is selected by them.

`from_evaluate` is any metric of the `evaluate` library, by name or by the path of a local script:
`{name: from_evaluate, path: chrf, key: score}`. It gives one value a split and no statistics, so it gets no bootstrap.
A script is code and runs only if you name it: `--plugin PATH/SCRIPT.py`.
One that cannot be loaded is refused before anything is trained. The other way round,
`repro.metrics.as_evaluate.load(NAME)` gives each of ours as an `evaluate.Metric`.

ROUGE (`rouge`, `rouge_corpus`) counts the letters a-z and the digits 0-9 only, as its reference scorer does: texts in
other scripts score 0, equal ones too. `strict_span_f1` reads IOB2 and refuses gold tags of another scheme;
`task.options.scheme=IOB2` rewrites IOB1. An option `classes` is the number of the task's labels, and may be left out.

`pip install 'repro[generation-metrics]'` brings the jars of METEOR 1.5 and of the PTB tokeniser (the package
pycocoevalcap, 100 MB; a Java runtime is needed too); `pip install 'repro[neural-metrics]'` brings bert-score."""


def page() -> str:
    """docs/metrics.md: how metrics work, and one table of them."""
    users = tasks()
    lines = ["| metric | values | better | used by |", "| --- | --- | --- | --- |"]
    for name in built_in():
        kind = metric_class(name)
        values = ", ".join(f"`{value}`" for value in _outputs(name))
        better = "higher" if kind.higher_is_better else "**lower**"
        used = ", ".join(users.get(name, ())) or "no task yet"
        lines.append(f"| `{name}`{'*' if kind.costly else ''} | {values} | {better} | {used} |")
    return f"{_HEAD}\n\n" + "\n".join(lines) + "\n"


def story(name: str) -> str:
    """One metric's whole story as Markdown.

    Raises:
        ConfigError: there is no such metric.
    """
    kind = metric_class(name)
    about, deviations = _docstring(kind)
    outputs = ", ".join(f"`{value}` ({kind.units.get(value, 'percent')})" for value in _outputs(name))
    options = [
        one.name if one.default is one.empty else f"{one.name}={one.default!r}"
        for one in inspect.signature(kind).parameters.values()
    ]
    facts = {
        "options": ", ".join(f"`{option}`" for option in options) or "none",
        "values": f"{outputs}; {'higher' if kind.higher_is_better else 'lower'} is better",
        "equals": inspect.getattr_static(kind, "equals", "the metric of the `evaluate` library that `path` names"),
        "evidence": kind.golden or ", ".join(tests_of(kind.__name__)) or "none",
        "needs": kind.needs or "nothing more",
        "used by": ", ".join(tasks().get(name, ())) or "no task yet",
    }
    lines = [f"# {name}", "", about, "", *(f"- {fact}: {text}" for fact, text in facts.items())]
    lines += ["- costly: not computed during training, unless the checkpoint is selected by it"] if kind.costly else []
    return "\n".join([*lines, *(f"- deviation: {text}" for text in deviations)]) + "\n"


def built_in() -> list[str]:
    """The metrics of this package."""
    return [name for name in names() if metric_class(name).__module__ == f"repro.metrics.{name}"]


def _outputs(name: str) -> tuple[str, ...]:
    """A metric's values; those of `from_evaluate` depend on its options."""
    outputs = inspect.getattr_static(metric_class(name), "outputs", ("PATH_KEY",))
    return tuple(outputs)


@cache
def tasks() -> Mapping[str, tuple[str, ...]]:
    """{metric: names of the tasks in conf/task that use it, sorted}."""
    users = defaultdict(set)
    for name in task_names():
        task = typed_task(name, "")
        for part in [task, *task.parts.values()]:
            for metric in [*part.metrics, *part.also_metrics]:
                users[metric["name"]].add(name)
    return {metric: tuple(sorted(of_metric)) for metric, of_metric in users.items()}


def tests_of(name: str) -> list[str]:
    """Files of tests/metrics that name a class."""
    folder = conf_dir().parent
    word = re.compile(rf"\b{name}\b")
    files = sorted((folder / "tests" / "metrics").rglob("test_*.py"))
    return [path.relative_to(folder).as_posix() for path in files if word.search(path.read_text(encoding="utf-8"))]


def _docstring(kind: type) -> tuple[str, list[str]]:
    """The first paragraph of a class's docstring, and its paragraphs that begin with `Deviation:`, each on one line."""
    paragraphs = [" ".join(text.split()) for text in re.split(r"\n\s*\n", inspect.getdoc(kind) or "")]
    deviations = [text.removeprefix("Deviation:").strip() for text in paragraphs if text.startswith("Deviation:")]
    return paragraphs[0], deviations
