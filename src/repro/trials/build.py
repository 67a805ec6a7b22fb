"""Config to objects: the task in the format that fits the model, and the method without its tensors."""

from __future__ import annotations

from repro.config.rules import format_of
from repro.config.schema import TrialConfig
from repro.methods.base import Method
from repro.tasks import registry
from repro.tasks.base import Task
from repro.tasks.wording import Wording


def build_method(config: TrialConfig) -> Method:
    """The method, not yet built: its tensors come when the model is there."""
    return config.method.build(config.task.init_words)


def build_task(config: TrialConfig) -> Task:
    """The task in the format that fits the model, said as the method wants it; reads nothing yet."""
    settings = vars(config.method)
    rows = settings.get("placement") == "template"
    if config.method.capabilities.words:
        wording = Wording(rows, settings["text"], settings["shots"], config.seed)
    else:
        wording = Wording(rows)
    return registry.build_task(config.task, format_of(config), wording)
