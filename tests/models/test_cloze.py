"""Clozes, data sets under one head, sentinels and text prompts as token ids and logits, against transformers alone."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from repro.errors import DataError, ModelError
from repro.evaluation.decoding import mean_loss, predict
from repro.methods.base import Head, Injection
from repro.models.encoding.batch import IGNORE, collate
from repro.models.encoding.encoding import decoder_encoding, encode_cloze, encoder_decoder_encoding, encoder_encoding
from repro.models.untrained.random_model import byte_tokenizer
from repro.tasks.base import Cloze, Example, Pair, Span, Tagged, TextToText
from tests.models.loaded import adapt, tiny
from tests.parity.tiny_models import close

TASK = {"max_input_length": 48, "max_target_length": 8, "labels": ["no", "yes"], "verbaliser": {"no": "n", "yes": "y"}}


def ready(model: str, format: str) -> Any:
    backbone = tiny(model, format)
    with torch.no_grad():
        for parameter in backbone.whole.parameters():  # a fresh model says the same to everything
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return adapt(backbone, format, TASK)


# A cloze as token ids.


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer("encoder", token_types=True)


def ids_of(tokenizer, text):
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_places_of_prompt_rows_and_gap(tokenizer):
    made = encode_cloze(tokenizer, Cloze(("ab", 2, "?", None, 1, " cd"), 1), 64)
    cls, sep, mask = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id
    assert made.mask_at == 6
    assert made.slots == (-1, -1, -1, 0, 1, -1, -1, 2, -1, -1, -1, -1)
    real = [id for id, slot in zip(made.ids, made.slots, strict=True) if slot < 0]
    assert real == [cls, *ids_of(tokenizer, "ab"), *ids_of(tokenizer, "?"), mask, *ids_of(tokenizer, " cd"), sep]
    assert made.ids[made.mask_at] == mask
    assert (made.label, made.source_length, made.truncated) == (1, 12, False)
    assert made.token_types == (0,) * 12


def test_a_cloze_without_prompt_rows_has_no_slots(tokenizer):
    made = encode_cloze(tokenizer, Cloze(("ab", None), 0), 64)
    assert made.slots is None and made.mask_at == 3


@pytest.mark.parametrize("limit", range(7, 22))
def test_a_long_cloze_loses_the_end_of_its_longest_text(tokenizer, limit):
    """The rule written out: one token after the other goes from the longest text, gap and rows stay."""
    texts = ["abcdefgh", "12345", "."]
    made = encode_cloze(tokenizer, Cloze((texts[0], 2, texts[1], None, texts[2]), 0), limit)
    while sum(map(len, texts)) + 5 > limit:
        longest = max(range(3), key=lambda i: len(texts[i]))
        texts[longest] = texts[longest][:-1]
    assert tokenizer.decode([i for i, slot in zip(made.ids, made.slots, strict=True) if slot < 0][1:-1]) == (
        f"{texts[0]}{texts[1]}{tokenizer.mask_token}{texts[2]}"
    )
    assert len(made.ids) == min(limit, 19)
    assert made.truncated == (limit < 19)
    assert sorted(slot for slot in made.slots if slot >= 0) == [0, 1]
    assert made.ids[made.mask_at] == tokenizer.mask_token_id


def test_a_cloze_that_cannot_fit_is_refused(tokenizer):
    with pytest.raises(DataError, match=r"task\.max_input_length=6: .* take 7 tokens"):
        encode_cloze(tokenizer, Cloze(("ab", 4, None), 0), 6)
    bare = copy.deepcopy(tokenizer)
    bare.mask_token = None
    with pytest.raises(ModelError, match="no mask token"):
        encode_cloze(bare, Cloze(("ab", None), 0), 64)


# The answer of the language-model head.

CLOZES = [Cloze(("it rained", 2, " so?", None, 1, "."), 1), Cloze(("dry", 2, " or wet, who knows?", None, 1, "."), 0)]


@pytest.mark.parity
@pytest.mark.parametrize("model", ["bert", "roberta"])
def test_the_logits_are_those_of_the_masked_language_model(model: str) -> None:
    """AutoModelForMaskedLM on the row alone, its embeddings replaced by hand at the places of the prompt."""
    adapter = ready(model, "cloze")
    backbone, tokenizer = adapter.backbone, adapter.backbone.tokenizer
    prompt = torch.randn(1, 3, backbone.spec.width, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    batch = collate([adapter.encode(cloze, True)[0] for cloze in CLOZES], tokenizer.pad_token_id)
    injection = Injection(prompt, placement="template")
    ours, losses = adapter.logits(batch, injection), adapter.losses(batch, injection).total
    words = [ids_of(tokenizer, word)[0] for word in ("n", "y")]
    for row, cloze in enumerate(CLOZES):
        ids, places = [tokenizer.cls_token_id], []
        for piece in cloze.pieces:
            if isinstance(piece, int):
                places += range(len(ids), len(ids) + piece)
                ids += [0] * piece
            else:
                ids += ids_of(tokenizer, piece) if piece is not None else [tokenizer.mask_token_id]
        embeds = backbone.model.get_input_embeddings()(torch.tensor([[*ids, tokenizer.sep_token_id]])).clone()
        embeds[0, places] = prompt[0]
        gap = ids.index(tokenizer.mask_token_id)
        theirs = backbone.whole(inputs_embeds=embeds).logits[0, gap, words]
        close(ours[row], theirs)
        close(losses[row], -F.log_softmax(theirs, 0)[cloze.label])


@pytest.mark.parity
@pytest.mark.parametrize("model", ["bert", "roberta"])
def test_a_prefix_under_the_language_model_head(model: str) -> None:
    """P-Tuning v2 with a verbaliser (Table 4): a row at a time over `past_key_values`, gradients too."""
    from transformers import DynamicCache

    from repro.methods.base import KeyValue

    adapter = ready(model, "cloze")
    backbone, tokenizer, rows = adapter.backbone, adapter.backbone.tokenizer, 3
    layers, heads, size = backbone.spec.sites["encoder"], backbone.spec.heads, backbone.spec.head_dim
    draw = torch.Generator().manual_seed(6)
    keys, values = (torch.randn(1, layers, heads, rows, size, generator=draw, dtype=torch.float64) for _ in range(2))
    leaves = [keys.requires_grad_(), values.requires_grad_()]
    clozes = [Cloze(("it rained", " so?", None, "."), 1), Cloze(("dry", " or wet?", None, "."), 0)]
    batch = collate([adapter.encode(cloze, True)[0] for cloze in clozes], tokenizer.pad_token_id)
    injection = Injection(kv={"encoder": KeyValue(keys, values)}, position_shift=rows)
    ours = adapter.losses(batch, injection).total
    words = [ids_of(tokenizer, word)[0] for word in ("n", "y")]
    theirs = []
    for cloze in clozes:
        # Stock attention computes the same without a prefix of ours in it; the cache stands for the official one.
        adapter.backbone.inject(Injection(), None)
        text = "".join(tokenizer.mask_token if piece is None else piece for piece in cloze.pieces)
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        cache = DynamicCache()
        for layer in range(layers):
            cache.update(keys[:, layer], values[:, layer], layer)
        mask = torch.ones(1, rows + ids.shape[1], dtype=torch.long)
        states = backbone.model(ids, attention_mask=mask, past_key_values=cache).last_hidden_state
        head = backbone.whole.cls.predictions if model == "bert" else backbone.whole.lm_head
        gap = int((ids[0] == tokenizer.mask_token_id).nonzero())
        theirs.append(-F.log_softmax(head(states)[0, gap, words], 0)[cloze.label])
    wanted = torch.stack(theirs)
    close(ours.detach(), wanted.detach())
    pairs = (torch.autograd.grad(each.sum(), leaves) for each in (ours, wanted))
    for a, b in zip(*pairs, strict=True):
        close(a, b)


@pytest.mark.parity
def test_the_logits_without_a_prompt() -> None:
    adapter = ready("bert", "cloze")
    tokenizer, cloze = adapter.backbone.tokenizer, Cloze(("it rained", " so?", None, "."), 1)
    batch = collate(adapter.encode(cloze, True), tokenizer.pad_token_id)
    ids = tokenizer(f"it rained so?{tokenizer.mask_token}.", return_tensors="pt")
    gap = int((ids["input_ids"][0] == tokenizer.mask_token_id).nonzero())
    words = [ids_of(tokenizer, word)[0] for word in ("n", "y")]
    close(adapter.logits(batch, Injection())[0], adapter.backbone.whole(**ids).logits[0, gap, words])


# Several data sets under one head.


ROWS = {
    "pair": [(Pair("ab", "c", 1), 0), (Pair("abcdef", "cd", 2), 1), (Pair("x", None, 0), 0), (Pair("xyz", "w", 0), 1)],
    "tagging": [(Tagged(("ab", "c"), (1, 0)), 0), (Tagged(("d", "ef", "g"), (2, 0, 1)), 1)],
    "span": [
        (Span("who ran", "Ann ran home", (0, 3)), 0),
        (Span("where", "Ann ran home at 9", (8, 12)), 1),
        (Span("why", "so", None), 1),
    ],
}
"""Examples and their data sets."""
OUTPUTS = {"pair": [(0, 2), (2, 5)], "tagging": [(0, 2), (2, 5)], "span": [(0, 2), (2, 4)]}
"""Outputs of the head that are each data set's own."""


def among_all(example: Any, own: tuple[int, int]) -> Any:
    """The example with its classes counted over all data sets."""
    if isinstance(example, Pair):
        return replace(example, label=example.label + own[0], classes=own)
    if isinstance(example, Tagged):
        return replace(example, tags=tuple(tag + own[0] for tag in example.tags), classes=own)
    return replace(example, classes=own)


def from_first(output: Any, first: int) -> Any:
    """An output with its classes counted from `first`."""
    if isinstance(output, int):
        return output - first
    return [tag - first for tag in output] if isinstance(output, list) else output.place


@pytest.mark.parity
@pytest.mark.parametrize("format", ROWS)
def test_one_head_over_all_data_sets_is_one_head_each(format: str) -> None:
    """Each row's loss, answer and gradient are its own head's."""
    adapter = ready("bert", format)
    draw, outputs = torch.Generator().manual_seed(2), OUTPUTS[format][1][1]
    weight = torch.randn(1, outputs, adapter.backbone.spec.width, dtype=torch.float64, generator=draw).requires_grad_()
    bias = torch.randn(1, outputs, dtype=torch.float64, generator=draw)
    items = [adapter.encode(among_all(example, OUTPUTS[format][part]), False)[0] for example, part in ROWS[format]]
    losses = adapter.losses(collate(items, 0), Injection(head=Head(weight, bias))).total
    predicted = adapter.predict(collate(items, 0), Injection(head=Head(weight, bias)), {})
    for row, (example, part) in enumerate(ROWS[format]):
        mine = slice(*OUTPUTS[format][part])
        own, alone = Injection(head=Head(weight[:, mine], bias[:, mine])), collate(adapter.encode(example, False), 0)
        theirs = adapter.losses(alone, own).total
        close(losses[row : row + 1].detach(), theirs.detach())
        assert from_first(predicted[row], mine.start) == from_first(adapter.predict(alone, own, {})[0], 0)
        got, wanted = (torch.autograd.grad(each.sum(), weight, retain_graph=True)[0] for each in (losses[row], theirs))
        close(got, wanted)
        assert got[0].any(1).tolist() == [index in range(outputs)[mine] for index in range(outputs)]


def test_a_data_set_alone_has_no_span(tokenizer) -> None:
    encode = encoder_encoding(tokenizer, 32)
    assert encode(Pair("a", "b", 0), True)[0].label_span is None
    assert encode(Tagged(("a",), (0,)), True)[0].label_span is None
    assert encode(Pair("a", "b", 3, (2, 5)), True)[0].label_span == (2, 5)


# Text: sentinels and prompts.


def test_a_sentinel_is_one_token_at_the_head_of_the_target() -> None:
    tokenizer = byte_tokenizer("encoder_decoder")
    (made,) = encoder_decoder_encoding(tokenizer, 16, 6)(TextToText("ab", "<extra_id_0> yes"), True)
    sentinel = tokenizer.convert_tokens_to_ids("<extra_id_0>")
    assert sentinel != tokenizer.unk_token_id and len(tokenizer) == 262
    assert made.target_ids == (sentinel, *ids_of(tokenizer, " yes"), tokenizer.eos_token_id)


@pytest.mark.parametrize(("said", "text"), [((4, 0), "<extra_id_0>"), ((0, 1), ""), ((4, 1, 0), "<extra_id_0>")])
def test_only_sentinels_survive_decoding(said, text, monkeypatch) -> None:
    adapter = ready("t5", "text_to_text")
    tokenizer = adapter.backbone.tokenizer
    assert tokenizer.convert_ids_to_tokens(4) == "<extra_id_0>"
    out = torch.tensor([[0, *said, *ids_of(tokenizer, "ok"), 1]])
    monkeypatch.setattr(adapter.backbone.model, "generate", lambda **given: out)
    batch = collate(adapter.encode(TextToText("a", "b"), False), 0)
    assert adapter.predict(batch, Injection(), {"beams": 1, "max_new_tokens": 3}) == [text + "ok"]


def test_a_text_prompt_keeps_its_end() -> None:
    """What is asked stands last: a T5 or a decoder reads the end of a long prompt, and the beginning of any other."""
    tokenizer = byte_tokenizer("encoder_decoder")
    encode = encoder_decoder_encoding(tokenizer, 6, 8)
    (made,) = encode(TextToText("abcdefgh", "x", asked=True), True)
    assert tokenizer.decode(made.ids) == "defgh</s>" and made.truncated
    (made,) = encode(TextToText("abcde", "x", asked=True), True)
    assert tokenizer.decode(made.ids) == "abcde</s>" and not made.truncated
    assert tokenizer.decode(encode(TextToText("abcdefgh", "x"), True)[0].ids) == "abcde</s>"


def test_a_decoder_goes_on_where_a_text_prompt_ends() -> None:
    tokenizer = byte_tokenizer("decoder")
    encode = decoder_encoding(tokenizer, 6, 8)
    (made,) = encode(TextToText("abcdefgh", "x", asked=True), False)
    assert tokenizer.decode(made.ids) == "cdefgh" and made.truncated and not made.separated
    (made,) = encode(TextToText("abc", "x", asked=True), True)
    assert tokenizer.decode(made.ids) == "abc x </s>" and not made.truncated
    assert made.token_labels == (IGNORE,) * 3 + made.ids[3:]


@pytest.mark.parity
def test_prefix_lm_loss_is_t5s_own() -> None:
    """The loss of a chunk's rest, given its first part: transformers' own loss on source and target ids."""
    adapter = ready("t5", "text_to_text")
    texts = [("the sun rose", "ov"), ("a", "dog b"), ("and then it", "r")]
    examples = [Example(str(i), {"text": text}, (text[1],)) for i, text in enumerate(texts)]

    class Continuing:
        format, labels, metrics = "text_to_text", (), ()

        def render(self, example):
            return TextToText(*example.fields["text"])

    found = mean_loss(adapter, Continuing(), examples, Injection(), 2, lambda count: None)
    total = count = 0
    for source, target in texts:
        tokenizer = adapter.backbone.tokenizer
        labels = tokenizer(target, return_tensors="pt")["input_ids"]
        inputs = tokenizer(source, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            total += float(adapter.backbone.model(input_ids=inputs, labels=labels).loss) * labels.numel()
        count += labels.numel()
    assert found == pytest.approx(total / count, rel=1e-6)  # T5's norm computes in float32


def test_predictions_of_a_cloze_are_class_ids() -> None:
    adapter = ready("bert", "cloze")

    class Asking:
        format = "cloze"

        def render(self, example):
            return Cloze((example.fields["text"], None), 0)

        def parse(self, output, example):
            return int(output)

    examples = [Example(str(i), {"text": text}, (0,)) for i, text in enumerate(("ab", "it rained", "qwertz", "x1"))]
    found = predict(adapter, Asking(), examples, Injection(), {}, 3, lambda count: None)
    alone = [
        int(adapter.logits(collate(adapter.encode(Asking().render(e), False), 0), Injection()).argmax())
        for e in examples
    ]
    assert found == alone and set(found) <= {0, 1}
