"""Any metric of the `evaluate` library in a task's config, beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from repro.errors import ConfigError, MetricUnavailable


class FromEvaluate:
    """A value of an `evaluate` metric over a whole split.

    It gives no statistics of single examples: a bootstrap over the test set has nothing to draw from, and says so.

    In a task's config:
        `{_target_: repro.metrics.from_evaluate.FromEvaluate, path: chrf, key: score}`

    Args:
        path: name of a metric on the hub (fetched at its first use), or the path of a local metric script or folder.
        key: which of the values that it computes.
        name: the value's name in the record; None: `<last part of path>_<key>`.
        config_name: as in `evaluate.load` (the subset of `glue`, say).
        compute: further arguments of `compute`.
        factor: 100 for a metric that gives fractions.
        higher_is_better: False where less is better.
        first_reference: pass one reference an example instead of the list of all.
    """

    def __init__(
        self,
        path: str,
        key: str,
        name: str | None = None,
        config_name: str | None = None,
        compute: Mapping[str, Any] | None = None,
        factor: float = 1.0,
        higher_is_better: bool = True,
        first_reference: bool = False,
    ) -> None:
        stem = path.rstrip("/").rpartition("/")[2].removesuffix(".py")
        self.path, self.key, self.config_name = path, key, config_name
        self.name = name or f"{stem}_{key}"
        self.outputs: tuple[str, ...] = (self.name,)
        self.equals = f"evaluate, metric {path}, value {key}"
        self.higher_is_better = higher_is_better
        self.arguments, self.factor, self.first_reference = dict(compute or {}), factor, first_reference

    def check(self) -> None:
        """Load the metric, before anything is trained.

        Raises:
            ConfigError: no such metric can be loaded here.
        """
        try:
            _ = self._module  # loaded, and kept for the evaluations
        except MetricUnavailable as error:
            raise ConfigError(str(error)) from error

    def corpus(self, predictions: Sequence[Any], references: Sequence[Sequence[Any]]) -> dict[str, float]:
        """{name: value} of the split.

        Raises:
            MetricUnavailable: it cannot be loaded, refuses the predictions, or has no value `key`.
        """
        golds = [own[0] for own in references] if self.first_reference else [list(own) for own in references]
        try:
            found = self._module.compute(predictions=list(predictions), references=golds, **self.arguments)
        except MetricUnavailable:
            raise
        except Exception as error:  # a metric of somebody else: whatever it raises, the run is not lost
            raise MetricUnavailable(
                f"the evaluate metric {self.path} cannot score these predictions: {type(error).__name__}: {error}"
            ) from error
        value = (found or {}).get(self.key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            numbers = [name for name, one in (found or {}).items() if isinstance(one, int | float)]
            there = ", ".join(numbers) or "none"
            raise MetricUnavailable(f"the evaluate metric {self.path} gives no number {self.key!r}; it gives {there}.")
        return {self.name: self.factor * float(value)}

    @cached_property
    def _module(self) -> Any:
        """The loaded metric; `evaluate` is imported here (seconds)."""
        try:
            import evaluate

            return evaluate.load(self.path, self.config_name)
        except Exception as error:  # no network, a missing requirement, a broken script: one sentence for all
            raise MetricUnavailable(
                f"the evaluate metric {self.path} cannot be loaded ({type(error).__name__}: {_first_line(error)}). A "
                "name is fetched from the hub: without a network give the path of a local copy of the metric's "
                "script, and install what it imports."
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:300]
