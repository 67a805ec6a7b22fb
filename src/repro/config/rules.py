"""Refuses what cannot work, before any data or model is read: one sentence with key, value, allowed values, fix."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from repro.config.schema import TrialConfig, resolved, run_key
from repro.config.task_rules import check_parts, check_sources, check_words, keys_of, refuse
from repro.config.task_rules import format_of as format_of
from repro.errors import ConfigError
from repro.methods import registry

Plain = Mapping[str, Any]

_ALLOWED: dict[str, tuple[Any, ...]] = {
    "method.initialisation": ("uniform", "sampled_vocabulary", "class_label"),
    "method.placement": ("before", "after_bos", "after", "template"),
    "method.encoder": ("lstm", "mlp", "embedding"),
    "method.head": ("linear", "verbaliser"),
    "method.init_distribution": ("normal", "uniform"),
    "model.kind": ("encoder", "decoder", "encoder_decoder"),
    "model.source": ("hub", "folder", "package", "random"),
    "task.source": ("local", "hub", "microworld"),
    "task.format": ("auto", "cloze", "text_to_text", "pair", "choice", "ranking", "tagging", "span"),
    "task.report_split": ("validation", "test"),
    "task.decoding.labels": ("generate", "score"),
    "trainer.optimiser.name": ("adamw", "adafactor"),
    "trainer.optimiser.factored": ("auto", "always", "never"),
    "trainer.optimiser.weight_decay_form": ("absolute", "times_learning_rate"),
    "trainer.schedule.name": ("constant", "linear", "exponential"),
    "trainer.selection.rule": ("best", "last"),
    "trainer.selection.split": ("validation", "test"),
    "trainer.loss_reduction": ("token_mean", "example_sum"),
    "trainer.dtype": ("float32", "bfloat16", "float64"),
    "trainer.attention": ("sdpa", "eager"),
    "trainer.packing": ("auto", "true", "false"),
    "trainer.if_running": ("wait", "skip"),
    "tracker.name": ("none", "wandb", "tensorboard"),
    "tracker.mode": ("offline", "online", "disabled"),
}
_REPARAMETERISATIONS = {
    "prefix_tuning": ("mlp", "none", "deep"),
    "p_tuning_v2": ("embedding", "mlp"),
    "embedding_only": ("mlp", "none"),
    "infix_tuning": ("mlp", "none"),
    "lora_prefix": ("mlp", "none", "deep"),
}
_TUNES = ("fine_tuning", "ft_top", "bitfit", "lora", "ia3", "lora_prefix")
"""Methods that train weights inside the backbone."""

# (lowest, what it is) of numbers; None in the config is always allowed
_AT_LEAST: dict[str, float] = {
    "method.hidden": 1,
    "method.vocabulary_size": 1,
    "method.init_std": 0,
    "method.init_steps": 1,
    "method.lstm_hidden": 1,
    "method.embedding_width": 1,
    "method.blocks": 1,
    "method.shots": 0,
    "method.bottleneck": 1,
    "method.rank": 1,
    "task.max_input_length": 4,
    "task.max_target_length": 2,
    "task.limit.train": 1,
    "task.limit.validation": 1,
    "task.limit.test": 1,
    "task.low_data.size": 1,
    "task.low_data.subset": 0,
    "task.decoding.beams": 1,
    "task.decoding.max_new_tokens": 1,
    "task.decoding.min_new_tokens": 0,
    "task.decoding.batch_size": 1,
    "trainer.epochs": 1,
    "trainer.steps": 0,
    "trainer.batch_size": 1,
    "trainer.microbatches": 1,
    "trainer.evaluation_batch_size": 1,
    "trainer.schedule.warmup_steps": 0,
    "trainer.optimiser.weight_decay": 0,
    "trainer.z_loss": 0,
    "trainer.threads": 1,
    "seed": 0,
}
_ABOVE_0 = (
    "trainer.optimiser.learning_rate",
    "trainer.optimiser.backbone_learning_rate",
    "trainer.optimiser.clip_threshold",
    "trainer.schedule.gamma",
    "trainer.clip_norm",
    "paths.cache_gigabytes",
)
_SHARES = (
    *("method.dropout", "method.prefix_dropout", "method.lstm_dropout"),
    *("trainer.backbone_dropout", "trainer.attention_dropout"),
)


def lookup(plain: Plain, path: str) -> Any:
    """The value at a dotted path, None where the config has no such key."""
    node: Any = plain
    for part in path.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _check_keys(plain: Plain, schema: type, path: str = "") -> None:
    """Hydra refuses misspelt keys, but `+key=value` adds and `~key` removes one behind the schema's back."""
    kinds = keys_of(schema)
    for key, value in plain.items():
        if key not in kinds:
            refuse(
                path + key,
                value,
                f"{schema.__name__} has no such key, only {', '.join(kinds)}",
                "Correct its name, or leave it out.",
            )
    for key, kind in kinds.items():
        if key not in plain:
            raise ConfigError(f"{path}{key}: this key is missing; {schema.__name__} needs it. Do not remove it.")
        if dataclasses.is_dataclass(kind):
            _check_keys(plain[key], typing.cast(type, kind), f"{path}{key}.")


@cache
def _families() -> tuple[str, ...]:
    """The families that `repro.models` has a module for, found without importing one (that would load torch)."""
    modules = sorted((Path(__file__).parents[1] / "models" / "families").glob("*.py"))
    return tuple(path.stem for path in modules if "\nFAMILY = " in path.read_text(encoding="utf-8"))


def _check_values(plain: Plain) -> None:
    for key, allowed in {**_ALLOWED, "model.family": _families()}.items():
        value = lookup(plain, key)
        if value in ("True", "False"):  # so OmegaConf writes a truth value into a field of strings
            value = value.lower()
        if value is not None and value not in allowed:
            refuse(key, value, f"must be one of {', '.join(map(str, allowed))}", f"Set {key} to one of these.")
    for key, lowest in _AT_LEAST.items():
        value = lookup(plain, key)
        if value is not None and value < lowest:
            refuse(key, value, f"must be at least {lowest:g}", f"Set {key}={lowest:g} or more.")
    for key in _ABOVE_0:
        value = lookup(plain, key)
        if value is not None and value <= 0:
            refuse(key, value, "must be above 0", f"Set {key}=1e-3, say.")
    for key in _SHARES:
        value = lookup(plain, key)
        if value is not None and not 0 <= value < 1:
            refuse(key, value, "must be at least 0 and below 1", f"Set {key}=0.1, say.")


def _check_method(plain: Plain) -> None:
    method = plain["method"]
    name, length = method["name"], method.get("length")
    if length is not None and length < 1:
        refuse(
            "method.length",
            length,
            f"{name} needs at least 1 position",
            "Set method.length=1 or more, or method=fine_tuning for no prompt.",
        )
    wanted = _REPARAMETERISATIONS.get(name)
    if wanted and method["reparameterisation"] not in wanted:
        refuse(
            "method.reparameterisation",
            method["reparameterisation"],
            f"{name} knows {', '.join(wanted)}",
            f"Set method.reparameterisation={wanted[0]}.",
        )
    sites = {"encoder": ("encoder",), "decoder": ("decoder",), "encoder_decoder": ("encoder", "decoder", "cross")}[
        plain["model"]["kind"]
    ]
    for site in method.get("sites") or ():
        if site not in sites:
            refuse(
                "method.sites",
                method["sites"],
                f"{plain['model']['name']} has {', '.join(sites)}",
                f"Set method.sites=[{sites[0]}] or [] for all.",
            )
    _check_layers(plain)
    _check_kind(plain)
    if method.get("initialisation") == "class_label" and not (
        method.get("init_words") or plain["task"].get("init_words") or plain["task"].get("labels")
    ):
        refuse(
            "method.initialisation",
            "class_label",
            f"the task {plain['task']['name']} has no class labels",
            "Set method.initialisation=sampled_vocabulary, or method.init_words=[some,words].",
        )


def _check_layers(plain: Plain) -> None:
    """`method.layers` is all, first:k or last:k with 1 <= k <= layers of every site."""
    value = plain["method"].get("layers")
    if value in (None, "all"):
        return
    model = plain["model"]
    most = min(model["layers"], model.get("decoder_layers") or model["layers"])
    found = re.fullmatch(r"(first|last):(\d+)", str(value))
    if not found or not 1 <= int(found.group(2)) <= most:
        refuse(
            "method.layers",
            value,
            f"must be all, first:k or last:k with k from 1 to {most} ({model['name']})",
            f"Set method.layers=last:{most}, say.",
        )


_DECODER_ONLY = {
    "embedding_only": "its prefix is what a causal model computes for the prompt before it reads anything else",
    "infix_tuning": "its infix stands between the source and the target of one sequence",
}
_REASON_SWITCH = "only encoder models embed and pool the text as the official PT baseline does"


def _check_kind(plain: Plain) -> None:
    """Methods and switches that have a meaning for one kind of model only."""
    method, kind = plain["method"], plain["model"]["kind"]
    if method["name"] == "bitfit" and plain["model"]["family"] == "t5":
        raise ConfigError(
            f"method=bitfit with model={plain['model']['name']}: T5 has no bias terms to train. Choose method=adapter "
            "or method=lora, or a model with biases (model=bart-large, model=gpt2-medium)."
        )
    if method["name"] == "ft_top" and method["blocks"] > plain["model"]["layers"]:
        refuse(
            "method.blocks", method["blocks"], f"{plain['model']['name']} has {plain['model']['layers']}", "Lower it."
        )
    why = _DECODER_ONLY.get(method["name"])
    if why and kind != "decoder":
        raise ConfigError(
            f"method={method['name']} with model={plain['model']['name']} ({kind}): {why}, so it needs a decoder-only "
            "model. Choose one (model=gpt2-medium), or method=prompt_tuning."
        )
    for switch in ("embedded_twice", "pooled_at_prompt"):
        if method.get(switch) and kind != "encoder":
            refuse(f"method.{switch}", True, _REASON_SWITCH, f"Set method.{switch}=false.")
    if method.get("embedded_twice") and plain["model"]["family"] not in ("bert", "roberta"):
        refuse("method.embedded_twice", True, "known for the BERT and RoBERTa of the official code", "Set it to false.")
    if method.get("init_text") and kind != "decoder":
        refuse(
            "method.init_text",
            method["init_text"],
            "only decoder-only models can start from activations (the official code has no such start for BART)",
            "Set method.init_text=null.",
        )
    if method.get("placement") == "template" and format_of(plain) != "cloze":
        refuse(
            "method.placement",
            "template",
            "only a task in the cloze format has a template with places for the prompt",
            "Set task.format=cloze, or method.placement=before.",
        )


def _check_positions(plain: Plain) -> None:
    """Prompt, input and target must find rows in the table of learnt positions; relative positions have no limit."""
    model, method, task = plain["model"], plain["method"], plain["task"]
    table, kind = model.get("max_positions"), model["kind"]
    if table is None:
        return
    length = method.get("length") or 0
    target = max(task["max_target_length"], task["decoding"]["max_new_tokens"])

    def prompt(site: str) -> int:
        """Positions that the prompt takes from real tokens: a prefix only where it shifts them."""
        if method.get("placement") == "template":
            return 0  # its rows stand in the input's own places
        if "shift_positions" in method:
            return length if method["shift_positions"] and site in (method["sites"] or (site,)) else 0
        return length if site == ("decoder" if kind == "decoder" else "encoder") else 0

    def check(taken: int, wanted: Mapping[str, int], shorten: str) -> None:
        needed = taken + sum(wanted.values())
        if needed <= table:
            return
        parts = " + ".join(f"{name}={value}" for name, value in {"method.length": taken, **wanted}.items())
        room = wanted[shorten] - (needed - table)
        fix = f"Lower {shorten} to {room} or less" if room >= _AT_LEAST[shorten] else "Shorten each of them"
        raise ConfigError(
            f"{parts} makes {needed} positions: {model['name']} has {table}. {fix}"
            + (", or shorten the prompt." if taken else ".")
        )

    name = "task.max_target_length" if target == task["max_target_length"] else "task.decoding.max_new_tokens"
    source = {"task.max_input_length": task["max_input_length"]}
    if kind == "decoder":
        check(prompt("decoder"), source | {name: target}, "task.max_input_length")
    else:
        check(prompt("encoder"), source, "task.max_input_length")
    if kind == "encoder_decoder":
        check(prompt("decoder"), {name: target}, name)


def _check_trainer(plain: Plain) -> None:
    trainer = plain["trainer"]
    if (trainer["epochs"] is None) == (trainer["steps"] is None):
        both = f"trainer.epochs={trainer['epochs']} and trainer.steps={trainer['steps']}"
        raise ConfigError(f"{both}: exactly one must be set. Set the other to null.")
    every = str(trainer["evaluate_every"])
    if every != "epoch" and not (every.isdigit() and int(every) > 0):
        refuse(
            "trainer.evaluate_every", every, "must be `epoch` or a number of steps", "Set trainer.evaluate_every=epoch."
        )
    together = str(trainer["joint_trials"])
    if together != "auto" and not (together.isdigit() and int(together) > 0):
        refuse(
            "trainer.joint_trials",
            together,
            "must be `auto` or how many trials train together",
            "Set trainer.joint_trials=auto.",
        )
    if trainer["z_loss"] and plain["model"]["kind"] == "encoder":
        refuse(
            "trainer.z_loss",
            trainer["z_loss"],
            f"{plain['model']['name']} is an encoder: a z-loss is part of T5X's loss over a vocabulary",
            "Set trainer.z_loss=0.",
        )
    name, method = plain["method"]["name"], plain["method"]
    if trainer["dtype"] == "bfloat16" and (name in _TUNES or method.get("tune_backbone")):
        raise ConfigError(
            f"trainer.dtype=bfloat16 with method={name}: weights stored in bfloat16 lose small updates; allowed is "
            "float32 (prompts stay float32 in every method). Set trainer.dtype=float32."
        )


def validate(plain: Plain) -> None:
    """Refuse a config that cannot run.

    Raises:
        ConfigError: with the key, the value, what is allowed and the fix.
    """
    _check_keys(plain, TrialConfig)
    _check_keys(plain["method"], registry.method(plain["method"]["name"]).schema, "method.")
    _check_values(plain)
    format_of(plain)
    _check_method(plain)
    _check_trainer(plain)
    check_words(plain)
    check_parts(plain)
    check_sources(plain)
    _check_positions(plain)


def checked_key(config: Any) -> str:
    """The run key of a config that passed `validate`: so no folder is ever named after a config that cannot run."""
    plain = resolved(config)
    validate(plain)
    return run_key(plain)
