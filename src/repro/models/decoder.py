"""Decoder-only language models: the target is generated after the source and a separator (Li and Liang, GPT-2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from repro.methods.base import Injection
from repro.models.base import Backbone, RowLoss, place, rows_or_none
from repro.models.batch import IGNORE, Batch
from repro.models.encoding import Encode
from repro.models.generation import generation_config, label_losses, packed_label_losses
from repro.models.packer import inputs_of, packs, sites_of


class DecoderAdapter:
    """Next-token loss on the target, generation by greedy or beam search."""

    pad_left = True

    def __init__(self, backbone: Backbone, encode: Encode):
        self.backbone, self.encode = backbone, encode

    def losses(self, batch: Batch, injection: Injection, z_loss: float = 0.0) -> RowLoss:
        """Cross-entropy summed over the target's tokens (end of sequence included); `z_loss` as in `label_losses`."""
        backbone, labels = self.backbone, batch.token_labels
        assert labels is not None
        inputs: dict[str, Any] = {"input_ids": batch.ids, "attention_mask": batch.mask}
        if injection.embeds is not None:
            placed = place(backbone.embed(batch.ids), batch, injection)
            inputs = {"inputs_embeds": placed.embeds, "attention_mask": placed.mask}
            labels = placed.spread(labels, IGNORE)
        backbone.inject(
            injection, rows_or_none(injection, batch), None if injection.embeds is None else placed.prompt_at
        )
        to_logits = backbone.model.get_output_embeddings()
        masks = {"decoder": inputs["attention_mask"]}
        if not packs(backbone, batch, injection, masks):
            hidden = backbone.model.base_model(**inputs, use_cache=False).last_hidden_state
            return label_losses(hidden[:, :-1], labels[:, 1:], to_logits, z_loss)
        sites = sites_of(backbone, masks)
        backbone.pack(sites)
        packed = sites["decoder"].queries
        given = inputs_of(backbone, packed, **inputs)
        hidden = backbone.model.base_model(**given, use_cache=False).last_hidden_state
        return packed_label_losses(hidden[0], labels, packed, 1, to_logits, z_loss)

    @torch.no_grad()
    def predict(self, batch: Batch, injection: Injection, decoding: Mapping[str, Any]) -> Sequence[str]:
        """The generated text of each row, special tokens and the spaces that `encode` puts around a target removed."""
        backbone = self.backbone
        rows = rows_or_none(injection, batch)
        config = generation_config(backbone.model, backbone.tokenizer, decoding)
        if injection.embeds is None:
            backbone.inject(injection, rows)
            out = backbone.model.generate(batch.ids, attention_mask=batch.mask, generation_config=config)
            out = out[:, batch.ids.shape[1] :]
        else:  # given embeddings alone, `generate` returns the new tokens only
            placed = place(backbone.embed(batch.ids), batch, injection)
            backbone.inject(injection, rows, placed.prompt_at)
            out = backbone.model.generate(
                inputs_embeds=placed.embeds, attention_mask=placed.mask, generation_config=config
            )
        return [text.strip() for text in backbone.tokenizer.batch_decode(out, skip_special_tokens=True)]
