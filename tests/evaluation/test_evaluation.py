"""Decoding a split in any order, scoring it, and noticing outputs that say nothing."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch.nn.functional as F

from repro.config.schema import DecodingConfig
from repro.evaluation.decoding import decoding_settings, mean_loss, predict
from repro.evaluation.scoring import degenerate_output, score, score_subset, subsets
from repro.methods.base import Injection
from repro.metrics.accuracy import Accuracy
from repro.metrics.base import Metric
from repro.metrics.span_f1 import SpanF1
from repro.tasks.base import Example, Pair, Tagged
from repro.trials.tensors import build_tensors
from tests.models.loaded import adapt
from tests.training.tiny_training import LENGTHS, METHODS, ToyTask, load, toy_example, toy_examples

DECODING = {"beams": 1, "max_new_tokens": 4}
KINDS = [
    ("tiny-t5", "prompt_tuning", "text_to_text"),
    ("tiny-gpt2", "prefix_mlp", "text_to_text"),
    ("tiny-bert", "p_tuning_v2", "pair"),
    ("tiny-bert", "p_tuning_v2", "tagging"),
    ("tiny-bert", "prompt_tuning", "choice"),
    ("tiny-bert", "p_tuning_v2", "ranking"),
]


SHARPER = {"tiny-t5": 2.0, "tiny-gpt2": 15.0, "tiny-bert": 15.0}
"""Weights times this: a fresh model says the same to everything."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def nothing(count: int) -> None:
    pass


def ready(model: str, method: str, format: str, head_dropout: float = 0.0) -> tuple[Any, ToyTask, Any]:
    """An adapter in float64, a toy task, and an injection whose head tells examples apart."""
    backbone, task, made = load(model), ToyTask(format), METHODS[method]()
    build_tensors(made, backbone, task, [3])
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            parameter.mul_(SHARPER[model] if parameter.dim() > 1 else 1)
    return adapt(backbone, format, LENGTHS, head_dropout), task, made.injection(training=False)


class Echo:
    """An adapter that "predicts" the text that it was given: every row of a batch must find its way back."""

    def __init__(self, left: bool):
        real = adapt(load("tiny-gpt2" if left else "tiny-t5"), "text_to_text", LENGTHS)
        self.backbone, self.encode, self.pad_left, self.sizes = real.backbone, real.encode, left, []

    def predict(self, batch: Any, injection: Any, decoding: Mapping[str, Any]) -> list[str]:
        lengths = batch.mask.sum(1).tolist()
        self.sizes.append(len(lengths))
        assert self.pad_left == bool((batch.mask[:, -1] == 1).all()) or len(set(lengths)) == 1
        return [text.strip() for text in self.backbone.tokenizer.batch_decode(batch.ids, skip_special_tokens=True)]


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 11, 50])
def test_every_prediction_comes_back_to_its_example(left: bool, batch_size: int) -> None:
    examples, counts = toy_examples("text_to_text", 11), []
    adapter = Echo(left)
    found = predict(adapter, ToyTask("text_to_text"), examples, None, DECODING, batch_size, counts.append)  # type: ignore[arg-type]
    assert found == [example.fields["rendered"].source for example in examples]
    assert counts == adapter.sizes and sum(counts) == 11 and max(counts) == min(batch_size, 11)


@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_predictions_do_not_depend_on_the_batch_size(model: str, method: str, format: str) -> None:
    adapter, task, injection = ready(model, method, format)
    examples = toy_examples(format, 9)
    found = [predict(adapter, task, examples, injection, DECODING, size, nothing) for size in (1, 4, 100)]
    assert found[0] == found[1] == found[2]
    backwards = predict(adapter, task, examples[::-1], injection, DECODING, 4, nothing)
    assert backwards[::-1] == found[0] != backwards


def test_parse_sees_the_example_of_its_output() -> None:
    class Parsing(ToyTask):
        def parse(self, output: Any, example: Example) -> Any:
            return (output, example.id)

    examples = toy_examples("text_to_text", 7)
    found = predict(Echo(True), Parsing("text_to_text"), examples, None, DECODING, 2, nothing)  # type: ignore[arg-type]
    assert found == [(example.fields["rendered"].source, example.id) for example in examples]


def test_choices_are_scored_against_each_other() -> None:
    # Written out: every choice alone through the model, the highest logit wins.
    adapter, task, injection = ready("tiny-bert", "p_tuning_v2", "choice")
    examples = toy_examples("choice", 8)
    found = predict(adapter, task, examples, injection, DECODING, 3, nothing)
    model, tokenizer = adapter.backbone.model, adapter.backbone.tokenizer
    expected = []
    for example in examples:
        logits = []
        for first, second in example.fields["rendered"].pairs:
            inputs = tokenizer(first, second, return_tensors="pt")
            with torch.no_grad():
                pooled = model(**inputs).pooler_output  # the prefix is still attached
            logits.append(float((pooled @ injection.head.weight[0].T + injection.head.bias[0]).detach()))
        expected.append(int(np.argmax(logits)))
    assert found == expected and len(set(found)) == 2


def test_candidates_of_any_number_are_ranked_by_their_logit_of_class_1() -> None:
    # Written out: every candidate alone through the model. Batches of 3 cut through examples.
    adapter, task, injection = ready("tiny-bert", "p_tuning_v2", "ranking")
    examples = toy_examples("ranking", 9)
    assert {len(example.fields["rendered"].pairs) for example in examples} == {1, 2, 3, 4}
    found = predict(adapter, task, examples, injection, DECODING, 3, nothing)
    model, tokenizer = adapter.backbone.model, adapter.backbone.tokenizer
    expected, other = [], []
    for example in examples:
        logits = []
        for first, second in example.fields["rendered"].pairs:
            with torch.no_grad():
                pooled = model(**tokenizer(first, second, return_tensors="pt")).pooler_output[0]
            logits.append((injection.head.weight[0] @ pooled + injection.head.bias[0]).tolist())
        expected.append(int(np.argmax([row[1] for row in logits])))
        other.append(int(np.argmax([row[1] - row[0] for row in logits])))
    assert found == expected and len(set(found)) > 2
    assert expected != other, "the margin would rank otherwise: the official code takes the logit alone"


def test_candidates_are_trained_on_one_by_one() -> None:
    """The loss over a split is the mean over candidates of each one's own cross-entropy."""
    adapter, task, injection = ready("tiny-bert", "p_tuning_v2", "ranking")
    examples = toy_examples("ranking", 6)
    found = mean_loss(adapter, task, examples, injection, 4, nothing)
    losses = []
    for example in examples:
        rendered = example.fields["rendered"]
        for (first, second), label in zip(rendered.pairs, rendered.labels, strict=True):
            pooled = adapter.backbone.model(**adapter.backbone.tokenizer(first, second, return_tensors="pt"))
            logits = injection.head.weight[0] @ pooled.pooler_output[0] + injection.head.bias[0]
            losses.append(float((logits.logsumexp(0) - logits[int(label)]).detach()))
    assert found == pytest.approx(np.mean(losses), rel=1e-9)


def test_score_uses_every_metric() -> None:
    class Length(Metric[Any, Any]):
        name, outputs, equals = "length", ("mean_length", "most"), "len"

        def score(self, prediction: Any, references: Sequence[Any]) -> list[int]:
            return [len(prediction), len(references)]

        def reduce(self, statistics: np.ndarray) -> dict[str, float]:
            return {"mean_length": float(statistics[:, 0].mean()), "most": float(statistics[:, 1].max())}

    examples = [Example(str(i), {}, references) for i, references in enumerate([("a", "bb"), ("c",), ("ddd",)])]
    found = score(ToyTask("text_to_text", metrics=(Accuracy(), Length())), examples, ["bb", "x", "ddd"])
    assert found.values == {"accuracy": pytest.approx(200 / 3), "mean_length": 2.0, "most": 2.0}
    assert found.statistics == {"accuracy": [[1, 1], [0, 1], [1, 1]], "length": [[2, 2], [1, 1], [3, 1]]}
    assert found.predictions == ["bb", "x", "ddd"] and found.collapsed is None and found.cut == 0


def test_what_a_model_cannot_tell_apart_is_decoded_once() -> None:
    examples, echo = toy_examples("text_to_text", 7), Echo(True)
    twice = [*examples, *examples[::-1], examples[3]]
    found = predict(echo, ToyTask("text_to_text"), twice, None, DECODING, 2, nothing)  # type: ignore[arg-type]
    assert found == [example.fields["rendered"].source for example in twice]
    assert sum(echo.sizes) == 7


def test_parts_of_a_split_are_scored_from_the_statistics_of_the_whole() -> None:
    """Equal to scoring each part by itself."""
    from repro.metrics.e2e_bleu import E2EBleu

    names = ["seen", "unseen", "unseen", "seen", "seen"]
    said = ["a b c d e", "a b c d", "x y z a b", "b c d e f", "a a b c d"]
    gold = ["a b c d e f", "a b c d", "x y z q", "b c d e", "a b c d e"]
    examples = [Example(str(i), {}, (g,), meta={"subset": n}) for i, (g, n) in enumerate(zip(gold, names, strict=True))]
    task = ToyTask("text_to_text", metrics=(E2EBleu(),))
    whole, members = score(task, examples, said), subsets("test", examples)
    assert members == {"test_seen": [0, 3, 4], "test_unseen": [1, 2]}
    for own in members.values():
        alone = score(task, [examples[i] for i in own], [said[i] for i in own])
        assert score_subset(task, whole.statistics, own) == alone.values != whole.values
    assert score_subset(task, {}, [0]) == {}, "a metric without statistics has no value for a part"
    assert subsets("test", [Example("0", {}, ())]) == {}


def test_as_many_predictions_as_examples() -> None:
    with pytest.raises(ValueError, match="zip"):
        score(ToyTask("pair", metrics=(Accuracy(),)), toy_examples("pair", 3), [0, 1])


def test_words_that_truncation_cut_are_left_out_of_the_gold() -> None:
    gold = [["B-X", "I-X", "O", "B-Y"], ["O", "B-X"]]
    examples = [Example(str(i), {}, (tags,)) for i, tags in enumerate(gold)]
    found = score(ToyTask("tagging", metrics=(SpanF1(),)), examples, [["B-X", "I-X", "O"], ["O", "B-X"]])
    assert found.values["span_f1"] == 100.0 and found.cut == 1
    # Over all gold words: 2 spans predicted, both right, of 3.
    assert found.uncut == pytest.approx({"span_f1": 80.0, "span_precision": 100.0, "span_recall": 200 / 3})
    assert found.statistics["span_f1"] == [[1, 1, 1], [1, 1, 1]]
    found = score(ToyTask("tagging", metrics=(SpanF1(),)), examples, [[], ["O", "B-X"]])
    assert found.statistics["span_f1"] == [[0, 0, 0], [1, 1, 1]] and found.cut == 4
    task = ToyTask("tagging", metrics=(SpanF1(),))
    assert score(task, examples, gold).uncut == {}, "nothing was cut"
    assert score(task, examples, [[], gold[1]], "span_f1").uncut == {}, "not while checkpoints are compared"


def test_a_sentence_over_the_limit_is_predicted_as_far_as_it_was_read() -> None:
    adapter, task, injection = ready("tiny-bert", "p_tuning_v2", "tagging")
    words = tuple("abcdefghij" for _ in range(9))  # 10 bytes each: 64 places hold [CLS], 62 bytes and [SEP]
    tags = [0, 1, 2] * 3
    long = Example("long", {"rendered": Tagged(words, tuple(tags))}, ([ToyTask.labels[tag] for tag in tags],))
    short = toy_example("tagging", 1)
    first, second = predict(adapter, task, [long, short], injection, DECODING, 2, nothing)
    assert 6 <= len(first) <= 7 and len(second) == len(short.fields["rendered"].words)
    found = score(ToyTask("tagging"), [long, short], [first, second])
    assert found.cut == 9 - len(first)


def golds(*answers: Any) -> list[tuple[Any, ...]]:
    return [(answer,) for answer in answers]


@pytest.mark.parametrize(
    ("predictions", "gold", "sentence"),
    [
        ([1, 1, 1], golds(0, 1, 1), "every output is the same: 1"),
        (["yes", "yes"], golds("yes", "no"), "every output is the same: 'yes'"),
        (["", "", ""], golds("a", "b", "a"), "every output is empty"),
        ([-1, -1], golds(0, 1), "no output names a class"),
        ([["O", "O"], ["O"]], golds(["B-X", "O"], ["O"]), "every word of the split is tagged O"),
        ([[], []], golds(["B-X"], ["O"]), "every word of the split is tagged O"),
        ([["B-X"], ["B-X", "B-X"]], golds(["B-X"], ["O", "O"]), "every word of the split is tagged B-X"),
        ([0, 0, 0], golds(0, 0, 0), None),  # the answers are all alike too
        (["", ""], golds("", ""), None),
        ([0, 1, 0], golds(1, 0, 1), None),  # wrong, but not constant
        ([-1, 0], golds(0, 1), None),
        (["", "a"], golds("b", "c"), None),
        ([["O", "B-X"], ["O"]], golds(["O", "O"], ["B-X"]), None),
        ([["O"], ["O"]], golds(["O"], ["O"]), None),
        ([1], golds(1), None),  # one example is no constant
        ([], [], None),
    ],
)
def test_degenerate_output(predictions: list[Any], gold: list[tuple[Any, ...]], sentence: str | None) -> None:
    assert degenerate_output(predictions, gold) == sentence


def test_score_reports_a_degenerate_output() -> None:
    examples = toy_examples("pair", 4)
    task = ToyTask("pair", metrics=(Accuracy(),))
    assert score(task, examples, [0, 0, 0, 0]).collapsed == "every output is the same: 0"
    assert score(task, examples, [0, 0, 0, 1]).collapsed is None


@pytest.mark.parity
def test_mean_loss_of_a_decoder_is_the_mean_over_target_tokens() -> None:
    """Every example alone through transformers' own model, and the mean over all labels written out."""
    adapter, task, _ = ready("tiny-gpt2", "prompt_tuning", "text_to_text")
    examples = toy_examples("text_to_text", 7)
    found = [mean_loss(adapter, task, examples, Injection(), size, nothing) for size in (1, 3, 50)]
    model, total, count = adapter.backbone.model, 0.0, 0
    for example in examples:
        (item,) = adapter.encode(task.render(example), True)
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([item.ids])).logits[0]
        for place in range(item.source_length, len(item.ids)):
            total -= float(F.log_softmax(logits[place - 1], -1)[item.ids[place]])
            count += 1
    assert found == pytest.approx([total / count] * 3, rel=1e-10)
    assert count > 14


@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_mean_loss_is_the_mean_over_labels_whatever_the_batch_size(model: str, method: str, format: str) -> None:
    adapter, task, injection = ready(model, method, format)
    examples = toy_examples(format, 7)
    labels = {
        "text_to_text": lambda example: len(example.fields["rendered"].target) + 1,
        "tagging": lambda example: len(example.fields["rendered"].words),
        "ranking": lambda example: len(example.fields["rendered"].pairs),
    }.get(format, lambda example: 1)
    if model == "tiny-gpt2":  # ' target ' and the end
        labels = lambda example: len(example.fields["rendered"].target) + 3  # noqa: E731
    weights = [labels(example) for example in examples]
    alone = [mean_loss(adapter, task, [example], injection, 1, nothing) for example in examples]
    expected = float(np.average(alone, weights=weights))
    counts: list[int] = []
    found = [mean_loss(adapter, task, examples, injection, size, counts.append) for size in (2, 5, 50)]
    assert found == pytest.approx([expected] * 3, rel=1e-10)
    assert len(set(alone)) == 7
    if format == "ranking":  # every candidate is an example of its own
        assert sum(counts) == 3 * sum(weights) and max(counts) <= 50
    else:
        assert counts == [2, 2, 2, 1, 5, 2, 7]


def test_mean_loss_of_classes_is_the_mean_of_log_probabilities() -> None:
    adapter, task, injection = ready("tiny-bert", "p_tuning_v2", "pair")
    examples = toy_examples("pair", 5)
    model, tokenizer, each = adapter.backbone.model, adapter.backbone.tokenizer, []
    found = mean_loss(adapter, task, examples, injection, 2, nothing)
    for example in examples:
        pair: Pair = example.fields["rendered"]
        with torch.no_grad():  # the prefix is still attached
            pooled = model(**tokenizer(pair.first, pair.second, return_tensors="pt")).pooler_output[0]
        logits = pooled @ injection.head.weight[0].T + injection.head.bias[0]
        each.append(float(-F.log_softmax(logits.detach(), -1)[pair.label]))
    assert found == pytest.approx(sum(each) / 5, rel=1e-10)


def test_no_gradient_and_no_trace_of_an_evaluation() -> None:
    adapter, task, injection = ready("tiny-gpt2", "prefix_mlp", "text_to_text")
    examples = toy_examples("text_to_text", 3)
    state = torch.get_rng_state()
    predict(adapter, task, examples, injection, DECODING, 2, nothing)
    mean_loss(adapter, task, examples, injection, 2, nothing)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in adapter.backbone.model.parameters())


@pytest.mark.parametrize("format", ["pair", "choice", "tagging"])
def test_the_heads_dropout_is_off_in_evaluation(format: str) -> None:
    dropping, task, injection = ready("tiny-bert", "p_tuning_v2", format, head_dropout=0.5)
    plain, _, _ = ready("tiny-bert", "p_tuning_v2", format)
    examples = toy_examples(format, 6)
    losses = [mean_loss(adapter, task, examples, injection, 3, nothing) for adapter in (dropping, dropping, plain)]
    assert losses[0] == losses[1] == losses[2]
    outputs = [predict(adapter, task, examples, injection, DECODING, 3, nothing) for adapter in (dropping, plain)]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_batches_side_by_side_say_the_same(model: str, method: str, format: str) -> None:
    adapter, task, injection = ready(model, method, format)
    examples = toy_examples(format, 11)
    found = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        seen: list[int] = []
        said = predict(adapter, task, examples, injection, DECODING, 2, seen.append)
        loss = None if format == "ranking" else mean_loss(adapter, task, examples, injection, 2, seen.append)
        found.append((said, loss, seen))
    torch.set_num_threads(1)
    assert found[0][0] == found[1][0] == found[2][0] and found[0][2] == found[1][2]
    if format != "ranking":
        assert found[0][1] == pytest.approx(found[1][1], rel=1e-12) and found[1][1] == found[2][1]


def test_the_longest_target_of_a_split_bounds_what_is_generated():
    """As T5X evaluates: the target's tokens with its end. Where there is no such rule, the setting stays."""
    adapter, task, _ = ready("tiny-t5", "prompt_tuning", "text_to_text")
    examples = toy_examples("text_to_text", 6)
    longest = max(len(adapter.backbone.tokenizer(text_target=task.render(one).target)["input_ids"]) for one in examples)
    by_rule = DecodingConfig(max_new_tokens=4, length_rule="longest_target")
    assert decoding_settings(by_rule, adapter, task, examples)["max_new_tokens"] == longest != 4
    assert decoding_settings(DecodingConfig(max_new_tokens=4), adapter, task, examples)["max_new_tokens"] == 4
