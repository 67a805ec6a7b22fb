"""What is measured: shapes of models, methods, and examples whose lengths are distributed as in the papers' tasks.

Weights are random and token ids are drawn: speed depends on shapes and lengths alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from repro.config.schema import ModelConfig
from repro.methods.base import Method
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from repro.models.encoding.batch import IGNORE, Encoded
from repro.models.families.family import register
from repro.models.families.t5 import T5


@dataclass(frozen=True)
class Lengths:
    """exp(N(log median, sigma^2)), rounded, at least `least` and at most `most`."""

    median: float
    sigma: float
    least: int
    most: int

    def draw(self, count: int, generator: torch.Generator) -> list[int]:
        """So many lengths."""
        drawn = torch.randn(count, generator=generator) * self.sigma + math.log(self.median)
        return drawn.exp().round().long().clamp(self.least, self.most).tolist()


SUPERGLUE = Lengths(60, 0.55, 12, 256)
"""Inputs of SuperGLUE's tasks: many short ones and a few long ones."""
ABOUT_64 = Lengths(64, 0.3, 16, 128)
"""Inputs of about one length: less padding to save than SuperGLUE has."""
E2E = Lengths(40, 0.3, 12, 256)
"""Inputs of E2E; a target has 0.6 to 1.0 of its input's length."""


@dataclass(frozen=True)
class Workload:
    """One shape of the papers."""

    name: str
    what: str
    """A line for the page."""
    model: ModelConfig
    """As `conf/model` has it."""
    batch_size: int
    prompt: int
    """P"""
    lengths: Lengths
    batches: int = 3
    """A timed pass goes over so many."""
    seed: int = 0
    padded_to: int = 256
    """What a pipeline with a fixed length pads to."""

    @property
    def format(self) -> str:
        """The format in which a task is seen."""
        return "pair" if self.model.kind == "encoder" else "text_to_text"

    def method(self) -> Method:
        """The method of the paper, its plainest variant (the MLP of a prefix is no part of the backbone's speed)."""
        if self.model.kind == "encoder":
            return build_method("p_tuning_v2", length=self.prompt, prefix_dropout=0.0)
        if self.model.kind == "decoder":
            return build_method("prefix_tuning", length=self.prompt, reparameterisation="none")
        return PromptTuning(self.prompt, initialisation="sampled_vocabulary")

    def examples(self) -> list[Encoded]:
        """Examples of all batches, the same at every call."""
        generator = torch.Generator().manual_seed(self.seed)
        lengths = self.lengths.draw(self.batches * self.batch_size, generator)
        return [self._example(length, generator) for length in lengths]

    def _ids(self, count: int, generator: torch.Generator) -> tuple[int, ...]:
        return tuple(torch.randint(10, self.model.vocabulary, (count,), generator=generator).tolist())

    def _example(self, length: int, generator: torch.Generator) -> Encoded:
        ids, kind = self._ids(length, generator), self.model.kind
        if kind == "encoder":
            return Encoded(ids, length, label=int(torch.randint(2, (1,), generator=generator)))
        if kind == "encoder_decoder":  # a label of 1 to 3 tokens and the end of sequence
            label = self._ids(int(torch.randint(1, 4, (1,), generator=generator)), generator)
            return Encoded(ids, length, target_ids=(*label, 1))
        target = self._ids(max(6, int(length * (0.6 + 0.4 * torch.rand(1, generator=generator).item()))), generator)
        return Encoded((*ids, *target), length, token_labels=(IGNORE,) * length + target)


T5_RELU = replace(T5, name="t5_relu", title="T5 1.0", constants={**T5.constants, "feed_forward_proj": "relu"})
"""The first T5, whose feed-forward layers have no gate; no paper here uses it."""
register(T5_RELU, __name__)


def _model(family: str, kind: str, layers: int, width: int, heads: int, inner: int, **more: Any) -> ModelConfig:
    return ModelConfig(
        **{
            **{"name": family, "family": family, "kind": kind, "source": "random", "location": "random"},
            **{"layers": layers, "width": width, "heads": heads, "head_dim": width // heads, "feed_forward": inner},
            **{"tied_head": True, "max_positions": 1024, **more},
        }
    )


def _t5(layers: int, width: int, heads: int, inner: int, tied_head: bool = False, family: str = "t5") -> ModelConfig:
    return _model(family, "encoder_decoder", layers, width, heads, inner, vocabulary=32128, tied_head=tied_head)


def _gpt2(layers: int, width: int, heads: int) -> ModelConfig:
    return _model("gpt2", "decoder", layers, width, heads, 4 * width, vocabulary=50257)


def _bert(layers: int, width: int, heads: int) -> ModelConfig:
    return _model("bert", "encoder", layers, width, heads, 4 * width, vocabulary=30522, max_positions=512)


CPU = (
    Workload(
        "t5", "T5 of width 512, 6 + 6 layers, prompt tuning, 20 rows, SuperGLUE-like inputs, batch of 8",
        _t5(6, 512, 8, 2048, True, "t5_relu"), 8, 20, SUPERGLUE,
    ),
    Workload(
        "gpt2", "GPT-2 small, prefix-tuning, 5 positions, E2E-like inputs and targets, batch of 5",
        _gpt2(12, 768, 12), 5, 5, E2E, padded_to=224,
    ),
    Workload(
        "bert", "BERT-base, P-Tuning v2, 20 positions, SuperGLUE-like inputs, batch of 8",
        _bert(12, 768, 12), 8, 20, SUPERGLUE,
    ),
)  # fmt: skip
GPU = (
    Workload(
        "t5", "T5-base LM-adapted, prompt tuning, 100 rows, SuperGLUE-like inputs, batch of 32",
        _t5(12, 768, 12, 2048), 32, 100, Lengths(120, 0.6, 16, 256),
    ),
    Workload("gpt2", "GPT-2 medium, prefix-tuning, 5 positions, E2E, batch of 5", _gpt2(24, 1024, 16), 5, 5, E2E),
    Workload("gpt2-10", "GPT-2 medium, prefix-tuning, 5 positions, E2E, batch of 10", _gpt2(24, 1024, 16), 10, 5, E2E),
    Workload(
        "bert", "BERT-large, P-Tuning v2, 20 positions, inputs up to 128, batch of 32",
        _bert(24, 1024, 16), 32, 20, Lengths(60, 0.55, 12, 128), padded_to=128,
    ),
    Workload(
        "t5-base", "T5-base LM-adapted, prompt tuning, 20 rows, inputs of about 64, batch of 8",
        _t5(12, 768, 12, 2048), 8, 20, ABOUT_64,
    ),
    Workload(
        "t5-large", "T5-large LM-adapted, prompt tuning, 20 rows, inputs of about 64, batch of 8",
        _t5(24, 1024, 16, 2816), 8, 20, ABOUT_64,
    ),
    Workload(
        "bert-8", "BERT-large, P-Tuning v2, 20 positions, inputs of about 64, batch of 8",
        _bert(24, 1024, 16), 8, 20, ABOUT_64,
    ),
)  # fmt: skip
TINY = tuple(
    Workload(
        name, f"tiny {name}, for tests",
        _model(family, kind, 2, 32, 4, 64, vocabulary=262, max_positions=64),
        3, 4, Lengths(10, 0.4, 4, 24), padded_to=32,
    )
    for name, family, kind in (
        ("t5", "t5_relu", "encoder_decoder"), ("gpt2", "gpt2", "decoder"), ("bert", "bert", "encoder")
    )
)  # fmt: skip
SUITES = {"cpu": CPU, "cuda": tuple(replace(one, batches=8) for one in GPU), "tiny": TINY}
LARGEST = {
    "cuda": Workload(
        "t5-xxl", "T5-XXL LM-adapted, prompt tuning, 100 rows before 412 tokens, batch of 32",
        _t5(24, 4096, 64, 10240), 32, 100, Lengths(412, 0.0, 412, 412), batches=1,
    ),
    "tiny": replace(TINY[0], name="tiny", batches=1),
}  # fmt: skip
"""The largest model of the papers, at their longest inputs."""
