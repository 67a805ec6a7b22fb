"""Loading for tests that state a model's facts and the trainer's settings as plain mappings, as the yaml files do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import torch

from repro.config.schema import ModelConfig
from repro.methods.base import ModelSpec
from repro.models import backbone, loading
from repro.models.encoding.span_encoding import SpanOptions
from repro.models.families.family import Family
from repro.models.interface import ModelAdapter
from repro.models.untrained import random_model as untrained

Facts = Mapping[str, Any]


def options(trainer: Facts) -> loading.LoadOptions:
    """Those of a trainer's settings that loading reads."""
    known = {field.name for field in fields(loading.LoadOptions)}
    return loading.LoadOptions(
        **{name: str(value) if name == "packing" else value for name, value in trainer.items() if name in known}
    )


def load_backbone(model: Facts, trainer: Facts, device: torch.device, format: str = "text_to_text") -> Any:
    """As `repro.models.loading.load_backbone`."""
    return loading.load_backbone(ModelConfig(**model), options(trainer), device, format)


def adapt(
    bone: backbone.Backbone, format: str, task: Facts, head_dropout: float = 0.0, vocabulary: Sequence[str] = ()
) -> ModelAdapter:
    """As `repro.models.loading.adapt`."""
    names = ("max_input_length", "max_target_length", "labels", "verbaliser", "sentinel")
    given = {name: task[name] for name in names if name in task}
    spans = SpanOptions.of(task.get("options"))
    return loading.adapt(bone, format, **given, spans=spans, head_dropout=head_dropout, vocabulary=vocabulary)


def spec_of(model: Facts) -> ModelSpec:
    """As `repro.models.backbone.spec_of`."""
    return backbone.spec_of(ModelConfig(**model))


def build(model: Facts, kind: Family, *rest: Any) -> Any:
    """As `repro.models.untrained.random_model.build`."""
    return untrained.build(ModelConfig(**model), kind, *rest)


def random_model(model: Facts, kind: Family, *rest: Any, **more: Any) -> Any:
    """As `repro.models.untrained.random_model.random_model`."""
    return untrained.random_model(ModelConfig(**model), kind, *rest, **more)


def transformers_config(model: Facts, kind: Family, dropouts: Mapping[str, float]) -> Any:
    """As `repro.models.untrained.random_model.transformers_config`."""
    return untrained.transformers_config(ModelConfig(**model), kind, dropouts)
