"""Encoder-decoder models (T5, BART): the source goes to the encoder, the target is generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from repro.methods.base import Injection
from repro.models.backbone import Backbone, rows_or_none
from repro.models.encoding.batch import IGNORE, Batch
from repro.models.encoding.encoding import Encode
from repro.models.generation import generated, label_losses, label_positions, packed_label_losses, spaces_cleaned
from repro.models.interface import Reading, RowLoss
from repro.models.label_scoring import answer_ids, encoder_decoder_scores
from repro.models.packed_batch import packs, read_packed, sites_of
from repro.models.prompt_positions import PromptPositions, place, prompt_positions
from repro.tasks.base import TextToText


class EncoderDecoderAdapter:
    """An input-level prompt goes to the encoder only and is visible to cross-attention (Lester et al., section 2).

    Args:
        labels: what a target may be, where decoding chooses among them.
    """

    pad_left = False

    def __init__(self, backbone: Backbone, encode: Encode, labels: Sequence[str] = ()):
        self.backbone, self.encode, self.labels = backbone, encode, labels

    def _encoder_inputs(
        self, batch: Batch, injection: Injection, positions: PromptPositions | None = None
    ) -> dict[str, Tensor]:
        if injection.embeds is None:
            return {"input_ids": batch.ids, "attention_mask": batch.mask}
        placed = place(self.backbone.embed(batch.ids), batch, injection, positions)
        return {"inputs_embeds": placed.embeds, "attention_mask": placed.mask}

    def _decoder_inputs(self, targets: Tensor) -> Tensor:
        """Targets shifted right behind the start token, padding in place of IGNORE: [N, U]."""
        model = self.backbone.model
        start = targets.new_full((len(targets), 1), model.config.decoder_start_token_id)
        shifted = torch.cat([start, targets[:, :-1]], 1)
        return shifted.masked_fill(shifted == IGNORE, model.config.pad_token_id)

    def _logits(self, hidden: Tensor) -> Tensor:
        """[M, D] -> [M, V]; T5 1.0 scales, T5 1.1 does not; BART adds a bias."""
        model = self.backbone.model
        if getattr(model.config, "scale_decoder_outputs", False):
            hidden = hidden * model.config.d_model**-0.5
        bias = getattr(model, "final_logits_bias", None)
        logits = model.get_output_embeddings()(hidden)
        return logits if bias is None else logits + bias[0]

    def reading(self, batch: Batch, injection: Injection, fixed: bool = False) -> Reading:
        """Prompt, packed sequences of both stacks, and labels of a training batch."""
        assert batch.target_ids is not None
        found = Reading(batch, prompt_positions(batch, injection, trim=not fixed))
        masks = {"encoder": found.mask, "decoder": batch.target_ids != IGNORE}
        if not packs(self.backbone, batch, injection, masks, fixed):
            return found
        sites = sites_of(self.backbone, masks, fixed)
        return replace(found, sites=sites, labels=label_positions(batch.target_ids, sites["decoder"].queries, 0))

    def losses(
        self, batch: Batch, injection: Injection, z_loss: float = 0.0, reading: Reading | None = None
    ) -> RowLoss:
        """Cross-entropy summed over the target's tokens (end of sequence included); `z_loss` as in `label_losses`."""
        backbone, targets = self.backbone, batch.target_ids
        assert targets is not None
        read = reading or self.reading(batch, injection)
        backbone.inject(injection, rows_or_none(injection, batch))
        inputs = self._encoder_inputs(batch, injection, read.prompt)
        if read.sites is not None:
            assert read.labels is not None
            hidden = read_packed(backbone, read.sites, inputs, self._decoder_inputs(targets))
            return packed_label_losses(hidden[0], read.labels, self._logits, z_loss)
        memory = backbone.model.get_encoder()(**inputs).last_hidden_state
        hidden = backbone.model.get_decoder()(
            input_ids=self._decoder_inputs(targets),
            encoder_hidden_states=memory,
            encoder_attention_mask=inputs["attention_mask"],
            use_cache=False,
        ).last_hidden_state
        return label_losses(hidden, targets, self._logits, z_loss)

    @torch.no_grad()
    def label_scores(self, batch: Batch, injection: Injection) -> Tensor:
        """Log-probability of every label as the target of each row [N, C]."""
        backbone = self.backbone
        answers = answer_ids(self.labels, [self.encode(TextToText("", label), True)[0] for label in self.labels])
        answers = answers.to(backbone.device)
        backbone.inject(injection, rows_or_none(injection, batch))
        inputs = self._encoder_inputs(batch, injection)
        return encoder_decoder_scores(backbone, inputs, self._decoder_inputs(answers), answers, self._logits)

    @torch.no_grad()
    def predict(self, batch: Batch, injection: Injection, decoding: Mapping[str, Any]) -> Sequence[str]:
        """The generated text of each row, special tokens removed but T5's sentinels; or its likeliest label."""
        backbone = self.backbone
        if decoding.get("labels") == "score":
            best = self.label_scores(batch, injection).argmax(1).tolist()
            return [self.labels[index] for index in best]
        backbone.inject(injection, rows_or_none(injection, batch))
        out = generated(backbone.model, backbone.tokenizer, self._encoder_inputs(batch, injection), decoding)
        return spaces_cleaned(texts(backbone.tokenizer, out), backbone.tokenizer, decoding)


UNKNOWN = " \u2047 "
"""What sentencepiece writes for an unknown piece."""


def texts(tokenizer: PreTrainedTokenizerBase, out: Tensor) -> list[str]:
    """Generated ids [N, U] as text, without special tokens other than T5's sentinels and unknown pieces.

    Sentinels stay, as in the official decoding: `<extra_id_0> True` names no class, which is how span-corruption
    checkpoints come to score 0 (Lester et al., Figure 3c). A task that asks for a sentinel takes it off itself. An
    unknown piece is written as sentencepiece does, so `<unk> True` is no class either.
    """
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    sentinels = {id for id, token in special.items() if token.startswith("<extra_id_")}
    kept = sentinels | {tokenizer.unk_token_id} if sentinels else sentinels
    found: list[str] = tokenizer.batch_decode(out, skip_special_tokens=True)
    for row, ids in enumerate(out.tolist()):
        if kept.intersection(ids):
            found[row] = _with_unknown(tokenizer, [id for id in ids if id in kept or id not in special])
    return found


def _with_unknown(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    segments: list[list[int]] = [[]]
    for id in ids:
        if id == tokenizer.unk_token_id:
            segments.append([])
        else:
            segments[-1].append(id)
    written = [str(tokenizer.decode(segment)) if segment else "" for segment in segments]
    for number, segment in enumerate(segments[1:], start=1):  # decoding takes the space off the first piece of a text
        if segment and str(tokenizer.convert_ids_to_tokens(segment[0])).startswith("\u2581"):
            written[number] = " " + written[number]
    return UNKNOWN.join(written)
