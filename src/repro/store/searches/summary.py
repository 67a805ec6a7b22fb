"""How a search stands: its budget, the setting chosen on validation, and the whole distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from repro.store.searches.journal import Search
from repro.store.searches.outcomes import Tried
from repro.store.store import Store

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Distribution:
    """Validation values of the settings that have one."""

    values: tuple[float, ...]
    direction: str

    def quantile(self, share: float) -> float:
        """The value below which this share of the settings lies, linear between neighbours."""
        ordered = sorted(self.values)
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    def expected_best(self, draws: int) -> float:
        """Mean of the best of so many settings drawn from these at random (Dodge et al. 2019, Show Your Work)."""
        ordered = sorted(self.values, reverse=self.direction == "minimize")
        count = len(ordered)
        return sum(
            value * ((rank / count) ** draws - ((rank - 1) / count) ** draws)
            for rank, value in enumerate(ordered, start=1)
        )


def chosen(tried: Sequence[Tried], direction: str) -> int | None:
    """Position of the setting with the best validation value, the first of equals; None where none has a value."""
    sign = 1.0 if direction == "maximize" else -1.0
    known = [(sign * one.outcome.value, -index) for index, one in enumerate(tried) if one.outcome.value is not None]
    return -max(known)[1] if known else None


def lines(search: Search, store: Store, ended: bool) -> str:
    """A few lines for the terminal."""
    tried = search.outcomes(store)
    failed = sum(one.outcome.status == "failed" for one in tried)
    left = sum(one.outcome.status == "open" for one in tried)
    text = [
        f"search {search.id}: {len(tried)} settings tried of {search.budget}, {failed} failed"
        + (f", {left} without a record" if left else "")
    ]
    best = chosen(tried, search.direction)
    if best is not None:
        values = tuple(one.outcome.value for one in tried if one.outcome.value is not None)
        spread = Distribution(values, search.direction)
        numbers = ", ".join(f"{spread.quantile(share):.4g}" for share in QUANTILES)
        setting = " ".join(f"{name}={value}" for name, value in tried[best].values.items())
        text.append(f"  {search.metric} (validation), least, quartiles, greatest: {numbers}")
        text.append(
            f"  chosen on validation: {setting} ({tried[best].outcome.value:.4g}); `repro report` has all of it"
        )
    if not ended:
        text.append("  its trials run elsewhere: the same command goes on when they have ended")
    return "\n".join(text)
