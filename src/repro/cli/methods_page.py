"""The page of methods: what `conf/method` says of each, and where the validator lets it run. Imports no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from repro.config.compose import compose, conf_dir, options, resolved
from repro.config.rules import validate
from repro.errors import ConfigError
from repro.methods.registry import method
from repro.methods.schema import MethodConfig

LETTERS = {
    "P": "prompt length",
    "D": "model width",
    "S": "sum over the sites of a model of its layers: L for one stack, encoder + 2 x decoder layers for three sites",
    "H": "key/value heads",
    "Dh": "size of a head",
    "B": "blocks of all stacks (encoder and decoder)",
    "E": "columns of the embedding behind the MLP (`method.embedding_width`), D by default",
    "k": "hidden width of the MLP (`method.hidden`)",
    "R": "bottleneck of an adapter (`method.bottleneck`)",
    "sites": "number of attention sites",
}
"""Letters of the parameter formulas."""

TUNED_LETTERS = {
    "W": "all numbers of the backbone",
    "T": "numbers of one block (of the decoder, where there is one)",
    "F": "numbers of the norm behind the last block (0 where the family has none)",
    "b": "numbers of its bias terms",
    "M": "sum of inputs + outputs over the matrices that LoRA changes (`method.targets`, or peft's for the family)",
    "V": "sum over the modules that IA3 scales: their outputs, or the inputs of a feed-forward layer",
    "rank, blocks": "the switches of these names",
}
"""Letters of what is tuned in the backbone."""

_OWN = {field.name for field in dataclasses.fields(MethodConfig)}
"""Fields that every method has: they are columns of the page, or no switches."""

PLACES = (
    (
        "encoder",
        "tiny-bert",
        (("pair", "rte"), ("choice", "copa"), ("tagging", "conll04"), ("span", "squad"), ("cloze", "rte")),
    ),
    ("decoder-only", "tiny-gpt2", (("text", "e2e"),)),
    ("encoder-decoder", "tiny-t5", (("text", "rte"),)),
)
"""Kind of model, a small one of it, and the formats that it can be asked for with a task that has them."""


def page() -> str:
    """The whole page as Markdown."""
    parts = [_HEAD, _letters(), _overview()]
    parts += [_section(name) for name in options("method")]
    return "\n\n".join(parts) + "\n"


_HEAD = """\
# Methods

<!-- Written by `repro methods --write docs/methods.md` from conf/method; a test compares. Do not edit. -->

Each method is one value of the config group `method`: `repro run method=NAME ...`. Deviations are copied into every
record made with the method. A method that makes no sense on a kind of model is refused before anything is loaded, with
the reason."""


def _letters() -> str:
    lines, tuned = (
        "\n".join(f"- `{letter}` {meaning}" for letter, meaning in letters.items())
        for letters in (LETTERS, TUNED_LETTERS)
    )
    head = "Letters of the parameter counts, which are one trial's, without the linear head of an encoder"
    then = (
        "and of what a method tunes in the backbone, or puts beside its matrices, which is trained and stored as well"
    )
    budget = (
        "`repro params OVERRIDES` counts one config, and with `--budget N` chooses the length, rank, bottleneck or\n"
        "blocks with which a method stores nearest to N numbers: so a baseline is matched to a prompt."
    )
    return f"{head}:\n\n{lines}\n\n{then}:\n\n{tuned}\n\n{budget}"


@cache
def _method(name: str) -> dict[str, Any]:
    """The method's part of a config composed with a model that every method fits or not: nothing is validated."""
    from omegaconf import OmegaConf

    raw = compose([f"method={name}", "model=tiny-gpt2", "task=e2e"]).method
    plain = OmegaConf.to_container(raw, resolve=True)
    assert isinstance(plain, dict)
    return plain  # type: ignore[return-value]


def _overview() -> str:
    lines = ["| method | source | " + " | ".join(kind for kind, _, _ in PLACES) + " |", "| --- " * 5 + "|"]
    for name in options("method"):
        cells = [_where(name, model, formats) for _, model, formats in PLACES]
        lines.append(f"| [{name}](#{name}) | {_method(name)['paper_section']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def refusal(name: str, model: str, task: str, format: str) -> str | None:
    """Why a method cannot run on a model in a format, as the validator says it; None where it can."""
    method = _method(name) | _fitting(name, format)
    plain = {**_trial(model, task), "method": method}
    if name == "prompt_design":
        plain["trainer"] = plain["trainer"] | {"epochs": None, "steps": 0}
    try:
        validate(plain)
    except ConfigError as error:
        return str(error)
    return None


@cache
def _trial(model: str, task: str) -> dict[str, Any]:
    """A whole trial on a small model; its method is replaced."""
    return resolved(compose([f"model={model}", f"task={task}", "task.max_input_length=48"]))


def _fitting(name: str, format: str) -> dict[str, Any]:
    """Values that make a method fit a task without class labels, a small table of positions, or a format."""
    fields = {field.name for field in dataclasses.fields(method(name).schema)}
    found: dict[str, Any] = {"length": 3, "initialisation": "sampled_vocabulary", "head": "linear"}
    if format == "cloze":
        found["head"] = "verbaliser"
    elif name == "p_tuning":
        found["placement"] = "before"
    return {key: value for key, value in found.items() if key in fields or key == "placement"}


def _where(name: str, model: str, formats: Sequence[tuple[str, str]]) -> str:
    good = [format for format, task in formats if refusal(name, model, task, format) is None]
    return ", ".join(good) or "no"


def _section(name: str) -> str:
    method = _method(name)
    lines = [f"## {name}", "", f"Source: {method['paper_section']}.", ""]
    if method["equation"]:
        lines += [f"`{method['equation']}`", ""]
    lines += [_counts(method), ""]
    switches = {key: value for key, value in method.items() if key not in _OWN}
    if switches:
        lines += ["| switch | default |", "| --- | --- |"]
        lines += [f"| `method.{key}` | `{_shown(value)}` |" for key, value in switches.items()] + [""]
    lines += [f"Deviation: {text}." for text in method["deviations"]]
    for kind, model, formats in PLACES:
        refused = {format: refusal(name, model, task, format) for format, task in formats}
        if all(refused.values()):
            reason = next(iter(refused.values()))
            lines += ["", f"Not on {kind} models: {reason}"]
    return "\n".join(lines).rstrip()


def _counts(method: Mapping[str, Any]) -> str:
    stored, trained = method["stored_formula"], method["trained_formula"]
    text = f"Stored: `{stored}`."
    text += f" Trained: `{trained}`." if trained else " Trained: the same."
    return text + (f" Tuned: `{method['tuned_formula']}`." if method["tuned_formula"] else "")


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def default_path() -> Path:
    """`docs/methods.md` of the checkout."""
    return conf_dir().parent / "docs" / "methods.md"
