"""Baselines that train weights of the backbone itself: which ones, and what is added to it (`methods.base.Tuning`)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from repro.config.schema import ModelConfig
from repro.errors import ModelError
from repro.methods.base import Tuning
from repro.models.backbone import Backbone, spec_of
from repro.models.families.family import family
from repro.models.untrained.random_model import build, byte_tokenizer

if TYPE_CHECKING:
    from peft import PeftConfig


def tune(backbone: Backbone, tuning: Tuning, seed: int) -> dict[str, nn.Parameter]:
    """Make a method's share of the weights trainable and leave the rest frozen; returns them by name.

    LoRA and IA3 put layers of the peft library into the model, where prefixes and position shifts stay as they are.

    Args:
        seed: of the starting values that are drawn here (LoRA's).

    Raises:
        ModelError: the model has no such weights.
    """
    if tuning.adds_layers:
        return _added(backbone, tuning, seed)
    chosen = _CHOICES[tuning.kind](backbone, tuning)
    if not chosen:
        raise ModelError(
            f"method: {backbone.family.name} models such as this one have no {tuning.kind} to train. Choose "
            "method=fine_tuning or method=adapter."
        )
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def _all(backbone: Backbone, tuning: Tuning) -> dict[str, nn.Parameter]:
    return dict(backbone.whole.named_parameters())


def _biases(backbone: Backbone, tuning: Tuning) -> dict[str, nn.Parameter]:
    """Every bias term and nothing else (BitFit, Zaken et al. 2022)."""
    named = backbone.whole.named_parameters()
    return {name: parameter for name, parameter in named if name.rpartition(".")[2] in ("bias", "q_bias", "v_bias")}


def _top(backbone: Backbone, tuning: Tuning) -> dict[str, nn.Parameter]:
    """The last blocks and the norm behind them, never the embeddings (liliang2021 section (a), "FT-top2").

    The paper has it for GPT-2 only; in a model with a decoder it is the decoder's top here.
    """
    stacks = backbone.family.blocks(backbone.model)
    blocks = stacks.get("decoder") or stacks["encoder"]
    if tuning.blocks > len(blocks):
        raise ModelError(f"method.blocks={tuning.blocks}: the model has {len(blocks)}. Set method.blocks lower.")
    norms = [backbone.model.get_submodule(path) for path in backbone.family.final_norms]
    modules = [*blocks[-tuning.blocks :], *norms]
    wanted = {id(parameter) for module in modules for parameter in module.parameters()}
    return {name: p for name, p in backbone.whole.named_parameters() if id(p) in wanted}


_CHOICES = {"all": _all, "biases": _biases, "top": _top}


def _added(backbone: Backbone, tuning: Tuning, seed: int) -> dict[str, nn.Parameter]:
    """LoRA's or IA3's own parameters, in float32 or better."""
    import peft

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GPT-2's Conv1D stores its weight transposed; peft says that it sets its flag
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(_peft_config(backbone, tuning), backbone.whole)
    backbone.whole.requires_grad_(False)
    marks = ("lora_", "ia3_")
    chosen = {n: p for n, p in backbone.whole.named_parameters() if any(mark in n for mark in marks)}
    wanted = torch.promote_types(backbone.dtype, torch.float32)
    for parameter in chosen.values():
        parameter.data = parameter.data.to(backbone.device, wanted)
        parameter.requires_grad_(True)
    return chosen


def save_tuned(backbone: Backbone, folder: Path) -> None:
    """The model and its tokenizer as transformers saves them, without our attention."""
    from transformers import PreTrainedModel

    for part in backbone.whole.modules():
        if isinstance(part, PreTrainedModel):
            part.config._attn_implementation = "sdpa"
    folder.mkdir(parents=True, exist_ok=True)
    backbone.whole.save_pretrained(folder, safe_serialization=True)
    backbone.tokenizer.save_pretrained(folder)


def peft_checkpoint(
    backbone: Backbone, tuning: Tuning, weights: Mapping[str, Tensor]
) -> tuple[dict[str, object], dict[str, Tensor]]:
    """LoRA's or IA3's layers as peft saves them: what goes into its adapter_config.json, and its tensors by its names.

    Args:
        weights: the trained tensors by the names that `tune` gave them.
    """
    about = _peft_config(backbone, tuning).to_dict()
    about = {key: sorted(value) if isinstance(value, set) else value for key, value in about.items()}
    tensors = {f"base_model.model.{name.replace('.default', '')}": tensor for name, tensor in weights.items()}
    return about, tensors


def _peft_config(backbone: Backbone, tuning: Tuning) -> PeftConfig:
    import peft
    from peft.utils import constants

    model_type, family = backbone.model.config.model_type, backbone.family
    lora, ours = tuning.kind == "lora", family.peft_targets
    known: Mapping[str, Sequence[str]] = (
        constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
        if lora
        else constants.TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING
    )
    targets = list(tuning.targets or known.get(model_type) or (ours.lora if lora else ours.ia3))
    if not targets:
        raise ModelError(
            f"method.targets=[]: peft knows no default modules for {model_type}. Name them: "
            "method.targets=[query,value]."
        )
    transposed = family.transposed_weights
    try:
        if lora:
            return peft.LoraConfig(
                r=tuning.rank,
                lora_alpha=tuning.alpha,  # type: ignore[arg-type]  # peft divides by the rank: any number will do
                lora_dropout=tuning.dropout,
                target_modules=targets,
                fan_in_fan_out=transposed,
            )
        inner = constants.TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(model_type, ours.feed_forward)
        scaled_inputs = [name for name in targets if name in inner]
        return peft.IA3Config(target_modules=targets, feedforward_modules=scaled_inputs, fan_in_fan_out=transposed)
    except ValueError as error:
        raise ModelError(f"method.targets={targets}: {error}") from error


def tuned_numbers(model: ModelConfig, tuning: Tuning) -> tuple[int, int, int]:
    """Numbers in tuned weights, in the backbone before, and in what was added to it; nothing is stored or loaded."""
    kind = family(model.family)
    with torch.device("meta"):
        made = build(model, kind, torch.float32, {})
        before = sum(parameter.numel() for parameter in made.parameters())
        backbone = Backbone(made, byte_tokenizer(kind.kind), kind, spec_of(model))
        tuned = sum(parameter.numel() for parameter in tune(backbone, tuning, seed=0).values())
    return tuned, before, sum(parameter.numel() for parameter in made.parameters()) - before
