"""Which examples a step sees, and how they are cut into passes."""

import itertools
from collections import Counter

import pytest
import torch

from repro.models.encoding.batch import Batch, Encoded
from repro.training.batching import DataOrder, Share, mixed_seed, step_seed, training_batches
from tests.models.loaded import adapt
from tests.training.tiny_training import LENGTHS, ToyTask, load, toy_examples


def epoch(order: DataOrder, number: int) -> list[list[int]]:
    first = number * order.steps_per_epoch
    return [order.indices(step) for step in range(first, first + order.steps_per_epoch)]


@pytest.mark.parametrize(("examples", "batch_size"), [(10, 3), (9, 3), (2, 5), (1, 1), (33, 32), (100, 7)])
def test_every_example_once_an_epoch_and_a_smaller_last_batch(examples: int, batch_size: int) -> None:
    order = DataOrder(examples, batch_size, seed=11)
    for number in range(4):
        batches = epoch(order, number)
        assert sorted(itertools.chain(*batches)) == list(range(examples))
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        assert len(batches[-1]) == examples - batch_size * (len(batches) - 1) > 0


def test_filled_batches_are_cut_from_a_repeated_stream() -> None:
    order = DataOrder(10, 4, seed=11, filled=True)
    straight = [order.indices(step) for step in range(10)]
    assert all(len(batch) == 4 for batch in straight)
    stream = list(itertools.chain(*straight))
    epochs = [stream[start : start + 10] for start in range(0, 40, 10)]
    assert all(sorted(one) == list(range(10)) for one in epochs), "every example once an epoch"
    assert len({tuple(one) for one in epochs}) == 4
    backwards = DataOrder(10, 4, seed=11, filled=True)
    assert [backwards.indices(step) for step in reversed(range(10))] == straight[::-1], "a step stands for itself"
    small = DataOrder(3, 8, seed=1, filled=True)
    assert [sorted(small.indices(0)).count(example) for example in range(3)] in ([3, 3, 2], [3, 2, 3], [2, 3, 3])


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = [
        tuple(itertools.chain(*epoch(DataOrder(20, 6, seed), number))) for seed in (1, 2, 3) for number in (0, 1, 2)
    ]
    assert len(set(orders)) == 9
    assert all(order != tuple(range(20)) for order in orders)


def test_a_first_place_falls_on_every_example() -> None:
    # 400 epochs of 5 examples: each comes first about 80 times (sd 8).
    order = DataOrder(5, 2, seed=4)
    first = Counter(order.indices(number * order.steps_per_epoch)[0] for number in range(400))
    assert all(40 < first[example] < 120 for example in range(5))


def test_a_step_does_not_depend_on_what_was_asked_before() -> None:
    straight = [DataOrder(10, 3, seed=5).indices(step) for step in range(13)]  # a new object each time
    hopping = DataOrder(10, 3, seed=5)
    for step in (12, 0, 5, 5, 3, 4, 11, 1, 2, 6, 7, 8, 9, 10):
        assert hopping.indices(step) == straight[step]


def test_the_order_ignores_torchs_own_generator() -> None:
    before = torch.get_rng_state()
    first = DataOrder(10, 3, seed=5).indices(0)
    torch.manual_seed(99)
    assert DataOrder(10, 3, seed=5).indices(0) == first
    torch.set_rng_state(before)
    DataOrder(10, 3, seed=6).indices(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_mixed_seed_is_splitmix64() -> None:
    # The generator's published first outputs from state 0.
    outputs = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC)
    assert [mixed_seed(n, 0) for n in (1, 2, 3, 4)] == [output >> 1 for output in outputs]


def test_streams_of_a_seed_differ() -> None:
    uses = [
        mixed_seed(seed, stream, index)
        for seed in range(20)
        for stream in (0x0D3, 0x57E, 0x1217)
        for index in range(50)
    ]
    assert len(set(uses)) == len(uses)
    assert all(0 <= use < 2**63 for use in uses)
    assert len({step_seed(seed, step) for seed in range(20) for step in range(50)}) == 1000


def numbered(lengths: list[int], choices: int = 1) -> list[list[Encoded]]:
    """Example i: sequences whose first id is 10 i + choice, of the given length and some less."""
    return [
        [
            Encoded(
                (10 * i + choice, *[7] * (length - 1 - choice)),
                length - choice,
                label=i % choices if choices > 1 else i,
            )
            for choice in range(choices)
        ]
        for i, length in enumerate(lengths)
    ]


def cut(encoded: list[list[list[Encoded]]], orders: list[DataOrder], step: int, passes: int) -> list[Batch]:
    """The batches of a step of trials, each with its examples and its order."""
    shares = [
        Share([own[index] for index in order.indices(step)], step_seed(order.seed, step))
        for own, order in zip(encoded, orders, strict=True)
    ]
    return training_batches(shares, 0, passes)


LENGTHS_OF = [9, 3, 5, 12, 4, 4, 8, 3, 10, 6, 7]


@pytest.mark.parametrize("microbatches", [1, 2, 3, 5, 8, 20])
def test_passes_hold_the_steps_examples_each_once_sorted_by_length(microbatches: int) -> None:
    encoded = numbered(LENGTHS_OF)
    order = DataOrder(len(encoded), 8, seed=3)
    for step in range(4):
        batches = cut([encoded], [order], step, microbatches)
        chosen = order.indices(step)
        assert len(batches) == min(microbatches, len(chosen))
        seen = [int(row[0]) // 10 for batch in batches for row in batch.ids]
        assert sorted(seen) == sorted(chosen)
        assert [int(label) for batch in batches for label in batch.labels] == seen
        tokens = [batch.tokens for batch in batches]
        assert max(tokens) <= sum(tokens) / len(tokens) + max(LENGTHS_OF)
        lengths = [int(row.sum()) for batch in batches for row in batch.mask]
        assert lengths == [LENGTHS_OF[example] for example in seen]
        assert lengths == sorted(lengths) or microbatches == 1
        assert seen == chosen or microbatches > 1


def test_passes_of_like_length_compute_less_padding() -> None:
    encoded, order = numbered(LENGTHS_OF), DataOrder(len(LENGTHS_OF), 8, seed=3)
    padded = [sum(b.padded_tokens for b in cut([encoded], [order], 0, parts)) for parts in (1, 4)]
    real = [sum(b.tokens for b in cut([encoded], [order], 0, parts)) for parts in (1, 4)]
    assert real[0] == real[1] <= padded[1] < padded[0]


def test_trials_share_passes_and_every_row_knows_its_trial() -> None:
    first, second = numbered(LENGTHS_OF), numbered([length + 1 for length in LENGTHS_OF])
    orders = [DataOrder(11, 4, seed=1), DataOrder(11, 4, seed=2)]
    for microbatches in (1, 3):
        batches = cut([first, second], orders, 1, microbatches)
        rows = [
            (int(t), int(ids[0]) // 10, int(m.sum()))
            for b in batches
            for t, ids, m in zip(b.rows, b.ids, b.mask, strict=True)
        ]
        expected = [(t, i, LENGTHS_OF[i] + t) for t, order in enumerate(orders) for i in order.indices(1)]
        assert sorted(rows) == sorted(expected)
    assert orders[0].indices(1) != orders[1].indices(1)


def test_the_choices_of_an_example_stay_side_by_side() -> None:
    encoded, order = numbered(LENGTHS_OF, choices=2), DataOrder(11, 5, seed=1)
    for batch in cut([encoded, encoded], [order, DataOrder(11, 5, seed=2)], 0, 3):
        assert batch.choices == 2
        firsts = batch.ids[:, 0].view(-1, 2)
        assert torch.equal(firsts[:, 0] + 1, firsts[:, 1])
        assert torch.equal(batch.rows[::2], batch.rows[1::2])
        assert torch.equal(batch.labels, firsts[:, 0] // 10 % 2)


@pytest.mark.parametrize(
    ("model", "format"), [("tiny-t5", "text_to_text"), ("tiny-gpt2", "text_to_text"), ("tiny-bert", "tagging")]
)
def test_counts_of_labels_and_tokens_are_those_of_the_examples(model: str, format: str) -> None:
    backbone, task = load(model), ToyTask(format)
    encoded = [adapt(backbone, format, LENGTHS).encode(task.render(e), True) for e in toy_examples(format, 6)]
    (batch,) = cut([encoded], [DataOrder(6, 6, 1)], 0, 1)
    chosen = [encoded[i][0] for i in DataOrder(6, 6, 1).indices(0)]
    labels = [item.target_ids or [label for label in item.token_labels if label != -100] for item in chosen]
    assert batch.label_counts().tolist() == [len(found) for found in labels]
    assert batch.tokens == sum(len(item.ids) + len(item.target_ids or ()) for item in chosen)


# Batches of one data set.

GROUPS = [0] * 7 + [1] * 12 + [2]


def test_a_batch_holds_one_group_and_an_epoch_every_example() -> None:
    order = DataOrder(20, 4, seed=3, groups=GROUPS)
    assert order.steps_per_epoch == 2 + 3 + 1
    for number in range(5):
        batches = epoch(order, number)
        assert sorted(itertools.chain(*batches)) == list(range(20))
        assert all(len({GROUPS[index] for index in batch}) == 1 for batch in batches)
        assert Counter(len(batch) for batch in batches) == {4: 4, 3: 1, 1: 1}


def test_groups_come_in_any_order_and_a_step_stands_for_itself() -> None:
    order = DataOrder(20, 4, seed=3, groups=GROUPS)
    first = Counter(GROUPS[epoch(order, number)[0][0]] for number in range(300))
    # A batch of group g comes first in 2, 3, 1 of 6 epochs: 100, 150, 50 of 300 (sd below 9).
    assert all(abs(first[group] - expected) < 40 for group, expected in ((0, 100), (1, 150), (2, 50)))
    straight = [DataOrder(20, 4, seed=3, groups=GROUPS).indices(step) for step in range(14)]
    assert [order.indices(step) for step in (13, 0, 7)] == [straight[step] for step in (13, 0, 7)]


def test_one_group_is_cut_as_no_groups_are() -> None:
    assert DataOrder(10, 3, 5, groups=[4] * 10).steps_per_epoch == DataOrder(10, 3, 5).steps_per_epoch == 4
    order = DataOrder(10, 3, 5, groups=[4] * 10)
    assert sorted(map(sorted, epoch(order, 0))) == sorted(map(sorted, epoch(DataOrder(10, 3, 5), 0)))
