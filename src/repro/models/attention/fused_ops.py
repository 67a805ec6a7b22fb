"""Norms and activations of frozen models in fewer operations, which keep less for the backward pass.

They stand in only while a backbone reads packed sequences; a padded batch goes through the library's own code, bit for
bit. Results differ by rounding: the library writes GPT-2's GELU as eight operations, and T5's norm as five.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import activations
from transformers.models.llama import modeling_llama
from transformers.models.t5 import modeling_t5

from repro.models.attention.autograd import Context
from repro.models.threads import Own

_MODE = "repro_mode"


@dataclass
class Mode:
    """What a backbone's memory-saving layers look at in this pass."""

    packed: bool = False


def _packed(module: nn.Module) -> bool:
    mode: Own[Mode] = module.__dict__[_MODE]
    return mode.here.packed


class _RootMeanSquare(torch.autograd.Function):
    """w x / sqrt(mean(x^2) + epsilon) with a frozen w [D]: keeps the result before w, and the root."""

    @staticmethod
    def forward(ctx: Context, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        exact = states.to(torch.promote_types(states.dtype, torch.float32))
        inverse = torch.rsqrt(exact.square().mean(-1, keepdim=True).add_(epsilon))
        normed = (exact * inverse).to(states.dtype)
        ctx.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(ctx: Context, *gradients: Tensor) -> tuple[Tensor, None, None]:
        normed, inverse, weight = ctx.saved_tensors
        gradient = gradients[0] * weight
        share = (gradient * normed).mean(-1, keepdim=True, dtype=inverse.dtype)
        out = torch.addcmul(gradient, normed, share.to(gradient.dtype), value=-1)
        return out.mul_(inverse.to(out.dtype)), None, None


def root_mean_square(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMS norm [..., D] by a frozen gain [D]; the mean is taken in float32 or better."""
    out: Tensor = _RootMeanSquare.apply(states, weight, epsilon)
    return out


class T5LayerNorm(modeling_t5.T5LayerNorm):
    """T5's norm; the library's own where the batch is padded or the gain is trained."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[..., D] to [..., D]"""
        if _packed(self) and not self.weight.requires_grad:
            return root_mean_square(hidden_states, self.weight, self.variance_epsilon)
        return super().forward(hidden_states)


class LlamaRMSNorm(modeling_llama.LlamaRMSNorm):
    """Llama's norm, as above."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[..., D] to [..., D]"""
        if _packed(self) and not self.weight.requires_grad:
            return root_mean_square(hidden_states, self.weight, self.variance_epsilon)
        return super().forward(hidden_states)


class NewGELUActivation(activations.NewGELUActivation):
    """The tanh form of GELU (GPT-2, T5 1.1) in one kernel; the library's arithmetic where the batch is padded."""

    def forward(self, states: Tensor) -> Tensor:
        """[..., D] to [..., D]"""
        return F.gelu(states, approximate="tanh") if _packed(self) else super().forward(states)


_MEMORY_SAVING: dict[type[nn.Module], type[nn.Module]] = {
    modeling_t5.T5LayerNorm: T5LayerNorm,
    modeling_llama.LlamaRMSNorm: LlamaRMSNorm,
    activations.NewGELUActivation: NewGELUActivation,
}
"""The library's class: the one of the same name that stands in for it."""


def install(model: nn.Module) -> Own[Mode]:
    """Give a loaded model its memory-saving layers, by their class; returns the switch they look at."""
    mode = Own(Mode)
    for module in model.modules():
        replacement = _MEMORY_SAVING.get(type(module))
        if replacement is not None:
            module.__class__ = replacement
            module.__dict__[_MODE] = mode
    return mode
