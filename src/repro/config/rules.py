"""Refuses what cannot work, before any data or model is read: one sentence with key, value, allowed values, fix."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from repro.config.run_key import facts, run_key
from repro.config.schema import TrialConfig
from repro.config.task_rules import check_parts, check_sources, check_words, method_value, refuse
from repro.config.task_rules import format_of as format_of
from repro.errors import ConfigError
from repro.methods.facts import family_facts
from repro.methods.fields import Facts


def check_values(group: object, path: str = "") -> None:
    """Every value is among those that its field allows."""
    for name, known in facts(type(group)).items():
        value, key = vars(group)[name], f"{path}{name}"
        if value is not None:
            _check_value(key, value, known)
        if dataclasses.is_dataclass(value):
            check_values(value, f"{key}.")


def _check_value(key: str, value: object, known: Facts) -> None:
    if known.allowed is not None:
        name = str(value).lower() if value in ("True", "False") else value  # OmegaConf's spelling in a text field
        if name not in known.allowed:
            refuse(key, value, f"must be one of {', '.join(known.allowed)}", f"Set {key} to one of these.")
    if not isinstance(value, int | float):
        return
    if not math.isfinite(value):
        refuse(key, value, "must be a finite number", f"Set {key} to one, or leave it out.")
    if known.at_least is not None and known.below is not None:
        if not known.at_least <= value < known.below:
            refuse(key, value, f"must be at least {known.at_least:g} and below {known.below:g}", f"Set {key}=0.1, say.")
    elif known.at_least is not None and value < known.at_least:
        refuse(key, value, f"must be at least {known.at_least:g}", f"Set {key}={known.at_least:g} or more.")
    elif known.above is not None and value <= known.above:
        refuse(key, value, f"must be above {known.above:g}", f"Set {key}=1e-3, say.")


def _check_class_labels(config: TrialConfig) -> None:
    method, task = config.method, config.task
    if method_value(method, "initialisation") == "class_label" and not (
        method_value(method, "init_words") or task.init_words or task.labels
    ):
        refuse(
            "method.initialisation",
            "class_label",
            f"the task {task.name} has no class labels",
            "Set method.initialisation=sampled_vocabulary, or method.init_words=[some,words].",
        )


def _check_positions(config: TrialConfig) -> None:
    """Prompt, input and target must find rows in the table of learnt positions; relative positions have no limit."""
    model, method, task = config.model, config.method, config.task
    table, kind = model.max_positions, model.kind
    if table is None:
        return
    target = max(task.max_target_length, task.decoding.max_new_tokens)
    lowest = {f"task.{name}": known.at_least or 0 for name, known in facts(type(task)).items()}
    lowest |= {f"task.decoding.{name}": known.at_least or 0 for name, known in facts(type(task.decoding)).items()}

    def check(taken: int, wanted: Mapping[str, int], shorten: str) -> None:
        needed = taken + sum(wanted.values())
        if needed <= table:
            return
        parts = " + ".join(f"{name}={value}" for name, value in {"method.length": taken, **wanted}.items())
        room = wanted[shorten] - (needed - table)
        fix = f"Lower {shorten} to {room} or less" if room >= lowest[shorten] else "Shorten each of them"
        raise ConfigError(
            f"{parts} makes {needed} positions: {model.name} has {table}. {fix}"
            + (", or shorten the prompt." if taken else ".")
        )

    name = "task.max_target_length" if target == task.max_target_length else "task.decoding.max_new_tokens"
    scored = task.max_evaluation_input_length
    source_name, longest = "task.max_input_length", task.max_input_length
    if scored is not None and scored > longest:
        source_name, longest = "task.max_evaluation_input_length", scored
    source = {source_name: longest}
    if kind == "decoder":
        check(method.positions_taken("decoder", kind), source | {name: target}, source_name)
    else:
        check(method.positions_taken("encoder", kind), source, source_name)
    if kind == "encoder_decoder":
        check(method.positions_taken("decoder", kind), {name: target}, name)


def _check_trainer(config: TrialConfig) -> None:
    trainer = config.trainer
    if (trainer.epochs is None) == (trainer.steps is None):
        both = f"trainer.epochs={trainer.epochs} and trainer.steps={trainer.steps}"
        raise ConfigError(f"{both}: exactly one must be set. Set the other to null.")
    every = str(trainer.evaluate_every)
    if every != "epoch" and not (every.isdecimal() and int(every) > 0):
        refuse(
            "trainer.evaluate_every", every, "must be `epoch` or a number of steps", "Set trainer.evaluate_every=epoch."
        )
    limit = trainer.joint_trials
    if limit != "auto" and not (limit.isdecimal() and int(limit) > 0):
        refuse(
            "trainer.joint_trials",
            limit,
            "must be `auto` or how many trials train together",
            "Set trainer.joint_trials=auto.",
        )
    if trainer.z_loss and config.model.kind == "encoder":
        refuse(
            "trainer.z_loss",
            trainer.z_loss,
            f"{config.model.name} is an encoder: a z-loss is part of T5X's loss over a vocabulary",
            "Set trainer.z_loss=0.",
        )
    method = config.method
    if not method.capabilities.trains and trainer.steps != 0:
        refuse(
            "trainer.steps",
            trainer.steps,
            f"{method.name} trains nothing",
            "Set trainer.epochs=null trainer.steps=0.",
        )
    if trainer.dtype == "bfloat16" and method.tunes_backbone():
        raise ConfigError(
            f"trainer.dtype=bfloat16 with method={method.name}: weights stored in bfloat16 lose small updates; allowed "
            "is float32 (prompts stay float32 in every method). Set trainer.dtype=float32."
        )


def validate(config: TrialConfig) -> None:
    """Refuse a config that cannot run.

    Raises:
        ConfigError: with the key, the value, what is allowed and the fix.
    """
    check_values(config)
    family = family_facts(config.model.family)
    config.method.check(config.model, family, format_of(config))
    _check_class_labels(config)
    _check_trainer(config)
    check_words(config, family)
    check_parts(config)
    check_sources(config)
    _check_positions(config)


def checked_key(config: TrialConfig) -> str:
    """The run key of a config that passed `validate`: so no folder is ever named after a config that cannot run."""
    validate(config)
    return run_key(config)
