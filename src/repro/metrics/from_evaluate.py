"""Any metric of the `evaluate` library in a task's config, beside ours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from repro.errors import ConfigError, MetricUnavailable
from repro.metrics.base import Metric, Rows, Values
from repro.metrics.registry import register
from repro.registry import plugin_names


@register("from_evaluate")
class FromEvaluate(Metric[object, object]):
    """A value of an `evaluate` metric over a whole split.

    It gives no statistics of single examples: a bootstrap over the test set has nothing to draw from, and says so.

    In a task's config:
        `{name: from_evaluate, path: chrf, key: score}`

    Args:
        path: name of a metric of the library (fetched at its first use), or the path of a local metric script or its
            folder. A script is code: it must be among the modules that the user names (`--plugin PATH.py`).
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
        module = self._module
        golds = [own[0] for own in references] if self.first_reference else [list(own) for own in references]
        try:
            values = module.compute(predictions=list(predictions), references=golds, **self.arguments) or {}
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
        _refuse_unnamed_script(self.path)
        try:
            import evaluate

            return evaluate.load(self.path, self.config_name)
        except Exception as error:  # no network, a missing requirement, a broken script: one sentence for all
            raise MetricUnavailable(
                f"the evaluate metric {self.path} cannot be loaded ({type(error).__name__}: {_first_line(error)}). A "
                "name is fetched from the hub: without a network give the path of a local copy of the metric's "
                "script, and install what it imports."
            ) from error


def _refuse_unnamed_script(path: str) -> None:
    """Configs and records are read; what they name may run only if the user names it too.

    Raises:
        ConfigError: a local script or another's metric on the hub that is no plugin.
    """
    place = Path(path).expanduser()
    script = place if place.suffix == ".py" else place / f"{place.name}.py"
    if os.sep not in path and not script.is_file():
        return
    if str(script.absolute()) not in plugin_names():
        raise ConfigError(
            f"the evaluate metric {path} is code of its own, and runs only if you name it: add --plugin {script} "
            "(what is on the hub: save the script first)."
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no reason given"])[0][:300]
