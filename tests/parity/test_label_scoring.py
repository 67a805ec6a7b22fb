"""Labels scored in one pass equal the sums of their log-probabilities, one label and one example at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.errors import ModelError
from repro.methods.base import Injection
from repro.models.backbone import Backbone
from repro.models.encoding.batch import IGNORE, Encoded, collate
from repro.tasks.base import TextToText
from tests.models.loaded import adapt
from tests.pairwise import pairwise
from tests.parity.tiny_models import (
    DECODERS,
    ENCODER_DECODERS,
    IMPLEMENTATIONS,
    OWN,
    backbone,
    close,
    items,
    prompts,
)

pytestmark = pytest.mark.parity
P, LENGTHS, LABELS = 4, (9, 3, 17, 7, 7), ("True", "False", "a", "not_entailment")


def scorer(bone: Backbone, **task: Any) -> Any:
    return adapt(bone, "text_to_text", {"max_input_length": 64, "max_target_length": 20, "labels": LABELS, **task})


def naive(adapted: Any, examples: list[Encoded], rows: list[int], injection: Injection) -> Tensor:
    """The training loss of every example with every label as its target, alone, padded and negative [N, C]."""
    bone = adapted.backbone
    kept, bone.packing = bone.packing, False
    found = []
    for example, row in zip(examples, rows, strict=True):
        for label in LABELS:
            text = adapted.encode(TextToText("", label), True)[0]
            if text.target_ids is not None:
                item = replace(example, target_ids=text.target_ids)
            else:
                target = text.ids[text.source_length :]
                labels = (IGNORE,) * len(example.ids) + target
                item = Encoded((*example.ids, *target), len(example.ids), token_labels=labels)
            found.append(adapted.losses(collate([item], 0, rows=[row]), injection).total)
    bone.packing = kept
    return -torch.cat(found).view(len(examples), len(LABELS))


@pytest.mark.parametrize(
    ("name", "attention", "prompt", "trials"),
    pairwise(ENCODER_DECODERS + DECODERS, IMPLEMENTATIONS, ["none", "kv", "before", "after"], [1, 3]),
)
def test_scores_are_summed_log_probabilities(name, attention, prompt, trials):
    bone = backbone(name, attention)
    adapted, injection = scorer(bone), prompts(bone.spec, trials, OWN if trials == 3 else None)[prompt]
    rows = [0] * 5 if trials == 1 else [2, 0, 1, 0, 2]
    examples = items(bone.spec.kind, LENGTHS, training=False)
    batch = collate(examples, 0, rows=rows, left=adapted.pad_left)
    wanted = naive(adapted, examples, rows, injection)
    # The library's eager Llama takes its softmax in float32, over more columns here.
    close(adapted.label_scores(batch, injection), wanted, 1e-6 if (name, attention) == ("llama", "eager") else 1e-9)
    said = adapted.predict(batch, injection, {"labels": "score"})
    assert said == [LABELS[index] for index in wanted.argmax(1).tolist()]


def test_a_source_is_read_once_for_all_labels():
    bone = backbone("t5")
    calls = []
    hook = bone.model.encoder.register_forward_hook(lambda module, args, out: calls.append(out.last_hidden_state.shape))
    keys = []
    key_hook = bone.attention["encoder"][0].k.register_forward_hook(lambda module, args, out: keys.append(out.shape))
    scorer(bone).predict(collate(items("encoder_decoder", LENGTHS, False), 0), Injection(), {"labels": "score"})
    hook.remove()
    key_hook.remove()
    assert [shape[1] for shape in calls] == [sum(LENGTHS)]
    assert [shape[1] for shape in keys] == [sum(LENGTHS)]


def test_a_sentinel_stands_in_front_of_every_label():
    bone = backbone("t5")
    said = scorer(bone, sentinel=True).predict(
        collate(items("encoder_decoder", LENGTHS, False), 0), Injection(), {"labels": "score"}
    )
    assert {text.partition(" ")[0] for text in said} == {"<extra_id_0>"}


def test_two_labels_of_the_same_tokens_are_refused():
    adapted = scorer(backbone("t5"), max_target_length=3)
    batch = collate(items("encoder_decoder", LENGTHS, False), 0)
    adapted.labels = ["neutral", "neither"]
    with pytest.raises(ModelError, match=r"'neutral' and 'neither' are the same tokens.*max_target_length"):
        adapted.predict(batch, Injection(), {"labels": "score"})


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_a_source_is_read_once_for_all_beams(name):
    bone = backbone(name)
    read = []
    hook = bone.model.get_encoder().register_forward_hook(
        lambda module, args, out: read.append(tuple(out.last_hidden_state.shape[:2]))
    )
    batch = collate(items("encoder_decoder", LENGTHS, False), 0)
    scorer(bone).predict(batch, Injection(), {"beams": 4, "max_new_tokens": 3})
    hook.remove()
    assert read == [tuple(batch.ids.shape)]
