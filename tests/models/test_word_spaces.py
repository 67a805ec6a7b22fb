"""A space before every word where a tokenizer is given words, and none elsewhere (P-Tuning v2's get_trainer.py)."""

from __future__ import annotations

import pytest
import torch
import transformers

from repro.models.encoding.encoding import encode_tagged
from repro.models.families.family import family
from repro.tasks.base import Tagged
from tests.models.loaded import CPU, DATA, facts, load_backbone, random_model

VOCABULARY = DATA / "tokenizers" / "roberta"
ROWS = 50270
"""Tokens of the vocabulary with DeBERTa's special ones."""
WORDS = ("John", "Wilkes", "Booth", ",")


@pytest.fixture(scope="module", params=["roberta", "deberta"])
def model(request, tmp_path_factory):
    """A checkpoint of tiny random weights with RoBERTa's vocabulary, which DeBERTa's byte-level BPE is like."""
    if not VOCABULARY.is_dir():
        pytest.skip(f"no real data: {VOCABULARY} does not exist (set REPRO_DATA_ROOT)")
    folder = tmp_path_factory.mktemp(request.param)
    shape = facts(f"tiny-{request.param}", vocabulary=ROWS)
    random_model(shape, family(request.param), torch.float32, {})[0].save_pretrained(folder)
    made = {"roberta": transformers.RobertaTokenizer, "deberta": transformers.DebertaTokenizer}[request.param]
    made(vocab=str(VOCABULARY / "vocab.json"), merges=str(VOCABULARY / "merges.txt")).save_pretrained(folder)
    return facts(f"tiny-{request.param}", vocabulary=ROWS, source="folder", location=str(folder))


def test_words_of_a_tagged_sentence_have_their_spaces(model):
    tokenizer = load_backbone(model, {}, CPU, "tagging")[0].tokenizer
    encoded = encode_tagged(tokenizer, Tagged(words=WORDS, tags=(0, 0, 0, 0)), 32)
    assert tokenizer.convert_ids_to_tokens(encoded.ids)[1:-1] == ["ĠJohn", "ĠWil", "kes", "ĠBooth", "Ġ,"]


@pytest.mark.parametrize("format", ["pair", "choice", "ranking", "span"])
def test_a_text_begins_without_one(model, format):
    tokenizer = load_backbone(model, {}, CPU, format)[0].tokenizer
    assert tokenizer.tokenize("Dana Reeve") == ["D", "ana", "ĠRee", "ve"]
