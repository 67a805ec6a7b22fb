"""What both generating kinds share: the loss on label positions only, and the settings of `generate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    ForcedEOSTokenLogitsProcessor,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from repro.models.attention.packing import Packed
from repro.models.encoding.batch import IGNORE
from repro.models.interface import LabelPositions, RowLoss
from repro.models.search import OneBeam, WhenDone, input_counting_beams


def label_losses(hidden: Tensor, labels: Tensor, to_logits: Callable[[Tensor], Tensor], z_loss: float = 0.0) -> RowLoss:
    """Cross-entropy where a label stands; the language-model head runs on those positions only.

    Args:
        hidden: [N, U, D], aligned with the labels (already shifted).
        labels: [N, U], IGNORE where there is none.
        to_logits: [M, D] -> [M, V].
        z_loss: c of the term c x log(sum of exp(logits))^2 that T5X adds at every label (Lester et al.'s gin: 1e-4).
    """
    wanted = labels != IGNORE
    each = token_losses(to_logits(hidden[wanted]), labels[wanted], z_loss)
    total = each.new_zeros(len(labels)).index_add(0, wanted.nonzero()[:, 0], each)
    return RowLoss(total, wanted.sum(1))


def label_positions(labels: Tensor, packed: Packed, behind: int) -> LabelPositions:
    """Where packed sequences say their labels.

    Args:
        labels: [N, T], padded as before they were packed.
        behind: tokens that a label stands behind the state that says it: 1 in a decoder-only model, else 0.
    """
    mine = packed.pack(labels)[0]
    places = ((mine != IGNORE) & (packed.positions >= behind)).nonzero()[:, 0]
    rows = packed.rows[places]
    return LabelPositions(places - behind, mine[places], rows, torch.bincount(rows, minlength=len(labels)))


def packed_label_losses(
    hidden: Tensor, labels: LabelPositions, to_logits: Callable[[Tensor], Tensor], z_loss: float = 0.0
) -> RowLoss:
    """The same over packed sequences; hidden [S, D]."""
    each = token_losses(to_logits(hidden[labels.said_at]), labels.ids, z_loss)
    total = each.new_zeros(len(labels.count)).index_add(0, labels.rows, each)
    return RowLoss(total, labels.count)


def token_losses(logits: Tensor, labels: Tensor, z_loss: float) -> Tensor:
    """Cross-entropy [M] of logits [M, V] in float32 or better, and the z-loss."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    each = F.cross_entropy(logits, labels, reduction="none")
    return each + z_loss * logits.logsumexp(-1).square() if z_loss else each


def generated(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    inputs: Mapping[str, Tensor],
    decoding: Mapping[str, Any],
    counted: Tensor | None = None,
) -> Tensor:
    """Token ids [N, U] that the model writes behind its inputs.

    Args:
        decoding: as `DecodingConfig`.
        counted: tokens of each input [N] of a decoder, for `length_counts: all`.
    """
    if decoding.get("length_counts") == "all" and decoding["beams"] > 1 and counted is not None:
        return input_counting_beams(
            model,
            inputs,
            counted,
            _processors(tokenizer, decoding, inputs["attention_mask"].device),
            beams=decoding["beams"],
            longest=decoding["max_new_tokens"],
            penalty=decoding["length_penalty"],
            early=decoding["early_stopping"],
            end=tokenizer.eos_token_id,
            padding=tokenizer.pad_token_id,
        )
    config, generator = generation_config(model, tokenizer, decoding), cast(GenerationMixin, model)
    before = inputs["input_ids"].shape[1] if "input_ids" in inputs and not model.config.is_encoder_decoder else 0
    if decoding.get("search") != "t5x":
        ids: Tensor = generator.generate(**inputs, generation_config=config)
        return ids[:, before:]
    search = OneBeam(tokenizer.eos_token_id, decoding["max_new_tokens"])
    ids = generator.generate(
        **inputs,
        generation_config=config,
        logits_processor=LogitsProcessorList([search]),
        stopping_criteria=StoppingCriteriaList([WhenDone(search)]),
    )
    return search.answers(ids[:, max(before, int(model.config.is_encoder_decoder)) :], tokenizer.pad_token_id)


def _bad_words(tokenizer: PreTrainedTokenizerBase, decoding: Mapping[str, Any]) -> list[list[int]]:
    words = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in decoding.get("bad_words", [])]
    return [ids for ids in words if ids]


def _processors(
    tokenizer: PreTrainedTokenizerBase, decoding: Mapping[str, Any], device: torch.device
) -> LogitsProcessorList:
    """The rules of `generation_config`, for a search of our own, whose ids are the generated ones."""
    end, rules = tokenizer.eos_token_id, LogitsProcessorList()
    if words := _bad_words(tokenizer, decoding):
        rules.append(NoBadWordsLogitsProcessor(words, end))
    if least := decoding.get("min_new_tokens"):
        rules.append(MinNewTokensLengthLogitsProcessor(0, least, end, device=str(device)))
    if size := decoding.get("no_repeat_ngram"):
        rules.append(NoRepeatNGramLogitsProcessor(size))
    if decoding.get("forced_end"):
        rules.append(ForcedEOSTokenLogitsProcessor(decoding["max_new_tokens"], end, device=str(device)))
    return rules


def generation_config(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, decoding: Mapping[str, Any]
) -> GenerationConfig:
    """Our settings alone: a checkpoint's own generation defaults (n-gram blocks, beams) must not leak into a result."""
    beams = decoding["beams"]
    return GenerationConfig(
        do_sample=False,
        num_beams=beams,
        max_new_tokens=decoding["max_new_tokens"],
        min_new_tokens=decoding.get("min_new_tokens") or None,
        length_penalty=decoding.get("length_penalty", 1.0) if beams > 1 else None,
        early_stopping=(decoding.get("early_stopping") or None) if beams > 1 else None,
        no_repeat_ngram_size=decoding.get("no_repeat_ngram") or None,
        forced_eos_token_id=tokenizer.eos_token_id if decoding.get("forced_end") else None,
        bad_words_ids=_bad_words(tokenizer, decoding) or None,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
    )


def spaces_cleaned(texts: list[str], tokenizer: PreTrainedTokenizerBase, decoding: Mapping[str, Any]) -> list[str]:
    """`clean_up_spaces`, where it is asked for."""
    if not decoding.get("clean_up_spaces"):
        return texts
    return [str(tokenizer.clean_up_tokenization(text)) for text in texts]
