"""Any metric of the `evaluate` library in a task's config, beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from repro.errors import ConfigError, MetricUnavailable
from repro.metrics.base import Metric, Rows, Values
from repro.metrics.registry import register


@register("from_evaluate")
class FromEvaluate(Metric[object, object]):
    """A value of an `evaluate` metric over a whole split.

    It gives no statistics of single examples: a bootstrap over the test set has nothing to draw from, and says so.

    In a task's config:
        `{name: from_evaluate, path: chrf, key: score}`

    Args:
        path: name of a metric on the hub (fetched at its first use), or the path of a local metric script or folder.
        key: which of the values that it computes.
        output: the value's name in the record; None: `<last part of path>_<key>`.
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
        output: str | None = None,
        config_name: str | None = None,
        compute: Mapping[str, object] | None = None,
        factor: float = 1.0,
        higher_is_better: bool = True,
        first_reference: bool = False,
    ) -> None:
        stem = path.rstrip("/").rpartition("/")[2].removesuffix(".py")
        self.path, self.key, self.config_name = path, key, config_name
        self.name = output or f"{stem}_{key}"
        self.outputs = (self.name,)
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

    def score_split(
        self, predictions: Sequence[object], references: Sequence[Sequence[object]]
    ) -> tuple[Values, Rows | None]:
        """The value of the split, without statistics.

        Raises:
            MetricUnavailable: it cannot be loaded, refuses the predictions, or has no value `key`.
        """
        golds = [own[0] for own in references] if self.first_reference else [list(own) for own in references]
        try:
            values = self._module.compute(predictions=list(predictions), references=golds, **self.arguments) or {}
        except MetricUnavailable:
            raise
        except Exception as error:  # a metric of somebody else: whatever it raises, the run is not lost
            raise MetricUnavailable(
                f"the evaluate metric {self.path} cannot score these predictions: {type(error).__name__}: {error}"
            ) from error
        value = values.get(self.key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            numbers = [name for name, number in values.items() if isinstance(number, int | float)]
            raise MetricUnavailable(
                f"the evaluate metric {self.path} gives no number {self.key!r}; it gives "
                f"{', '.join(numbers) or 'none'}."
            )
        return {self.name: self.factor * float(value)}, None

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
