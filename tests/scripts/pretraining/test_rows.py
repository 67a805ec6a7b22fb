"""Rows of each objective, and batches by tokens."""

import itertools

import numpy as np
import pytest

from repro.models.encoding.batch import IGNORE, Encoded
from scripts.pretraining.byte_pair import family_tokenizer, learnt_pairs
from scripts.pretraining.rows import RowMaker, batches, cut_by_tokens, pool_batches
from tests.scripts.pretraining.worded import documents

FAMILY = {"span_corruption": "t5", "prefix_lm": "t5", "infilling": "bart", "causal_lm": "gpt2", "masked_lm": "bert"}
CONTEXT = 40


def texts(number: int = 64, seed: int = 3) -> list[str]:
    return list(itertools.islice(documents(seed), number))


def maker(objective: str) -> RowMaker:
    family = FAMILY[objective]
    return RowMaker(objective, family_tokenizer(learnt_pairs(texts(200), 300, family), family, CONTEXT), CONTEXT)


def rows(made: RowMaker) -> tuple[list[list[int]], list[Encoded]]:
    ids = made.tokenizer(texts(), add_special_tokens=False)["input_ids"]
    return ids, made.rows(np.random.Generator(np.random.PCG64(0)), ids)


def test_spans_and_prefixes_are_closed_as_the_tokenizer_closes_texts():
    made = maker("span_corruption")
    ids, encoded = rows(made)
    end = made.tokenizer.eos_token_id
    assert len(encoded) == len(ids)
    for row in encoded:
        assert row.ids[-1] == end == row.target_ids[-1] and end not in row.ids[:-1] + row.target_ids[:-1]
        assert len(row.ids) <= CONTEXT and row.target_ids[0] == made.tokenizer.convert_tokens_to_ids("<extra_id_0>")
    made = maker("prefix_lm")
    ids, encoded = rows(made)
    whole = sorted(tuple(text[: CONTEXT - 1]) for text in ids)
    assert sorted((*row.ids[:-1], *row.target_ids[:-1]) for row in encoded) == whole


def test_bart_reads_a_noisy_text_and_writes_the_text():
    made = maker("infilling")
    ids, encoded = rows(made)
    begin, end, mask = (made.tokenizer.convert_tokens_to_ids(token) for token in ("<s>", "</s>", "<mask>"))
    assert sorted(row.target_ids for row in encoded) == sorted((begin, *text[: CONTEXT - 3], end) for text in ids)
    assert all(row.ids[0] == begin and row.ids[-1] == end and len(row.ids) <= CONTEXT for row in encoded)
    hidden = 1 - sum(id != mask for row in encoded for id in row.ids[1:-1]) / sum(
        len(row.target_ids) - 2 for row in encoded
    )
    assert hidden == pytest.approx(0.3, abs=0.03)
    moved = [
        [id for id in row.ids if id in row.target_ids] != [id for id in row.target_ids if id in row.ids]
        for row in encoded
    ]
    assert any(moved), "sentences change places"


def test_a_causal_model_reads_whole_documents_one_after_another():
    made = maker("causal_lm")
    ids, encoded = rows(made)
    end = made.tokenizer.eos_token_id
    assert all(row.ids == row.token_labels and len(row.ids) <= CONTEXT and row.ids[-1] == end for row in encoded)
    pieces = [tuple(group) for row in encoded for is_end, group in itertools.groupby(row.ids, end.__eq__) if not is_end]
    assert sorted(pieces) == sorted(tuple(text[: CONTEXT - 1]) for text in ids)
    assert len(encoded) < len(ids)


def test_causal_documents_have_the_spaces_that_the_harness_writes():
    made = maker("causal_lm")
    (batch,) = pool_batches(made, ["anna lives in rome."], seed=1, number=0, batch_tokens=4000)
    own = made.tokenizer(" anna lives in rome. ", add_special_tokens=False)["input_ids"]
    assert batch.ids.tolist() == [[*own, made.tokenizer.eos_token_id]]


def test_bert_reads_one_segment_or_two():
    made = maker("masked_lm")
    tokenizer = made.tokenizer
    ids, encoded = rows(made)
    texts_of = [tuple(text) for text in ids]
    kinds = {IGNORE: 0, 0: 0, 1: 0}
    for row in encoded:
        plain = [id if label == IGNORE else label for id, label in zip(row.ids, row.token_labels, strict=True)]
        assert plain[0] == tokenizer.cls_token_id and plain[-1] == tokenizer.sep_token_id
        ends = [place for place, id in enumerate(plain) if id == tokenizer.sep_token_id]
        assert row.token_types == (0,) * (ends[0] + 1) + (1,) * (len(plain) - ends[0] - 1)
        assert len(ends) == (1 if row.label == IGNORE else 2) and len(plain) <= CONTEXT
        assert all(row.token_labels[place] == IGNORE for place in (0, *ends)), "special tokens are never masked"
        first, second = plain[1 : ends[0]], plain[ends[0] + 1 : -1]
        cut = [text[: CONTEXT - 3] for text in texts_of]
        follows = tuple(first + second) in cut
        assert follows if row.label != 0 else any(text[-len(second) :] == tuple(second) for text in texts_of)
        kinds[row.label] += 1
    assert all(count > len(encoded) / 8 for count in kinds.values()), kinds


def test_batches_hold_at_most_their_tokens_and_every_row_once():
    made = [Encoded((1,) * size, size, target_ids=(2,) * (size // 3 + 1)) for size in [3, 30, 7, 12, 12, 29, 5, 3]]
    cut = cut_by_tokens(made, 90)
    assert sorted(len(row.ids) for batch in cut for row in batch) == [3, 3, 5, 7, 12, 12, 29, 30]
    for batch in cut:
        assert len(batch) * max(len(row.ids) + len(row.target_ids) for row in batch) <= 90
    widths = [len(row.ids) for batch in cut for row in batch]
    assert widths == sorted(widths), "rows of like length share a batch"
    for one, other in itertools.pairwise(cut):  # the next row would not have fitted
        assert (len(one) + 1) * max(len(row.ids) + len(row.target_ids) for row in [*one, other[0]]) > 90


def test_strips_keep_long_targets_away_from_long_sources():
    """The same rows in batches with less padding, where a long source has a short target."""
    _ids, encoded = rows(maker("prefix_lm"))
    kinds = [cut_by_tokens(encoded, 400, strips) for strips in (1, 4)]
    for made in kinds:
        assert sorted(row.ids for batch in made for row in batch) == sorted(row.ids for row in encoded)
        assert all(len(batch) * max(len(row.ids) + len(row.target_ids) for row in batch) <= 400 for batch in made)
    padded = [
        sum(len(b) * (max(len(row.ids) for row in b) + max(len(row.target_ids) for row in b)) for b in made)
        for made in kinds
    ]
    assert padded[1] < 0.9 * padded[0]


@pytest.mark.parametrize("objective", sorted(FAMILY))
def test_the_stream_is_a_function_of_the_seed(objective):
    made = maker(objective)

    def first(seed: int) -> list[list[list[int]]]:
        return [batch.ids.tolist() for batch in itertools.islice(batches(made, documents, seed, 16, 300), 12)]

    assert first(1) == first(1) != first(2)
