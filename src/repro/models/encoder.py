"""Encoder-only models under a linear head: classification, multiple choice, tagging (P-Tuning v2, section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.methods.base import Injection
from repro.methods.parts.keyed_dropout import site_number
from repro.models.attention.packing import Packed
from repro.models.backbone import Backbone, rows_or_none
from repro.models.encoding.batch import IGNORE, Batch
from repro.models.encoding.encoding import Encode
from repro.models.encoding.span_encoding import SpanOptions, WindowAnswer, window_answer
from repro.models.encoding.vocabulary import likeliest
from repro.models.interface import Reading, RowLoss
from repro.models.output_heads import constant, head_logits, within_spans
from repro.models.packed_batch import inputs_of, packs, sites_of
from repro.models.prompt_positions import PlacedPrompt, PromptPositions, place, prompt_positions

HEAD_SITE = site_number("head")


class EncoderAdapter:
    """`[CLS]` through the checkpoint's pooler and a linear head, or every token through a linear head.

    Args:
        format: pair, choice, ranking, tagging, span or cloze.
        head_dropout: before the head, while training (the official code: `hidden_dropout_prob`; spans have none).
        verbaliser: cloze: token id of each class's word; the class logits are the language-model head's at these.
            Empty: any token may be right.
        allowed: cloze without a verbaliser: the token ids that may be answered.
        spans: span: how an answer is found in the logits.
    """

    pad_left = False

    def __init__(
        self,
        backbone: Backbone,
        encode: Encode,
        format: str,
        head_dropout: float = 0.0,
        verbaliser: Sequence[int] = (),
        spans: SpanOptions | None = None,
        allowed: Sequence[int] = (),
    ):
        self.backbone, self.encode, self.format, self.head_dropout = backbone, encode, format, head_dropout
        self.verbaliser, self.allowed = tuple(verbaliser), tuple(allowed)
        self.spans = spans or SpanOptions()

    def reading(self, batch: Batch, injection: Injection, fixed: bool = False) -> Reading:
        """Prompt and packed sequences of a batch, the last layer at the format's token alone."""
        return self._reading(batch, injection, self._read(batch), fixed)

    def _reading(self, batch: Batch, injection: Injection, read: Tensor | None, fixed: bool = False) -> Reading:
        """The same for any token of each row [N], or for all."""
        found = Reading(batch, prompt_positions(batch, injection, trim=not fixed))
        masks = {"encoder": found.mask}
        if not packs(self.backbone, batch, injection, masks, fixed):
            return found
        sites = sites_of(self.backbone, masks, fixed)
        if read is not None and self.backbone.family.trims and not self.backbone.model.training:
            # Not with dropout, which is drawn a whole row.
            if found.prompt is not None:
                read = self._where(found.prompt, injection).gather(1, read[:, None])[:, 0]
            only = torch.zeros_like(found.mask).scatter_(1, read[:, None], 1)
            sites["encoder"].read = wanted = Packed(only, sites["encoder"].queries.order)
            wanted.width = 1
        return replace(found, sites=sites)

    def _where(self, positions: PromptPositions, injection: Injection) -> Tensor:
        """[N, T] positions of the tokens' states."""
        where = positions.where
        return torch.cat([torch.zeros_like(where[:, :1]), where[:, 1:]], 1) if injection.pooled_at_prompt else where

    def _embedded(self, batch: Batch, injection: Injection, positions: PromptPositions) -> PlacedPrompt:
        """The text's embeddings with the prompt among them."""
        if not injection.embedded_twice:
            return place(self.backbone.embed(batch.ids), batch, injection, positions)
        text = self.backbone.model.get_submodule("embeddings")(input_ids=batch.ids, token_type_ids=batch.token_types)
        return place(text, batch, injection, positions)

    def hidden(
        self, batch: Batch, injection: Injection, read: Tensor | None = None, reading: Reading | None = None
    ) -> Tensor:
        """Last hidden states [N, T, D] of the real tokens: the prompt's own are dropped.

        Args:
            read: [N] the only token of each row whose state is wanted (others may be zeros); None: all.
            reading: made for these tokens before.
        """
        backbone = self.backbone
        found = reading or self._reading(batch, injection, read)
        backbone.inject(injection, rows_or_none(injection, batch))
        if found.prompt is None:
            inputs = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": batch.token_types}
            return self._last_hidden(found, inputs)
        placed = self._embedded(batch, injection, found.prompt)
        types = None if batch.token_types is None else placed.spread(batch.token_types, 0)
        inputs = {"inputs_embeds": placed.embeds, "attention_mask": placed.mask, "token_type_ids": types}
        out = self._last_hidden(found, inputs)
        where = self._where(found.prompt, injection)
        return out.gather(1, where[..., None].expand(-1, -1, placed.embeds.shape[2]))

    def _last_hidden(self, reading: Reading, inputs: Mapping[str, Tensor | None]) -> Tensor:
        """The model's [N, T, D] of its inputs [N, T, ...]; of packed sequences, zeros where nothing is read."""
        backbone, sites = self.backbone, reading.sites
        if sites is None:
            return backbone.model(**inputs).last_hidden_state
        backbone.pack(sites)
        packed, wanted = sites["encoder"].queries, sites["encoder"].read
        states = backbone.model(**inputs_of(backbone, packed, **inputs)).last_hidden_state
        return (packed if wanted is None else wanted).unpack(states)

    def logits(
        self, batch: Batch, injection: Injection, training: bool = False, reading: Reading | None = None
    ) -> Tensor:
        """Of the format, float32: [N, C] (pair, ranking, cloze), [N / choices, choices] (choice), [N, T, C] (tagging)
        or [N, T, 2] (span)."""
        features = self.hidden(batch, injection, self._read(batch), reading)
        if self.format == "cloze":
            return self._word_logits(features, batch)
        assert injection.head is not None, "an encoder needs a head"
        if self.format == "span":  # no dropout; padding is no place for an answer
            logits = head_logits(features, injection.head, batch.rows)
            if batch.label_spans is not None:  # start and end of the row's own data set
                own = batch.label_spans[:, :1] + torch.arange(2, device=logits.device)
                logits = logits.gather(2, own[:, None].expand(-1, logits.shape[1], -1))
            return logits.masked_fill(batch.mask[..., None] == 0, -torch.inf)
        if self.format != "tagging":
            features = self.backbone.model.get_submodule("pooler")(
                features
            )  # tanh(W [CLS] + b), frozen in every method but fine-tuning
        if training and self.head_dropout:
            features = self.backbone.dropout.states(features, self.head_dropout, HEAD_SITE)
        logits = head_logits(features, injection.head, batch.rows)
        if self.format == "choice":
            return logits.view(-1, batch.choices)
        return within_spans(logits, batch.label_spans)

    def _read(self, batch: Batch) -> Tensor | None:
        """[N] the token that the format looks at: [CLS] or the gap; None: every token."""
        if self.format in ("tagging", "span"):
            return None
        return torch.zeros_like(batch.rows) if self.format != "cloze" else batch.mask_at

    def _word_logits(self, features: Tensor, batch: Batch) -> Tensor:
        """The language-model head's logits at the mask token: the classes' words' [N, C] or all [N, V], float32."""
        assert batch.mask_at is not None and self.backbone.lm_head is not None
        at_mask = features[torch.arange(len(features), device=features.device), batch.mask_at]
        logits = self.backbone.lm_head(at_mask)
        logits = logits[:, constant(self.verbaliser, logits.device)] if self.verbaliser else logits
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def losses(
        self, batch: Batch, injection: Injection, z_loss: float = 0.0, reading: Reading | None = None
    ) -> RowLoss:
        """Cross-entropy of the class, summed over the words' first sub-tokens, or the mean of start's and end's.

        Deviation: the softmax over positions leaves padding out; the official code's is over 384 positions with it.
        """
        assert not z_loss, "z-loss is for models that generate"
        training = self.backbone.model.training  # a validation loss has no dropout
        logits = self.logits(batch, injection, training, reading)
        if self.format == "tagging":
            assert batch.token_labels is not None
            each = F.cross_entropy(
                logits.flatten(0, 1), batch.token_labels.flatten(), ignore_index=IGNORE, reduction="none"
            )
            return RowLoss(each.view(len(batch.ids), -1).sum(1), (batch.token_labels != IGNORE).sum(1))
        if self.format == "span":
            assert batch.answers is not None
            both = F.cross_entropy(logits, batch.answers, reduction="none")  # N 2: T are the classes
            return RowLoss(both.mean(1), torch.ones_like(batch.rows))
        assert batch.labels is not None
        each = F.cross_entropy(logits, batch.labels, reduction="none")
        return RowLoss(each, torch.ones_like(batch.labels))

    @torch.no_grad()
    def predict(self, batch: Batch, injection: Injection, decoding: Mapping[str, Any]) -> Sequence[Any]:
        """Class ids, the logit of class 1 of each candidate, the tag ids of each word that survived truncation,
        `WindowAnswer`s, or tokens (open cloze)."""
        logits = self.logits(batch, injection)
        if self.format == "ranking":
            return logits[:, 1].tolist()
        if self.format == "span":
            return self._window_answers(logits, batch)
        if self.format == "cloze" and not self.verbaliser:
            return self.backbone.tokenizer.convert_ids_to_tokens(likeliest(logits, self.allowed))
        best = logits.argmax(-1).tolist()
        if self.format == "tagging":
            return [[tags[index] for index in starts] for tags, starts in zip(best, batch.word_starts, strict=True)]
        return best

    def _window_answers(self, logits: Tensor, batch: Batch) -> list[WindowAnswer]:
        """The best piece of every row's window; logits [N, T, 2]."""
        rows = zip(logits.cpu().numpy(), batch.offsets, strict=True)
        return [
            window_answer(row[: len(offsets), 0], row[: len(offsets), 1], offsets, self.spans)
            for row, offsets in rows
            if offsets is not None
        ]
