"""P-tuning (v1, Liu et al. 2021): prompts at the input, among anchor words, made by a small encoder.

Few-shot code: Embedding -> 2-layer bidirectional LSTM -> Linear -> ReLU -> Linear; an MLP or the embeddings alone are
its variants (liu2022 notes, "P-tuning v1 in short"). In the paper's SuperGLUE numbers the backbone is tuned too.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from repro.methods.base import Context, Injection, Tuning
from repro.methods.parts.heads import build_head, head_of
from repro.methods.parts.initialisers import linear_default, normal, uniform
from repro.methods.parts.keyed_dropout import keyed_dropout, mixed, site_number
from repro.methods.parts.tensor_method import TensorMethod

LAYERS = 2
"""Of the LSTM, as released."""


_LSTM_SITE = site_number("p_tuning.lstm")


def bi_lstm(
    states: Tensor,
    tensors: Mapping[str, Tensor],
    layers: int = LAYERS,
    dropout: float = 0.0,
    keys: Tensor | None = None,
) -> Tensor:
    """[K, P, D] -> [K, P, 2h]: every trial's rows through its own LSTM in both directions (gates i, f, g, o).

    Tensors `lstm.<layer>.<direction>.{wi, wh, bi, bh}`: [K, 4h, inputs], [K, 4h, h], [K, 4h], [K, 4h]. Dropout is
    drawn between layers, as `nn.LSTM` has it, by the trials' `keys` [K].
    """
    for layer in range(layers):
        if layer and dropout:
            assert keys is not None, "dropout needs the keys of a step"
            places = torch.arange(states.shape[1], device=states.device)
            states = keyed_dropout(states, dropout, mixed(mixed(keys, _LSTM_SITE + layer)[:, None], places))
        both = []
        for direction in ("forward", "backward"):
            part = {name: tensors[f"lstm.{layer}.{direction}.{name}"] for name in ("wi", "wh", "bi", "bh")}
            given = states if direction == "forward" else states.flip(1)
            out = _lstm(given, part)
            both.append(out if direction == "forward" else out.flip(1))
        states = torch.cat(both, 2)
    return states


def _lstm(states: Tensor, part: Mapping[str, Tensor]) -> Tensor:
    """One direction of one layer: [K, P, inputs] -> [K, P, h]."""
    inputs = torch.baddbmm((part["bi"] + part["bh"])[:, None], states, part["wi"].mT)  # K P 4h
    hidden = cell = states.new_zeros(len(states), part["wh"].shape[2])
    out = []
    for place in range(states.shape[1]):
        gates = inputs[:, place] + torch.einsum("kgh,kh->kg", part["wh"], hidden)
        keep_in, forget, new, give = gates.chunk(4, 1)
        cell = forget.sigmoid() * cell + keep_in.sigmoid() * new.tanh()
        hidden = give.sigmoid() * cell.tanh()
        out.append(hidden)
    return torch.stack(out, 1)


class PTuning(TensorMethod):
    """Prompt rows [K, P, D] from an encoder over trained embeddings; the encoder is folded away on export.

    Args:
        length: P, the prompt rows of the task's template.
        encoder: `lstm`, `mlp` (Linear - ReLU - Linear) or `embedding` (none).
        lstm_hidden: h of each direction; null is D (the few-shot code; the LAMA code takes D / 2).
        lstm_dropout: between the LSTM's layers while training (a switch of the LAMA code).
        tune_backbone: train the backbone's weights as well (every SuperGLUE number of the paper).
        placement: `template`, or `before` the input.
    """

    name = "p_tuning"
    trains_prompt_with = "encoder=embedding"

    def __init__(
        self,
        length: int,
        encoder: str = "lstm",
        lstm_hidden: int | None = None,
        lstm_dropout: float = 0.0,
        tune_backbone: bool = False,
        placement: str = "template",
    ):
        self.length, self.encoder, self.lstm_hidden = length, encoder, lstm_hidden
        self.lstm_dropout, self.placement = lstm_dropout, placement
        self.tuning = Tuning("all") if tune_backbone else None
        self.parameters: dict[str, Tensor] = {}

    def build(self, context: Context) -> None:
        """torch's defaults: embeddings N(0, 1), LSTM and linear layers uniform in 1 / sqrt(units)."""
        drawn = [self._draw(generator, context.spec.width) for generator in context.generators]
        self.parameters = {name: torch.stack([d[name] for d in drawn]).requires_grad_() for name in drawn[0]}
        self.parameters |= build_head(context)

    def _draw(self, generator: torch.Generator, width: int) -> dict[str, Tensor]:
        if self.encoder == "embedding":
            return {"prompt": normal(generator, self.length, width)}
        out = {"encoder.embedding": normal(generator, self.length, width)}
        inner = width
        if self.encoder == "lstm":
            hidden = self.lstm_hidden or width
            bound, inner = hidden**-0.5, 2 * hidden
            for layer in range(LAYERS):
                inputs = width if layer == 0 else 2 * hidden
                for direction in ("forward", "backward"):
                    shapes: dict[str, tuple[int, ...]] = {"wi": (4 * hidden, inputs), "wh": (4 * hidden, hidden)}
                    shapes |= {"bi": (4 * hidden,), "bh": (4 * hidden,)}
                    out |= {
                        f"lstm.{layer}.{direction}.{name}": uniform(generator, *shape, low=-bound, high=bound)
                        for name, shape in shapes.items()
                    }
        out["encoder.w1"], out["encoder.b1"] = linear_default(generator, width, inner)
        out["encoder.w2"], out["encoder.b2"] = linear_default(generator, width, width)
        return out

    def _prompt(self, training: bool = False, keys: Tensor | None = None) -> Tensor:
        """[K, P, D]"""
        tensors = self.parameters
        if "prompt" in tensors:
            return tensors["prompt"]
        states = tensors["encoder.embedding"]
        if self.encoder == "lstm":
            states = bi_lstm(states, tensors, dropout=self.lstm_dropout if training else 0.0, keys=keys)
        states = torch.baddbmm(tensors["encoder.b1"][:, None], states, tensors["encoder.w1"].mT).relu()
        return torch.baddbmm(tensors["encoder.b2"][:, None], states, tensors["encoder.w2"].mT)

    def injection(self, training: bool, keys: Tensor | None = None) -> Injection:
        """The prompt in the places of the template."""
        return Injection(self._prompt(training, keys), placement=self.placement, head=head_of(self.parameters))

    def folded(self) -> dict[str, Tensor]:
        """`prompt` [K, P, D] and the head."""
        return {"prompt": self._prompt()} | self.head_tensors()
