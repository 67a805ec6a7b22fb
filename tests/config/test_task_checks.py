"""Clozes, mixtures, LM adaptation and text prompts through the runner, and the sentences that refuse what cannot be."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.run_key import run_key
from repro.errors import ConfigError
from repro.metrics.base import task_score
from repro.metrics.superglue import SUPERGLUE
from tests.nested import build_task, format_of, run, validate

WORDS = "task.verbaliser={entailment: y, not_entailment: n}"
BERT = ("model=tiny-bert", "task=rte")
T5 = ("model=tiny-t5", "task=rte")
CLOZE = ("method=p_tuning", *BERT, WORDS)
UNTRAINED = ("trainer.steps=0",)
SCORED = "task.decoding.labels=score"
STRIDES = ("task.parts.squad.options.stride=8", "task.parts.squad_v2.options.stride=8")
MIXED = ("method=fine_tuning", "model=tiny-t5", "task=lester_mixture")
Quick = Callable[..., dict[str, Any]]


def finished(plain: dict[str, Any]) -> Any:
    outcome = run(plain)
    assert outcome.record is not None and outcome.record.status in ("done", "collapsed")
    return outcome


def refusal(plain: dict[str, Any]) -> str:
    """By the rules of configs, or by the task's own kind."""
    with pytest.raises(ConfigError) as error:
        validate(plain)
        build_task(plain)
    return str(error.value)


# Labels that are scored ---------------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize("model", ["tiny-t5", "tiny-gpt2", "tiny-bart"])
def test_scored_labels_are_always_labels(model, quick):
    """A model of random weights generates anything; by its labels it always names a class."""
    method = ("method=prefix_tuning", "method.length=3")
    generated = finished(quick(*method, f"model={model}", "task=cb")).record
    scored = finished(quick(*method, f"model={model}", "task=cb", "task.decoding.labels=score")).record
    assert generated.key != scored.key
    assert scored.metrics["validation"]["accuracy"] > generated.metrics["validation"]["accuracy"] == 0


# Which form a model sees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "form"),
    [
        (CLOZE, "cloze"),
        (("method=p_tuning_v2", "method.head=verbaliser", *BERT), "cloze"),
        (("method=p_tuning_v2", "method.head=verbaliser", "task.format=cloze", *BERT), "cloze"),
        (("method=p_tuning_v2", *BERT), "pair"),
        (("method=prompt_tuning", "method.head=verbaliser", *T5), "text_to_text"),
        (("method=p_tuning_v2", "model=tiny-bert", "task=mpt_ner_open"), "tagging"),
        (("method=p_tuning_v2", "model=tiny-bert", "task=mpt_superglue"), "pair"),
        (("method=fine_tuning", "model=tiny-t5", "task=lester_mixture"), "text_to_text"),
    ],
)
def test_the_form(overrides, form, quick):
    plain = quick(*overrides)
    validate(plain)
    assert format_of(plain) == form


REFUSED = [
    (("method=p_tuning", "method.length=4", *BERT), "method.length=4: the cloze template of rte has positions for 3"),
    (("method=p_tuning", *BERT, "task.verbaliser={entailment: y}"), "no word for the class not_entailment"),
    (("method=p_tuning", "model=tiny-bert", "task=conll04"), "conll04 has no cloze template"),
    (("method=p_tuning_v2", "task.format=cloze", *BERT), "task.format=cloze: p_tuning_v2 would train a linear head"),
    (("method=p_tuning_v2", "method.head=verbaliser", "task.format=pair", *BERT), "head=verbaliser: the format is"),
    (("method=p_tuning_v2", *BERT, "task.sentinel=true"), "task.sentinel=True: only models that generate"),
    (("method=p_tuning_v2", *BERT, "task.task_name_prefix=true"), "task.task_name_prefix=True: only models"),
    (("method=prefix_tuning", "model=tiny-gpt2", "task=rte", "task.sentinel=true"), "tiny-gpt2 has no sentinels"),
    (("method=prompt_design", *BERT, *UNTRAINED), "words can only ask a model that generates"),
    (("method=prompt_design", *T5), "trainer.steps=2: prompt_design trains nothing"),
    (("method=prompt_design", *T5, *UNTRAINED, "method.shots=-1"), "method.shots=-1: must be at least 0"),
    (("task=rte", "task.limit.seed=-1"), "task.limit.seed=-1: must be at least 0"),
    (
        ("method=fine_tuning", "model=tiny-t5", "task=prefix_lm", "trainer.selection.metric=accuracy"),
        "prefix_lm is scored by its loss alone",
    ),
    (("method=prompt_tuning", "method.initialisation=uniform", "model=tiny-gpt2", "task=e2e", SCORED), "are no labels"),
    (("method=prompt_tuning", "model=tiny-t5", "task=wsc", SCORED), "are no labels"),
    (("method=p_tuning_v2", *BERT, SCORED), "answers by a head"),
    (("method=infix_tuning", "model=tiny-gpt2", "task=rte", SCORED), "an infix changes"),
    ((*MIXED, SCORED), "labels of their own"),
    ((*MIXED, "task.low_data.size=4"), "task.low_data.size=4: lester_mixture is a mixture: its parts are read whole"),
    ((*MIXED, "task.fraction=0.1"), "task.fraction=0.1: lester_mixture is a mixture: its parts are read whole"),
    (
        ("method=p_tuning_v2", "model=tiny-bert", "task=mpt_qa", "task.max_input_length=64", STRIDES[0]),
        "task.options.stride=128: squad has 8, and the parts of a mixture share it",
    ),
]


@pytest.mark.parametrize(("overrides", "said"), REFUSED, ids=[f"{said[:30]} {words[-1]}" for words, said in REFUSED])
def test_what_cannot_be_is_refused_in_one_sentence(overrides, said, quick):
    sentence = refusal(quick(*overrides))
    assert said in sentence and "\n" not in sentence
    assert SCORED not in overrides or sentence.endswith("Set task.decoding.labels=generate.")


def test_parts_of_a_mixture_are_checked(quick):
    plain = quick("method=p_tuning_v2", "model=tiny-bert", "task=mpt_superglue")
    validate(plain)
    wrong = copy.deepcopy(plain)
    wrong["task"]["parts"]["rte"]["lables"] = []
    assert "task.parts.rte.lables=[]: TaskConfig has no such key" in refusal(wrong)
    wrong = copy.deepcopy(plain)
    wrong["task"]["parts"]["rte"]["formats"] = ["text_to_text"]
    assert "task.parts.rte=rte: it can be rendered as text_to_text, the mixture is pair" in refusal(wrong)
    wrong = copy.deepcopy(plain)
    wrong["task"]["source"] = "hub"
    validate(wrong)
    wrong["task"]["parts"]["rte"]["hub_id"] = None
    assert "task.source=hub: rte has no hub id" in refusal(wrong)


def test_the_key_of_a_mixture_ignores_places_but_not_parts(quick):
    plain = quick("method=p_tuning_v2", "model=tiny-bert", "task=mpt_superglue")
    moved = copy.deepcopy(plain)
    for part in moved["task"]["parts"].values():
        part["data_dir"] = "/elsewhere"
    assert run_key(moved) == run_key(plain)
    fewer = copy.deepcopy(plain)
    del fewer["task"]["parts"]["wic"]
    assert run_key(fewer) != run_key(plain)
    fewer = copy.deepcopy(plain)
    fewer["task"]["parts"]["rte"]["labels"].reverse()
    assert run_key(fewer) != run_key(plain)


def test_a_template_takes_places_of_the_input_not_of_the_prompt(quick, altered):
    table = altered("method=p_tuning_v2", *BERT)["model"]["max_positions"]
    validate(quick(*CLOZE, f"task.max_input_length={table}"))
    before = ("method.placement=before", "method.head=linear")
    assert "makes" in refusal(quick(*CLOZE, *before, f"task.max_input_length={table}"))


# Through the runner ------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.smoke
@pytest.mark.parametrize("method", ["p_tuning", "p_tuning_v2", "prompt_tuning"])
def test_a_cloze_trains_without_a_head(method, quick):
    more = [] if method == "p_tuning" else ["method.head=verbaliser", "method.length=3"]
    more += ["method.initialisation=sampled_vocabulary"] if method == "prompt_tuning" else []
    outcome = finished(quick(f"method={method}", *BERT, WORDS, *more))
    assert outcome.record.parameters["head"] == 0
    assert any("cloze template and words are ours" in said for said in outcome.record.deviations)
    lines = (outcome.folder / "predictions-validation.jsonl").read_text().splitlines()
    assert {json.loads(line)["prediction"] for line in lines} <= {0, 1}


@pytest.mark.smoke
def test_words_that_are_several_tokens_are_refused(quick):
    from repro.errors import ModelError

    with pytest.raises(ModelError, match=r"the word ' yes' of the class entailment is 4 tokens"):
        run(quick("method=p_tuning", *BERT))


@pytest.mark.smoke
def test_first_and_second_stage_of_multi_task_prompts(quick):
    from safetensors.torch import load_file

    p_tuning = ("method=p_tuning_v2", "method.length=3", "model=tiny-bert")
    first = finished(quick(*p_tuning, "task=mpt_ner_open"))
    metrics = first.record.metrics["test"]
    assert metrics["average"] == pytest.approx((metrics["conll04.span_f1"] + metrics["wnut17.span_f1"]) / 2)
    assert first.record.selection["metric"] == "average"
    assert set(first.record.statistics["test"]) == {"conll04.span_f1", "wnut17.span_f1"}
    assert "conll04/train" in first.record.provenance["data"]
    assert any("OntoNotes" in said for said in first.record.deviations)
    folders = {name: part["data_dir"] for name, part in first.record.config["task"]["parts"].items()}
    assert folders == {"conll04": "conll04", "wnut17": "wnut17"}, "no folder of this machine in a record"
    prompt = first.folder / "prompt.safetensors"
    labels = {name: len(part["labels"]) for name, part in first.record.config["task"]["parts"].items()}
    assert load_file(prompt)["head.weight"].shape[1] == sum(labels.values())
    second = finished(quick(*p_tuning, "task=conll04", f"method.start_from={prompt}", *UNTRAINED))
    before, after = load_file(prompt), load_file(second.folder / "prompt.safetensors")
    assert after["head.weight"].shape[1] == labels["conll04"]
    same = [name for name in after if not name.startswith("head.")]
    assert same and all(bool((after[name] == before[name]).all()) for name in same)


@pytest.mark.smoke
def test_both_stages_for_questions(quick):
    """Two versions of SQuAD under two heads of two outputs; windows of one version a batch; then one of them alone."""
    from safetensors.torch import load_file

    p_tuning = ("method=p_tuning_v2", "method.length=3", "model=tiny-bert", "task.max_input_length=64")
    first = finished(quick(*p_tuning, "task=mpt_qa", "task.options.stride=8", *STRIDES))
    assert {"average", "squad.f1", "squad_v2.f1"} <= set(first.record.metrics["validation"])
    prompt = first.folder / "prompt.safetensors"
    assert load_file(prompt)["head.weight"].shape[1] == 4 and first.record.parameters["head"] == 4 * 33
    second = finished(quick(*p_tuning, "task=squad", f"method.start_from={prompt}", *UNTRAINED))
    before, after = load_file(prompt), load_file(second.folder / "prompt.safetensors")
    assert after["head.weight"].shape[1] == 2
    assert bool((after["encoder.prefix"] == before["encoder.prefix"]).all())


@pytest.mark.smoke
def test_a_limit_of_a_mixture_holds_for_every_part(quick):
    plain = quick(
        "method=p_tuning_v2", "method.length=3", "model=tiny-bert", "task=mpt_superglue", "task.limit.train=2"
    )
    outcome = finished(plain)
    assert sum("train: 2 of 8 examples" in said for said in outcome.record.deviations) == 6
    assert set(outcome.record.metrics["validation"]) == {
        *("average", "boolq.accuracy", "cb.accuracy", "cb.f1_macro", "cb.task_score"),
        *("multirc.f1a", "multirc.exact_match", "multirc.task_score", "rte.accuracy", "wic.accuracy", "wsc.accuracy"),
    }


@pytest.mark.smoke
def test_multi_task_model_tuning(quick):
    plain = quick("method=fine_tuning", "model=tiny-t5", "task=lester_mixture")
    task = build_task(plain)
    first = {task.part_of(e): task.render(e).source.split()[0] for e in task.examples("train")}
    seven = ("boolq", "cb", "copa", "multirc", "record", "rte", "wic")
    assert first == {name: name for name in seven} | {"wsc": "wsc:"}
    outcome = finished(plain)
    found = outcome.record.metrics["validation"]
    parts = {name: {key.partition(".")[2]: found[key] for key in found if key.startswith(f"{name}.")} for name in first}
    superglue = sum(task_score(names, parts[task]) for task, names in SUPERGLUE.items()) / len(SUPERGLUE)
    assert found["average"] == pytest.approx(superglue), "the mixture's average is SuperGLUE's score"
    assert any("lacks DPR" in said for said in outcome.record.deviations)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("task", "model"),
    [
        *((task, "tiny-bert") for task in ("multirc", "record", "mrpc")),
        *((task, "tiny-gpt2") for task in ("multirc", "record", "wsc", "sst2", "mrpc", "qqp")),
    ],
)
def test_two_steps_of_each_classification_task(task, model, quick):
    record = finished(quick("method=fine_tuning", f"model={model}", f"task={task}")).record
    found = record.metrics["validation"]
    assert all(0 <= value <= 100 for value in found.values())
    if "task_score" in found:
        both = [value for name, value in found.items() if name != "task_score"]
        assert found["task_score"] == pytest.approx(sum(both) / 2)
    rows = {len(statistics) for statistics in record.statistics["validation"].values()}
    assert rows == {3 if task == "mrpc" else 6}, "a row of statistics an example"


@pytest.mark.smoke
def test_selection_by_the_mean_of_two_metrics(quick):
    by_mean = finished(quick("method=fine_tuning", *BERT, "task=cb", "trainer.selection.metric=task_score"))
    found = by_mean.record.metrics["validation"]
    assert by_mean.record.selection["value"] == pytest.approx((found["accuracy"] + found["f1_macro"]) / 2)
    with pytest.raises(ConfigError, match=r"trainer\.selection\.metric=task_score: rte has accuracy, and loss"):
        finished(quick("method=fine_tuning", *BERT, "trainer.selection.metric=task_score"))


@pytest.mark.smoke
def test_lm_adaptation_reports_loss_and_perplexity(quick):
    outcome = finished(quick("method=fine_tuning", "model=tiny-t5", "task=prefix_lm", "task.options.words=12"))
    found = outcome.record.metrics["validation"]
    assert set(found) == {"loss", "perplexity"}
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert 3 < found["loss"] < 8, "a fresh model of 262 tokens is near log 262 = 5.6"
    assert outcome.record.selection["metric"] == "loss"
    assert outcome.record.selection["value"] == pytest.approx(found["loss"], rel=1e-4)
    assert not list(outcome.folder.glob("predictions-*"))


@pytest.mark.smoke
def test_a_sentinel_through_the_runner(quick):
    plain = quick("method=prompt_tuning", "method.length=3", *T5, "task.sentinel=true", "task.max_target_length=16")
    task = build_task(plain)
    assert task.render(task.examples("train")[0]).target.startswith("<extra_id_0> ")
    assert run_key(plain) != run_key({**plain, "task": {**plain["task"], "sentinel": False}})
    finished(plain)


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("model", "shots"), [("tiny-t5", 0), ("tiny-t5", 2), ("tiny-bart", 2), ("tiny-gpt2", 0), ("tiny-llama", 2)]
)
def test_prompt_design(model, shots, quick):
    words = ("method.text=Is it so?", f"method.shots={shots}")
    outcome = finished(quick("method=prompt_design", *words, f"model={model}", "task=rte", *UNTRAINED))
    record = outcome.record
    assert record.parameters["trained"] == record.parameters["stored"] == 0 and record.parameters["frozen"] > 0
    assert record.cost["steps"] == 0 and "accuracy" in record.metrics["validation"]
    assert not (Path(outcome.folder) / "prompt.safetensors").exists()
    assert any("layout" in said for said in record.deviations)


@pytest.mark.smoke
@pytest.mark.parametrize("task", ["rte", "cb", "boolq", "wic"])
def test_the_released_templates_train(task, quick):
    """`ablation=liu2021_v1/...`: one prompt row, the backbone tuned, and the record says whose template it is."""
    import yaml

    file = Path(__file__).parents[2] / "conf" / "ablation" / "liu2021_v1" / f"{task}.yaml"
    found = yaml.safe_load(file.read_text())
    labels = {"rte": "entailment: y, not_entailment: n", "cb": "entailment: y, contradiction: n, neutral: m"}
    words = labels.get(task, "'False': n, 'True': y")
    outcome = finished(
        quick(
            *("method=p_tuning", "model=tiny-bert", f"task={task}", "method.length=1", "method.tune_backbone=true"),
            *(f"task.{key}={json.dumps(found['task'][key])}" for key in ("cloze", "cloze_source")),
            f"task.verbaliser={{{words}}}",
        )
    )
    assert outcome.record.parameters["prompt"] == 32 and outcome.record.parameters["frozen"] == 0
    assert any(found["task"]["cloze_source"] in said for said in outcome.record.deviations)
    assert not any("are ours" in said for said in outcome.record.deviations)
