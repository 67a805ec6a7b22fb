"""Infix-tuning (Li and Liang 2021, section 7.3): [x; infix; y] instead of [prefix; x; y].

The official construction (liliang2021 section (a)): the frozen model reads x and p trained embeddings; an MLP's output
is added to the keys and values that it computed at these p places; then it reads y.
"""

from __future__ import annotations

from torch import Tensor

from repro.methods.base import Context, Injection, ModelSpec
from repro.methods.parts.reparameterisation import TorchDefaults, build_direct, build_mlp, prefix_of, split_layers
from repro.methods.parts.tensor_method import TensorMethod

_SITE = "decoder"


class InfixTuning(TensorMethod):
    """Trainable `prompt` [K, P, D] behind the source, and what is added to its keys and values.

    Args:
        length: P.
        reparameterisation: `mlp` makes the addition from an embedding [P, D] of its own; `none` trains it directly.
        hidden: inner width of the MLP.
    """

    name = "infix_tuning"
    trains_prompt_with = "reparameterisation=none"

    def __init__(self, length: int, reparameterisation: str = "mlp", hidden: int = 512):
        self.length, self.reparameterisation, self.hidden = length, reparameterisation, hidden
        self.parameters: dict[str, Tensor] = {}
        self._spec: ModelSpec | None = None

    def build(self, context: Context) -> None:
        """Embeddings from N(0, 1), linear layers as `nn.Linear` starts."""
        self._spec, starts = context.spec, TorchDefaults()
        width = context.spec.kv_width(_SITE)
        self.parameters = build_direct(context, "prompt", self.length, context.spec.width, starts)
        if self.reparameterisation == "mlp":
            self.parameters |= build_mlp(context, _SITE, self.length, (self.hidden,), width, starts)
        else:
            self.parameters |= build_direct(context, f"{_SITE}.prefix", self.length, width, starts)

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """The prompt between source and separator, and the addition to its keys and values."""
        assert self._spec is not None, "build() comes first"
        added = split_layers(prefix_of(self.parameters, _SITE), self._spec, _SITE)
        return Injection(self.parameters["prompt"], placement="infix", infix=added)

    def folded(self) -> dict[str, Tensor]:
        """`prompt` [K, P, D] and `decoder.prefix` [K, P, 2 x L x H x Dh], the addition."""
        return {"prompt": self.parameters["prompt"], f"{_SITE}.prefix": prefix_of(self.parameters, _SITE)}
