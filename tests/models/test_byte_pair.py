"""The mini models' tokenizers: special tokens where each family has them, words aligned, texts come back."""

import random

import pytest
from transformers import AutoTokenizer

from scripts.pretraining.byte_pair import TOKENIZERS, family_tokenizer, learnt_pairs

SPECIAL = {name: facts.special for name, facts in TOKENIZERS.items()}
TEXTS = [
    "Anna Bell lives in Port Dale. Is Anna's dog tall? Yes.",
    "name : The Empty Forest | kind : ship | age : six . It sails from Abbhaven!",
    "question: Who broke the thin jug? Answer: Elric Nettby.",
]
FORMS = {
    "t5": ("A </s>", "A </s> B </s>"),
    "gpt2": ("A", "A B"),
    "bart": ("<s> A </s>", "<s> A </s> </s> B </s>"),
    "bert": ("[CLS] A [SEP]", "[CLS] A [SEP] B [SEP]"),
}


@pytest.fixture(scope="module", params=sorted(SPECIAL))
def made(request, tmp_path_factory):
    """The family's tokenizer, as it is read back from its files."""
    pairs = learnt_pairs(TEXTS * 20, 330, request.param)
    folder = tmp_path_factory.mktemp(request.param)
    family_tokenizer(pairs, request.param, 64).save_pretrained(folder)
    return request.param, AutoTokenizer.from_pretrained(folder)


def test_special_tokens_come_first_and_are_known_as_such(made):
    family, tokenizer = made
    assert tokenizer.convert_ids_to_tokens(list(range(len(SPECIAL[family])))) == list(SPECIAL[family])
    assert set(tokenizer.all_special_tokens) == set(SPECIAL[family])
    assert len(tokenizer) == 330 + len(SPECIAL[family]) and tokenizer.model_max_length == 64
    for token in SPECIAL[family]:
        assert tokenizer(f"Anna {token} Bell")["input_ids"].count(tokenizer.convert_tokens_to_ids(token)) >= 1


def test_families_close_texts_in_their_own_way(made):
    family, tokenizer = made
    single, pair = FORMS[family]
    inner = {name: tokenizer(name, add_special_tokens=False)["input_ids"] for name in "AB"}

    def written(form: str) -> list[int]:
        parts = [inner.get(part) or [tokenizer.convert_tokens_to_ids(part)] for part in form.split()]
        return [id for part in parts for id in part]

    assert tokenizer("A")["input_ids"] == written(single)
    both = tokenizer("A", "B")
    assert both["input_ids"] == written(pair)
    if family == "bert":
        first = 2 + len(inner["A"])
        assert both["token_type_ids"] == [0] * first + [1] * (len(inner["B"]) + 1)
    else:
        assert "token_type_ids" not in both


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_and_offsets_are_the_words(made, text):
    family, tokenizer = made
    full = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
    if family != "bert":
        assert tokenizer.decode(full["input_ids"], skip_special_tokens=True) == text
    covered = [character for begin, end in full["offset_mapping"] for character in range(begin, end)]
    if family == "bert":  # a space that is put in front of punctuation and is a piece of its own points at it too
        covered = sorted(set(covered))
    assert covered == [place for place, character in enumerate(text) if character != " "], "no space in any piece"


def test_any_bytes_come_back(made):
    family, tokenizer = made
    if family == "bert":
        pytest.skip("BERT's pieces forget spaces")
    draw = random.Random(0)
    for _ in range(20):
        text = "".join(chr(draw.choice((draw.randrange(33, 127), draw.randrange(0xA1, 0x2FF)))) for _ in range(30))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text and tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("text", TEXTS)
def test_a_list_of_words_becomes_the_ids_of_the_text_for_an_encoder(made, text):
    family, tokenizer = made
    if family != "bert":
        pytest.skip("only encoders are given words")
    import re

    words = re.findall(r"\w+|[^\w\s]", text)
    as_words = tokenizer(words, is_split_into_words=True)
    assert as_words["input_ids"] == tokenizer(text)["input_ids"]
    starts = [word for word in as_words.word_ids() if word is not None]
    assert sorted(set(starts)) == list(range(len(words))), "every word has a piece"


def test_sentinels_stay_where_only_other_special_tokens_are_dropped(made):
    family, tokenizer = made
    if family != "t5":
        pytest.skip("T5's alone")
    import torch

    from repro.models.encoder_decoder import texts

    ids = tokenizer("<extra_id_0> Anna Bell")["input_ids"]
    assert texts(tokenizer, torch.tensor([ids]))[0].split() == ["<extra_id_0>", "Anna", "Bell"]
    assert texts(tokenizer, torch.tensor([tokenizer("Anna Bell")["input_ids"]])) == ["Anna Bell"]
