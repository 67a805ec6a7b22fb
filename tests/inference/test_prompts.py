"""Trained prompts at work: several tasks in one batch, votes, neighbours; each against one prompt at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.inference.conftest import places_of

pytestmark = pytest.mark.smoke

Trained = Callable[..., Any]

PAIRS = {
    # model: two tasks of one format, with a method each and prompts of different lengths
    "tiny-bert": ("rte", "cb"),
    "tiny-roberta": ("rte", "cb"),
    "tiny-t5": ("rte", "cb"),
    "tiny-bart": ("rte", "copa"),
    "tiny-gpt2": ("cb", "wic"),
    "tiny-llama": ("cb", "wic"),
}
METHODS = ("prompt_tuning", "prefix_tuning", "adapter")
CELLS = [
    *(("tiny-bert", method) for method in METHODS),
    *(("tiny-t5", method) for method in METHODS),
    *(("tiny-roberta", "prompt_tuning"), ("tiny-bart", "adapter"), ("tiny-gpt2", "prefix_tuning")),
    *(("tiny-llama", "prompt_tuning"), ("tiny-gpt2", "adapter"), ("tiny-bart", "prefix_tuning")),
]
"""Every method on an encoder and an encoder-decoder; every model with two methods or one."""


def sized(method: str, size: int) -> str:
    return f"method.{'bottleneck' if method == 'adapter' else 'length'}={size}"


def write_lines(path: Path, lines: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def inputs_of(task: str, count: int) -> list[dict[str, Any]]:
    fields = {
        "rte": ("hypothesis", "premise"),
        "cb": ("hypothesis", "premise"),
        "wic": ("sentence1", "sentence2", "word"),
    }
    if task == "copa":
        texts = {"premise": "Ann fell.", "choice1": "She slipped.", "choice2": "She sang.", "question": "cause"}
        return [{"task": task, **texts, "premise": f"Ann fell {'far ' * i}."} for i in range(count)]
    return [{"task": task, **{f: f"{f} {'word ' * (i + 1)}{i}" for f in fields[task]}} for i in range(count)]


@pytest.mark.parametrize(("model", "method"), CELLS)
def test_a_batch_of_two_tasks_equals_each_task_alone(model, method, trained, tmp_path):
    """Predictions of the command, and the numbers behind them, with prompts of 3 and 5 rows."""
    import torch

    from repro.inference.predict import example_of, predict
    from repro.inference.restore import adapter_of, backbone_of, method_of, task_of
    from repro.methods.parts.joining import joined
    from repro.models.encoding.batch import collate

    tasks = PAIRS[model]
    trials = [trained(method, model, f"task={task}", sized(method, n)) for task, n in zip(tasks, (3, 5), strict=True)]
    lines = [line for pair in zip(*(inputs_of(task, 3) for task in tasks), strict=True) for line in pair]
    file = write_lines(tmp_path / "inputs.jsonl", lines)
    mixed = predict(trials, file, 16, torch.device("cpu"))
    assert [line["task"] for line in mixed] == [line["task"] for line in lines]
    for index, trial in enumerate(trials):
        own = write_lines(tmp_path / f"{index}.jsonl", [line for line in lines if line["task"] == tasks[index]])
        alone = predict([trial], own, 16, torch.device("cpu"))
        assert alone == [line for line in mixed if line["task"] == tasks[index]]

    # The same in numbers: losses in float64 agree to the last digits.
    doubled = [
        replace(
            trial, record=replace(trial.record, config=trial.config.with_value("trainer.dtype", "float64").to_dict())
        )
        for trial in trials
    ]
    backbone, built = backbone_of(doubled[0], torch.device("cpu")), [task_of(trial) for trial in doubled]
    injections = []
    for trial, task in zip(doubled, built, strict=True):
        made = method_of(trial, backbone, task)
        made.restore({name: tensor.double() for name, tensor in made.export().items()})
        injections.append(made.injection(training=False))
    adapters = [adapter_of(trial, backbone, task) for trial, task in zip(doubled, built, strict=True)]
    units, rows = [], []
    for line in lines:
        index = tasks.index(line["task"])
        example = replace(example_of(line, built[index], "here"), references=(0,))
        units.append(adapters[index].encode(built[index].render(example), True))
        rows.append(index)
    pad, items = backbone.tokenizer.pad_token_id, [item for unit in units for item in unit]
    together = adapters[0].losses(collate(items, pad, rows), joined(injections)).total
    for index in (0, 1):
        chosen = [unit[0] for unit, row in zip(units, rows, strict=True) if row == index]
        alone_loss = adapters[index].losses(collate(chosen, pad), injections[index]).total
        picked = together[torch.tensor(rows) == index]
        torch.testing.assert_close(picked, alone_loss, rtol=1e-9, atol=1e-9)
    assert together.std() > 0


@pytest.mark.parametrize("model", ["tiny-gpt2", "tiny-llama", "tiny-bart", "tiny-t5"])
def test_generation_with_beams_and_prompts_of_different_lengths(model, trained, tmp_path):
    import torch

    from repro.inference.predict import predict

    cells = (("cb", "method.length=2"), ("wic", "method.length=6"))
    lines = inputs_of("cb", 2) + inputs_of("wic", 3)
    for method in ("prompt_tuning", "prefix_tuning"):
        trials = [trained(method, model, f"task={task}", length, "task.decoding.beams=3") for task, length in cells]
        mixed = predict(trials, write_lines(tmp_path / "mixed.jsonl", lines), 8, torch.device("cpu"))
        one_by_one = []
        for line in lines:
            file = write_lines(tmp_path / "one.jsonl", [line])
            one_by_one += predict([trials[line["task"] == "wic"]], file, 1, torch.device("cpu"))
        assert mixed == one_by_one, method


def test_formats_are_grouped_and_tags_come_out_as_words(trained, tmp_path, cli):
    """One command over a tagging, a choice and a pair task: three groups, order kept."""
    from repro.inference.predict import groups
    from repro.inference.restore import task_of

    trials = [trained("prefix_tuning", "tiny-bert", f"task={task}") for task in ("conll04", "copa", "rte")]
    assert groups(trials, [task_of(trial) for trial in trials]) == [[0], [1], [2]]
    lines = [*inputs_of("rte", 1), {"task": "conll04", "words": ["Ann", "ran"]}, *inputs_of("copa", 2)]
    file = write_lines(tmp_path / "inputs.jsonl", lines)
    prompts = [word for trial in trials for word in ("--prompt", trial.record.key)]
    done = cli("predict", *prompts, "--inputs", str(file), *places_of(trials[0]))
    assert done.code == 0, done.err
    answers = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    assert [answer["task"] for answer in answers] == ["rte", "conll04", "copa", "copa"]
    assert answers[0]["prediction"] in ("entailment", "not_entailment")
    assert len(answers[1]["prediction"]) == 2 and answers[2]["prediction"] in ("choice1", "choice2")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"task": "boolq", "question": "a"}\n', "task is 'boolq'; the prompts given are of rte"),
        ('{"task": ["rte"]}\n', "task is ['rte']; the prompts given are of rte"),
        ('{"task": "rte", "premise": "a"}\n', "hypothesis is None: a text is needed for rte"),
        ("nonsense\n", "inputs.jsonl"),
        ("", "inputs.jsonl"),
    ],
)
def test_bad_inputs_are_refused_with_file_and_line(lines, message, trained, tmp_path, cli):
    trial = trained("prompt_tuning", "tiny-bert")
    file = tmp_path / "inputs.jsonl"
    file.write_text(lines)
    done = cli("predict", "--prompt", trial.record.key, "--inputs", str(file), *places_of(trial))
    assert done.code == 2 and message in done.err, done.err


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            (("prompt_tuning", "tiny-bert"), ("prompt_tuning", "tiny-roberta")),
            r"model\.name is 'tiny-bert' in .* and 'tiny-roberta' in",
        ),
        ((("fine_tuning", "tiny-bert"),), "changed the backbone itself"),
        ((("p_tuning_v2", "tiny-bert", "task=mpt_ner_open"),), "mpt_ner_open is a mixture of conll04, wnut17"),
        ((("prompt_tuning", "tiny-bert"), ("prefix_tuning", "tiny-bert")), "two of them are trained on rte"),
        ((), "--prompt is missing"),
    ],
)
def test_prompts_that_cannot_share_a_batch_are_refused(cells, message, trained, tmp_path):
    import torch

    from repro.errors import ConfigError
    from repro.inference.predict import predict

    with pytest.raises(ConfigError, match=message):
        predict([trained(*cell) for cell in cells], write_lines(tmp_path / "a", [{}]), 4, torch.device("cpu"))


# Votes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "wanted"),
    [
        ([1, 0, 1], 1),
        ([0, 1, 1, 0], 0),  # a tie: the earliest member's
        ([2, 1, 0], 2),
        (["a", "b", "b"], "b"),
        ([["O", "B"], ["B", "B"], ["B", "O"]], ["B", "B"]),
    ],
)
def test_vote(answers, wanted):
    from repro.inference.ensemble import vote

    assert vote(answers) == wanted


def test_inputs_of_wsc_multirc_and_record(trained, tmp_path, cli):
    """Without a label, the pronoun's place or a list of entities."""
    lines = {
        "wsc": {"text": "Ann told Lee that she won.", "span1_text": "Ann", "span2_text": "she"},
        "multirc": {"paragraph": "Ann ran.", "question": "Who ran?", "answer": "Ann"},
        "record": {"passage": "Ann beat Lee.", "query": "@placeholder won.", "entities": "Ann, Lee"},
    }
    trials = [trained("prefix_tuning", "tiny-bert", f"task={task}") for task in lines]
    file = write_lines(tmp_path / "inputs.jsonl", [{"task": task, **line} for task, line in lines.items()])
    named = [word for trial in trials for word in ("--prompt", trial.record.key)]
    done = cli("predict", *named, "--inputs", str(file), *places_of(trials[0]))
    assert done.code == 0, done.err
    answers = [json.loads(line)["prediction"] for line in done.out.splitlines() if line.startswith("{")]
    assert [answer in ("False", "True") for answer in answers] == [True, True, False] and answers[2] in ("Ann", "Lee")


def voted(trials: Sequence[Any], data_root: Path, cli: Any) -> Any:
    """The record that `repro ensemble` made of these members."""
    from repro.store.store import Store

    keys = [trial.record.key for trial in trials]
    done = cli("ensemble", *keys, "--data", str(data_root), *places_of(trials[0]))
    assert done.code == 0 and "vote" in done.out and "best" in done.out, done.err
    records = Store(trials[0].folder.parents[1] / "results" / "records").records()
    [record] = [one for one in records if one.config["method"].get("members") == keys]
    return record


@pytest.mark.parametrize(
    ("task", "split", "metric"), [("record", "validation", "exact_match"), ("qqp_to_mrpc", "test", "accuracy")]
)
def test_an_ensemble_of_a_ranking_and_of_a_task_of_two_data_sets(task, split, metric, trained, data_root, cli):
    """Candidates of several prompts in one batch: each member scores as it did alone."""
    trials = [trained("prefix_tuning", "tiny-bert", f"task={task}", f"seed={seed}") for seed in (1, 2)]
    record = voted(trials, data_root, cli)
    for member, trial in zip(record.selection["members"], trials, strict=True):
        assert member[metric] == pytest.approx(trial.record.metrics[split][metric])
    # Of two members the earlier decides wherever they differ.
    assert record.metrics[split][metric] == pytest.approx(trials[0].record.metrics[split][metric])


def test_an_ensemble_is_the_members_votes(trained, data_root, cli, tmp_path):
    """The record's numbers from the members' own stored predictions."""
    from collections import Counter

    from repro.config.run_key import run_key

    trials = [trained("prefix_tuning", "tiny-bert", "task=cb", f"seed={seed}") for seed in (1, 2, 3)]
    record = voted(trials, data_root, cli)
    assert run_key(record.config) == record.key and record.config["method"]["name"] == "prompt_ensemble"
    rows = [
        [json.loads(line) for line in (trial.folder / "predictions-validation.jsonl").read_text().splitlines()]
        for trial in trials
    ]
    golds = [row["references"][0] for row in rows[0]]
    votes = []
    for answers in zip(*([row["prediction"] for row in member] for member in rows), strict=True):
        counts = Counter(answers)
        votes.append(max(answers, key=lambda a, counts=counts, answers=answers: (counts[a], -answers.index(a))))
    right = 100 * sum(vote == gold for vote, gold in zip(votes, golds, strict=True)) / len(golds)
    assert record.metrics["validation"]["accuracy"] == pytest.approx(right)
    for member, trial in zip(record.selection["members"], trials, strict=True):
        assert member["accuracy"] == pytest.approx(trial.record.metrics["validation"]["accuracy"])
    key = trials[0].record.key
    for members in ((key,), (key, key)):
        assert cli("ensemble", *members, "--data", str(data_root), *places_of(trials[0])).code == 2
    # The data that the members were scored on, not what lies there now.
    shutil.copytree(data_root, tmp_path / "data")
    file = tmp_path / "data" / "superglue" / "CB" / "val.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    other = cli("ensemble", *(t.record.key for t in trials), "--data", str(tmp_path / "data"), *places_of(trials[0]))
    assert other.code == 2 and "the validation split of cb has changed" in other.err


def test_tags_read_from_the_data_are_stored_with_the_prompt(trained, tmp_path):
    """The training file may change afterwards, or be absent where the prompt is used."""
    from repro.inference.restore import task_of

    trial = trained("p_tuning_v2", "tiny-bert", "task=conll04", "task.labels=[]", "task.options={labels_from: train}")
    labels = trial.record.provenance["labels"]
    assert labels[0] == "O" and len(labels) > 1
    assert list(task_of(trial, tmp_path).labels) == labels


# Neighbours ----------------------------------------------------------------------------------------------------------


def test_neighbours_by_hand():
    import torch

    from repro.inference.neighbours import nearest

    table = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0]])
    words = ["east", "north", "west", "northeast"]
    prompt = torch.tensor([[10.0, 1.0], [-3.0, 3.0]])
    found = nearest(prompt, table, lambda ids: [words[i] for i in ids], {"north": [1], "two words": [0, 1]}, top=2)
    assert found.words[0] == ["east", "northeast"] and set(found.words[1]) == {"north", "west"}
    assert found.cosines[0][0] == pytest.approx(10 / 101**0.5) and found.cosines[1][0] == pytest.approx(0.5**0.5)
    assert found.persisting == {"north": True, "two words": None}


def test_untrained_rows_are_their_own_neighbours(trained, cli):
    """A prompt sampled from the vocabulary and hardly trained lies next to the sampled words."""
    trial = trained("prompt_tuning", "tiny-t5", "trainer.optimiser.learning_rate=1e-6")
    done = cli("neighbours", trial.record.key, "--top", "2", *places_of(trial))
    assert done.code == 0, done.err
    rows = done.out.splitlines()[:4]
    assert all(" 1.000  " in row for row in rows), rows
    deep = trained("prefix_tuning", "tiny-t5")
    refused = cli("neighbours", deep.record.key, *places_of(deep))
    assert refused.code == 2 and "keys and values inside the model" in refused.err
