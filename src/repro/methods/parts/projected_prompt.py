"""Embedding-only (Li and Liang 2021, section 7.2): the prefix's keys and values come out of the frozen model itself.

p trained embeddings are read by the frozen decoder, and what it computes for them is the prefix. In a causal model that
is a prompt in front of the input: nothing behind it can change what the model computes for it.
"""

from __future__ import annotations

from torch import Tensor

from repro.methods.base import Context, Injection
from repro.methods.parts.reparameterisation import TorchDefaults, build_direct, build_mlp, mlp
from repro.methods.parts.tensor_method import TensorMethod


class EmbeddingOnly(TensorMethod):
    """Trainable `prompt` [K, P, D], or an MLP that makes it.

    Args:
        length: P.
        reparameterisation: `mlp` (Embedding - Linear - tanh - Linear; the code's default) or `none`.
        hidden: inner width of the MLP.
    """

    name = "embedding_only"
    trains_prompt_with = "reparameterisation=none"

    def __init__(self, length: int, reparameterisation: str = "mlp", hidden: int = 512):
        self.length, self.reparameterisation, self.hidden = length, reparameterisation, hidden
        self.parameters: dict[str, Tensor] = {}

    def build(self, context: Context) -> None:
        """Embeddings from N(0, 1), linear layers as `nn.Linear` starts."""
        width, starts = context.spec.width, TorchDefaults()
        if self.reparameterisation == "mlp":
            self.parameters = build_mlp(context, "prompt", self.length, (self.hidden,), width, starts)
        else:
            self.parameters = build_direct(context, "prompt", self.length, width, starts)

    def _prompt(self) -> Tensor:
        return self.parameters["prompt"] if "prompt" in self.parameters else mlp(self.parameters, "prompt")

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """The prompt in front of everything."""
        return Injection(self._prompt())

    def folded(self) -> dict[str, Tensor]:
        """`prompt` [K, P, D]"""
        return {"prompt": self._prompt()}
