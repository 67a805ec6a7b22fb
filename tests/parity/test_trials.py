"""The K axis: rows of several trials in one batch give what each trial's rows give on their own."""

from dataclasses import replace

import pytest
import torch

from repro.methods.base import Injection
from repro.methods.parts.joining import joined
from repro.models.encoding.batch import IGNORE, collate
from tests.pairwise import pairwise
from tests.parity.tiny_models import (
    DECODERS,
    ENCODER_DECODERS,
    FAMILIES,
    PROMPTS,
    adapter,
    backbone,
    close,
    generated_ids,
    items,
    make_batch,
    pick,
    prompts,
    random_embeds,
    random_head,
    random_kv,
    trained_of,
    trial_of,
)

pytestmark = pytest.mark.parity
K, P, LENGTHS, ROWS = 3, 4, (9, 3, 6, 7, 5, 4), [2, 0, 1, 0, 2, 2]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_losses_and_gradients(name, prompt):
    bone = backbone(name)
    injection, batch = prompts(bone.spec, K)[prompt], make_batch(bone, LENGTHS, rows=ROWS)
    tensors = trained_of(injection)
    together = adapter(bone).losses(batch, injection)
    gradients = torch.autograd.grad(together.total.sum(), tensors)
    summed = [torch.zeros_like(tensor) for tensor in tensors]
    for trial in range(K):
        mine = [row for row, owner in enumerate(ROWS) if owner == trial]
        alone = replace(pick(batch, mine), rows=torch.zeros(len(mine), dtype=torch.long))
        losses = adapter(bone).losses(alone, trial_of(injection, trial))
        close(together.total[mine], losses.total, 1e-12)
        assert together.count[mine].tolist() == losses.count.tolist()
        for total, gradient in zip(summed, torch.autograd.grad(losses.total.sum(), tensors), strict=True):
            total += gradient
    for got, wanted in zip(gradients, summed, strict=True):
        close(got, wanted, 1e-12)
    swapped = replace(batch, rows=torch.tensor([1, 1, 0, 2, 0, 1]))
    assert ((adapter(bone).losses(swapped, injection).total - together.total).abs() > 1e-6).all()


@pytest.mark.parametrize(("name", "prompt", "beams"), pairwise(DECODERS + ENCODER_DECODERS, PROMPTS, [1, 3]))
def test_generation(name, prompt, beams):
    bone = backbone(name)
    injection, kind, left = prompts(bone.spec, K)[prompt], bone.spec.kind, name in DECODERS
    examples = items(kind, LENGTHS, training=False)
    together = generated_ids(adapter(bone), collate(examples, 0, rows=ROWS, left=left), injection, beams=beams)
    assert len({tuple(row) for row in together}) > 3
    for trial in range(K):
        mine = [row for row, owner in enumerate(ROWS) if owner == trial]
        batch = collate([examples[row] for row in mine], 0, left=left)
        alone = generated_ids(adapter(bone), batch, trial_of(injection, trial), beams=beams)
        for row, wanted in zip(mine, alone, strict=True):
            got = together[row]  # wider than the answer of rows that all ended early
            assert got[: len(wanted)] == wanted
            assert set(got[len(wanted) :]) <= {0, 1}


@pytest.mark.parametrize(
    ("name", "format", "prompt"), pairwise(["bert", "roberta"], ["pair", "choice", "tagging"], PROMPTS)
)
def test_encoder_predictions(name, format, prompt):
    bone = backbone(name)
    injection, choices = prompts(bone.spec, K)[prompt], 2 if format == "choice" else 1
    if format == "choice":
        one = random_head(bone.spec, 1, trials=K)
        injection = replace(injection, head=one)
    adapted, examples = adapter(bone, format), items("encoder", LENGTHS, training=False)
    examples = [
        replace(
            item,
            label=index // 2 % 2 if format == "choice" else item.label,
            token_types=None,
            word_starts=(1, 2),
            token_labels=(IGNORE, 1, 2, *(IGNORE,) * (len(item.ids) - 3)),
        )
        for index, item in enumerate(examples)
    ]
    rows = [2, 2, 0, 0, 1, 1] if format == "choice" else ROWS
    together = adapted.predict(collate(examples, 0, rows=rows, choices=choices), injection, {})
    losses = adapted.losses(collate(examples, 0, rows=rows, choices=choices), injection).total
    assert len(together) == len(losses) == len(examples) // choices
    for trial in range(K):
        mine = [row for row, owner in enumerate(rows) if owner == trial]
        batch = collate([examples[row] for row in mine], 0, choices=choices)
        at = [row // choices for row in mine[::choices]]
        assert [together[index] for index in at] == adapted.predict(batch, trial_of(injection, trial), {})
        close(losses[at], adapted.losses(batch, trial_of(injection, trial)).total, 1e-12)


@pytest.mark.parametrize(
    ("name", "prompt", "packing"), pairwise(["bert", "roberta", "gpt2", "bart"], ["kv", "before"], [True, False])
)
def test_a_long_prompt_beside_a_long_input_leaves_no_position_table(name: str, prompt: str, packing: bool) -> None:
    """Each fits by itself (P + T is 512); in one batch the first row's padding would stand behind the last position."""
    bone, kind = backbone(name), backbone(name).spec.kind
    target = {"decoder": 5}.get(kind, 0)  # the longest of the two
    sizes, lengths = (440, 3), (512 - 440 - target, 512 - 3 - target)
    head = random_head(bone.spec, 3) if kind == "encoder" else None
    made = []
    for seed, length in enumerate(sizes):
        if prompt == "kv":
            kv = random_kv(bone.spec, length, seed=seed)
            made.append(Injection(kv=kv, position_shift=length, head=head))
        else:
            embeds = random_embeds(bone.spec, length, seed=seed)
            made.append(Injection(embeds=embeds, placement=prompt, head=head))
    bone.packing = packing
    try:
        encoded = [replace(item, token_types=None) for item in items(kind, lengths, training=True, targets=4)]
        together = adapter(bone).losses(collate(encoded, 0, rows=[0, 1]), joined(made)).total
        for row, (item, injection) in enumerate(zip(encoded, made, strict=True)):
            close(together[row, None], adapter(bone).losses(collate([item], 0), injection).total, 1e-10)
    finally:
        bone.packing = "auto"
