"""How much of the work is done and how long the rest will take, from the speed measured so far."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Clock:
    """Expected seconds of every trial against what finished ones took.

    The expectation comes from the reference's records, that is from another machine or another load; what finished here
    tells by which factor this one differs.
    """

    expected: dict[str, float]
    """{key of a trial: seconds} of all that is to run."""
    workers: int
    taken: dict[str, float] = field(default_factory=dict)
    """{key: seconds} of those that ended."""
    running: dict[str, tuple[float, float]] = field(default_factory=dict)
    """{key: (seconds since it started, share of its steps that is done)}"""

    def over(self, key: str, seconds: float | None) -> None:
        """A trial ended after so many seconds; None: it failed, which tells nothing of the speed."""
        self.running.pop(key, None)
        if seconds is None:
            self.expected.pop(key)
        else:
            self.taken[key] = seconds

    @property
    def factor(self) -> float:
        """Seconds here for a second expected; 1 before anything is known."""
        known = sum(self.expected[key] for key in self.taken)
        took = sum(self.taken.values())
        for key, (seconds, share) in self.running.items():
            known += self.expected[key] * share
            took += seconds if share > 0 else 0.0
        return took / known if known > 0 else 1.0

    @property
    def share(self) -> float:
        """Share of the expected work that is done."""
        total = sum(self.expected.values())
        done = sum(self.expected[key] for key in self.taken)
        done += sum(self.expected[key] * share for key, (_, share) in self.running.items())
        return done / total if total else 1.0

    @property
    def left(self) -> float:
        """Seconds until the last trial ends."""
        rest = [self.expected[key] * (1 - share) for key, (_, share) in self.running.items()]
        waiting = [seconds for key, seconds in self.expected.items() if key not in self.taken | self.running]
        whole = (sum(rest) + sum(waiting)) / self.workers
        return self.factor * max([whole, *rest])


def minutes(seconds: float) -> str:
    """`about 4 min`, `40 s`."""
    if seconds < 90:
        return f"{max(1, round(seconds)):d} s"
    return f"about {seconds / 60:.0f} min"
