"""Trained prompts at work: several tasks in one batch, votes, neighbours; each against one prompt at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.smoke

PAIRS = {
    # model: two tasks of one format, with a method each and prompts of different lengths
    "tiny-bert": ("rte", "cb"),
    "tiny-roberta": ("rte", "cb"),
    "tiny-t5": ("rte", "cb"),
    "tiny-bart": ("rte", "copa"),
    "tiny-gpt2": ("cb", "wic"),
    "tiny-llama": ("cb", "wic"),
}
METHODS = {
    "prompt_tuning": ("method.initialisation=sampled_vocabulary",),
    "prefix_tuning": ("method.reparameterisation=none",),
    "adapter": (),
}
SAME = ("task.max_input_length=64", "task.decoding.max_new_tokens=6", "trainer.optimiser.learning_rate=0.5")


def trained(quick: Callable[..., Any], model: str, task: str, method: str, length: int, *more: str) -> Any:
    """A finished trial, by the runner."""
    from repro.inference.restore import Finished
    from repro.trials.plain import run

    size = "method.bottleneck" if method == "adapter" else "method.length"
    overrides = [
        f"model={model}",
        f"task={task}",
        f"method={method}",
        f"{size}={length}",
        *METHODS[method],
        *SAME,
        *more,
    ]
    outcome = run(quick(*overrides))
    assert outcome.record is not None
    return Finished(outcome.record, outcome.folder)


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", PAIRS)
def test_a_batch_of_two_tasks_equals_each_task_alone(
    model: str, method: str, quick: Callable[..., Any], tmp_path: Path
) -> None:
    """Predictions of the command, and the numbers behind them, with prompts of 3 and 5 rows."""
    import torch

    from repro.inference.predict import example_of, predict
    from repro.inference.restore import backbone_of, method_of, task_of
    from repro.methods.parts.joining import joined
    from repro.models.encoding.batch import collate
    from tests.models.loaded import adapt

    tasks = PAIRS[model]
    trials = [trained(quick, model, task, method, length) for task, length in zip(tasks, (3, 5), strict=True)]
    lines = [line for pair in zip(*(inputs_of(task, 3) for task in tasks), strict=True) for line in pair]
    file = tmp_path / "inputs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    mixed = predict(trials, file, 16, torch.device("cpu"))
    assert [line["task"] for line in mixed] == [line["task"] for line in lines]
    for index, trial in enumerate(trials):
        own = tmp_path / f"{index}.jsonl"
        own.write_text("".join(json.dumps(line) + "\n" for line in lines if line["task"] == tasks[index]))
        alone = predict([trial], own, 16, torch.device("cpu"))
        assert alone == [line for line in mixed if line["task"] == tasks[index]]

    # The same in numbers: losses in float64 agree to the last digits.
    doubled = [replace(t, record=replace(t.record, config=_double(t.plain))) for t in trials]
    backbone, built = backbone_of(doubled[0], torch.device("cpu")), [task_of(trial) for trial in doubled]
    injections = []
    for trial, task in zip(doubled, built, strict=True):
        made = method_of(trial, backbone, task)
        made.restore({name: tensor.double() for name, tensor in made.export().items()})
        injections.append(made.injection(training=False))
    adapters = [adapt(backbone, task.format, trial.plain["task"]) for trial, task in zip(doubled, built, strict=True)]
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


def _double(plain: dict[str, Any]) -> dict[str, Any]:
    return plain | {"trainer": plain["trainer"] | {"dtype": "float64"}}


def test_generation_with_beams_and_prompts_of_different_lengths(quick: Callable[..., Any], tmp_path: Path) -> None:
    import torch

    from repro.inference.predict import predict

    for model in ("tiny-gpt2", "tiny-llama", "tiny-bart", "tiny-t5"):
        for method in ("prompt_tuning", "prefix_tuning"):
            beams = ("task.decoding.beams=3",)
            trials = [trained(quick, model, task, method, n, *beams) for task, n in (("cb", 2), ("wic", 6))]
            lines = inputs_of("cb", 2) + inputs_of("wic", 3)
            file = tmp_path / "mixed.jsonl"
            file.write_text("".join(json.dumps(line) + "\n" for line in lines))
            mixed = predict(trials, file, 8, torch.device("cpu"))
            one_by_one = []
            for line in lines:
                file.write_text(json.dumps(line) + "\n")
                one_by_one += predict([trials[line["task"] == "wic"]], file, 1, torch.device("cpu"))
            assert mixed == one_by_one, (model, method)


def test_forms_are_grouped_and_tags_come_out_as_words(quick: Callable[..., Any], tmp_path: Path, cli: Any) -> None:
    """One command over a tagging, a choice and a pair task: three groups, order kept."""
    from repro.inference.predict import groups
    from repro.inference.restore import task_of

    trials = [trained(quick, "tiny-bert", task, "prefix_tuning", 3) for task in ("conll04", "copa", "rte")]
    assert groups(trials, [task_of(trial) for trial in trials]) == [[0], [1], [2]]
    lines = [*inputs_of("rte", 1), {"task": "conll04", "words": ["Ann", "ran"]}, *inputs_of("copa", 2)]
    file = tmp_path / "inputs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results, runs = str(trials[0].folder.parents[1] / "results"), str(trials[0].folder.parent)
    prompts = [word for trial in trials for word in ("--prompt", trial.record.key)]
    done = cli("predict", *prompts, "--inputs", str(file), "--results", results, "--runs", runs, "--device", "cpu")
    assert done.code == 0, done.err
    answers = [json.loads(line) for line in done.out.splitlines() if line.startswith("{")]
    assert [answer["task"] for answer in answers] == ["rte", "conll04", "copa", "copa"]
    assert answers[0]["prediction"] in ("entailment", "not_entailment")
    assert len(answers[1]["prediction"]) == 2 and answers[2]["prediction"] in ("choice1", "choice2")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"task": "boolq", "question": "a"}\n', "task is 'boolq'; the prompts given are of rte"),
        ('{"task": "rte", "premise": "a"}\n', "hypothesis is None: a text is needed for rte"),
        ("nonsense\n", "inputs.jsonl"),
        ("", "inputs.jsonl"),
    ],
)
def test_bad_inputs_are_refused_with_file_and_line(
    lines: str, said: str, quick: Callable[..., Any], tmp_path: Path, cli: Any
) -> None:
    trial = trained(quick, "tiny-bert", "rte", "prompt_tuning", 2)
    file = tmp_path / "inputs.jsonl"
    file.write_text(lines)
    results, runs = str(trial.folder.parents[1] / "results"), str(trial.folder.parent)
    done = cli("predict", "--prompt", trial.record.key, "--inputs", str(file), "--results", results, "--runs", runs)
    assert done.code == 2 and said in done.err, done.err


def test_prompts_of_two_models_are_refused(quick: Callable[..., Any], tmp_path: Path) -> None:
    import torch

    from repro.errors import ConfigError
    from repro.inference.predict import predict

    trials = [trained(quick, model, "rte", "prompt_tuning", 2) for model in ("tiny-bert", "tiny-roberta")]
    (tmp_path / "inputs.jsonl").write_text("{}\n")
    with pytest.raises(ConfigError, match=r"model\.name is 'tiny-bert' in .* and 'tiny-roberta' in"):
        predict(trials, tmp_path / "inputs.jsonl", 4, torch.device("cpu"))


def test_a_mixtures_prompt_is_refused(quick: Callable[..., Any], tmp_path: Path) -> None:
    """A line names one task, a mixture's prompt has the heads of several."""
    import torch

    from repro.errors import ConfigError
    from repro.inference.predict import predict
    from repro.inference.restore import Finished
    from repro.trials.plain import run

    outcome = run(quick("model=tiny-bert", "task=mpt_ner_open", "method=p_tuning_v2", "method.length=2"))
    assert outcome.record is not None
    (tmp_path / "inputs.jsonl").write_text('{"task": "mpt_ner_open"}\n')
    with pytest.raises(ConfigError, match="mpt_ner_open is a mixture of conll04, wnut17"):
        predict([Finished(outcome.record, outcome.folder)], tmp_path / "inputs.jsonl", 4, torch.device("cpu"))


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
def test_vote(answers: list[Any], wanted: Any) -> None:
    from repro.inference.ensemble import vote

    assert vote(answers) == wanted


def test_inputs_of_wsc_multirc_and_record(quick: Callable[..., Any], tmp_path: Path, cli: Any) -> None:
    """Without a label, the pronoun's place or a list of entities."""
    lines = {
        "wsc": {"text": "Ann told Lee that she won.", "span1_text": "Ann", "span2_text": "she"},
        "multirc": {"paragraph": "Ann ran.", "question": "Who ran?", "answer": "Ann"},
        "record": {"passage": "Ann beat Lee.", "query": "@placeholder won.", "entities": "Ann, Lee"},
    }
    trials = [trained(quick, "tiny-bert", task, "prefix_tuning", 3) for task in lines]
    file = tmp_path / "inputs.jsonl"
    file.write_text("".join(json.dumps({"task": task, **line}) + "\n" for task, line in lines.items()))
    results, runs = trials[0].folder.parents[1] / "results", trials[0].folder.parent
    named = [word for trial in trials for word in ("--prompt", trial.record.key)]
    done = cli("predict", *named, "--inputs", str(file), "--results", str(results), "--runs", str(runs))
    assert done.code == 0, done.err
    said = [json.loads(line)["prediction"] for line in done.out.splitlines() if line.startswith("{")]
    assert [kind in ("False", "True") for kind in said] == [True, True, False] and said[2] in ("Ann", "Lee")


@pytest.mark.parametrize(
    ("task", "split", "metric"), [("record", "validation", "exact_match"), ("qqp_to_mrpc", "test", "accuracy")]
)
def test_an_ensemble_of_a_ranking_and_of_a_task_of_two_data_sets(
    task: str, split: str, metric: str, quick: Callable[..., Any], data_root: Path, cli: Any
) -> None:
    """Candidates of several prompts in one batch: each member scores as it did alone."""
    from repro.store.store import Store

    trials = [trained(quick, "tiny-bert", task, "prefix_tuning", 3, f"seed={seed}") for seed in (1, 2)]
    results, runs = trials[0].folder.parents[1] / "results", trials[0].folder.parent
    places = ("--results", str(results), "--runs", str(runs), "--data", str(data_root), "--device", "cpu")
    done = cli("ensemble", *(trial.record.key for trial in trials), *places)
    assert done.code == 0, done.err
    [record] = [r for r in Store(results / "records").records() if r.config["method"]["name"] == "prompt_ensemble"]
    for said, trial in zip(record.selection["members"], trials, strict=True):
        assert said[metric] == pytest.approx(trial.record.metrics[split][metric])
    # Of two members the earlier has its way wherever they differ.
    assert record.metrics[split][metric] == pytest.approx(trials[0].record.metrics[split][metric])


def test_an_ensemble_is_the_members_votes(quick: Callable[..., Any], data_root: Path, cli: Any) -> None:
    """The record's numbers from the members' own stored predictions."""
    from collections import Counter

    from repro.config.run_key import run_key
    from repro.store.store import Store

    trials = [trained(quick, "tiny-bert", "cb", "prefix_tuning", 3, f"seed={seed}") for seed in (1, 2, 3)]
    results, runs = trials[0].folder.parents[1] / "results", trials[0].folder.parent
    keys = [trial.record.key for trial in trials]
    places = ("--results", str(results), "--runs", str(runs), "--data", str(data_root), "--device", "cpu")
    done = cli("ensemble", *keys, *places)
    assert done.code == 0, done.err
    [record] = [r for r in Store(results / "records").records() if r.config["method"]["name"] == "prompt_ensemble"]
    assert run_key(record.config) == record.key and record.config["method"]["members"] == keys
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
    for said, trial in zip(record.selection["members"], trials, strict=True):
        assert said["accuracy"] == pytest.approx(trial.record.metrics["validation"]["accuracy"])
    assert "vote" in done.out and "best" in done.out
    assert cli("ensemble", keys[0], *places).code == 2
    assert cli("ensemble", keys[0], keys[0], *places).code == 2


# Neighbours ----------------------------------------------------------------------------------------------------------


def test_neighbours_by_hand() -> None:
    import torch

    from repro.inference.neighbours import nearest

    table = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 1.0]])
    words = ["east", "north", "west", "northeast"]
    prompt = torch.tensor([[10.0, 1.0], [-3.0, 3.0]])
    found = nearest(prompt, table, lambda ids: [words[i] for i in ids], {"north": [1], "two words": [0, 1]}, top=2)
    assert found.words[0] == ["east", "northeast"] and set(found.words[1]) == {"north", "west"}
    assert found.cosines[0][0] == pytest.approx(10 / 101**0.5) and found.cosines[1][0] == pytest.approx(0.5**0.5)
    assert found.persisting == {"north": True, "two words": None}


def test_untrained_rows_are_their_own_neighbours(quick: Callable[..., Any], cli: Any) -> None:
    """A prompt sampled from the vocabulary and hardly trained lies next to the sampled words."""
    trial = trained(quick, "tiny-t5", "rte", "prompt_tuning", 3, "trainer.optimiser.learning_rate=1e-6")
    results, runs = str(trial.folder.parents[1] / "results"), str(trial.folder.parent)
    done = cli("neighbours", trial.record.key, "--top", "2", "--results", results, "--runs", runs, "--device", "cpu")
    assert done.code == 0, done.err
    rows = done.out.splitlines()[:3]
    assert all(" 1.000  " in row for row in rows), rows
    deep = trained(quick, "tiny-t5", "rte", "prefix_tuning", 3)
    refused = cli("neighbours", deep.record.key, "--results", results, "--runs", runs)
    assert refused.code == 2 and "keys and values inside the model" in refused.err
