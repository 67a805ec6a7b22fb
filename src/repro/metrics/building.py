"""A metric from its config, without Hydra: what a record needs so that its statistics can be reduced again."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from repro.errors import ConfigError
from repro.metrics.base import Metric

_HERE = "repro.metrics."


def build_metric(config: Mapping[str, Any]) -> Metric:
    """The metric that `{_target_: repro.metrics.module.Class, argument: value}` describes.

    Raises:
        ConfigError: a class outside `repro.metrics` or one that does not exist: a record must not run other code.
    """
    target = str(config.get("_target_"))
    module, _, name = target.rpartition(".")
    try:
        if not module.startswith(_HERE):
            raise ImportError(target)
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"a record names the metric {target}; metrics are classes below {_HERE[:-1]}.") from error
    return found(**{key: value for key, value in config.items() if key != "_target_"})
