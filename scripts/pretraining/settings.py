"""What a pre-training is configured with: `conf/pretraining/<model>.yaml`, checked key by key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from repro.config.compose import conf_dir, options
from repro.config.schema import ModelConfig
from repro.errors import ConfigError

OBJECTIVES = {
    "span_corruption": "encoder_decoder",
    "prefix_lm": "encoder_decoder",
    "infilling": "encoder_decoder",
    "causal_lm": "decoder",
    "masked_lm": "encoder",
}
"""Each objective and the kind of model it is for."""
CHECKPOINT = {"name": None, "location": None, "weights": None}
"""Facts of a model that are another for each of its checkpoints."""


@dataclass
class Phase:
    """Some steps of one objective with a learning rate that rises, stays, and falls to 0."""

    objective: str = MISSING
    steps: int = MISSING
    learning_rate: float = MISSING
    warmup_steps: int = 100
    decay_share: float = 0.5
    """Part of the steps, at the end, over which the rate falls linearly to 0."""
    strips: int = 1
    """How a pool is sorted before it is cut into batches (`rows.cut_by_tokens`)."""
    keep: dict[int, str] = field(default_factory=dict)
    """Percentage of the steps: name in conf/model of the checkpoint that is written there."""


@dataclass
class Pretraining:
    """One model from drawn weights to its checkpoints."""

    model: str = MISSING
    seed: int = 1
    """Of the weights, the corpus and the noise."""
    pieces: int = 2500
    """Byte-pair vocabulary without special tokens."""
    tokenizer_documents: int = 20000
    context: int = 256
    """The most tokens of a row."""
    batch_tokens: int = 3072
    """Tokens of a batch: its longest row, source and target, times the number of rows."""
    pool: int = 512
    """Documents that are read at once and put into rows of like length."""
    autocast: bool = True
    """Matrix products in bfloat16; weights and moments stay float32."""
    optimiser: str = "muon"
    """muon (for the hidden matrices; AdamW for the rest), or adamw for all."""
    packed: bool = False
    """Rows without their padding, where the harness takes that for quicker (`trainer.packing=auto`)."""
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.05
    clip: float = 1.0
    evaluate_every: int = 300
    held_out_documents: int = 256
    checkpoint_every: int = 300
    phases: list[Phase] = MISSING


def named() -> list[str]:
    """Names of the configs."""
    return options("pretraining")


def composed(name: str, overrides: Sequence[str] = ()) -> Pretraining:
    """The config of that name with `key=value` overrides.

    Raises:
        ConfigError: an unknown name or key, or a value that cannot be.
    """
    if name not in named():
        raise ConfigError(f"pre-training {name!r}: there is no such config; choose one of {', '.join(named())}.")
    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(Pretraining),
            OmegaConf.load(conf_dir() / "pretraining" / f"{name}.yaml"),
            OmegaConf.from_dotlist(list(overrides)),
        )
        made = cast(Pretraining, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"conf/pretraining/{name}.yaml with {list(overrides)}: {first}. Correct the key.") from error
    _check(made)
    return made


def facts_of(name: str) -> dict[str, Any]:
    """The facts of `conf/model/<name>.yaml`.

    Raises:
        ConfigError: there is no such file.
    """
    path = conf_dir() / "model" / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"model {name!r}: there is no {path.name} in conf/model.")
    merged = OmegaConf.merge(OmegaConf.structured(ModelConfig), OmegaConf.load(path))
    return cast(dict[str, Any], OmegaConf.to_container(merged))


def _check(made: Pretraining) -> None:
    facts = facts_of(made.model)
    for phase in made.phases:
        if OBJECTIVES.get(phase.objective) != facts["kind"]:
            fitting = [name for name, kind in OBJECTIVES.items() if kind == facts["kind"]]
            raise ConfigError(f"phases.objective={phase.objective}: {made.model} takes {' or '.join(fitting)}.")
        if phase.strips < 1:
            raise ConfigError(f"phases.strips={phase.strips} of {made.model}: at least 1.")
        if phase.steps < 1 or not 0 <= phase.decay_share <= 1 or phase.learning_rate <= 0:
            raise ConfigError(
                f"phases of {made.model}: steps >= 1, learning_rate > 0 and 0 <= decay_share <= 1, but one has "
                f"{phase.steps}, {phase.learning_rate} and {phase.decay_share}."
            )
        if any(not 0 <= percent <= 100 for percent in phase.keep):
            raise ConfigError(f"phases.keep of {made.model}: percentages of the steps are 0 to 100.")
        if any(facts_of(kept) | CHECKPOINT != facts | CHECKPOINT for kept in phase.keep.values()):
            raise ConfigError(f"phases.keep of {made.model}: a checkpoint's file in conf/model has other facts.")
    if made.optimiser not in ("adamw", "muon"):
        raise ConfigError(f"optimiser={made.optimiser}: choose adamw or muon.")
    if made.context < 8 or made.batch_tokens < made.context or made.pool < 2 or made.evaluate_every < 1:
        raise ConfigError("context is at least 8, batch_tokens at least context, pool at least 2, evaluate_every 1.")
