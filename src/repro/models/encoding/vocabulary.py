"""A gap that any token of a vocabulary may fill (LAMA; Liu et al. 2021). Tokens are spelt as the model spells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from repro.errors import ModelError


def token_ids(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """Ids of tokens; the space of byte-level BPE is spelt as its vocabulary has it.

    Raises:
        ModelError: one that the model lacks.
    """
    ids = cast(list[int], tokenizer.convert_tokens_to_ids(list(tokens)))
    unknown = [token for token, id in zip(tokens, ids, strict=True) if id is None or id == tokenizer.unk_token_id]
    if unknown:
        raise ModelError(
            f"task.options.vocabulary: this model lacks {len(unknown)} of {len(tokens)} tokens, {unknown[0]!r} first. "
            "Set task.options.vocabulary_name to the list of this model's tokenizer."
        )
    return ids


def likeliest(logits: Tensor, allowed: Sequence[int]) -> list[int]:
    """The allowed token id with the highest logit, in each row of [N, V]."""
    ids = torch.tensor(list(allowed), device=logits.device)
    return ids[logits[:, ids].argmax(-1)].tolist()
