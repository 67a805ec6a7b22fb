"""Windows, answer labels, loss and n-best decoding of the span format, against the rules written out."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from repro.errors import DataError
from repro.evaluation.decoding import mean_loss, predict
from repro.methods.base import Head, Injection
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from repro.metrics.squad import SquadEmF1
from repro.models.encoding.batch import collate
from repro.models.encoding.span_encoding import (
    SpanOptions,
    answer_tokens,
    best_answer,
    encode_span,
    separated,
    window_answer,
)
from repro.models.untrained.random_model import byte_tokenizer
from repro.tasks.base import Example, Span, SpanAnswer, Task
from repro.tasks.question_answering import QuestionAnswering
from repro.trials.tensors import build_tensors
from tests.models.loaded import DATA, adapt, real_tokenizer
from tests.nested import build_task, run
from tests.tasks.making import make
from tests.training.tiny_training import close, load

CLS, SEP = 4, 5
TASK = {"max_input_length": 40, "max_target_length": 4, "options": {"stride": 8, "n_best": 5, "max_answer_tokens": 6}}
CONTEXT = "ann lee ran home and bob won the cup twice in a row"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer("encoder", token_types=True)


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


# Windows and labels --------------------------------------------------------------------------------------------------


def naive_windows(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """[start, end) of each window: the next starts `stride` tokens before the last one's end, until all is covered."""
    windows = [(0, min(room, length))]
    while windows[-1][1] < length:
        start = windows[-1][1] - stride
        windows.append((start, min(start + room, length)))
    return windows


@pytest.mark.parametrize(("limit", "stride"), [(20, 3), (20, 0), (33, 12), (60, 8), (61, 8), (62, 8), (200, 128)])
def test_windows_and_labels_written_out(tokenizer: Any, limit: int, stride: int) -> None:
    question = "who won"  # one byte is one token, so characters are tokens
    room, before = limit - len(question) - 3, len(question) + 2
    answers = [None, (0, 3), (25, 28), (24, 32), (49, 51), (0, 51), (50, 51)]
    for answer in answers:
        made = encode_span(tokenizer, Span(question, CONTEXT, answer), limit, stride if stride < room else 1)
        windows = naive_windows(len(CONTEXT), room, stride if stride < room else 1)
        assert len(made) == len(windows)
        for item, (start, end) in zip(made, windows, strict=True):
            shown = CONTEXT[start:end]
            assert list(item.ids) == [CLS, *ids_of(tokenizer, question), SEP, *ids_of(tokenizer, shown), SEP]
            assert item.token_types == (0,) * before + (1,) * (len(shown) + 1)
            assert item.source_length == len(item.ids) <= limit
            inside = answer is not None and start <= answer[0] and answer[1] <= end
            wanted = (before + answer[0] - start, before + answer[1] - 1 - start) if inside else (0, 0)  # type: ignore[index]
            assert item.answer == wanted
            places = item.offsets[before:-1].tolist()
            assert places == [[place, place + 1] for place in range(start, end)]
            assert (item.offsets[:before] == -1).all() and (item.offsets[-1] == -1).all()


def test_answers_inside_longer_tokens() -> None:
    """Tokens of several characters: the label covers the answer, as the official walk from both ends finds it."""
    offsets = np.array([[-1, -1], [0, 4], [5, 9], [10, 12], [12, 15], [-1, -1]])
    assert answer_tokens(offsets, (5, 9)) == (2, 2)
    assert answer_tokens(offsets, (6, 11)) == (2, 3)
    assert answer_tokens(offsets, (12, 15)) == (4, 4)  # the last token of the window: not the padding behind it
    assert answer_tokens(offsets, (4, 9)) == (1, 2)  # starts at a space: the official walk begins one token early
    assert answer_tokens(offsets, (0, 16)) == (0, 0)
    assert answer_tokens(np.full((3, 2), -1), (0, 1)) == (0, 0)


def test_windows_that_share_too_much_share_half(tokenizer: Any) -> None:
    made = encode_span(tokenizer, Span("who won", CONTEXT, None), 20, 128)
    room = 20 - 7 - 3
    assert len(made) == len(naive_windows(len(CONTEXT), room, room // 2))


def test_a_question_without_room_for_its_context_is_refused(tokenizer: Any) -> None:
    encode_span(tokenizer, Span("q" * 16, CONTEXT, None), 20, 0)
    with pytest.raises(DataError, match=r"has 17 tokens: task\.max_input_length=20 leaves no room"):
        encode_span(tokenizer, Span("q" * 17, CONTEXT, None), 20, 0)


def test_every_window_is_an_example_of_its_own_in_training() -> None:
    windows: Any = [["a", "b"], ["c"]]
    assert separated(windows, "span") == [["a"], ["b"], ["c"]]
    assert separated(windows, "choice") == [["a", "b"], ["c"]]


# Decoding ------------------------------------------------------------------------------------------------------------


def naive_answer(windows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], n_best: int, most: int) -> SpanAnswer:
    """Every start and end among the highest of each window; sort; the null score is the lowest over windows."""
    candidates, nulls = [], []
    for start, end, offsets in windows:
        nulls.append(start[0] + end[0])
        starts = sorted(range(len(start)), key=lambda i: -start[i])[:n_best]
        ends = sorted(range(len(end)), key=lambda i: -end[i])[:n_best]
        for i in starts:
            for j in ends:
                if offsets[i][0] >= 0 and offsets[j][0] >= 0 and i <= j and j - i + 1 <= most:
                    candidates.append((start[i] + end[j], (int(offsets[i][0]), int(offsets[j][1]))))
    if not candidates:
        return SpanAnswer(None, min(nulls))
    score, place = max(candidates, key=lambda pair: pair[0])
    return SpanAnswer(place, min(nulls) - score)


@pytest.mark.parametrize(("n_best", "most"), [(20, 30), (3, 30), (20, 2), (1, 1), (100, 100)])
def test_decoding_written_out(n_best: int, most: int) -> None:
    draw, found_none = np.random.default_rng(n_best * most), 0
    for _ in range(60):
        windows = []
        for first in range(0, int(draw.integers(1, 4)) * 20, 20):
            length = int(draw.integers(6, 40))
            places = [[-1, -1]] * 4 + [[first + 3 * i, first + 3 * i + 2] for i in range(length - 5)] + [[-1, -1]]
            windows.append((draw.normal(size=length), draw.normal(size=length), np.array(places)))
        options = SpanOptions(n_best=n_best, max_answer_tokens=most)
        ours = best_answer([window_answer(*window, options) for window in windows])
        theirs = naive_answer(windows, n_best, most)
        assert ours.place == theirs.place
        assert ours.null_odds == pytest.approx(theirs.null_odds, abs=1e-10)
        found_none += ours.place is None
    assert found_none < 60 and (n_best > 1 or found_none > 0)


def test_only_options_of_the_form_are_taken_from_a_task() -> None:
    assert SpanOptions.of({"stride": 5, "files": {}}) == SpanOptions(stride=5)
    assert SpanOptions.of(None) == SpanOptions(128, 20, 30)


class Squad(Task):
    """Questions that carry their own rendering; the answer is its own prediction."""

    format, labels, name, metrics, parts = "span", (), "toy", (), ()

    def __init__(self) -> None:
        """No section: everything else has its default."""

    def render(self, example: Example) -> Span:
        return example.fields["span"]

    def parse(self, output: SpanAnswer, example: Example) -> Any:
        return output.place, round(output.null_odds, 9)


def questions(count: int, seed: int = 0) -> list[Example]:
    draw, made = random.Random(seed), []
    for number in range(count):
        context = "".join(draw.choices("abcdef ", k=draw.randint(3, 90))).strip() + "."
        start = draw.randrange(len(context))
        answer = (start, min(len(context), start + draw.randint(1, 5))) if number % 4 else None
        made.append(Example(str(number), {"span": Span("q" * draw.randint(1, 9), context, answer)}, ("x",)))
    return made


def ready(model: str, method: Any) -> tuple[Any, Any]:
    """An adapter in float64, and the method's injection with a head that tells places apart."""
    backbone = load(model)
    build_tensors(method, backbone, Squad(), [3])
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            parameter.mul_(15 if parameter.dim() > 1 else 1)
    return adapt(backbone, "span", TASK), method.injection(training=False)


def nothing(count: int) -> None:
    pass


METHODS = [lambda: build_method("p_tuning_v2", length=4, prefix_dropout=0.0), lambda: PromptTuning(5, "uniform")]
KINDS = [(model, method) for model in ("tiny-bert", "tiny-roberta") for method in METHODS]


@pytest.mark.parametrize(("model", "method"), KINDS)
def test_windows_of_one_example_come_together_whatever_the_batch(model: str, method: Any) -> None:
    adapter, injection = ready(model, method())
    examples = questions(9)
    windows = [len(adapter.encode(example.fields["span"], False)) for example in examples]
    assert len(set(windows)) > 2
    counts: list[int] = []
    found = [predict(adapter, Squad(), examples, injection, {}, size, counts.append) for size in (1, 4, 100)]
    assert found[0] == found[1] == found[2] and len(set(map(repr, found[0]))) > 5
    assert sum(counts) == 3 * sum(windows)
    alone = []  # every window through the model by itself, and the answer by the rule above
    for example in examples:
        each = []
        for item in adapter.encode(example.fields["span"], False):
            logits = adapter.logits(collate([item], 0), injection)[0].detach().numpy()
            each.append((logits[:, 0], logits[:, 1], item.offsets))
        alone.append(Squad().parse(naive_answer(each, 5, 6), example))
    assert [place for place, _ in found[0]] == [place for place, _ in alone]
    assert [odds for _, odds in found[0]] == pytest.approx([odds for _, odds in alone], abs=1e-8)


# Loss ----------------------------------------------------------------------------------------------------------------


def transformers_model(backbone: Any, head: Head) -> Any:
    """transformers' own question-answering model with the same weights."""
    import copy

    from transformers import AutoModelForQuestionAnswering

    config = copy.deepcopy(backbone.model.config)
    config._attn_implementation = "eager"
    model = AutoModelForQuestionAnswering.from_config(config, dtype=torch.float64).eval()
    own = {k: v for k, v in backbone.model.state_dict().items() if not k.startswith("pooler")}
    getattr(model, model.base_model_prefix).load_state_dict(own)
    model.qa_outputs.load_state_dict({"weight": head.weight[0].detach(), "bias": head.bias[0].detach()})
    return model


def inputs_of(item: Any) -> dict[str, Any]:
    types = {} if item.token_types is None else {"token_type_ids": torch.tensor([item.token_types])}
    return {"input_ids": torch.tensor([item.ids]), **types}


@pytest.mark.parity
@pytest.mark.parametrize("model", ["tiny-bert", "tiny-roberta"])
def test_loss_and_gradient_equal_transformers_own_model(model: str) -> None:
    adapter, injection = ready(model, build_method("p_tuning_v2", length=4, prefix_dropout=0.0))
    injection = Injection(head=Head(injection.head.weight.detach().requires_grad_(), injection.head.bias.detach()))
    items = [item for example in questions(6) for item in adapter.encode(example.fields["span"], True)]
    losses = adapter.losses(collate(items, 0), injection)
    reference = transformers_model(adapter.backbone, injection.head)
    each = []
    for item in items:
        start, end = (torch.tensor([place]) for place in item.answer)
        each.append(reference(**inputs_of(item), start_positions=start, end_positions=end).loss)
    close(losses.total, torch.stack(each), 1e-10)
    assert losses.count.tolist() == [1] * len(items)
    losses.total.mean().backward()
    torch.stack(each).mean().backward()
    close(injection.head.weight.grad[0], reference.qa_outputs.weight.grad, 1e-10)


@pytest.mark.parity
@pytest.mark.parametrize("model", ["tiny-bert", "tiny-roberta"])
def test_prompt_positions_take_no_part_in_the_answer(model: str) -> None:
    """Prompt tuning: the prompt before the embeddings by hand, its places dropped, softmax over the text's places."""
    adapter, injection = ready(model, PromptTuning(5, "uniform"))
    backbone, head = adapter.backbone, injection.head
    reference = getattr(transformers_model(backbone, head), backbone.model.base_model_prefix, None)
    reference = reference or transformers_model(backbone, head).base_model
    items = [item for example in questions(5) for item in adapter.encode(example.fields["span"], True)]
    each = []
    for item in items:
        text = reference.get_input_embeddings()(torch.tensor([item.ids]))
        whole = torch.cat([injection.embeds.detach().to(text.dtype), text], 1)
        types = None if item.token_types is None else torch.tensor([(0,) * 5 + item.token_types])
        hidden = reference(inputs_embeds=whole, token_type_ids=types).last_hidden_state[0, 5:]
        scores = F.log_softmax((hidden @ head.weight[0].T.to(hidden.dtype) + head.bias[0]).detach(), 0)
        each.append(-(scores[item.answer[0], 0] + scores[item.answer[1], 1]) / 2)
    close(adapter.losses(collate(items, 0), injection).total, torch.stack(each), 1e-10)


@pytest.mark.parametrize(("model", "method"), KINDS)
def test_a_prefix_shifts_no_label_and_padding_takes_no_part(model: str, method: Any) -> None:
    adapter, injection = ready(model, method())
    items = [item for example in questions(7) for item in adapter.encode(example.fields["span"], True)]
    together = adapter.losses(collate(items, 0), injection).total
    alone = torch.cat([adapter.losses(collate([item], 0), injection).total for item in items])
    close(together, alone, 1e-10)
    found = mean_loss(adapter, Squad(), questions(7), injection, 3, nothing)
    assert found == pytest.approx(float(alone.mean().detach()), rel=1e-10)


def test_the_head_has_no_dropout() -> None:
    backbone = load("tiny-bert")
    method = build_method("p_tuning_v2", length=4, prefix_dropout=0.0)
    build_tensors(method, backbone, Squad(), [3])
    dropping = adapt(backbone, "span", TASK, head_dropout=0.9)
    batch = collate(dropping.encode(questions(2)[1].fields["span"], True), 0)
    injection = method.injection(training=False)
    close(dropping.logits(batch, injection, training=True)[0], dropping.logits(batch, injection)[0], 1e-12)


# Trials --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "task"),
    [("prompt_tuning", "squad_v2"), ("p_tuning_v2", "squad"), ("fine_tuning", "mrqa_textbookqa")],
)
def test_two_steps_of_a_trial(quick: Any, method: str, task: str) -> None:
    own = {"prompt_tuning": ["method.length=3", "method.initialisation=uniform"], "p_tuning_v2": ["method.length=3"]}
    plain = quick("model=tiny-bert", f"method={method}", f"task={task}", *own.get(method, []))
    record = run(plain).record
    split = plain["task"]["report_split"]
    names = [name for metric in build_task(plain).metrics for name in metric.outputs]
    assert split == ("test" if task.startswith("mrqa") else "validation")
    assert list(record.metrics[split]) == names and {"f1", "exact_match"} <= set(names)
    assert record.selection["metric"] == "f1" and len(record.statistics[split]) == len(plain["task"]["metrics"])
    lines = next(Path(plain["paths"]["runs_root"]).rglob(f"predictions-{split}.jsonl")).read_text().splitlines()
    first = json.loads(lines[0])["prediction"]
    assert isinstance(first, str) if task != "squad_v2" else set(first) == {"text", "answer", "null_odds"}
    # Contexts of 25 or more bytes after questions of 10 do not fit 32 tokens: an epoch counts windows.
    plain = quick("model=tiny-bert", f"method={method}", f"task={task}", *own.get(method, []),
                  "task.max_input_length=32", "trainer.evaluate_every=epoch")  # fmt: skip
    assert run(plain).record.curve[-1]["epoch"] < 2 / 2


def test_the_official_prompt_baseline_reads_questions_too(quick: Any) -> None:
    """Text embedded twice, as the "PT" of P-Tuning v2: its authors trained the head with the prompt on SQuAD."""
    plain = quick("model=tiny-bert", "method=prompt_tuning", "task=squad", "method.embedded_twice=true",
                  "method.length=3", "method.initialisation=uniform")  # fmt: skip
    record = run(plain).record
    width, length, outputs = plain["model"]["width"], 3, 2
    assert record.parameters["trained"] == length * width + outputs * width + outputs


@pytest.mark.parametrize("model", ["tiny-t5", "tiny-bart", "tiny-gpt2"])
def test_a_model_that_generates_reads_squad_as_text(quick: Any, model: str) -> None:
    over = ("method.length=3", "method.initialisation=uniform")
    record = run(quick(f"model={model}", "method=prompt_tuning", "task=squad", *over)).record
    assert set(record.metrics["validation"]) == {"f1", "exact_match"}


def test_training_finds_the_answer(quick: Any) -> None:
    """Every context of the made-up data has its answer at the same place: a few steps of fine-tuning learn it."""
    plain = quick("model=tiny-bert", "method=fine_tuning", "task=squad", "task.max_input_length=64",
                  "trainer.steps=60", "trainer.evaluate_every=60", "trainer.batch_size=8",
                  "trainer.optimiser.learning_rate=3e-3")  # fmt: skip
    assert run(plain).record.metrics["validation"]["exact_match"] == 100.0


# Real data -----------------------------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta"])
@pytest.mark.parametrize("length", [384, 192])
def test_gold_logits_give_the_gold_answers_of_real_squad(name: str, length: int) -> None:
    """Logits that point at the labels decode to the first gold answer, up to marks at its ends and answers over 30
    tokens; the windows are those of the official setting (384), and short ones, so that most contexts have several."""
    tokenizer = real_tokenizer(name)
    if not (DATA / "squad" / "dev-v1.1.json").is_file():
        pytest.skip("no squad folder")
    places = {"data_dir": str(DATA / "squad"), "options": {"files": {"validation": "dev-v1.1.json"}}}
    task = make(QuestionAnswering, name="squad", format="span", metrics=[], limit={"validation": 1500}, **places)
    stride, metric, options = 128 if length == 384 else 64, SquadEmF1(), SpanOptions()
    scores, several, missed, long = [], 0, 0, 0
    for example in task.examples("validation"):
        items = encode_span(tokenizer, task.render(example), length, stride)
        several += len(items) > 1
        if all(item.answer == (0, 0) for item in items):
            missed += 1
            continue
        if all(item.answer[1] - item.answer[0] >= options.max_answer_tokens for item in items if item.answer[1]):
            long += 1
            continue
        windows = []
        for item in items:
            start, end = np.zeros(len(item.ids)), np.zeros(len(item.ids))
            start[item.answer[0]] = end[item.answer[1]] = 9.0
            windows.append(window_answer(start, end, item.offsets, options))
        scores.append(metric.score(task.parse(best_answer(windows), example), example.references[:1]))
    found = metric.reduce(np.array(scores))
    assert missed + long <= 20 and len(scores) >= 1480 and several >= (10 if length == 384 else 400)
    assert found["exact_match"] >= 99.0, found
