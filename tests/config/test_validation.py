"""What cannot work is refused before data or model are read, in one sentence: key, value, what is allowed, the fix."""

from __future__ import annotations

import copy
import json
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


@pytest.fixture
def plain(altered: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    return altered


@pytest.fixture(scope="module")
def bases(composed: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Configs that are valid, to be changed by `with_value`."""
    return {
        "prompt": resolved(composed(PT, *BERT)),
        "prefix": resolved(composed(PREFIX, *BART)),
        "deep": resolved(composed(P2, *BERT)),
    }


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


def test_the_bases_are_valid(bases):
    for plain in bases.values():
        validate(plain)


@pytest.mark.parametrize("key", CHOICES)
def test_a_name_outside_the_list_is_refused_and_each_in_it_is_known(key, bases):
    base = bases["prompt"]
    said = refusal(with_value(base, key, "nonsense"))
    assert said.startswith(f"{key}=nonsense: must be one of {', '.join(CHOICES[key])}. ")
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


def test_lowest_numbers_of_the_fields_that_prompt_tuning_lacks(bases):
    said = refusal(with_value(bases["prefix"], "method.hidden", 0))
    assert said.startswith("method.hidden=0: must be at least 1")
    assert refusal(with_value(bases["deep"], "method.init_std", -0.1)).startswith("method.init_std=-0.1: must be at l")
    steps = with_value(bases["deep"], "trainer.epochs", None)
    assert refusal(with_value(steps, "trainer.steps", -1)).startswith("trainer.steps=-1: must be at least 0")
    validate(with_value(steps, "trainer.steps", 0))  # the starting values are scored
    said = refusal(with_value(bases["deep"], "trainer.optimiser.weight_decay", -1.0))
    assert said.startswith("trainer.optimiser.weight_decay=-1.0: must be at least 0")


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


@pytest.mark.parametrize("method", [PT, PREFIX, P2])
@pytest.mark.parametrize("length", [0, -3])
def test_a_prompt_has_at_least_one_position(method, length, plain):
    validate(plain(method, *T5, WORDS, "method.length=1") if method == PT else plain(method, *T5, "method.length=1"))
    assert refusal(plain(method, *T5, f"method.length={length}")).startswith(f"method.length={length}: must be at lea")


@pytest.mark.parametrize(
    ("method", "value", "known"), [(PREFIX, "embedding", "none, mlp, deep"), (P2, "none", "embedding, mlp")]
)
def test_each_method_has_its_own_reparameterisations(method, value, known, plain):
    said = refusal(plain(method, *T5, f"method.reparameterisation={value}"))
    assert said.startswith(f"method.reparameterisation={value}: must be one of {known}. ")


@pytest.mark.parametrize(
    ("trial", "bad", "sites"),
    [(BERT, "decoder", "encoder"), (GPT2, "cross", "decoder"), (BART, "middle", "encoder, decoder, cross")],
)
def test_a_site_that_the_model_lacks(trial, bad, sites, plain):
    good = sites.split(", ")[0]
    said = refusal(plain(PREFIX, *trial, f"method.sites=[{good},{bad}]"))
    model = trial[0].partition("=")[2]
    assert said.startswith("method.sites=[") and f"'{bad}'" in said and f"{model} has {sites}. " in said
    assert f"Set method.sites=[{good}] or [] for all." in said
    validate(plain(PREFIX, *trial, f"method.sites=[{sites}]"))


def test_class_labels_need_labels_or_words(plain):
    said = refusal(plain(PT, *GPT2, "method.initialisation=class_label"))
    assert said.startswith("method.initialisation=class_label: the task e2e has no class labels. ")
    assert "method.initialisation=sampled_vocabulary" in said and "method.init_words=[some,words]" in said
    validate(plain(PT, *GPT2, WORDS))
    validate(plain(PT, *GPT2, "method.init_words=[pub,inn]"))
    validate(plain(PT, *GPT2, "task.init_words=[pub,inn]"))
    validate(plain(PT, *T5))


def test_a_tagging_task_needs_an_encoder(plain):
    for model, kind in (("tiny-t5", "encoder_decoder"), ("tiny-llama", "decoder")):
        said = refusal(plain(PREFIX, f"model={model}", "task=conll04"))
        assert said.startswith(f"task=conll04 with model={model}: ") and f"({kind})" in said
        assert "output for every token" in said and "model=bert-large-cased" in said and "task=rte" in said


def test_generation_needs_a_model_that_generates(plain):
    said = refusal(plain(P2, "model=tiny-bert", "task=e2e"))
    assert said.startswith("task=e2e with model=tiny-bert: ") and "encoder-only, it cannot generate" in said
    assert "model=gpt2-medium" in said and "task=rte" in said


@pytest.mark.parametrize(
    ("trial", "form", "takes"),
    [(BERT, "text_to_text", "tiny-bert (encoder) takes pair"), (T5, "pair", "tiny-t5 (encoder_decoder) takes text_")],
)
def test_a_form_that_the_task_has_and_the_model_has_not(trial, form, takes, plain):
    said = refusal(plain(P2, *trial, f"task.format={form}"))
    assert said.startswith(f"task.format={form}: {takes}") and "Set task.format=auto" in said


def test_a_form_that_the_task_has_not(plain):
    said = refusal(plain(P2, *BERT, "task.format=tagging"))
    assert said == "task.format=tagging: rte can be rendered as text_to_text, pair. Set task.format=auto."


@pytest.mark.parametrize(
    ("trial", "form"),
    [
        (BERT, "pair"),
        (("model=tiny-roberta", "task=copa"), "choice"),
        (ROBERTA_TAGGING, "tagging"),
        (T5, "text_to_text"),
        (("model=tiny-gpt2", "task=copa"), "text_to_text"),
        ((*BERT, "task.format=pair"), "pair"),
    ],
)
def test_the_form_follows_from_model_and_task(trial, form, plain):
    assert format_of(plain(P2, *trial)) == form


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
def test_prompt_input_and_target_fit_into_the_position_table(trial, prompt, source, target, new, bases, plain):
    target = max(target, 2)
    lengths = LENGTHS.format(source, target, new).split()
    full = plain(*trial, *lengths, *([] if prompt is None else [f"method.length={prompt}"]))
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


def test_a_prefix_that_shifts_nothing_takes_no_positions(plain):
    lengths = ("task.max_input_length=512", "method.length=400")
    validate(plain(P2, *BERT, *lengths, "method.shift_positions=false"))
    refusal(plain(P2, *BERT, *lengths))


def test_a_prefix_shifts_the_positions_of_its_own_sites_only(plain):
    lengths = ("task.max_input_length=512", "method.length=100", "task.max_target_length=412")
    validate(plain(PREFIX, *BART, *lengths, "method.sites=[decoder]"))
    assert "task.max_input_length=512" in refusal(plain(PREFIX, *BART, *lengths, "method.sites=[encoder]"))
    said = refusal(plain(PREFIX, *BART, *lengths, "method.sites=[decoder]", "method.length=101"))
    assert said.startswith("method.length=101 + task.max_target_length=412 makes 513 positions")


def test_no_room_at_all_asks_for_shortening_everything(plain):
    assert "Shorten each of them, or shorten the prompt." in refusal(plain(P2, *BERT, "method.length=512"))


def test_relative_positions_have_no_limit(plain):
    validate(plain(PT, *T5, "method.length=3000", *LENGTHS.format(5000, 4000, 4000).split()))


def test_exactly_one_of_epochs_and_steps(plain):
    both = refusal(plain(P2, *BERT, "trainer.epochs=3", "trainer.steps=5"))
    assert both == "trainer.epochs=3 and trainer.steps=5: exactly one must be set. Set the other to null."
    neither = refusal(plain(P2, *BERT, "trainer.epochs=null"))
    assert neither.startswith("trainer.epochs=None and trainer.steps=None: exactly one must be set.")
    validate(plain(P2, *BERT, "trainer.epochs=null", "trainer.steps=5"))


@pytest.mark.parametrize("value", ["0", "-1", "x", "1.5"])
def test_evaluation_comes_every_epoch_or_so_many_steps(value, bases):
    said = refusal(with_value(bases["deep"], "trainer.evaluate_every", value))
    assert said.startswith(f"trainer.evaluate_every={value}: must be `epoch` or a number of steps. ")
    assert "Set trainer.evaluate_every=epoch." in said
    validate(with_value(bases["deep"], "trainer.evaluate_every", "7"))


def test_fine_tuning_in_bfloat16_is_refused(plain):
    said = refusal(plain(FT, *BERT, "trainer.dtype=bfloat16"))
    assert said.startswith("trainer.dtype=bfloat16 with method=fine_tuning: ")
    assert "allowed is float32" in said and said.endswith("Set trainer.dtype=float32.")
    validate(plain(P2, *BERT, "trainer.dtype=bfloat16"))


def test_a_z_loss_needs_a_vocabulary(plain):
    said = refusal(plain(PT, *BERT, "trainer.z_loss=1e-4"))
    assert said.startswith("trainer.z_loss=0.0001: ") and "is an encoder" in said
    validate(plain(PREFIX, *BART, "trainer.z_loss=1e-4"))


def test_the_hub_needs_an_id(plain):
    said = refusal(plain(P2, *BERT, "task.source=hub", "task.hub_id=null"))
    assert said.startswith("task.source=hub: rte has no hub id. ") and "task.source=local" in said


def test_checked_key_is_the_run_key_of_a_valid_config_only(composed):
    good = trial_config(composed(P2, *BERT))
    assert checked_key(good) == run_key(good)
    with pytest.raises(ConfigError, match=r"^method\.length=0: "):
        checked_key(trial_config(composed(P2, *BERT, "method.length=0")))


BAD = [
    [P2, *BERT, "method.length=0"],
    [P2, "model=tiny-gpt2", "task=conll04"],
    [P2, "model=tiny-bert", "task=e2e"],
    [P2, *BERT, "method.length=500"],
    [P2, *BERT, "trainer.steps=3"],
    [PT, *GPT2],
    [PREFIX, *GPT2, "method.sites=[encoder]"],
    [FT, *BERT, "trainer.dtype=bfloat16"],
    [P2, *BERT, "trainer.dtype=float16"],
    ["--multirun", P2, *BERT, "method.length=0,-1"],
]


def test_bad_configs_cost_no_torch_leave_nothing_and_print_one_sentence(python, tmp_path):
    code = (
        "import json, sys\n"
        "from repro.cli.main import main\n"
        "codes = [main(['run', *arguments]) for arguments in json.load(sys.stdin)]\n"
        "heavy = sorted({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules))\n"
        "print(json.dumps([codes, heavy]))\n"
    )
    folder = tmp_path / "here"
    folder.mkdir()
    single = [arguments for arguments in BAD if arguments[0] != "--multirun"]
    done = python("-c", code, cwd=folder, text=json.dumps(single))
    assert done.code == 0, done.err
    codes, heavy = json.loads(done.out.splitlines()[-1])
    assert codes == [2] * len(single)
    assert heavy == []
    assert not any(folder.iterdir())
    lines = done.err.splitlines()
    assert len(lines) == len(single) and all(line.startswith("repro: ") for line in lines)
    for arguments, line in zip(single, lines, strict=True):
        assert (
            arguments[-1].partition("=")[2].strip("[]") in line or "trainer.steps" in line or "no class labels" in line
        )
    assert "Traceback" not in done.err + done.out


def test_exit_code_2_by_python_m(python, tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    done = python("-m", "repro", "run", *BAD[0], cwd=folder)
    assert (done.code, done.out) == (2, "") and not any(folder.iterdir())
    assert done.err == "repro: method.length=0: must be at least 1. Set method.length=1 or more.\n"


def test_a_bad_trial_of_a_sweep_is_said_once_each_and_makes_no_folder(cli, tmp_path):
    done = cli("run", *BAD[-1])
    assert done.code == 2
    assert [line.partition(": ")[2].partition(":")[0] for line in done.err.splitlines()] == [
        "method.length=0",
        "method.length=-1",
    ]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["multirun.yaml"]  # Hydra's own note of the sweep
