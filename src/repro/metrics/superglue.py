"""SuperGLUE's one number for eight tasks."""

from __future__ import annotations

from collections.abc import Mapping

SUPERGLUE: Mapping[str, tuple[str, ...]] = {
    "boolq": ("accuracy",),
    "cb": ("accuracy", "f1_macro"),
    "copa": ("accuracy",),
    "multirc": ("f1a", "exact_match"),
    "record": ("f1", "exact_match"),
    "rte": ("accuracy",),
    "wic": ("accuracy",),
    "wsc": ("accuracy",),
}
"""Task: the values that its score is the mean of (papers/lester2021 section (d))."""


def superglue_score(values: Mapping[str, Mapping[str, float]]) -> float:
    """SuperGLUE's score in percent: the values of a task are averaged first, then the eight tasks.

    Lester et al. 2021 choose their settings by it and plot it (Figures 1 and 3; the last row of Table 3).

    Args:
        values: {task: {value name: percent}}; other tasks and values are passed over.

    Raises:
        ValueError: a task, or one of its values, is missing. A mean over fewer is another number.
    """
    from repro.metrics.base import task_score  # here: the report reads the table above, and loads no numpy

    wanted = [(task, name) for task, names in SUPERGLUE.items() for name in names]
    missing = [f"{task}.{name}" for task, name in wanted if name not in values.get(task, {})]
    if missing:
        raise ValueError(f"superglue_score: {', '.join(missing)} missing; all eight tasks are needed.")
    return sum(task_score(names, values[task]) for task, names in SUPERGLUE.items()) / len(SUPERGLUE)
