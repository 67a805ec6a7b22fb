"""Prompt tuning (Lester et al. 2021): P trainable vectors at the input of the frozen model.

Pr(Y | [P; X]) with the prompt P in R^{P x D} concatenated to the embedded input (section 2); in T5 that is the
encoder's. On encoder models this is the "PT" baseline of P-Tuning v2 with its linear head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from repro.methods.base import Context, Injection
from repro.methods.parts.heads import build_head, head_of, per_trial
from repro.methods.parts.initialisers import class_labels, sampled_vocabulary, stack, uniform
from repro.methods.parts.reparameterisation import started


class PromptTuning:
    """Trainable `prompt` [K, P, D].

    Args:
        length: P.
        initialisation: uniform (range below), sampled_vocabulary, or class_label (section 3.2).
        uniform_low, uniform_high: the paper says [-0.5, 0.5]; the official configuration samples [0, 0.5).
        vocabulary_size: how many rows of the table, from id 0, are candidates for sampling.
        init_words: for class_label where labels are free text; empty means the task's label names.
        placement: before the input (the paper), after its first token, or after the input.
        embedded_twice, pooled_at_prompt: encoders, as the official "PT" baseline of P-Tuning v2 does (`Injection`).
    """

    name = "prompt_tuning"
    tuning = None

    def __init__(
        self,
        length: int,
        initialisation: str = "class_label",
        uniform_low: float = -0.5,
        uniform_high: float = 0.5,
        vocabulary_size: int = 5000,
        init_words: Sequence[str] = (),
        placement: str = "before",
        embedded_twice: bool = False,
        pooled_at_prompt: bool = False,
    ):
        self.length, self.initialisation, self.placement = length, initialisation, placement
        self.embedded_twice, self.pooled_at_prompt = embedded_twice, pooled_at_prompt
        self.uniform_low, self.uniform_high = uniform_low, uniform_high
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

    def export(self) -> dict[str, Tensor]:
        """`prompt` [K, P, D] and the head."""
        return {name: tensor.detach().clone() for name, tensor in self.parameters.items()}

    def restore(self, exported: Mapping[str, Tensor]) -> None:
        """Takes what `export` gave."""
        self.parameters = {name: tensor.detach().clone().requires_grad_() for name, tensor in exported.items()}

    def start(self, exported: Mapping[str, Tensor]) -> None:
        """Begin training from an exported prompt.

        Raises:
            ValueError: it does not fit.
        """
        self.parameters = started(self.parameters, exported, "initialisation=uniform")

    def parameter_counts(self) -> dict[str, int]:
        """P x D, and the head."""
        prompt, head = per_trial(self.parameters, "prompt"), per_trial(self.parameters, "head.")
        return {"trained": prompt + head, "stored": prompt + head, "prompt": prompt, "head": head}
