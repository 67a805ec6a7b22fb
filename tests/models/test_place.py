"""Where a prompt stands, by the rule written out on lists: whichever side is padded."""

import pytest
import torch

from repro.methods.base import PLACEMENTS, Injection
from repro.models.encoding.batch import IGNORE, Encoded, collate
from repro.models.prompt_positions import place

P, D, K = 2, 3, 2
ROWS = [1, 0, 1]
SOURCES, TARGETS = ((10, 11, 12), (20,), (30, 31)), ((13, 14), (21, 22, 23), ())


def batch(left: bool, targets: bool):
    items = []
    for source, target in zip(SOURCES, TARGETS, strict=True):
        target = target if targets else ()
        labels = (IGNORE,) * len(source) + target
        items.append(Encoded((*source, *target), len(source), token_labels=labels))
    return collate(items, pad_id=0, rows=ROWS, left=left)


def expected(placement: str, left: bool, targets: bool) -> list[list[str]]:
    """Rows as words: 'p0' the prompt's, '10' a token, '-' padding."""
    rows = []
    for source, target in zip(SOURCES, TARGETS, strict=True):
        source, target = [str(t) for t in source], [str(t) for t in target if targets]
        prompt = [f"p{i}" for i in range(P)]
        rows.append(
            {
                "before": prompt + source + target,
                "after_bos": source[:1] + prompt + source[1:] + target,
                "after": source + prompt + target,
            }[placement]
        )
    longest = max(len(row) for row in rows)
    return [["-"] * (longest - len(row)) + row if left else row + ["-"] * (longest - len(row)) for row in rows]


@pytest.mark.parametrize("targets", [True, False], ids=["with targets", "sources only"])
@pytest.mark.parametrize("left", [True, False], ids=["left", "right"])
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_the_rule(placement, left, targets):
    made = batch(left, targets)
    text = made.ids[..., None].double() * torch.ones(D)  # token 10 is [10, 10, 10]
    prompt = -torch.arange(1, K * P + 1).view(K, P, 1).float() * torch.ones(D)  # trial 0: -1, -2; trial 1: -3, -4
    placed = place(text, made, Injection(embeds=prompt, placement=placement))
    wanted = expected(placement, left, targets)
    for row, words in enumerate(wanted):
        numbers = [
            prompt[ROWS[row], int(word[1:]), 0].item() if word[0] == "p" else 0 if word == "-" else int(word)
            for word in words
        ]
        assert placed.embeds[row].tolist() == [[number] * D for number in numbers]
        assert placed.mask[row].tolist() == [int(word != "-") for word in words]
        real = [int(word) for word in words if word not in ("-", "p0", "p1")]
        assert placed.embeds[row, placed.where[row], 0].tolist() == made.ids[row].tolist()
        spread = placed.spread(made.token_labels, IGNORE)[row]
        labels = [int(word) if word in [str(t) for t in TARGETS[row]] and targets else IGNORE for word in words]
        assert spread.tolist() == labels
        assert real == [int(t) for t in made.ids[row][made.mask[row].bool()]]
    assert placed.embeds.dtype == text.dtype
    assert placed.mask.dtype == made.mask.dtype


def test_gradients_go_back_to_their_own_trial():
    made = batch(left=False, targets=True)
    prompt = torch.zeros(3, P, D, requires_grad=True)
    placed = place(torch.zeros(*made.ids.shape, D), made, Injection(embeds=prompt))
    placed.embeds.sum().backward()
    assert prompt.grad[:, 0, 0].tolist() == [1, 2, 0]  # rows 1 / 0 and 2 / none
