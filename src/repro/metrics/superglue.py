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
"""{task: the values whose mean is its score}; SuperGLUE's score is the mean over the tasks (Lester et al. 2021)."""
