"""Decoding with a prompt: the cache, padding, beams and placements change nothing that they should not."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from repro.methods.base import PLACEMENTS, Injection
from repro.models import generation
from repro.models.encoding.batch import IGNORE, Encoded, collate
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
    random_head,
    tokens,
)

pytestmark = pytest.mark.parity
GENERATING = DECODERS + ENCODER_DECODERS
P, LENGTHS, STEPS, EOS = 4, (9, 3, 6), 6, 1


def decode(bone: Any, lengths: tuple[int, ...], injection: Injection, **decoding: Any) -> list[list[int]]:
    return generated_ids(
        adapter(bone), make_batch(bone, lengths, training=False), injection, max_new_tokens=STEPS, **decoding
    )


# `generate` insists on a cache where a decoder is given embeddings: for those see the comparison with training below.
UNCACHED = [(name, prompt) for name in GENERATING for prompt in PROMPTS if prompt == "kv" or name in ENCODER_DECODERS]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize(("name", "prompt"), UNCACHED)
def test_cache_equals_no_cache(name, prompt, beams, monkeypatch):
    bone = backbone(name)
    injection, widths = prompts(bone.spec)[prompt], []
    module = bone.attention["decoder"][0]
    hook = module.register_forward_pre_hook(
        lambda _, args, kwargs: widths.append((args[0] if args else kwargs["hidden_states"]).shape[1]), with_kwargs=True
    )
    cached = decode(bone, LENGTHS, injection, beams=beams)
    assert widths[1:] == [1] * (len(widths) - 1)  # one new token a step
    made = generation.generation_config

    def uncached(*args: Any) -> Any:
        config = made(*args)
        config.use_cache = False
        return config

    monkeypatch.setattr(generation, "generation_config", uncached)
    widths.clear()
    plain = decode(bone, LENGTHS, injection, beams=beams)
    hook.remove()
    assert widths == list(range(widths[0], widths[0] + len(widths)))  # the whole sequence every step
    assert len(widths) >= STEPS - 1
    assert cached == plain
    assert len({token for row in cached for token in row}) > 3


@pytest.mark.parametrize("name", GENERATING)
def test_beams_find_something_else_than_greedy_search(name):
    bone = backbone(name)
    greedy, beams = ([decode(bone, LENGTHS, p, beams=n) for p in map(prompts(bone.spec).get, PROMPTS)] for n in (1, 3))
    assert sum(one != other for one, other in zip(greedy, beams, strict=True)) >= 2


@pytest.mark.parametrize(("name", "prompt", "beams"), pairwise(GENERATING, PROMPTS, [1, 3]))
def test_a_padded_row_generates_what_it_generates_alone(name, prompt, beams):
    bone = backbone(name)
    injection, kind = prompts(bone.spec)[prompt], bone.spec.kind
    together = decode(bone, LENGTHS, injection, beams=beams)
    for index, item in enumerate(items(kind, LENGTHS, training=False)):
        alone = collate([item], pad_id=0, left=kind == "decoder")
        assert bool(alone.mask.all())
        (wanted,) = generated_ids(adapter(bone), alone, injection, max_new_tokens=STEPS, beams=beams)
        got = together[index]
        assert got[: len(wanted)] == wanted
        assert set(got[len(wanted) :]) <= {0, EOS}  # beam search fills with the end token where the padding id is 0


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_padded_row_trains_as_it_does_alone(name, prompt):
    bone = backbone(name)
    batch = make_batch(bone, LENGTHS)
    injection = prompts(bone.spec)[prompt]
    together = adapter(bone).losses(batch, injection)
    for index in range(len(LENGTHS)):
        alone = adapter(bone).losses(pick(batch, [index]), injection)
        close(together.total[index : index + 1], alone.total, 1e-12)
        assert together.count[index] == alone.count


@pytest.mark.parametrize("prompt", PROMPTS)
def test_t5_does_not_care_on_which_side_it_is_padded(prompt):
    bone = backbone("t5")
    injection, both = prompts(bone.spec)[prompt], items("encoder_decoder", LENGTHS, training=True)
    left, right = (collate(both, pad_id=0, left=side) for side in (True, False))
    assert left.ids[1, 0] == right.ids[1, -1] == 0
    losses = [adapter(bone).losses(batch, injection).total for batch in (left, right)]
    close(losses[0], losses[1], 1e-12)
    ids = [generated_ids(adapter(bone), batch, injection) for batch in (left, right)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("name", GENERATING)
def test_training_would_predict_what_greedy_search_generates(name, prompt):
    """The logits of the training pass, given the generated tokens as the target, have those tokens as their maxima."""
    bone = backbone(name)
    injection, adapted = prompts(bone.spec)[prompt], adapter(bone)
    sources = items(bone.spec.kind, LENGTHS, training=False)
    made = []
    for source, row in zip(sources, decode(bone, LENGTHS, injection), strict=True):
        new = row[1:] if name in ENCODER_DECODERS else row
        new = tuple(new[: new.index(EOS) + 1] if EOS in new else new)
        if name in DECODERS:
            labels = (IGNORE,) * source.source_length + new
            made.append(Encoded((*source.ids, *new), source.source_length, token_labels=labels))
        else:
            made.append(replace(source, target_ids=new))
    wanted = [token for item in made for token in (item.target_ids or item.token_labels) if token != IGNORE]
    caught = []
    hook = bone.model.get_output_embeddings().register_forward_hook(lambda *call: caught.append(call[2]))
    counts = adapted.losses(collate(made, pad_id=0), injection).count
    hook.remove()
    logits = caught[0] + getattr(bone.model, "final_logits_bias", torch.zeros(1))[0]
    assert counts.sum() == len(wanted) == len(logits)
    assert logits.argmax(-1).tolist() == wanted
    assert len(set(wanted)) >= 3


# A prompt made of the embeddings of real tokens is those tokens.


def with_words(item: Encoded, words: tuple[int, ...], placement: str) -> tuple[Encoded, list[int]]:
    """The example with the words in its text, and where its own tokens then are."""
    at = {"before": 0, "after_bos": 1, "after": item.source_length}[placement]

    def put(values: tuple[int, ...] | None, fill: int) -> tuple[int, ...] | None:
        return values and (*values[:at], *(fill,) * len(words), *values[at:])

    longer = replace(
        item,
        ids=(*item.ids[:at], *words, *item.ids[at:]),
        source_length=item.source_length + len(words),
        token_types=put(item.token_types, 0),
        token_labels=put(item.token_labels, IGNORE),
    )
    return longer, [place if place < at else place + len(words) for place in range(len(item.ids))]


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_prompt_of_real_words_is_those_words_in_the_text(name, placement):
    bone = backbone(name)
    words = tokens(P, torch.Generator().manual_seed(11))
    embeds = bone.model.get_input_embeddings()(torch.tensor(words))[None]
    injection = Injection(embeds=embeds, placement=placement, head=random_head(bone.spec, 3))
    plain, adapted = replace(injection, embeds=None), adapter(bone)
    short = items(bone.spec.kind, LENGTHS, training=True)
    if name == "roberta":
        short = [replace(item, token_types=None) for item in short]
    longer, places = zip(*(with_words(item, words, placement) for item in short), strict=True)
    if bone.spec.kind == "encoder":
        got = adapted.hidden(collate(short, 0), injection)
        wanted = adapted.hidden(collate(longer, 0), plain)
        for row, kept in enumerate(places):
            close(got[row, : len(kept)], wanted[row, kept], 1e-12)
        return
    close(adapted.losses(collate(short, 0), injection).total, adapted.losses(collate(longer, 0), plain).total, 1e-12)
    short, longer = (
        [replace(item, ids=item.ids[: item.source_length], token_labels=None) for item in both]
        for both in (short, longer)
    )
    left = name in DECODERS
    got = generated_ids(adapted, collate(short, 0, left=left), injection, beams=3)
    assert got == generated_ids(adapted, collate(longer, 0, left=left), plain, beams=3)
