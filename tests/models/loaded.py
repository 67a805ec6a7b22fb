"""Loading for tests that state a model's facts and the trainer's settings as plain mappings, as the yaml files do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from repro.config.schema import ModelConfig
from repro.methods.base import ModelSpec
from repro.models import backbone, loading
from repro.models.encoding.span_encoding import SpanOptions
from repro.models.families.family import Family
from repro.models.interface import ModelAdapter
from repro.models.untrained import random_model as untrained

Facts = Mapping[str, Any]
CONF = Path(__file__).parents[2] / "conf" / "model"
CPU = torch.device("cpu")
DATA = Path(os.environ.get("REPRO_DATA_ROOT") or Path(__file__).resolve().parents[3] / "shared" / "data")


def facts(name: str, **changes: Any) -> dict[str, Any]:
    """`conf/model/<name>.yaml`"""
    return yaml.safe_load((CONF / f"{name}.yaml").read_text()) | changes


def tiny(name: str, format: str = "text_to_text", dtype: str = "float64", attention: str = "sdpa", **more: Any) -> Any:
    """`conf/model/tiny-<name>.yaml` on the CPU, without dropout unless `more` of a trainer's settings says so."""
    return load_backbone(facts(f"tiny-{name}"), {"dtype": dtype, "attention": attention, **more}, CPU, format)[0]


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


def real_tokenizer(name: str) -> Any:
    """The official vocabulary of a BERT or of RoBERTa; skips the test without it."""
    from transformers import BertTokenizer, RobertaTokenizer

    folder = DATA / "tokenizers" / name
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set REPRO_DATA_ROOT)")
    if name == "roberta":
        return RobertaTokenizer(
            vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), add_prefix_space=True
        )
    return BertTokenizer(vocab=str(folder / "vocab.txt"))
