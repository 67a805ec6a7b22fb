"""Every file of conf/ composes, validates, and says in its first line which command runs it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from repro.config.run_key import run_key
from repro.errors import ConfigError
from tests.nested import format_of, resolved, validate

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
TINY = {"encoder": "tiny-bert", "decoder": "tiny-gpt2", "encoder_decoder": "tiny-t5"}
"""A model of random weights for each kind."""
FITTING = {
    "encoder": ("method=p_tuning_v2", "task=rte"),
    "decoder": ("method=prefix_tuning", "task=e2e"),
    "encoder_decoder": ("method=prompt_tuning", "task=rte"),
}
"""A method and a task for each kind of model."""
SHORT = ("task.max_input_length=64", "task.max_target_length=16")
WORDS = "method.initialisation=sampled_vocabulary"


def files(group: str) -> list[str]:
    """Names of the files of a group, as they stand on a command line."""
    folder = CONF / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def each(*groups: str) -> Any:
    """Parametrise over the files of groups, as (group, name); a group without files gives (group, None)."""
    found = [(group, name) for group in groups for name in files(group) or [None]]
    return pytest.mark.parametrize(("group", "name"), found, ids=[f"{group}-{name}" for group, name in found])


@cache
def raw(group: str, name: str) -> Any:
    return OmegaConf.load(CONF / group / f"{name}.yaml")


def kind_of(model: str) -> str:
    return str(raw("model", model).kind)


def checked(config: Any) -> dict[str, Any]:
    """The resolved config, which must be valid."""
    plain = config if isinstance(config, dict) else resolved(config)
    validate(plain)
    assert re.fullmatch("[0-9a-f]{16}", run_key(plain))
    return plain


# First lines ---------------------------------------------------------------------------------------------------------

_WORD = r"[+~]*[\w./@-]+=[^\s`;]*[^\s`;,.)]"
_COMMAND = re.compile(rf"(?:repro run((?: +(?:-m|--multirun|{_WORD}))+)|\bmake ([a-z][\w-]*))")


def command_of(text: str) -> tuple[list[str], str | None]:
    """Overrides of the `repro run` in a file's first line of comment, or the target of its `make`.

    The `# @package` line belongs to Hydra and does not count.
    """
    lines = [line for line in text.splitlines() if not line.startswith("# @package")]
    assert lines and lines[0].startswith("# "), "the first line must be a comment"
    found = _COMMAND.search(lines[0])
    assert found, f"the first line names no command `repro run ...` or `make ...`: {lines[0]}"
    return (found.group(1) or "").split(), found.group(2)


ALL = [path.relative_to(CONF).with_suffix("").as_posix() for path in sorted(CONF.rglob("*.yaml"))]
OTHERS = [file for file in ALL if not file.startswith("recipe/")]
"""Recipes are composed in test_recipes.py."""


@pytest.fixture(scope="module")
def commanded(composed: Callable[..., Any]) -> Callable[[str], tuple[dict[str, Any], dict[str, Any]] | None]:
    """commanded(file) -> Hydra's choices and the valid config of the `repro run` in a file's first line.

    None where the line names a `make`.
    """

    @cache
    def make(file: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        overrides, target = command_of((CONF / f"{file}.yaml").read_text(encoding="utf-8"))
        if target is not None:
            return None
        sweep = [word for word in overrides if word not in ("-m", "--multirun")]
        first = next(expanded(sweep)) if len(sweep) < len(overrides) else sweep
        config = composed(*first, hydra=True)
        return dict(config.hydra.runtime.choices), checked(config)

    return make


def has_target(file: str) -> None:
    """The Makefile has the target that a file's first line names."""
    target = command_of((CONF / f"{file}.yaml").read_text(encoding="utf-8"))[1]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the Makefile has no target {target}"


@pytest.mark.parametrize("file", OTHERS)
def test_the_first_line_says_which_command_runs_the_file(file, commanded):
    found = commanded(file)
    if found is None:
        has_target(file)
        return
    choices, _ = found
    group, _, name = file.partition("/")
    if group == "hydra":  # Hydra's own groups are two levels deep
        kind, _, value = name.partition("/")
        assert choices[f"{group}/{kind}"] == value, "the command runs another file"
    elif name:
        assert choices[group] == name, "the command runs another file"


# Groups --------------------------------------------------------------------------------------------------------------


def test_the_files_are_found():
    assert len(files("model")) >= 39 and {"tiny-t5", "minilm", "gpt2-medium"} <= set(files("model"))
    assert set(files("method")) >= {"fine_tuning", "p_tuning_v2", "prefix_tuning", "prompt_tuning"}
    assert set(files("task")) >= {"boolq", "cb", "conll04", "copa", "e2e", "rte", "wic", "wnut17"}


@each("model")
def test_every_model_fits_a_method_and_a_task(group, name, composed, commanded):
    found = commanded(f"model/{name}")
    plain = found[1] if found else checked(composed(f"model={name}", *FITTING[kind_of(name)]))
    model = plain["model"]
    assert model["name"] == name
    assert model["heads"] % (model["kv_heads"] or model["heads"]) == 0
    assert (model["decoder_layers"] is not None) == (model["kind"] == "encoder_decoder")
    assert model["source"] == "random" or model["licence"], "a pretrained model has a licence"
    assert model["source"] != "hub" or model["revision"], "a hub model has a revision"


@each("task")
def test_every_task_fits_every_kind_that_has_its_form(group, name, altered):
    formats = raw("task", name).formats
    kinds = [kind for kind in TINY if (kind == "encoder") == any(format != "text_to_text" for format in formats)]
    kinds += [kind for kind in TINY if kind not in kinds and "text_to_text" in formats and kind != "encoder"]
    assert kinds
    method = ("method=fine_tuning", "method.head=verbaliser") if formats == ["cloze"] else ("method=fine_tuning",)
    for kind in kinds:
        plain = checked(altered(*method, f"model={TINY[kind]}", f"task={name}", *SHORT))
        assert plain["task"]["name"] == name
        assert format_of(plain) in plain["task"]["formats"]
        assert (format_of(plain) == "text_to_text") == (kind != "encoder")


ONLY_ON = {
    "embedding_only": ("decoder",),
    "infix_tuning": ("decoder",),
    "p_tuning": ("encoder",),
    "prompt_design": ("decoder", "encoder_decoder"),
    "bitfit": ("encoder", "decoder"),
}
"""Kinds of model on which a method's file works as it stands; all three where nothing is said."""


@each("method")
def test_every_method_fits_every_kind_of_model_or_says_why_not(group, name, altered):
    for kind, model in TINY.items():
        task = "cb" if kind == "encoder" else "rte"
        steps = ("trainer.epochs=null", "trainer.steps=0") if name == "prompt_design" else ()
        if kind not in ONLY_ON.get(name, tuple(TINY)):
            with pytest.raises(ConfigError):
                checked(altered(f"method={name}", f"model={model}", f"task={task}", *steps))
            continue
        plain = checked(altered(f"method={name}", f"model={model}", f"task={task}", *steps))
        assert plain["method"]["name"] == name
        assert plain["method"]["paper_section"]


@each("trainer", "tracker", "paths", "ablation")
def test_every_other_file_composes(group, name, composed):
    if name is None:
        return
    config = composed(f"{group}={name}", hydra=True)
    assert config.hydra.runtime.choices[group] == name
    checked(config)


# Experiments ---------------------------------------------------------------------------------------------------------


def expanded(overrides: Sequence[str]) -> Iterator[list[str]]:
    """The trials of a sweep, as Hydra's basic sweeper makes them; a key given twice has its last value."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    choices: dict[str, list[str]] = {}
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element()
        if override.is_sweep_override():
            # Hydra escapes colons for its own parser; the plain value is what a trial sees.
            values = [value.replace("\\:", ":") for value in override.sweep_string_iterator()]
            choices[key] = [f"{key}={value}" for value in values]
        else:
            choices[key] = [f"{key}={override.get_value_element_as_str()}"]
    for combination in itertools.product(*choices.values()):
        yield list(combination)


def sweep_of(base: Sequence[str], composed: Callable[..., Any]) -> list[str]:
    """The overrides of `repro run -m <base>`: what the files' own sweep has, then the command line's, as Hydra does."""
    single = next(expanded(base))
    config = composed(*single, hydra=True)
    parameters = OmegaConf.to_container(OmegaConf.select(config, "hydra.sweeper.params") or OmegaConf.create({}))
    assert isinstance(parameters, dict)
    return [*(f"{key}={value}" for key, value in parameters.items()), *base]


def is_group(override: str) -> bool:
    return (CONF / override.partition("=")[0]).is_dir()


@each("experiment", "ablation")
def test_every_trial_of_every_sweep_composes_and_validates(group, name, composed):
    if name is None:
        return
    if group == "experiment" and "grids" in str(raw(group, name).hydra.sweeper):
        return  # a union of grids: tests/sweeps/test_coverage.py composes and validates all of its trials
    base = [f"experiment={name}"]
    if group == "ablation":  # its command says of which method, model and task
        words, _ = command_of((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
        base = [word for word in words if word not in ("-m", "--multirun")]
        assert f"ablation={name}" in base
    sweep = sweep_of(base, composed)
    assert group == "experiment" or len(sweep) > len(base), "an ablation varies something"
    keys, trials = set(), 0
    cached: dict[tuple[str, ...], Any] = {}
    for trial in expanded(sweep):
        groups = tuple(word for word in trial if is_group(word))
        if groups not in cached:  # values are set on a composed config as Hydra does: after everything else
            cached[groups] = composed(*groups)
        config = cached[groups]  # every trial of a sweep sets the same keys
        for word in trial:
            if word not in groups:
                key, _, value = word.partition("=")
                OmegaConf.update(config, key, OmegaConf.create(f"x: {value}").x)
        plain = checked(config)
        assert group == "ablation" or plain["experiment_name"] == name
        keys.add(run_key(plain))
        trials += 1
    assert trials == len(keys), "two trials of the sweep are the same"
