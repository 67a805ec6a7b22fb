"""What cannot work is refused before data or model are read, in one sentence: key, value, what is allowed, the fix."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest

from repro.config.compose import trial_config
from repro.config.rules import checked_key
from repro.config.run_key import run_key
from repro.errors import ConfigError
from tests.nested import format_of, resolved, validate

BERT = ("model=tiny-bert", "task=rte")
ROBERTA_TAGGING = ("model=tiny-roberta", "task=conll04")
T5 = ("model=tiny-t5", "task=rte")
BART = ("model=tiny-bart", "task=e2e")
GPT2 = ("model=tiny-gpt2", "task=e2e")
LLAMA = ("model=tiny-llama", "task=e2e")
FT, PT, PREFIX, P2 = "method=fine_tuning", "method=prompt_tuning", "method=prefix_tuning", "method=p_tuning_v2"
WORDS = "method.initialisation=sampled_vocabulary"

CHOICES = {
    "method.initialisation": ("uniform", "sampled_vocabulary", "class_label"),
    "method.placement": ("before", "after_bos", "after", "template"),
    "method.head": ("linear", "verbaliser"),
    "model.kind": ("encoder", "decoder", "encoder_decoder"),
    "model.family": ("bart", "bert", "deberta", "deberta_v2", "glm", "gpt2", "llama", "roberta", "t5"),
    "model.source": ("hub", "folder", "package", "random"),
    "task.source": ("local", "hub", "microworld"),
    "task.format": ("auto", "cloze", "text_to_text", "pair", "choice", "ranking", "tagging", "span"),
    "task.report_split": ("validation", "test"),
    "trainer.optimiser.name": ("adamw", "adafactor"),
    "trainer.optimiser.factored": ("auto", "always", "never"),
    "trainer.optimiser.weight_decay_form": ("absolute", "times_learning_rate"),
    "trainer.schedule.name": ("constant", "linear", "exponential"),
    "trainer.selection.rule": ("best", "last"),
    "trainer.selection.split": ("validation", "test"),
    "trainer.loss_reduction": ("token_mean", "example_sum"),
    "trainer.dtype": ("float32", "bfloat16", "float64"),
    "trainer.attention": ("sdpa", "eager"),
    "trainer.if_running": ("wait", "skip"),
    "tracker.name": ("none", "wandb", "tensorboard"),
    "tracker.mode": ("offline", "online", "disabled"),
}
"""What the schema's docstrings allow."""

LOWEST = {
    "method.vocabulary_size": 1,
    "task.max_input_length": 4,
    "task.max_target_length": 2,
    "task.limit.train": 1,
    "task.limit.validation": 1,
    "task.limit.test": 1,
    "task.decoding.beams": 1,
    "task.decoding.max_new_tokens": 1,
    "task.decoding.min_new_tokens": 0,
    "task.decoding.batch_size": 1,
    "trainer.epochs": 1,
    "trainer.batch_size": 1,
    "trainer.microbatches": 1,
    "trainer.evaluation_batch_size": 1,
    "trainer.schedule.warmup_steps": 0,
    "trainer.threads": 1,
    "seed": 0,
}
ABOVE_0 = (
    *("trainer.optimiser.learning_rate", "trainer.optimiser.clip_threshold", "trainer.schedule.gamma"),
    "trainer.clip_norm",
)


@pytest.fixture(scope="module")
def bases(composed: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Configs that are valid, to be changed by `with_value`."""
    deep = resolved(composed(P2, *BERT))
    found = {"prompt": resolved(composed(PT, *BERT)), "prefix": resolved(composed(PREFIX, *BART)), "deep": deep}
    return found | {"steps": with_value(deep, "trainer.epochs", None)}


def with_value(plain: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    copied = copy.deepcopy(plain)
    node: Any = copied
    *parents, last = key.split(".")
    for part in parents:
        node = node[part]
    assert last in node, key
    node[last] = value
    return copied


def refusal(plain: dict[str, Any]) -> str:
    """The sentence with which a config is refused."""
    with pytest.raises(ConfigError) as caught:
        validate(plain)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".")
    return said


@pytest.mark.parametrize("key", CHOICES)
def test_a_name_outside_the_list_is_refused_and_each_in_it_is_known(key, bases):
    base = bases["prompt"]
    said = refusal(with_value(base, key, "nonsense"))
    listed = said.removeprefix(f"{key}=nonsense: must be one of ").partition(". ")[0].split(", ")
    assert set(listed) >= set(CHOICES[key])  # a family that another test registered may stand there too
    assert f"Set {key} to one of these" in said
    for value in CHOICES[key]:
        try:
            validate(with_value(base, key, value))
        except ConfigError as error:  # another rule may refuse the combination, this one must not
            assert "must be one of" not in str(error)


@pytest.mark.parametrize("key", LOWEST)
def test_a_number_below_its_lowest_is_refused(key, bases):
    base, lowest = bases["prompt"], LOWEST[key]
    said = refusal(with_value(base, key, lowest - 1))
    assert said == f"{key}={lowest - 1}: must be at least {lowest}. Set {key}={lowest} or more."
    validate(with_value(base, key, lowest))


@pytest.mark.parametrize(
    ("base", "key", "value"),
    [
        ("prefix", "method.hidden", 0),
        ("deep", "method.init_std", -0.1),
        ("steps", "trainer.steps", -1),
        ("deep", "trainer.optimiser.weight_decay", -1.0),
    ],
)
def test_lowest_numbers_of_the_fields_that_prompt_tuning_lacks(base, key, value, bases):
    lowest = 1 if key == "method.hidden" else 0
    assert refusal(with_value(bases[base], key, value)).startswith(f"{key}={value}: must be at least {lowest}")
    validate(with_value(bases[base], key, lowest))  # no steps: the starting values are scored


@pytest.mark.parametrize("key", ABOVE_0)
def test_what_must_be_above_0(key, bases):
    for value in (0.0, -1.0):
        assert refusal(with_value(bases["deep"], key, value)).startswith(f"{key}={value}: must be above 0. Set {key}=")
    validate(with_value(bases["deep"], key, 1e-9))


@pytest.mark.parametrize("key", ["method.prefix_dropout", "trainer.backbone_dropout", "trainer.attention_dropout"])
def test_a_share_is_at_least_0_and_below_1(key, bases):
    for value in (-0.1, 1.0, 1.5):
        said = refusal(with_value(bases["deep"], key, value))
        assert said.startswith(f"{key}={value}: must be at least 0 and below 1. Set {key}=")
    for value in (0.0, 0.99):
        validate(with_value(bases["deep"], key, value))


REFUSED = """
prompt_tuning tiny-t5 rte method.length=0 | method.length=0: must be at least 1
prompt_tuning tiny-t5 rte method.length=-3 | method.length=-3: must be at least 1 | | method.length=1
prefix_tuning tiny-t5 rte method.length=0 | method.length=0: must be at least 1
p_tuning_v2 tiny-t5 rte method.length=-3 | method.length=-3: must be at least 1
prefix_tuning tiny-t5 rte method.reparameterisation=embedding | method.reparameterisation=embedding: must be one of none, mlp, deep.
p_tuning_v2 tiny-t5 rte method.reparameterisation=none | method.reparameterisation=none: must be one of embedding, mlp.
prefix_tuning tiny-bert rte method.sites=[encoder,decoder] | method.sites=[ | 'decoder' & tiny-bert has encoder. & Set method.sites=[encoder] or [] for all. | method.sites=[encoder]
prefix_tuning tiny-gpt2 e2e method.sites=[decoder,cross] | method.sites=[ | 'cross' & tiny-gpt2 has decoder. & Set method.sites=[decoder] or [] for all.
prefix_tuning tiny-bart e2e method.sites=[encoder,middle] | method.sites=[ | 'middle' & tiny-bart has encoder, decoder, cross. | method.sites=[encoder,decoder,cross]
prompt_tuning tiny-gpt2 e2e | method.initialisation=class_label: the task e2e has no class labels. | method.initialisation=sampled_vocabulary & method.init_words=[some,words] | method.initialisation=sampled_vocabulary
prompt_tuning tiny-gpt2 e2e | method.initialisation=class_label: | | method.init_words=[pub,inn]
prompt_tuning tiny-gpt2 e2e | method.initialisation=class_label: | | task.init_words=[pub,inn]
prompt_tuning tiny-gpt2 e2e | method.initialisation=class_label: | | model=tiny-t5 task=rte
prefix_tuning tiny-t5 conll04 | task=conll04 with model=tiny-t5: | (encoder_decoder) & output for every token & model=bert-large-cased & task=rte
prefix_tuning tiny-llama conll04 | task=conll04 with model=tiny-llama: | (decoder)
p_tuning_v2 tiny-bert e2e | task=e2e with model=tiny-bert: | encoder-only, it cannot generate & model=gpt2-medium & task=rte
p_tuning_v2 tiny-bert rte task.format=text_to_text | task.format=text_to_text: tiny-bert (encoder) takes pair | Set task.format=auto | task.format=pair
p_tuning_v2 tiny-t5 rte task.format=pair | task.format=pair: tiny-t5 (encoder_decoder) takes text_ | Set task.format=auto
p_tuning_v2 tiny-bert rte task.format=tagging | task.format=tagging: rte can be rendered as text_to_text, pair. Set task.format=auto.
fine_tuning tiny-bert rte trainer.dtype=bfloat16 | trainer.dtype=bfloat16 with method=fine_tuning: | allowed is float32 & Set trainer.dtype=float32. | method=p_tuning_v2
prompt_tuning tiny-bert rte trainer.z_loss=1e-4 | trainer.z_loss=0.0001: | is an encoder | method=prefix_tuning model=tiny-bart task=e2e
p_tuning_v2 tiny-bert rte task.source=hub task.hub_id=null | task.source=hub: rte has no hub id. | task.source=local
p_tuning_v2 tiny-bert rte trainer.epochs=3 trainer.steps=5 | trainer.epochs=3 and trainer.steps=5: exactly one must be set. Set the other to null. | | trainer.epochs=null
p_tuning_v2 tiny-bert rte trainer.epochs=null | trainer.epochs=None and trainer.steps=None: exactly one must be set.
p_tuning_v2 tiny-bert rte method.length=512 | method.length=512 | Shorten each of them, or shorten the prompt.
"""  # noqa: E501
"""Method, model, task and overrides | how the sentence begins | what else it says | changes that make it valid."""


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_what_cannot_work_is_refused_and_what_mends_it_is_valid(line, altered):
    trial, start, parts, changes, *_ = [*(cell.strip() for cell in line.split("|")), "", ""]
    cell = [f"{group}={name}" for group, name in zip(("method", "model", "task"), trial.split(), strict=False)]
    words = [*cell, *trial.split()[3:]]
    said = refusal(altered(*words))
    assert said.startswith(start) and all(part.strip() in said for part in parts.split("&")), said
    if changes:  # a word takes the place of that with the same key
        both = {word.partition("=")[0]: word for word in (*words, *changes.split())}
        validate(altered(*both.values()))


@pytest.mark.parametrize(
    ("trial", "form"),
    [
        (BERT, "pair"),
        (("model=tiny-roberta", "task=copa"), "choice"),
        (ROBERTA_TAGGING, "tagging"),
        (T5, "text_to_text"),
        (("model=tiny-gpt2", "task=copa"), "text_to_text"),
    ],
)
def test_the_format_follows_from_model_and_task(trial, form, altered):
    assert format_of(altered(P2, *trial)) == form


LENGTHS = "task.max_input_length={} task.max_target_length={} task.decoding.max_new_tokens={}"
# 512 positions in every tiny model that has a table. (method and model, prompt, input, target, new tokens): all fit,
# and one more anywhere does not.
FULL = [
    ((FT, *BERT), None, 512, 2, 1),
    ((PT, *BERT), 100, 412, 2, 1),
    ((P2, *BERT), 100, 412, 2, 1),
    ((P2, *ROBERTA_TAGGING), 12, 500, 2, 1),
    ((FT, *GPT2), None, 412, 100, 1),
    ((PT, *GPT2, WORDS), 100, 312, 1, 100),
    ((PREFIX, *GPT2), 100, 312, 100, 1),
    ((PREFIX, *LLAMA), 100, 312, 100, 90),
    ((PREFIX, *BART), 100, 412, 412, 412),
    ((PT, *BART, WORDS), 100, 412, 512, 1),
    ((FT, *BART), None, 512, 1, 512),
]


@pytest.mark.parametrize(("trial", "prompt", "source", "target", "new"), FULL)
def test_prompt_input_and_target_fit_into_the_position_table(trial, prompt, source, target, new, bases, altered):
    target = max(target, 2)
    lengths = LENGTHS.format(source, target, new).split()
    full = altered(*trial, *lengths, *([] if prompt is None else [f"method.length={prompt}"]))
    validate(full)
    model = full["model"]["name"]

    said = refusal(with_value(full, "task.max_input_length", source + 1))
    assert f"task.max_input_length={source + 1}" in said and f"makes 513 positions: {model} has 512. " in said
    assert f"Lower task.max_input_length to {source} or less" in said
    if prompt is not None:
        said = refusal(with_value(full, "method.length", prompt + 1))
        assert said.startswith(f"method.length={prompt + 1} + task.max_input_length={source}")
        assert "makes 513 positions" in said and f"to {source - 1} or less, or shorten the prompt." in said
    if full["model"]["kind"] != "encoder":
        for key in ("task.max_target_length", "task.decoding.max_new_tokens"):
            said = refusal(with_value(full, key, max(target, new) + 1))
            assert f"{key}={max(target, new) + 1} makes 513 positions" in said


@pytest.mark.parametrize(
    ("trial", "change", "said"),
    [
        ((P2, *BERT), "task.max_evaluation_input_length=0", "is an encoder"),
        ((FT, *GPT2), "task.max_evaluation_input_length=0", "may have to be cut"),
        ((FT, *GPT2), "task.max_evaluation_input_length=600", "positions"),
        ((FT, *GPT2), "task.decoding.length_rule=longest_target", "targets of their own length"),
        ((FT, *T5), "task.decoding.length_counts=all", "no part|not part"),
        ((FT, *T5, "task.decoding.beams=4"), "task.decoding.search=t5x", "one beam"),
    ],
)
def test_decoding_of_the_official_codes_is_refused_where_it_has_no_meaning(trial, change, said, altered):
    validate(altered(*trial))
    found = refusal(altered(*trial, change))
    assert change.split("=")[0] in found and re.search(said, found)


def test_a_prefix_that_shifts_nothing_takes_no_positions(altered):
    lengths = ("task.max_input_length=512", "method.length=400")
    validate(altered(P2, *BERT, *lengths, "method.shift_positions=false"))
    refusal(altered(P2, *BERT, *lengths))


def test_a_prefix_shifts_the_positions_of_its_own_sites_only(altered):
    lengths = ("task.max_input_length=512", "method.length=100", "task.max_target_length=412")
    validate(altered(PREFIX, *BART, *lengths, "method.sites=[decoder]"))
    assert "task.max_input_length=512" in refusal(altered(PREFIX, *BART, *lengths, "method.sites=[encoder]"))
    said = refusal(altered(PREFIX, *BART, *lengths, "method.sites=[decoder]", "method.length=101"))
    assert said.startswith("method.length=101 + task.max_target_length=412 makes 513 positions")


def test_relative_positions_have_no_limit(altered):
    validate(altered(PT, *T5, "method.length=3000", *LENGTHS.format(5000, 4000, 4000).split()))


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5"])
def test_evaluation_comes_every_epoch_or_so_many_steps(value, bases):
    said = refusal(with_value(bases["deep"], "trainer.evaluate_every", value))
    assert said.startswith(f"trainer.evaluate_every={value}: must be `epoch` or a number of steps. ")
    assert "Set trainer.evaluate_every=epoch." in said
    validate(with_value(bases["deep"], "trainer.evaluate_every", "7"))


def test_checked_key_is_the_run_key_of_a_valid_config_only(composed):
    good = trial_config(composed(P2, *BERT))
    assert checked_key(good) == run_key(good)
    with pytest.raises(ConfigError, match=r"^method\.length=0: "):
        checked_key(trial_config(composed(P2, *BERT, "method.length=0")))


def test_exit_code_2_by_python_m(python, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    done = python("-m", "repro", "run", P2, *BERT, "method.length=0", cwd=folder)
    assert (done.code, done.out) == (2, "") and not any(folder.iterdir())
    assert done.err == "repro: method.length=0: must be at least 1. Set method.length=1 or more.\n"


def test_a_bad_trial_of_a_sweep_is_said_once_each_and_makes_no_folder(cli, tmp_path):
    done = cli("run", "--multirun", P2, *BERT, "method.length=0,-1")
    assert done.code == 2
    assert [line.partition(": ")[2].partition(":")[0] for line in done.err.splitlines()] == [
        "method.length=0",
        "method.length=-1",
    ]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["multirun.yaml"]  # Hydra's own note of the sweep
