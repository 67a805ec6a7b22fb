"""Prompt tuning (Lester et al. 2021): P trainable vectors at the input of the frozen model.

Pr(Y | [P; X]) with the prompt P in R^{P x D} concatenated to the embedded input (section 2); in T5 that is the
encoder's. On encoder models this is the "PT" baseline of P-Tuning v2 with its linear head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from repro.methods.base import Context, Injection
from repro.methods.parts.heads import build_head, head_of
from repro.methods.parts.initialisers import class_labels, normal, sampled_vocabulary, stack, uniform
from repro.methods.parts.tensor_method import TensorMethod


class PromptTuning(TensorMethod):
    """Trainable `prompt` [K, P, D].

    Args:
        length: P.
        initialisation: uniform or normal (see below), sampled_vocabulary, or class_label (section 3.2).
        uniform_low, uniform_high: the paper says [-0.5, 0.5]; the official configuration samples [0, 0.5).
        normal_std: 0.02 in the PT baseline of P-Tuning v2.
        vocabulary_size: how many rows of the table, from id 0, are candidates for sampling.
        init_words: for class_label where labels are free text; empty means the task's label names.
        placement: before the input (the paper), after its first token, or after the input.
        embedded_twice, pooled_at_prompt: encoders, as the official "PT" baseline of P-Tuning v2 does (`Injection`).
    """

    name = "prompt_tuning"
    trains_prompt_with = "initialisation=uniform"

    def __init__(
        self,
        length: int,
        initialisation: str = "class_label",
        uniform_low: float = -0.5,
        uniform_high: float = 0.5,
        normal_std: float = 0.02,
        vocabulary_size: int = 5000,
        init_words: Sequence[str] = (),
        placement: str = "before",
        embedded_twice: bool = False,
        pooled_at_prompt: bool = False,
    ):
        self.length, self.initialisation, self.placement = length, initialisation, placement
        self.embedded_twice, self.pooled_at_prompt = embedded_twice, pooled_at_prompt
        self.uniform_low, self.uniform_high, self.normal_std = uniform_low, uniform_high, normal_std
        self.vocabulary_size, self.init_words = vocabulary_size, tuple(init_words)
        self.parameters: dict[str, Tensor] = {}

    def build(self, context: Context) -> None:
        """Prompt by the chosen initialiser, head (encoders) after it."""
        words = self.init_words or tuple(context.labels)
        label_ids = [context.tokenize(word) for word in words]

        def start(generator: torch.Generator) -> Tensor:
            if self.initialisation == "uniform":
                width = context.spec.width
                return uniform(generator, self.length, width, low=self.uniform_low, high=self.uniform_high)
            if self.initialisation == "normal":
                return normal(generator, self.length, context.spec.width, std=self.normal_std)
            if self.initialisation == "sampled_vocabulary":
                return sampled_vocabulary(generator, self.length, context.embeddings, self.vocabulary_size)
            return class_labels(generator, self.length, context.embeddings, label_ids, self.vocabulary_size)

        self.parameters = {"prompt": stack(start, context.generators)} | build_head(context)

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """[P; X]"""
        return Injection(
            self.parameters["prompt"],
            self.placement,
            embedded_twice=self.embedded_twice,
            pooled_at_prompt=self.pooled_at_prompt,
            head=head_of(self.parameters),
        )
