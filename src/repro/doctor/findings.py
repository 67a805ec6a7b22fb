"""What was found about one thing, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

READY, DOWNLOAD, FILES = "ready", "needs download", "needs your files"
CONVERSION, JAVA, EXTRA, WRONG = "needs conversion", "needs Java", "needs an extra", "wrong files"
STATES = (READY, EXTRA, JAVA, CONVERSION, DOWNLOAD, FILES, WRONG)
"""Best first: a mixture is as ready as its worst part."""


@dataclass(frozen=True)
class Finding:
    """One task, model or metric."""

    kind: str
    """task | model | metric"""
    name: str
    state: str
    detail: str = ""
    """What is missing and where it should be."""
    fix: str = ""
    """The one command (or sentence) that mends it."""
    splits: dict[str, str] = field(default_factory=dict)
    """Of a task: what is known of each split."""

    @property
    def ready(self) -> bool:
        """Whether it can be used as it is."""
        return self.state == READY

    def plain(self) -> dict[str, object]:
        """As JSON values."""
        return asdict(self)


def worst(states: Sequence[str]) -> str:
    """The state of several things that are all needed."""
    return max(states, key=STATES.index, default=READY)


def shown(findings: Sequence[Finding]) -> str:
    """A line a finding, the fix under what is not ready, and a count of each state."""
    lines = []
    for kind in ("task", "model", "metric"):
        of_kind = [finding for finding in findings if finding.kind == kind]
        if not of_kind:
            continue
        width = max(len(finding.name) for finding in of_kind)
        lines.append(f"{kind}s")
        for finding in of_kind:
            splits = ", ".join(f"{split} {state}" for split, state in finding.splits.items())
            details = "; ".join(part for part in (splits, finding.detail) if part)
            lines.append(f"  {finding.name:<{width}}  {finding.state:<16}  {details}".rstrip())
            if finding.fix:
                lines.append(f"  {'':<{width}}  -> {finding.fix}")
    counts = [f"{sum(finding.state == state for finding in findings)} {state}" for state in STATES]
    lines.append(", ".join(text for text in counts if not text.startswith("0 ")))
    return "\n".join(lines)
