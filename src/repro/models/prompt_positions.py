"""Where a prompt's rows go among the tokens of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.models.encoding.batch import PAD, Batch

PLACEMENT_KEYS = {"before": -0.5, "after_bos": 0.5, "infix": 1.2, "after": 1.5}
"""Where a prompt stands among the order keys of tokens (`encoding.batch`)."""


@dataclass(frozen=True)
class PromptPositions:
    """Where a prompt's rows and a batch's tokens stand in the sequences that hold both."""

    source: Tensor | None
    """[N, P + T] which of [prompt; tokens] stands at each position (fewer positions where `trimmed`); None: prompt rows
    replace tokens (`template`)"""
    mask: Tensor
    """[N, P + T] 1 on real tokens and on the trial's own prompt"""
    where: Tensor
    """[N, T] positions of the tokens"""
    prompt_at: Tensor
    """[N, P] positions of the prompt's rows"""

    def spread(self, values: Tensor, fill: int) -> Tensor:
        """Per-token values [N, T] in the positions of the longer sequence [N, P + T], `fill` at the prompt.

        Where positions were trimmed, padding shares the last one with a real token: the larger value is kept, which is
        the real token's, as padding's is never above another.
        """
        out = values.new_full(self.mask.shape, fill)
        return out.scatter_reduce(1, self.where, values, "amax")


@dataclass(frozen=True)
class PlacedPrompt(PromptPositions):
    """The sequences themselves."""

    embeds: Tensor
    """[N, P + T, D]"""


def prompt_positions(batch: Batch, injection: Injection, trim: bool = True) -> PromptPositions | None:
    """Each row's prompt where the injection says: before the input, after its first token, or after the input; None
    without a prompt.

    Tokens carry order keys; a stable sort with the prompt's key among them gives the sequence, wherever padding is.
    Rows of a longer prompt than the trial's own go where padding goes. With placement `template` the tokens that stand
    for prompt rows are replaced and nothing moves.

    Args:
        trim: leave out the last positions where no row has anything.
    """
    if injection.embeds is None:
        return None
    device, count = batch.ids.device, injection.embeds.shape[1]
    if injection.placement == "template":
        assert batch.slots is not None, "the task renders no positions for the prompt"
        where = torch.arange(batch.ids.shape[1], device=device).expand(len(batch.ids), -1)
        return PromptPositions(None, batch.mask, where, where[:, :0])
    own = batch.mask.new_ones(len(batch.ids), count)
    prompt_keys = batch.order.new_full((len(batch.ids), count), PLACEMENT_KEYS[injection.placement])
    if injection.embeds_mask is not None:
        own = injection.embeds_mask.to(device)[batch.rows].to(own.dtype)
        prompt_keys = torch.where(own.bool(), prompt_keys, -PAD if batch.left else PAD)
    keys = torch.cat([prompt_keys, batch.order], 1)
    source = keys.argsort(dim=1, stable=True)
    at = source.argsort(dim=1)  # the inverse permutation
    positions = PromptPositions(source, torch.cat([own, batch.mask], 1).gather(1, source), at[:, count:], at[:, :count])
    return positions if injection.embeds_mask is None or batch.left or not trim else trimmed(positions)


def trimmed(positions: PromptPositions) -> PromptPositions:
    """Without the last positions, where no row has anything: trials with prompts of different lengths leave some, and
    the position table might not reach so far. Padding moves to the last position that is left."""
    assert positions.source is not None
    width = int(positions.mask.sum(1).max())
    last = width - 1
    return PromptPositions(
        positions.source[:, :width],
        positions.mask[:, :width],
        positions.where.clamp(max=last),
        positions.prompt_at.clamp(max=last),
    )


def place(text: Tensor, batch: Batch, injection: Injection, positions: PromptPositions | None = None) -> PlacedPrompt:
    """Put each row's prompt among its tokens [N, T, D], at the batch's `prompt_positions` unless they are given."""
    assert injection.embeds is not None
    found = positions or prompt_positions(batch, injection)
    assert found is not None
    prompt = injection.embeds[batch.rows].to(text.dtype)  # N P D
    if found.source is None:
        assert batch.slots is not None
        chosen = prompt.gather(1, batch.slots.clamp(min=0)[..., None].expand(-1, -1, text.shape[2]))
        embeds = torch.where((batch.slots >= 0)[..., None], chosen, text)
    else:
        both = torch.cat([prompt, text], 1)
        embeds = both.gather(1, found.source[..., None].expand(-1, -1, both.shape[2]))
    return PlacedPrompt(found.source, found.mask, found.where, found.prompt_at, embeds)
