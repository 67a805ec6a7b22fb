"""The words behind a tagged sentence, against the official alignment written out, also on real vocabularies."""

from pathlib import Path
from typing import Any

import pytest

from repro.models.encoding.batch import IGNORE
from repro.models.encoding.encoding import encode_tagged
from repro.models.untrained.random_model import byte_tokenizer
from repro.tasks.base import Tagged
from repro.tasks.semantic_roles import SemanticRoles
from repro.tasks.tagging import Tagging
from tests.models.loaded import DATA, real_tokenizer
from tests.nested import build_task, run
from tests.tasks.making import make

WORDS, TAGS = ("The", "cat", "sat"), (1, 4, 3)


def official(tokenizer: Any, words: tuple[str, ...], tags: tuple[int, ...], predicate: int) -> tuple[list[int], list]:
    """Ids and labels as P-Tuning v2's tasks/srl makes them: labels counted word by word, `[SEP]` counted as one piece,
    padding's label behind the end (its collator)."""
    ids = tokenizer([*words, "[SEP]", words[predicate]], is_split_into_words=True)["input_ids"]
    labels: list[int] = [IGNORE]
    for word, tag in zip(words, tags, strict=True):
        pieces = len(tokenizer.encode(word, add_special_tokens=False))
        labels += [tag, *[IGNORE] * (pieces - 1)] if pieces else []
    labels += [IGNORE] * (1 + len(tokenizer.encode(words[predicate], add_special_tokens=False)) + 1)
    return ids, labels + [IGNORE] * (len(ids) - len(labels))


def test_mark_and_predicate_are_read_and_carry_no_label() -> None:
    tokenizer = byte_tokenizer("encoder", token_types=True)
    made = encode_tagged(tokenizer, Tagged(WORDS, TAGS, behind=("[SEP]", "sat")), 64)
    ids, labels = official(tokenizer, WORDS, TAGS, 2)
    assert list(made.ids) == ids and list(made.token_labels or ()) == labels
    assert made.word_starts == (1, 4, 7) and set(made.token_types or ()) == {0}
    alone = encode_tagged(tokenizer, Tagged(WORDS, TAGS), 64)
    assert made.ids[: len(alone.ids) - 1] == alone.ids[:-1] and made.word_starts == alone.word_starts
    assert not made.truncated


def test_truncation_takes_the_predicate_first_then_words() -> None:
    tokenizer = byte_tokenizer("encoder", token_types=True)
    tagged = Tagged(WORDS, TAGS, behind=("[SEP]", "sat"))
    whole = len(encode_tagged(tokenizer, tagged, 64).ids)
    for limit in range(3, whole):
        made = encode_tagged(tokenizer, tagged, limit)
        assert len(made.ids) == limit
        # Words whose first byte is among the limit - 2 places between the special tokens: as the official code, which
        # lets the tokenizer cut at the end and scores the labels that are left.
        assert made.word_starts == tuple(start for start in (1, 4, 7) if start < limit - 1)
        assert made.truncated == (limit < whole - 2), "the first piece of the predicate is gone"


def test_a_tag_that_the_labels_lack_carries_no_loss_and_is_predicted() -> None:
    tokenizer = byte_tokenizer("encoder")
    made = encode_tagged(tokenizer, Tagged(("ab", "c"), (None, 2)), 64)
    assert made.token_labels == (IGNORE, IGNORE, IGNORE, 2, IGNORE) and made.word_starts == (1, 3)


@pytest.mark.parametrize("task", ["conll05_wsj", "srl_masc", "ontonotes"])
def test_two_steps_of_a_trial(quick: Any, task: str) -> None:
    plain = quick("model=tiny-bert", "method=p_tuning_v2", f"task={task}", "method.length=3")
    record = run(plain).record
    names = [name for metric in build_task(plain).metrics for name in metric.outputs]
    assert list(record.metrics["test"]) == names and record.selection["metric"] == "span_f1"
    classes = {"conll05_wsj": 106, "conll12_srl": 116, "srl_masc": 6, "conll03": 9, "ontonotes": 37}[task]
    width, layers = plain["model"]["width"], plain["model"]["layers"]
    assert record.parameters["trained"] == 3 * 2 * layers * width + classes * (width + 1)
    if classes > 9 and "conll" in task:
        assert names == ["span_f1", "span_precision", "span_recall"] + [
            f"srl_{name}_conll05" for name in ("f1", "precision", "recall")
        ]


def test_the_second_test_set_is_scored_with_the_first_ones_prompt(quick: Any) -> None:
    """Trained on the same files from the same seed, both ways give the same numbers."""
    own = ("model=tiny-bert", "method=p_tuning_v2", "method.length=3")
    wsj = quick(*own, "task=conll05_wsj")
    key = run(wsj).record.key
    prompt = Path(wsj["paths"]["runs_root"]) / key / "prompt.safetensors"
    again = ("task=conll05_brown", f"method.start_from={prompt}", "trainer.steps=0")
    scored = run(quick(*own, *again)).record
    trained = run(quick(*own, "task=conll05_brown")).record
    assert scored.cost["steps"] == 0 and scored.metrics == trained.metrics


# Real data -----------------------------------------------------------------------------------------------------------


def real_roles(split: str) -> tuple[Any, Any]:
    if not (DATA / "srl_masc").is_dir():
        pytest.skip(f"no real data: {DATA / 'srl_masc'} does not exist (set REPRO_DATA_ROOT)")
    task = make(
        SemanticRoles,
        name="srl_masc",
        format="tagging",
        data_dir=str(DATA / "srl_masc"),
        options={"labels_from": "train"},
    )
    return task, task.examples(split)


@pytest.mark.real
@pytest.mark.parametrize(("name", "pieces"), [("bert-base-uncased", 1), ("roberta", 4)])
def test_real_propositions_equal_the_official_alignment(name: str, pieces: int) -> None:
    """Of BERT `[SEP]` is the separator itself; RoBERTa reads its letters, and the official labels, which count one
    piece, are right all the same: only the padded end shifts."""
    tokenizer = real_tokenizer(name)
    mark = tokenizer(["[SEP]"], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    assert (mark == [tokenizer.sep_token_id]) == (pieces == 1) and len(mark) == pieces
    task, examples = real_roles("test")
    for example in examples:
        shown = task.render(example)
        assert None not in shown.tags
        made = encode_tagged(tokenizer, shown, 288)
        ids, labels = official(tokenizer, shown.words, shown.tags, example.fields["predicate"])  # type: ignore[arg-type]
        assert list(made.ids) == ids and list(made.token_labels or ()) == labels
        assert len(made.word_starts) == len(shown.words) and not made.truncated


@pytest.mark.real
@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta"])
def test_no_real_sentence_is_cut_at_our_limits(name: str) -> None:
    """Our limits (256 or 288) lie below the tokenizer's 512 that the official code takes: nothing here is that long."""
    tokenizer, longest = real_tokenizer(name), {}
    files = {"conll04": ("txt", " ", 256), "wnut17": ("conll", "\t", 256)}
    for folder, (ending, separator, limit) in files.items():
        if not (DATA / folder).is_dir():
            pytest.skip(f"no real data: {DATA / folder} does not exist (set REPRO_DATA_ROOT)")
        names = {split: f"{short}.{ending}" for split, short in
                 (("train", "train"), ("validation", "dev"), ("test", "test"))}  # fmt: skip
        options = {"files": names, "separator": separator, "labels_from": "train"}
        task = make(Tagging, name=folder, format="tagging", data_dir=str(DATA / folder), options=options)
        words = [list(example.fields["words"]) for split in names for example in task.examples(split)]
        longest[folder] = max(map(len, tokenizer(words, is_split_into_words=True)["input_ids"]))
        assert longest[folder] <= limit, longest
    task, examples = real_roles("validation")
    read = [[*task.render(example).words, *task.render(example).behind] for example in examples]
    longest["srl_masc"] = max(map(len, tokenizer(read, is_split_into_words=True)["input_ids"]))
    assert longest["srl_masc"] <= 288, longest


@pytest.mark.parametrize(("task", "parts"), [("mpt_srl", ("conll05_wsj", "conll12_srl")),
                                             ("mpt_ner", ("conll03", "ontonotes", "conll04"))])  # fmt: skip
def test_roles_and_entities_of_several_sets_share_prompts(quick: Any, task: str, parts: tuple[str, ...]) -> None:
    record = run(quick("model=tiny-bert", "method=p_tuning_v2", f"task={task}", "method.length=3")).record
    values = record.metrics["test"]
    main = [values[f"{part}.span_f1"] for part in parts]
    # The mean over parts of the mean of each part's metrics; roles have two.
    other = [values.get(f"{part}.srl_f1_conll05") for part in parts]
    means = [one if two is None else (one + two) / 2 for one, two in zip(main, other, strict=True)]
    assert values["average"] == pytest.approx(sum(means) / len(means))
