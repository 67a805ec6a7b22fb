"""LAMA's facts of our own making: the vocabulary's filter, the gap as the model sees it, and trials end to end."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repro.errors import ConfigError, DataError, ModelError
from repro.metrics.precision_at_1 import PrecisionAt1
from repro.models.encoding.vocabulary import likeliest, token_ids
from repro.tasks.base import Cloze
from repro.tasks.lama import Lama
from repro.tasks.wording import Clozed
from tests.nested import build_task, format_of, run, validate
from tests.tasks.making import make

UNHURRIED = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)
OPTIONS = {"relation": "P19", "vocabulary": "v.json", "vocabulary_name": "bert-base-cased"}
TEMPLATE = ["[P:3]", " {sub_label}", "[P:3]", "[MASK]", "[P:3]"]
LISTS = {"bert-base-cased": ["Rome", "Paris", "##ing"], "roberta-large": ["\u0120Rome", "\u0120Paris", "ing"]}
FACTS = [("Ann Lee", "Rome"), ("Bob", "Ulm"), ("Cleo", "Paris")]


def lama(folder: Path, **changes: Any) -> Lama:
    options = {**OPTIONS, **changes.pop("options", {})}
    return make(Lama, name="lama", format="cloze", data_dir=str(folder), options=options, **changes)


def write(folder: Path, facts: Any = FACTS, lists: Any = LISTS) -> None:
    lines = [json.dumps({"sub_label": subject, "obj_label": answer, "uuid": 1}) for subject, answer in facts]
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "v.json").write_text(json.dumps(lists), encoding="utf-8")


@pytest.mark.parametrize(("name", "mark"), [("bert-base-cased", ""), ("roberta-large", "\u0120")])
def test_facts_within_the_vocabulary_and_the_gap(tmp_path: Path, name: str, mark: str) -> None:
    write(tmp_path)
    task = lama(tmp_path, options={"vocabulary_name": name})
    first, second = task.examples("train")
    assert (first.fields, first.references) == ({"sub_label": "Ann Lee"}, ("Rome",))
    assert second.references == ("Paris",) and task.fingerprint()["train"]["rows"] == 3
    said = "train: 1 of 3 facts have an object outside the vocabulary: left out, as in the paper."
    assert task.deviations == (said,)
    shown = Clozed(task, TEMPLATE, slots=True)
    assert shown.render(first) == Cloze((3, " Ann Lee", 3, None, 3), -1, token=f"{mark}Rome")
    assert Clozed(task, TEMPLATE, slots=False).render(first).pieces == (" Ann Lee", None)
    assert shown.parse(f"{mark}Paris", first) == "Paris"
    assert shown.parse("ing", first) == ("[ing]" if mark else "ing")  # a piece of a word is never the object
    assert any("released code puts the gap before" in text for text in shown.deviations)


def test_precision_at_1() -> None:
    metric = PrecisionAt1()
    assert [metric.score("Rome", ["Rome"]), metric.score("rome", ["Rome"])] == [[1.0, 1.0], [0.0, 1.0]]
    assert metric.reduce(np.array([[1, 1], [0, 1], [1, 1]])) == {"precision_at_1": pytest.approx(200 / 3)}
    assert metric.reduce(np.zeros((0, 2))) == {"precision_at_1": 0.0}
    with pytest.raises(ValueError, match="no object"):
        metric.score("Rome", [])


@given(
    st.lists(st.lists(st.integers(-5, 5), min_size=6, max_size=6), min_size=1), st.sets(st.integers(0, 5), min_size=1)
)
def test_the_answer_is_the_first_allowed_token_of_the_ranking(rows: list[list[int]], allowed: set[int]) -> None:
    """The official walk: down the tokens by logit, until one is allowed. Ties may fall either way there."""
    logits = torch.tensor(rows, dtype=torch.float64)
    for row, found in zip(logits, likeliest(logits, sorted(allowed)), strict=True):
        ranking = [token for token in row.argsort(descending=True).tolist() if token in allowed]
        assert found in allowed and row[found] == row[ranking[0]]


@pytest.mark.parametrize(
    ("facts", "lists", "options", "fault"),
    [
        (FACTS, {"gpt2-xl": ["x"]}, {}, r"v\.json has no list of tokens 'bert-base-cased'.*gpt2-xl"),
        (FACTS, ["Rome"], {}, r"v\.json has no list"),
        (FACTS, {"bert-base-cased": [1]}, {}, r"v\.json has no list"),
        ([("a", "b")], LISTS, {}, r"train\.jsonl: no object of its 1 facts is in the vocabulary"),
        ([("a", 3)], LISTS, {}, r"train\.jsonl:1: the field 'obj_label' is 3"),
        (FACTS, LISTS, {"vocabulary": "w.json"}, r"w\.json cannot be read"),
    ],
)
def test_faults_are_data_errors(tmp_path: Path, facts: Any, lists: Any, options: Any, fault: str) -> None:
    write(tmp_path, facts, lists)
    with pytest.raises(DataError, match=fault):
        lama(tmp_path, options=options).examples("train")


def test_configs_that_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"task\.options\.vocabulary=None"):
        lama(tmp_path, options={"vocabulary": None})
    with pytest.raises(ConfigError, match=r"task\.labels"):
        lama(tmp_path, labels=["a", "b"])
    with pytest.raises(ConfigError, match=r"task\.source"):
        lama(tmp_path, source="hub", hub_id="o/n")


@UNHURRIED
@given(st.binary(max_size=60), st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(tmp_path: Path, facts: bytes, tokens: bytes) -> None:
    write(tmp_path)
    for name, data in (("train.jsonl", facts), ("v.json", tokens)):
        (tmp_path / name).write_bytes(data)
        try:
            lama(tmp_path).examples("train")
        except DataError as error:
            assert str(tmp_path) in str(error)


# Trials --------------------------------------------------------------------------------------------------------------

P_TUNING = ("method=p_tuning", "method.length=9", "model=tiny-bert", "task=lama_29k")


def test_a_trial_of_p_tuning(quick: Any) -> None:
    record = run(plain := quick(*P_TUNING)).record
    assert list(record.metrics["test"]) == ["precision_at_1"]
    assert record.config["task"]["data_dir"] == "lama" and record.config["task"]["options"]["relation"] == "P1001"
    (lines,) = Path(plain["paths"]["runs_root"]).rglob("predictions-test.jsonl")
    answers = {json.loads(line)["prediction"] for line in lines.read_text(encoding="utf-8").splitlines()}
    assert answers <= {"n", "y", "z"}, "only the vocabulary's tokens are answers, of the model's 262"


def test_training_finds_the_objects(quick: Any) -> None:
    """A frozen model of random weights cannot say much, so this one is tuned too: z, which is never right, goes."""
    over = ("method.tune_backbone=true", "trainer.steps=40", "trainer.evaluate_every=40", "trainer.batch_size=8")
    record = run(quick(*P_TUNING, *over, "trainer.optimiser.learning_rate=3e-3")).record
    assert record.metrics["test"]["precision_at_1"] >= 50.0


def test_the_loss_runs_over_the_whole_vocabulary(quick: Any) -> None:
    """transformers' own loss of the masked language model at the gap, prompts put in by hand."""
    from repro.models.encoding.batch import collate
    from tests.models.loaded import adapt, load_backbone

    plain = quick(*P_TUNING)
    task = build_task(plain)
    backbone, _ = load_backbone(plain["model"], plain["trainer"], torch.device("cpu"), "cloze")
    adapter = adapt(backbone, "cloze", plain["task"], vocabulary=task.vocabulary)
    example = task.examples("train")[1]
    (made,) = adapter.encode(task.render(example), True)
    from repro.methods.base import Injection

    prompt = torch.randn(1, 9, backbone.spec.width, generator=torch.Generator().manual_seed(3))
    ours = adapter.losses(collate([made], 0), Injection(prompt, placement="template")).total
    embeds = backbone.embed(torch.tensor([made.ids])).clone()
    for place, slot in enumerate(made.slots or ()):
        if slot >= 0:
            embeds[0, place] = prompt[0, slot]
    labels = torch.full((1, len(made.ids)), -100)
    labels[0, made.mask_at] = backbone.tokenizer.convert_tokens_to_ids("y")
    theirs = backbone.whole(inputs_embeds=embeds, labels=labels).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-5) and made.mask_at == 1 + 3 + len(" Ann 1") + 3


def test_a_prompt_less_cloze_is_the_manual_row(quick: Any) -> None:
    own = ("method=fine_tuning", "method.head=verbaliser", "model=tiny-bert", "task=lama_34k", "trainer.steps=0")
    plain = quick(*own, 'task.cloze=["{sub_label} was born in ", "[MASK]", "."]')
    assert set(run(plain).record.metrics["test"]) == {"precision_at_1"}


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (
            ("method=p_tuning_v2", "model=tiny-bert"),
            r"task\.format=cloze: p_tuning_v2 would train a linear head",
        ),
        (("method=p_tuning", "model=tiny-bert"), r"method\.length=3: the cloze template .* for 9 prompt rows"),
        (("method=prefix_tuning", "model=tiny-gpt2"), r"model=tiny-gpt2 \(decoder\).*GPT rows.*is not built"),
        (("method=prompt_tuning", "model=tiny-t5"), r"model=tiny-t5 \(encoder_decoder\).*is not built"),
    ],
)
def test_what_does_not_fit_is_a_config_error(quick: Any, overrides: tuple[str, ...], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        validate(quick(*overrides, "task=lama_29k"))


def test_the_form_is_a_cloze_and_other_vocabularies_are_refused(quick: Any) -> None:
    from repro.models.untrained.random_model import byte_tokenizer

    assert format_of(quick(*P_TUNING)) == "cloze"
    tokenizer = byte_tokenizer("encoder")
    assert token_ids(tokenizer, ["n", "y"]) == [tokenizer.convert_tokens_to_ids(token) for token in "ny"]
    with pytest.raises(ModelError, match=r"lacks 1 of 2 tokens, 'Rome' first.*vocabulary_name"):
        token_ids(tokenizer, ["n", "Rome"])
