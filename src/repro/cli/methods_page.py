"""The page of methods: what `conf/method` says of each, and where the validator lets it run. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import cache

from repro.config.compose import compose, config_file, options, trial_config
from repro.config.rules import validate
from repro.config.schema import TrialConfig
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

_COMMON = {field.name for field in fields(MethodConfig)}
"""Settings of every method, which are no switches."""

KINDS = (
    (
        "encoder",
        "tiny-bert",
        (("pair", "rte"), ("choice", "copa"), ("tagging", "conll04"), ("span", "squad"), ("cloze", "rte")),
    ),
    ("decoder-only", "tiny-gpt2", (("text", "e2e"),)),
    ("encoder-decoder", "tiny-t5", (("text", "rte"),)),
)
"""Kind of model, a small one of it, and the formats that it can be asked for with a task that has them."""

_HEAD = """\
# Methods

<!-- Written by `repro methods --write docs/methods.md` from conf/method; a test compares. Do not edit. -->

Each method is one value of the config group `method`: `repro run method=NAME ...`. Deviations are copied into every
record. A method that makes no sense on a kind of model is refused, with the reason, before anything is loaded.
`repro params OVERRIDES` counts the parameters of one config; `--budget N` chooses the size with which a method stores
nearest to N numbers, so that a baseline is matched to a prompt.

Letters of the counts, which are one trial's, without the linear head of an encoder:

{letters}

Letters of what is tuned inside the backbone or beside its matrices, which is trained and stored as well:

{tuned}"""


def page() -> str:
    """The whole page as Markdown."""
    listed = ("\n".join(f"- `{letter}` {text}" for letter, text in rows.items()) for rows in (LETTERS, TUNED_LETTERS))
    letters, tuned = listed
    parts = [_HEAD.format(letters=letters, tuned=tuned), _overview(), *(section(name) for name in options("method"))]
    return "\n\n".join(parts) + "\n"


@cache
def settings(name: str) -> MethodConfig:
    """The settings of a file of conf/method."""
    import yaml

    values = yaml.safe_load(config_file("method", name).read_text(encoding="utf-8"))
    return method(values["name"]).settings(
        {key: value for key, value in values.items() if key not in ("defaults", "name")}
    )


def _overview() -> str:
    lines = ["| method | source | " + " | ".join(kind for kind, _, _ in KINDS) + " |", "| --- " * 5 + "|"]
    for name in options("method"):
        cells = [_where(name, model, formats) for _, model, formats in KINDS]
        lines.append(f"| [{name}](#{name}) | {settings(name).paper_section} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def refusal(name: str, model: str, task: str, format: str) -> str | None:
    """Why a method cannot run on a model in a format, as the validator says it; None where it can."""
    trial = replace(_trial(model, task), method=fitting(settings(name), format))
    if not trial.method.capabilities.trains:
        trial = replace(trial, trainer=replace(trial.trainer, epochs=None, steps=0))
    try:
        validate(trial)
    except ConfigError as error:
        return str(error)
    return None


@cache
def _trial(model: str, task: str) -> TrialConfig:
    """A trial on a small model; its method is replaced."""
    return trial_config(compose([f"model={model}", f"task={task}", "task.max_input_length=48"]))


def fitting(config: MethodConfig, format: str) -> MethodConfig:
    """Settings that fit a task without class labels, a small table of positions, and a format."""
    wanted = {"length": 3, "initialisation": "sampled_vocabulary", "head": "linear", "placement": "before"}
    if format == "cloze":
        wanted["head"] = "verbaliser"
        del wanted["placement"]
    values = asdict(config)
    return method(config.name).settings(values | {key: value for key, value in wanted.items() if key in values})


def _where(name: str, model: str, formats: Sequence[tuple[str, str]]) -> str:
    return ", ".join(format for format, task in formats if refusal(name, model, task, format) is None) or "no"


def section(name: str) -> str:
    """What the page says of one method."""
    config = settings(name)
    trained = f"`{config.trained_formula}`" if config.trained_formula else "the same"
    counts = f"Stored: `{config.stored_formula}`. Trained: {trained}."
    counts += f" Tuned: `{config.tuned_formula}`." if config.tuned_formula else ""
    switches = ", ".join(f"`{key}={_shown(v)}`" for key, v in asdict(config).items() if key not in _COMMON)
    parts = [f"## {name}", f"`{config.equation}`" if config.equation else "", counts]
    parts += [f"Switches: {switches}." if switches else ""]
    parts += [f"Deviation: {text}." for text in config.deviations]
    for kind, model, formats in KINDS:
        reasons = [refusal(name, model, task, format) for format, task in formats]
        if all(reasons):
            parts.append(f"Not on {kind} models: {reasons[0]}")
    return "\n\n".join(part for part in parts if part)


def _shown(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
