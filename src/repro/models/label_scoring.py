"""A class task as text, decoded by its labels: the one whose tokens together are likeliest, in one pass.

All labels of an example stand behind each other in one packed row and see themselves and the source alone. So the
source is read once for all labels: the encoder's output and the keys and values made of it, or a decoder's own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.errors import ModelError
from repro.methods.base import Injection
from repro.models.attention.packing import Packed, by_length
from repro.models.backbone import Backbone, rows_or_none
from repro.models.encoding.batch import IGNORE, Batch, Encoded, collate
from repro.models.packed_batch import cross_site, inputs_of, read_packed, site_between


def answer_ids(labels: Sequence[str], encoded: Sequence[Encoded]) -> Tensor:
    """Token ids of every label as it is trained on, end of sequence included: [C, U], IGNORE on padding.

    Raises:
        ModelError: two labels that are the same tokens.
    """
    found = [item.target_ids if item.target_ids is not None else item.ids[item.source_length :] for item in encoded]
    for place, ids in enumerate(found):
        if ids in found[:place]:
            same = labels[found.index(ids)]
            raise ModelError(
                f"task.decoding.labels=score: the labels {same!r} and {labels[place]!r} are the same tokens for this "
                "model. Raise task.max_target_length, or set task.decoding.labels=generate."
            )
    batch = collate([Encoded((0,), 1, target_ids=tuple(ids)) for ids in found], 0)
    assert batch.target_ids is not None
    return batch.target_ids


def summed(log_shares: Tensor, answers: Tensor) -> Tensor:
    """Sums over each label's tokens: log-probabilities [N, C, U, V] at answers [C, U] to [N, C]."""
    index = answers.clamp(min=0)[None, :, :, None].expand(len(log_shares), -1, -1, -1)
    each = log_shares.gather(3, index)[..., 0]
    return each.masked_fill(answers == IGNORE, 0.0).sum(2)


def log_softmax(logits: Tensor) -> Tensor:
    """In float32 or better."""
    return F.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)


def encoder_decoder_scores(
    backbone: Backbone,
    inputs: dict[str, Tensor],
    decoder_inputs: Tensor,
    answers: Tensor,
    to_logits: Callable[[Tensor], Tensor],
) -> Tensor:
    """Log-probability of every label [N, C], the injection attached already.

    Args:
        inputs: what the encoder reads, padded.
        decoder_inputs: labels shifted right [C, U].
        answers: labels [C, U].
    """
    mask, count = inputs["attention_mask"], len(answers)
    order = by_length(mask)
    sources = Packed(mask, order)
    written = (answers != IGNORE).repeat(len(mask), 1)
    labels = Packed(written, (order[:, None] * count + torch.arange(count, device=order.device)).flatten(), share=count)
    together = Packed(written.new_ones(len(mask), int((answers != IGNORE).sum())), order)  # a row's labels, end to end
    sites = {
        "encoder": site_between(backbone, sources, sources, bias=backbone.bias.get("encoder")),
        "decoder": site_between(backbone, labels, labels, causal=True, bias=backbone.bias.get("decoder")),
        "cross": cross_site(backbone, together, sources),
    }
    hidden = read_packed(backbone, sites, inputs, decoder_inputs.repeat(len(mask), 1))
    logits = log_softmax(to_logits(labels.unpack(hidden)))  # N x C, U, V
    return summed(logits.unflatten(0, (len(mask), count)), answers)


def decoder_scores(
    backbone: Backbone, embeds: Tensor, mask: Tensor, answers: Tensor, injection: Injection, batch: Batch
) -> Tensor:
    """Log-probability of every label behind a source [N, C].

    Args:
        embeds: [N, T, D] of sources that end in the last column (padded on the left), prompts among them.
        mask: [N, T]
        answers: labels [C, U]
    """
    count, longest = answers.shape
    inner = answers[:, :-1] != IGNORE  # a label's last token is said, but nothing follows it
    inner &= answers[:, 1:] != IGNORE
    label, place = inner.nonzero(as_tuple=True)
    behind = backbone.embed(answers[label, place]).expand(len(embeds), -1, -1)  # N M D
    whole = torch.cat([embeds, behind.to(embeds.dtype)], 1)
    seen = torch.cat([mask, mask.new_ones(len(mask), len(label))], 1)
    packed = Packed(seen, by_length(seen))
    sources = mask.sum(1, keepdim=True)
    branch = torch.cat([torch.zeros_like(mask), (label + 1).expand(len(mask), -1)], 1)
    position = torch.cat([mask.cumsum(1) - 1, sources + place], 1)
    packed.positions = packed.pack(position)[0]
    site = site_between(backbone, packed, packed, causal=True, branches=packed.pack(branch)[0])
    backbone.inject(injection, rows_or_none(injection, batch))
    backbone.pack({"decoder": site})
    given = inputs_of(backbone, packed, inputs_embeds=whole)
    hidden = packed.unpack(backbone.model.base_model(**given, use_cache=False).last_hidden_state)
    hidden = hidden[:, mask.shape[1] - 1 :]  # the source's last state, and those of the labels
    logits = log_softmax(backbone.model.get_output_embeddings()(hidden))  # N 1+M V
    says = torch.zeros(count, longest, dtype=torch.long, device=mask.device)  # which of them says each label's token
    says[label, place + 1] = torch.arange(1, len(label) + 1, device=mask.device)
    return summed(logits[:, says], answers)
