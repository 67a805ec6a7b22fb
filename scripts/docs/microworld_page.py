"""The page of the small world: an example of each task, and what one scores without reading. No torch.

Three baselines that cannot read are scored on the test split: one always answers the same, one copies the input (or its
first words), one knows words but not their order (logistic regression over the words of each text; for tags, the
commonest tag of a word in training).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from repro.config.task_files import typed_task
from repro.metrics.base import main_values
from repro.tasks.base import Example, Pair, Rendered, Span, Tagged, Task, TextToText
from repro.tasks.microworld import VERSION
from repro.tasks.microworld.corpus import documents
from repro.tasks.microworld.datasets import DATASETS
from repro.tasks.registry import task_in_format

HEAD = f"""\
# The small world

<!-- Written by `python -m scripts.docs --write docs/microworld.md`; a test compares. Do not edit. -->

`src/repro/tasks/microworld` writes a small world (version {VERSION}): people, towns, firms and things, what they did to
each other, questions about it, records and news. Its running text pre-trains the mini backbones
([mini-models.md](mini-models.md)); its eleven labelled tasks (`conf/task/mini_*.yaml`) are those of
[mini.md](mini.md). Everything follows from a seed and the version, to the byte; hashes in the task configs check it. A
task's files are written into the user's cache on first use (`$XDG_CACHE_HOME/repro`, `~/.cache/repro` by default).
Nothing is downloaded or copied from a data set.

The running text never has what the tasks test:

- a quarter of all names (each word occurs, the pair does not), by a hash;
- one way to say an event, one sentence of every word sense, one pattern of description;
- records of museums, schools and farms, the `unseen` half of the test split of `mini_tables`.

A name alone does not tell a person from a town or a firm; wrong answers are made of words of the passage; giving and
receiving are one event; a subject agrees with its verb across a clause of the other number."""


VARIANTS = ("mini_squad2", "mini_summaries_ood")
"""Tasks whose examples look like another's."""


def page() -> str:
    """The whole page as Markdown."""
    return "\n\n".join([HEAD, _text(), _examples(), _table()]) + "\n"


def _text() -> str:
    shown = list(itertools.islice(documents(0), 1))
    lines = [f"> {line}" for line in shown]
    return "## Running text\n\nThe first document of seed 0:\n\n" + "\n>\n".join(lines)


def _task(name: str) -> Task:
    config = typed_task(name, "data")
    format = next((format for format in config.formats if format != "text_to_text"), config.formats[0])
    return task_in_format(config, format)


def _examples() -> str:
    lines = ["## The tasks", ""]
    for name in [name for name in DATASETS if name not in VARIANTS]:
        task = _task(name)
        lines.append(f"- `{name}` ({task.format}): {_shown(task.render(task.examples('test')[0]), task)}")
    lines += ["", "`mini_squad2` adds questions without an answer, `mini_summaries_ood` is news of another domain."]
    return "\n".join(lines)


def _shown(example: Rendered, task: Task) -> str:
    if isinstance(example, Pair):
        texts = " / ".join(text for text in (example.first, example.second) if text is not None)
        return f"{texts} -> **{task.labels[example.label]}**"
    if isinstance(example, Span):
        answer = "no answer" if example.answer is None else example.context[slice(*example.answer)]
        return f"{example.context} / {example.question} -> **{answer}**"
    if isinstance(example, Tagged):
        names = [task.labels[tag] for tag in example.tags if tag is not None]
        return " ".join(f"{word}/{tag}" if tag != "O" else word for word, tag in zip(example.words, names, strict=True))
    assert isinstance(example, TextToText)
    return f"{example.source.replace('|', chr(92) + '|')} -> **{example.target}**"


# Baselines that cannot read ------------------------------------------------------------------------------------------


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


def _scored(task: Task, predictions: Sequence[Any] | None, value: str) -> str:
    if predictions is None:
        return "-"
    references = [example.references for example in task.examples("test")]
    for metric in task.metrics:
        if value in metric.outputs:
            return f"{metric.score_split(predictions, references)[0][value]:.2f}"
    raise AssertionError(f"{task.name}: no metric has {value}")


def constant(task: Task) -> list[Any]:
    """The commonest class, O for every word, the commonest answer or text of training."""
    examples = task.examples("test")
    if task.format == "tagging":
        return [["O"] * len(example.fields["words"]) for example in examples]
    common = Counter(example.references[0] for example in task.examples("train")).most_common(1)[0][0]
    return [_prediction(task, common)] * len(examples)


def _prediction(task: Task, text: Any) -> Any:
    """A prediction as the task's metrics take it."""
    if task.format == "span" and any(example.references == ("",) for example in task.examples("test")):
        return {"text": text, "answer": text, "null_odds": 0.0}
    return text


def copied(task: Task) -> list[Any] | None:
    """The whole input (table-to-text), its first sentence (summaries), the passage's first name; None for classes."""
    examples = task.examples("test")
    if task.format == "span":
        return [_prediction(task, " ".join(example.fields["context"].split()[:2])) for example in examples]
    if task.format == "text_to_text":
        key = "source" if "source" in examples[0].fields else "document"
        return [example.fields[key].split(". ")[0] for example in examples]
    return None


def by_words(task: Task) -> list[Any] | None:
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


def bag(task: Task, example: Example) -> dict[str, int]:
    """Counts of the words of each text and of those that both have, and how many they are."""
    pair = task.render(example)
    assert isinstance(pair, Pair)
    first, second = (
        [word.strip(".,?:").lower() for word in (text or "").split()] for text in (pair.first, pair.second)
    )
    both = set(first) & set(second)
    counts = Counter(
        [*(f"1 {word}" for word in first), *(f"2 {word}" for word in second), *(f"= {word}" for word in both)]
    )
    return dict(counts) | {"in both": len(both), "in the second alone": len(set(second) - both)}


def _word_tags(task: Task) -> list[Any]:
    known: dict[str, Counter[str]] = defaultdict(Counter)
    for example in task.examples("train"):
        for word, tag in zip(example.fields["words"], example.references[0], strict=True):
            known[word][tag] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in known.items()}
    return [[best.get(word, "O") for word in example.fields["words"]] for example in task.examples("test")]
