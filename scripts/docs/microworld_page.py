"""The page of the small world: an example of each task, and what one scores without reading. No torch.

Three readers that cannot read are scored on the test split: one always says the same, one copies the input (or its
first words), one knows words but not their order (logistic regression over the words of each text; for tags, the
commonest tag of a word in training).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from repro.config.task_files import task_config
from repro.metrics.base import main_values, score_split
from repro.tasks.base import Example, Pair, Span, Tagged, TextToText
from repro.tasks.microworld import VERSION
from repro.tasks.microworld.corpus import documents
from repro.tasks.microworld.datasets import DATASETS
from repro.trials.run import task_in_format

HEAD = f"""\
# The small world

<!-- Written by `python -m scripts.docs --write docs/microworld.md`; a test compares. Do not edit. -->

`src/repro/microworld` writes a small world (version {VERSION}): people, towns, firms and things, what they did to each
other, questions about it, records and news. Its running text pre-trains the mini backbones
([mini-models.md](mini-models.md)), its eleven labelled tasks (`conf/task/mini_*.yaml`) are what `make repro-mini`
trains on ([mini.md](mini.md)). Everything follows from a seed and the version: the same bytes on every machine, checked
by the hashes in the task configs. A task's files are written into the user's cache when first asked for (under
`$XDG_CACHE_HOME/repro`, `~/.cache/repro` by default); nothing is downloaded, and nothing in it is copied from a data
set.

What a task holds, the running text never had:

- a quarter of all people, firms, towns, things and titles, by a hash of their names (each of the words is in the text,
  the pair is not);
- one way to say an event (`It was Mara Venn who ...`), one sentence of every word sense, one pattern of description;
- records of museums, schools and farms: running text speaks of them, but has no record of one, and neither has the
  training split of `mini_tables`. They are the `unseen` half of its test split.

What makes it hard: a name alone does not tell a person from a town or a firm (Marsh, Port Marsh, Marsh and Sons); the
wrong answers to a question are made of words of the passage, with giver and receiver changed, or another's thing;
giving to someone and receiving from them are one event; a subject agrees with its verb across a clause of the other
number."""


def page() -> str:
    """The whole page as Markdown."""
    return "\n\n".join([HEAD, _text(), _examples(), _table()]) + "\n"


def _text() -> str:
    shown = list(itertools.islice(documents(0), 6))
    lines = [f"> {line}" for line in shown]
    return "## Running text\n\nThe first documents of seed 0:\n\n" + "\n>\n".join(lines)


def _task(name: str) -> Any:
    config = task_config(name, "data")
    format = next((format for format in config["formats"] if format != "text_to_text"), config["formats"][0])
    return task_in_format(config, format)


def _examples() -> str:
    lines = ["## The tasks", ""]
    for name in DATASETS:
        task = _task(name)
        one = task.render(task.examples("test")[0])
        lines.append(f"- `{name}` ({task.format}): {_shown(one, task)}")
    return "\n".join(lines)


def _shown(one: Any, task: Any) -> str:
    if isinstance(one, Pair):
        texts = " / ".join(text for text in (one.first, one.second) if text is not None)
        return f"{texts} -> **{task.labels[one.label]}**"
    if isinstance(one, Span):
        answer = "no answer" if one.answer is None else one.context[slice(*one.answer)]
        return f"{one.context} / {one.question} -> **{answer}**"
    if isinstance(one, Tagged):
        names = [task.labels[tag] for tag in one.tags if tag is not None]
        return " ".join(f"{word}/{tag}" if tag != "O" else word for word, tag in zip(one.words, names, strict=True))
    assert isinstance(one, TextToText)
    return f"{one.source.replace('|', chr(92) + '|')} -> **{one.target}**"


# Readers that cannot read --------------------------------------------------------------------------------------------


def _table() -> str:
    lines = [
        "## Without reading",
        "",
        "Main value of each task's metric on its test split. What trained models reach: [mini.md](mini.md).",
        "",
        "| task | metric | always the same | a copy of the input | words without order |",
        "| --- " * 5 + "|",
    ]
    for name in DATASETS:
        task = _task(name)
        value = main_values(task.metrics)[-1]
        found = [_scored(task, predictions, value) for predictions in (constant(task), copied(task), by_words(task))]
        lines.append("| " + " | ".join([f"`{name}`", value, *found]) + " |")
    return "\n".join(lines)


def _scored(task: Any, predictions: Sequence[Any] | None, value: str) -> str:
    if predictions is None:
        return "-"
    references = [example.references for example in task.examples("test")]
    for metric in task.metrics:
        if value in metric.outputs:
            return f"{score_split(metric, predictions, references)[0][value]:.2f}"
    raise AssertionError(f"{task.name}: no metric has {value}")


def constant(task: Any) -> list[Any]:
    """The commonest class, O for every word, the commonest answer or text of training."""
    examples = task.examples("test")
    if task.format == "tagging":
        return [["O"] * len(example.fields["words"]) for example in examples]
    common = Counter(example.references[0] for example in task.examples("train")).most_common(1)[0][0]
    return [_said(task, common)] * len(examples)


def _said(task: Any, text: Any) -> Any:
    """A prediction as the task's metrics take it."""
    if task.format == "span" and task._unanswerable:
        return {"text": text, "answer": text, "null_odds": 0.0}
    return text


def copied(task: Any) -> list[Any] | None:
    """The whole input (table-to-text), its first sentence (summaries), the passage's first name; None for classes."""
    examples = task.examples("test")
    if task.format == "span":
        return [_said(task, " ".join(example.fields["context"].split()[:2])) for example in examples]
    if task.format == "text_to_text":
        key = "source" if "source" in examples[0].fields else "document"
        return [example.fields[key].split(". ")[0] for example in examples]
    return None


def by_words(task: Any) -> list[Any] | None:
    """What the words tell, without their order; None where an answer is a text or a place."""
    if task.format == "tagging":
        return _word_tags(task)
    if task.format != "pair":
        return None
    from sklearn.feature_extraction import DictVectorizer  # type: ignore[import-untyped]
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

    train, test = task.examples("train"), task.examples("test")
    vectoriser = DictVectorizer()
    seen = vectoriser.fit_transform([bag(task, example) for example in train])
    model = LogisticRegression(max_iter=300, C=0.1).fit(seen, [example.references[0] for example in train])
    return [int(label) for label in model.predict(vectoriser.transform([bag(task, example) for example in test]))]


def bag(task: Any, example: Example) -> dict[str, int]:
    """Counts of the words of each text and of those that both have, and how many they are."""
    pair = task.render(example)
    first, second = (
        [word.strip(".,?:").lower() for word in (text or "").split()] for text in (pair.first, pair.second)
    )
    both = set(first) & set(second)
    counts = Counter(
        [*(f"1 {word}" for word in first), *(f"2 {word}" for word in second), *(f"= {word}" for word in both)]
    )
    return dict(counts) | {"in both": len(both), "in the second alone": len(set(second) - both)}


def _word_tags(task: Any) -> list[Any]:
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for example in task.examples("train"):
        for word, tag in zip(example.fields["words"], example.references[0], strict=True):
            known[word][tag] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in known.items()}
    return [[best.get(word, "O") for word in example.fields["words"]] for example in task.examples("test")]
