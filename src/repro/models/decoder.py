"""Decoder-only language models: the target is generated after the source and a separator (Li and Liang, GPT-2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from repro.methods.base import Injection
from repro.models.backbone import Backbone, rows_or_none
from repro.models.encoding.batch import IGNORE, Batch
from repro.models.encoding.encoding import Encode
from repro.models.generation import generated, label_losses, label_positions, packed_label_losses, spaces_cleaned
from repro.models.interface import Reading, RowLoss
from repro.models.label_scoring import answer_ids, decoder_scores
from repro.models.packed_batch import inputs_of, packs, sites_of
from repro.models.prompt_positions import place, prompt_positions
from repro.tasks.base import TextToText


class DecoderAdapter:
    """Next-token loss on the target, generation by greedy or beam search.

    Args:
        labels: what a target may be, where decoding chooses among them.
    """

    pad_left = True

    def __init__(self, backbone: Backbone, encode: Encode, labels: Sequence[str] = ()):
        self.backbone, self.encode, self.labels = backbone, encode, labels

    def reading(self, batch: Batch, injection: Injection, fixed: bool = False) -> Reading:
        """Prompt, packed sequences and labels of a training batch."""
        backbone, labels = self.backbone, batch.token_labels
        assert labels is not None
        found = Reading(batch, prompt_positions(batch, injection, trim=not fixed))
        masks = {"decoder": found.mask}
        if not packs(backbone, batch, injection, masks, fixed):
            return found
        if found.prompt is not None:
            labels = found.prompt.spread(labels, IGNORE)
        sites = sites_of(backbone, masks, fixed)
        return replace(found, sites=sites, labels=label_positions(labels, sites["decoder"].queries, 1))

    def losses(
        self, batch: Batch, injection: Injection, z_loss: float = 0.0, reading: Reading | None = None
    ) -> RowLoss:
        """Cross-entropy summed over the target's tokens (end of sequence included); `z_loss` as in `label_losses`."""
        backbone, labels = self.backbone, batch.token_labels
        assert labels is not None
        read = reading or self.reading(batch, injection)
        inputs: dict[str, Tensor] = {"input_ids": batch.ids, "attention_mask": batch.mask}
        if read.prompt is not None:
            placed = place(backbone.embed(batch.ids), batch, injection, read.prompt)
            inputs = {"inputs_embeds": placed.embeds, "attention_mask": placed.mask}
        prompt_at = None if read.prompt is None else read.prompt.prompt_at
        backbone.inject(injection, rows_or_none(injection, batch), prompt_at)
        to_logits = backbone.model.get_output_embeddings()
        if read.sites is None:
            labels = labels if read.prompt is None else read.prompt.spread(labels, IGNORE)
            hidden = backbone.model.base_model(**inputs, use_cache=False).last_hidden_state
            return label_losses(hidden[:, :-1], labels[:, 1:], to_logits, z_loss)
        backbone.pack(read.sites)
        given = inputs_of(backbone, read.sites["decoder"].queries, **inputs)
        hidden = backbone.model.base_model(**given, use_cache=False).last_hidden_state
        assert read.labels is not None
        return packed_label_losses(hidden[0], read.labels, to_logits, z_loss)

    @torch.no_grad()
    def label_scores(self, batch: Batch, injection: Injection) -> Tensor:
        """Log-probability of every label as the target of each row [N, C]; rows are padded on the left."""
        backbone = self.backbone
        answers = answer_ids(self.labels, [self.encode(TextToText("", label), True)[0] for label in self.labels])
        embeds, mask = backbone.embed(batch.ids), batch.mask
        if injection.embeds is not None:
            placed = place(embeds, batch, injection)
            embeds, mask = placed.embeds, placed.mask
        return decoder_scores(backbone, embeds, mask, answers.to(backbone.device), injection, batch)

    @torch.no_grad()
    def predict(self, batch: Batch, injection: Injection, decoding: Mapping[str, Any]) -> Sequence[str]:
        """The generated text of each row, special tokens and the spaces that `encode` puts around a target removed; or
        its likeliest label."""
        backbone = self.backbone
        if decoding.get("labels") == "score":
            return [self.labels[index] for index in self.label_scores(batch, injection).argmax(1).tolist()]
        rows = rows_or_none(injection, batch)
        if injection.embeds is None:
            backbone.inject(injection, rows)
            inputs = {"input_ids": batch.ids, "attention_mask": batch.mask}
        else:
            placed = place(backbone.embed(batch.ids), batch, injection)
            backbone.inject(injection, rows, placed.prompt_at)
            inputs = {"inputs_embeds": placed.embeds, "attention_mask": placed.mask}
        out = generated(backbone.model, backbone.tokenizer, inputs, decoding, counted=batch.mask.sum(1))
        texts: list[str] = backbone.tokenizer.batch_decode(out, skip_special_tokens=True)
        return [text.strip() for text in spaces_cleaned(texts, backbone.tokenizer, decoding)]
