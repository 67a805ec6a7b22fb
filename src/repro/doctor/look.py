"""Findings about tasks, models and metrics that are named `kind=name[,name]`."""

from __future__ import annotations

from collections.abc import Sequence

from repro.config.compose import options
from repro.doctor.findings import Finding
from repro.errors import ConfigError

KINDS = ("task", "model", "metric")


def findings(words: Sequence[str], data_root: str, deep: bool) -> list[Finding]:
    """A finding for everything that is named, or for all there is.

    Args:
        words: `task=NAME`, `model=NAME`, `metric=NAME`; several names with commas.
        deep: read the data.

    Raises:
        ConfigError: another kind, or no such name.
    """
    from repro.doctor.metrics import metrics
    from repro.doctor.models import models
    from repro.doctor.tasks import tasks

    asked = _named(words)
    lines: list[Finding] = []
    if not asked or "task" in asked:
        lines += tasks(data_root, deep, asked.get("task"))
    if not asked or "model" in asked:
        lines += models(asked.get("model"))
    if not asked or "metric" in asked:
        lines += metrics(asked.get("metric"))
    return lines


def lacking(findings: Sequence[Finding], required: Sequence[str]) -> list[Finding]:
    """What is required and not ready."""
    needed = _named(required)
    return [one for one in findings if one.name in needed.get(one.kind, ()) and not one.ready]


def fingerprints(words: Sequence[str], data_root: str) -> list[str]:
    """Rows and content hashes of tasks, as conf/task states them."""
    from repro.doctor.fingerprints import fingerprint

    return [line for task in _named(words).get("task", []) for line in fingerprint(task, data_root)]


def majorities(words: Sequence[str], data_root: str) -> list[str]:
    """Scores of constant answers: of the named tasks, or of all."""
    from repro.doctor.fingerprints import every_majority, majority

    if not words:
        return every_majority(data_root)
    return [line for task in _named(words).get("task", []) for line in majority(task, data_root)]


def _named(words: Sequence[str]) -> dict[str, list[str]]:
    """{task, model or metric: names} of words `kind=name[,name]`."""
    asked: dict[str, list[str]] = {}
    for word in words:
        kind, _, names = word.partition("=")
        if kind not in KINDS or not names:
            raise ConfigError(f"{word}: say task=NAME, model=NAME or metric=NAME.")
        for name in names.split(","):
            if name not in _known(kind):
                raise ConfigError(f"{kind}={name}: there is none; allowed are {', '.join(sorted(_known(kind)))}.")
            asked.setdefault(kind, []).append(name)
    return asked


def _known(kind: str) -> list[str]:
    if kind != "metric":
        return options(kind)
    from repro.metrics.registry import names

    return names()
