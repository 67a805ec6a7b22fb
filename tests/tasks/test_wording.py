"""The same task in other words: clozes, task names, sentinels, text prompts; each written out on rows of our own."""

import json
import random

import pytest

from repro.errors import ConfigError
from repro.tasks.base import Cloze, Example, TextToText
from repro.tasks.copa import Copa
from repro.tasks.sentence_pair import SentencePair
from repro.tasks.wording import Clozed, Prompted, Worded, checked_cloze
from tests.tasks.making import make

NLI = {"text_fields": ["hypothesis", "premise"], "templates": [["{premise}", "{hypothesis}"]]}
TEMPLATE = ["{premise}", "[P:2]", " {hypothesis}?", "[P:1]", "[MASK]", "."]


@pytest.fixture
def rte(tmp_path):
    """rte(format): six rows, Ann 0 to Ann 5; the label is the parity."""

    def written(format="text_to_text"):
        rows = [
            {"premise": f"Ann {i} ran {{home}}.", "hypothesis": f"Ann {i} ran", "label": ["yes", "no"][i % 2]}
            for i in range(6)
        ]
        for name in ("train", "val"):
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        unlabelled = [{k: v for k, v in row.items() if k != "label"} for row in rows]
        (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in unlabelled))
        return make(
            SentencePair,
            name="rte",
            format=format,
            data_dir=str(tmp_path),
            labels=["yes", "no"],
            metrics=[],
            options=NLI,
        )

    return written


def test_a_cloze_has_its_pieces_in_order(rte):
    task = Clozed(rte("pair"), TEMPLATE, slots=True)
    example = task.examples("train")[1]
    # None is the gap; braces inside a text are text.
    assert task.render(example) == Cloze(("Ann 1 ran {home}.", 2, " Ann 1 ran?", 1, None, "."), 1)
    assert (task.format, task.name, task.labels, task.inputs) == (
        "cloze",
        "rte",
        ("yes", "no"),
        ("hypothesis", "premise"),
    )
    assert task.parse(1, example) == 1


def test_a_cloze_for_a_prompt_that_stands_elsewhere_has_no_places(rte):
    task = Clozed(rte("pair"), TEMPLATE, slots=False)
    assert task.render(task.examples("train")[0]).pieces == ("Ann 0 ran {home}.", " Ann 0 ran?", None, ".")


def test_an_unlabelled_cloze(rte):
    task = Clozed(rte("pair"), TEMPLATE, slots=False)
    assert task.render(task.examples("test")[0]).label == -1


def test_a_cloze_says_whose_its_words_are(rte):
    task = rte("pair")
    theirs = Clozed(task, TEMPLATE, slots=True, source="pattern 1; no comma").deviations
    assert theirs == (*task.deviations, "cloze template and words: pattern 1; no comma")
    assert Clozed(task, TEMPLATE, slots=True).deviations == (*task.deviations, task.cloze_deviation)
    assert "ours" in task.cloze_deviation


@pytest.mark.parametrize(
    ("pieces", "parts"),
    [
        (["{premise}"], ("task.cloze=['{premise}']", "[MASK]", "once")),
        (["[MASK]", "[MASK]"], ("once",)),
        ([], ("task.cloze=[]",)),
        (["[MASK]", "{nope}"], ("'{nope}'", "KeyError", "['premise', 'hypothesis']")),
        (["[MASK]", "{0}"], ("'{0}'", "IndexError")),
        (["[MASK]", "{premise"], ("'{premise'", "ValueError")),
    ],
)
def test_a_bad_template_is_refused_in_one_sentence(pieces, parts):
    with pytest.raises(ConfigError) as error:
        checked_cloze(pieces, ["premise", "hypothesis"])
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize(
    ("named", "sentinel", "source", "target"),
    [
        (True, False, "rte hypothesis: Ann 1 ran premise: Ann 1 ran {home}.", "no"),
        (False, True, "hypothesis: Ann 1 ran premise: Ann 1 ran {home}.", "<extra_id_0> no"),
        (True, True, "rte hypothesis: Ann 1 ran premise: Ann 1 ran {home}.", "<extra_id_0> no"),
    ],
)
def test_task_name_and_sentinel(rte, named, sentinel, source, target):
    task = Worded(rte(), named, sentinel)
    assert task.render(task.examples("train")[1]) == TextToText(source, target)


def test_the_task_name_of_copa(tmp_path):
    row = {"premise": "He fell.", "choice1": "He slipped.", "choice2": "He sang.", "question": "cause", "label": 0}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    copa = make(
        Copa, name="copa", format="text_to_text", data_dir=str(tmp_path), labels=["choice1", "choice2"], metrics=[]
    )
    task = Worded(copa, named=True, sentinel=False)
    source = "copa choice1: He slipped. choice2: He sang. premise: He fell. question: cause"
    assert task.render(task.examples("train")[0]) == TextToText(source, "choice1")


@pytest.mark.parametrize(
    ("sentinel", "text", "answer"),
    [
        (True, "<extra_id_0> no", 1),
        (True, "<extra_id_0>no", 1),
        (True, "no", 1),
        (True, "<extra_id_1> no", -1),
        (False, "<extra_id_0> no", -1),  # what a span-corruption checkpoint says is no label
        (False, "no", 1),
    ],
)
def test_a_sentinel_is_taken_off_where_one_was_asked_for(rte, sentinel, text, answer):
    task = Worded(rte(), named=True, sentinel=sentinel)
    assert task.parse(text, task.examples("train")[0]) == answer


def test_zero_shot(rte):
    example = rte().examples("validation")[2]
    plain = "hypothesis: Ann 2 ran premise: Ann 2 ran {home}."
    task = Prompted(rte(), "Is it so?", 0, seed=1)
    assert task.render(example) == TextToText(f"Is it so?\n{plain}", "yes", asked=True)
    task = Prompted(rte(), "Text: {source} Answer:", 0, seed=1)
    assert task.render(example) == TextToText(f"Text: {plain} Answer:", "yes", asked=True)
    assert Prompted(rte(), "", 0, seed=1).render(example) == TextToText(plain, "yes", asked=True)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_few_shot_is_written_out(rte, seed):
    """Instruction, k training examples with their answers drawn with the trial's seed, then the input: a line each."""
    task = Prompted(rte(), "Is it so?", 2, seed)
    first, second = random.Random(seed).sample(range(6), 2)
    lines = [
        "Is it so?",
        f"hypothesis: Ann {first} ran premise: Ann {first} ran {{home}}. {['yes', 'no'][first % 2]}",
        f"hypothesis: Ann {second} ran premise: Ann {second} ran {{home}}. {['yes', 'no'][second % 2]}",
        "hypothesis: Ann 5 ran premise: Ann 5 ran {home}.",
    ]
    rendered = task.render(task.examples("validation")[5])
    assert rendered == TextToText("\n".join(lines), "no", asked=True)
    assert Prompted(rte(), "Is it so?", 2, seed).render(task.examples("validation")[5]) == rendered


def test_seeds_show_different_examples(rte):
    example = rte().examples("validation")[0]
    assert len({Prompted(rte(), "", 2, seed).render(example).source for seed in range(8)}) > 3


def test_more_examples_than_there_are(rte):
    with pytest.raises(ConfigError, match=r"method\.shots=7: there are 6 training examples"):
        Prompted(rte(), "", 7, seed=1).render(Example("x", {"hypothesis": "a", "premise": "b"}, (0,)))


@pytest.mark.parametrize(("said", "answer"), [("no", 1), (" no \nhypothesis: Bob", 1), ("\nyes\nno", 0), ("", -1)])
def test_only_the_first_line_is_the_answer(rte, said, answer):
    task = Prompted(rte(), "", 1, seed=1)
    assert task.parse(said, task.examples("train")[0]) == answer


def test_what_a_wrapper_does_not_change_it_passes_on(rte):
    inside = rte()
    for task in (Worded(inside, True, True), Prompted(inside, "", 1, 1), Clozed(inside, TEMPLATE, True)):
        assert task.labels == inside.labels and task.metrics == inside.metrics
        assert task.examples("train") == inside.examples("train")
        assert task.fingerprint() == inside.fingerprint() != {}
        with pytest.raises(AttributeError):
            _ = task.nothing
