"""Which metrics can be computed here. A metric that needs more than numpy says so itself (`unavailable`)."""

from __future__ import annotations

import re

from repro.doctor.findings import EXTRA, JAVA, READY, Finding
from repro.errors import ConfigError
from repro.metrics.registry import metric as make
from repro.metrics.registry import metric_class, names


def metrics(wanted: list[str] | None = None) -> list[Finding]:
    """A finding for every metric, or for those with these registered names."""
    return [look(name) for name in names() if wanted is None or name in wanted]


def look(name: str) -> Finding:
    """Whether a metric can run, as it says itself."""
    needs, reason = metric_class(name).needs, _reason(name)
    detail = f"needs {needs}" if needs else ""
    if reason is None:
        return Finding("metric", name, READY, detail)
    state = JAVA if re.search(r"\bjava\b", reason, re.IGNORECASE) else EXTRA
    return Finding("metric", name, state, detail, reason)


def _reason(name: str) -> str | None:
    try:
        return make(name).unavailable()
    except ConfigError:  # it has options without a default, on which what it needs does not depend
        return None
