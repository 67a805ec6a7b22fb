"""Which metrics can be computed here. A metric that needs more than numpy says so itself (`unavailable`)."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import repro.metrics
from repro.doctor.findings import EXTRA, JAVA, READY, Finding


def classes() -> Iterator[type]:
    """Every metric class of repro.metrics, by module."""
    for found in pkgutil.iter_modules(repro.metrics.__path__):
        module = importlib.import_module(f"repro.metrics.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and _is_metric(value):
                yield value


def _is_metric(value: type) -> bool:
    """Has what a metric is known by; `corpus` stands for `reduce` where only a whole split counts."""
    named = isinstance(getattr(value, "name", None), str) and isinstance(getattr(value, "outputs", None), tuple)
    return named and (hasattr(value, "reduce") or hasattr(value, "corpus"))


def metrics(names: list[str] | None = None) -> list[Finding]:
    """A finding for every metric, or for those named."""
    found = [look(one) for one in classes()]
    return [one for one in found if names is None or one.name in names]


def look(metric: Any) -> Finding:
    """Whether a metric can run, as it says itself."""
    reason, needs = _reason(metric), getattr(metric, "needs", "")
    about = f"{metric.__module__.removeprefix('repro.metrics.')}.{metric.__name__}"  # several share a name
    detail = f"{about}; needs {needs}" if needs else about
    if reason is None:
        return Finding("metric", metric.name, READY, detail)
    state = JAVA if re.search(r"\bjava\b", reason, re.IGNORECASE) else EXTRA
    return Finding("metric", metric.name, state, detail, reason)


def _reason(metric: Any) -> str | None:
    ask = getattr(metric, "unavailable", None)
    if ask is None:
        return None
    try:
        made = metric()
    except TypeError:  # it has arguments without a default, on which what it needs does not depend
        made = object.__new__(metric)
    said = made.unavailable()
    return None if said is None else str(said)
