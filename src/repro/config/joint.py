"""Which trials can train jointly: those that agree in what a pass over a shared backbone has in common."""

from __future__ import annotations

import json

from repro.config.rules import format_of
from repro.config.run_key import facts
from repro.config.schema import TrialConfig
from repro.config.task_schema import TASK_IN_MODEL
from repro.methods.facts import family_facts


def joint_key(config: TrialConfig) -> str | None:
    """Trials with equal keys can train jointly; None if this trial must train alone.

    Alone are: whatever trains weights of the backbone or nothing at all, and models whose dropout masks what all rows
    share (DeBERTa's table of relative positions).
    """
    trainer, task, of_method = config.trainer, config.task, config.method.joint_key()
    if of_method is None or trainer.steps == 0 or trainer.joint_trials == "1":
        return None
    if trainer.backbone_dropout and family_facts(config.model.family).shared_dropout:
        return None
    plain, format_name = config.to_dict(), format_of(config)
    shared = {
        "method": of_method,
        "model": plain["model"],
        "trainer": {name: vars(trainer)[name] for name, fact in facts(type(trainer)).items() if fact.shared_jointly},
    }
    if TASK_IN_MODEL[format_name] or task.parts:
        known = facts(type(task))
        shared["task"] = {name: value for name, value in plain["task"].items() if not known[name].varies_jointly}
    return json.dumps([shared, format_name], sort_keys=True)
