"""What was found about one thing, and how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

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

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def worst(states: Sequence[str]) -> str:
    """The state of several things that are all needed."""
    return max(states, key=STATES.index, default=READY)


def shown(findings: Sequence[Finding]) -> str:
    """A line a finding, the fix under what is not ready, and a count of each state."""
    lines = []
    for kind in ("task", "model", "metric"):
        own = [one for one in findings if one.kind == kind]
        if not own:
            continue
        width = max(len(one.name) for one in own)
        lines.append(f"{kind}s")
        for one in own:
            splits = ", ".join(f"{split} {said}" for split, said in one.splits.items())
            said = "; ".join(part for part in (splits, one.detail) if part)
            lines.append(f"  {one.name:<{width}}  {one.state:<16}  {said}".rstrip())
            if one.fix:
                lines.append(f"  {'':<{width}}  -> {one.fix}")
    counts = [f"{sum(one.state == state for one in findings)} {state}" for state in STATES]
    lines.append(", ".join(text for text in counts if not text.startswith("0 ")))
    return "\n".join(lines)
