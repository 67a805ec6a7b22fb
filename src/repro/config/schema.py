"""The typed schema of one trial, and the run key: a hash of what determines its result.

Hydra composes `conf/` into a `TrialConfig`; a misspelt key or a value of the wrong type is refused by this schema.
Combinations that cannot work are refused by `repro.config.rules`, before any data or model is read. Nothing here
imports torch or transformers.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf

from repro.config.task_schema import DecodingConfig as DecodingConfig
from repro.config.task_schema import LowData as LowData
from repro.config.task_schema import SplitLimits as SplitLimits
from repro.errors import ConfigError

KEY_VERSION = 1
"""Part of every run key: raise it when the meaning of a config changes, lest old records be taken for new ones."""


@dataclass
class ModelConfig:
    """Frozen facts of a backbone, known without loading it; loading checks them against the weights."""

    name: str = MISSING
    paper_name: str | None = None
    """The key under which a paper reports this model (`papers/reported`), null if none of them used it."""
    family: str = MISSING
    """t5 | bart | gpt2 | llama | bert | roberta"""
    kind: str = MISSING
    """encoder | decoder | encoder_decoder"""
    source: str = MISSING
    """hub (location is a hub id) | folder | package (location is `package:path/in/it`) | random (tests: no weights)"""
    location: str = MISSING
    revision: str | None = None
    weights: str | None = None
    """Content hash of the checkpoint's tensors (`repro.models.weights`), checked on loading; null: not known."""
    layers: int = MISSING
    decoder_layers: int | None = None
    heads: int = MISSING
    kv_heads: int | None = None
    head_dim: int = MISSING
    width: int = MISSING
    feed_forward: int = MISSING
    vocabulary: int = MISSING
    max_positions: int | None = None
    """Rows of the position table that tokens can use; null for relative positions."""
    tied_head: bool = True
    parameters: int | None = None
    """Number of frozen parameters, counted on meta tensors (heads of ours excluded)."""
    licence: str | None = None
    note: str | None = None


@dataclass
class TaskConfig:
    _target_: str = MISSING
    name: str = MISSING
    paper_name: str | None = None
    formats: list[str] = MISSING
    """The formats in which the task can be rendered: text_to_text, pair, choice, ranking, tagging, span."""
    format: str = "auto"
    """auto: the head format on an encoder, text_to_text elsewhere."""
    source: str = "local"
    """local (data_dir) | hub (hub_id) | microworld (written on this machine)"""
    data_dir: str = MISSING
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    labels: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    """Rows of the original splits: a file with other counts is refused unless check_rows is off."""
    sha256: dict[str, str] = field(default_factory=dict)
    """First digits of each original split's content hash (`repro doctor --fingerprint`): another one is a deviation."""
    check_rows: bool = True
    metrics: list[Any] = MISSING
    also_metrics: list[Any] = field(default_factory=list)
    """Metrics beside these, which are no part of the run key: they change neither training nor the other values, and a
    record made before they were asked for is the same trial (`repro metrics --score KEY` adds them to it)."""
    report_split: str = "validation"
    """The split whose score is the result (test, where its labels are public and the paper used it)."""
    max_input_length: int = 128
    max_target_length: int = 16
    limit: SplitLimits = field(default_factory=SplitLimits)
    low_data: LowData = field(default_factory=LowData)
    fraction: float | None = None
    """Share of the training examples that is used (data efficiency, Li and Liang 2021, Figure 6); null: all."""
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    options: dict[str, Any] = field(default_factory=dict)
    """The task class's own switches (a template id, say)."""
    cloze: list[str] = field(default_factory=list)
    """Pieces of the cloze format: [MASK] once, [P:n] places for prompt rows, texts over the example's fields."""
    verbaliser: dict[str, str] = field(default_factory=dict)
    """cloze: {class: its word}."""
    cloze_source: str | None = None
    """Whose template and words these are, and how ours differ: said in the record. null: they are ours."""
    sentinel: bool = False
    """T5: targets begin with <extra_id_0>, which is taken off predictions (Lester et al. Figure 3c)."""
    task_name_prefix: bool = False
    """Text to text: the task's name in front of the source, as in T5's mixtures."""
    parts: dict[str, Any] = field(default_factory=dict)
    """A mixture's tasks, each as its own file has it. Their format and limits are the mixture's."""
    init_words: list[str] = field(default_factory=list)
    """Words for class-label initialisation where the labels are free text (Lester et al., footnote 7)."""


@dataclass
class OptimiserConfig:
    name: str = "adamw"
    """adamw | adafactor"""
    learning_rate: float = MISSING
    backbone_learning_rate: float | None = None
    """Of tuned weights of the backbone, under the same schedule; null: as everything else."""
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay_rate: float = 0.8
    """Adafactor: beta2_t = 1 - (t + 1)^-decay_rate."""
    step_offset: int = 0
    """Adafactor: t starts here (official runs: 1,100,000, the step of the frozen checkpoint)."""
    clip_threshold: float = 1.0
    """Adafactor: an update's root mean square is cut to this."""
    factored: str = "auto"
    """Adafactor: auto (second moments of a matrix whose two sides are at least 128 are factored) | always | never"""
    weight_decay_form: str = "absolute"
    """Adafactor: absolute (T5X: p *= 1 - decay) | times_learning_rate (transformers)"""
    parameter_scaling: bool = False
    """Adafactor: each tensor's rate is multiplied by its root mean square, at least 1e-3."""


@dataclass
class ScheduleConfig:
    name: str = "constant"
    """constant | linear (to 0) | exponential (per epoch)"""
    warmup_steps: int = 0
    gamma: float = 0.95
    """exponential: factor per epoch."""


@dataclass
class SelectionConfig:
    """Which checkpoint is the result."""

    rule: str = "best"
    """best (first on ties) | last"""
    split: str = "validation"
    metric: str | None = None
    """null: the task's first metric; `loss` is the mean validation loss (lower is better)."""


@dataclass
class TrainerConfig:
    epochs: int | None = None
    steps: int | None = None
    """Exactly one of epochs and steps is set."""
    batch_size: int = 32
    microbatches: int = 1
    """A step's examples, sorted by length, are cut into so many passes: less padding and memory, the same gradient."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    clip_norm: float | None = 1.0
    loss_reduction: str = "token_mean"
    """token_mean (over all target tokens of the batch) | example_sum (tokens summed, mean over examples)"""
    z_loss: float = 0.0
    """c of the term c x log(Z)^2 at every target token while training, Z the sum of exp(logits) (T5X; not on heads)."""
    backbone_dropout: float | None = None
    """null: the frozen backbone is in eval mode; a number: train mode with this rate in its hidden layers."""
    attention_dropout: float | None = None
    """As above, in its attention probabilities; null follows backbone_dropout."""
    evaluate_every: str = "epoch"
    """`epoch`, or a number of steps."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    evaluation_batch_size: int = 64
    dtype: str = "float32"
    """Storage and compute of the frozen backbone: float32 | bfloat16 | float64. Prompts and optimiser stay float32."""
    device: str = "auto"
    attention: str = "sdpa"
    """sdpa | eager"""
    packing: str = "auto"
    """Sequences of a batch end to end, without padding: auto (where that is quicker) | true (wherever it can) | false.
    The same batch, loss and gradient up to rounding; dropout is drawn in another order."""
    graphs: bool = True
    """On a GPU, passes over packed batches are recorded as CUDA graphs and replayed: equal results up to rounding."""
    gradient_checkpointing: bool = False
    checkpoint_seconds: float = 300.0
    """Seconds between checkpoints for resuming; does not change the result."""
    if_running: str = "wait"
    """Another process runs the same key: wait | skip"""
    threads: int | None = None
    joint_trials: str = "auto"
    """How many trials train together where a sweep has several over one model (`hydra/launcher=joint`, `repro sweep
    --joint`, a job of Slurm): a number, or `auto` (by the tokens of a step and by memory). Changes no result."""


@dataclass
class TrackerConfig:
    name: str = "none"
    """none | wandb | tensorboard"""
    project: str = "repro"
    group: str | None = None
    """Runs to show together."""
    tags: list[str] = field(default_factory=list)
    mode: str = "offline"
    """wandb: offline | online | disabled"""


@dataclass
class PathsConfig:
    data_root: str = MISSING
    results_root: str = MISSING
    """Records (small, kept in git) are in `<results_root>/records`."""
    runs_root: str = MISSING
    """Checkpoints, predictions, prompts: large, not kept in git."""
    cache_root: str | None = None
    """Token ids of splits that were tokenised before (`training/token_cache.py`); null: nothing is cached."""
    cache_gigabytes: float = 4.0
    """Beyond this the files that were not used for longest are removed."""


@dataclass
class RecipeConfig:
    """Where the hyperparameters of this cell come from. Set by a file of conf/recipe; `name` null: our defaults."""

    name: str | None = None
    paper: str | None = None
    sources: dict[str, str] = field(default_factory=dict)
    """One line a hyperparameter: the paper's section or the official file that states it."""
    unknown: list[str] = field(default_factory=list)
    """What neither paper nor code states."""
    search: dict[str, list[Any]] = field(default_factory=dict)
    """{override: values} of the authors' search, for hyperparameters of this cell that nobody published."""
    deviations: list[str] = field(default_factory=list)


@dataclass
class TrialConfig:
    """One trial: everything that one record answers for."""

    method: Any = MISSING
    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    experiment_name: str | None = None
    seed: int = 1
    rerun: bool = False
    """Run again a trial whose record says `failed`."""


# What does not change a result: where files lie, who watches, how often we save, which name a sweep has.
_NOT_IN_KEY = (
    ("paths",),
    ("tracker",),
    ("recipe",),
    ("experiment_name",),
    ("rerun",),
    ("trainer", "checkpoint_seconds"),
    ("trainer", "if_running"),
    ("trainer", "evaluation_batch_size"),
    ("trainer", "device"),
    ("trainer", "threads"),
    ("trainer", "joint_trials"),
    ("trainer", "gang"),  # its former name, in stored records
    ("trainer", "gradient_checkpointing"),
    ("trainer", "packing"),
    ("trainer", "graphs"),
    ("task", "data_dir"),
    ("task", "decoding", "batch_size"),
    ("task", "also_metrics"),
    ("task", "sha256"),
    ("method", "paper_section"),
    ("method", "equation"),
    ("method", "stored_formula"),
    ("method", "trained_formula"),
    ("method", "tuned_formula"),
    ("method", "deviations"),
    ("method", "start_from"),
    ("method", "start_task"),
    ("model", "paper_name"),
    ("model", "licence"),
    ("model", "note"),
    ("task", "paper_name"),
    ("task", "cloze_source"),
)


# Fields that came after records had been keyed, each with the value that means "as before". While a field has that
# value it stays out of the key, so a record made before it existed keeps its key.
ADDED: dict[str, Any] = {
    "method.layers": "all",
    "method.embedded_twice": False,
    "method.pooled_at_prompt": False,
    "method.init_text": None,
    "method.init_steps": 500,
    "method.start_sha256": None,
    "method.embedding_width": None,
    "method.init_distribution": "normal",
    "method.lstm_dropout": 0.0,
    "task.check_rows": True,  # off, the files may be other ones than the task's name says
    "task.decoding.labels": "generate",
    "task.sentinel": False,
    "task.task_name_prefix": False,
    "task.parts": {},
    "task.low_data.size": None,
    "task.low_data.subset": 0,
    "task.low_data.dev_fraction": 0.3,
    "task.fraction": None,
    "trainer.optimiser.backbone_learning_rate": None,
    "trainer.optimiser.parameter_scaling": False,
    "trainer.z_loss": 0.0,
}


def resolved(config: DictConfig) -> dict[str, Any]:
    """The config as plain dicts and lists, interpolations resolved."""
    # Hydra's own node names the run folder by the key of this very config: resolving it here would not end.
    trial = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    plain = OmegaConf.to_container(trial, resolve=True, throw_on_missing=True, enum_to_str=True)
    assert isinstance(plain, dict)
    note_start(plain.get("method"))
    return plain  # type: ignore[return-value]


def note_start(method: Any) -> None:
    """Put the hash of `start_from` beside it.

    Raises:
        ConfigError: the file is not there, or is another than `start_sha256` says.
    """
    if not isinstance(method, dict) or not method.get("start_from"):
        return
    path = Path(method["start_from"]).expanduser()
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ConfigError(
            f"method.start_from={path}: this file cannot be read ({error.strerror}). Give the prompt.safetensors of a "
            "finished trial, or one that `repro import` wrote."
        ) from error
    if method.get("start_sha256") not in (None, found):
        raise ConfigError(
            f"method.start_sha256={method['start_sha256']}: the file {path} has {found}. Leave start_sha256 out, or "
            "give the file it belongs to."
        )
    method["start_sha256"] = found


def run_key(plain: dict[str, Any]) -> str:
    """16 hex digits that name a trial by content: equal for equal results, whatever the folder, tracker or sweep.

    Args:
        plain: a resolved config, as `resolved` returns it.
    """
    relevant = json.loads(json.dumps(plain))
    for path in _NOT_IN_KEY:
        node: Any = relevant
        for part in path[:-1]:
            node = node.get(part) or {}
        node.pop(path[-1], None)
    mixed = (relevant["task"].get("parts") or {}).values()
    for one in (one for one in mixed if isinstance(one, dict)):
        one.pop("sha256", None)
        for name in ("data_dir", "paper_name", "check_rows", "also_metrics", "cloze", "verbaliser", "cloze_source"):
            one.pop(name, None)
    if relevant["method"].get("head") != "verbaliser":  # in the other formats nobody reads these
        for name in ("cloze", "verbaliser"):
            relevant["task"].pop(name, None)
    for added, before in ADDED.items():
        *parts, last = added.split(".")
        node = relevant
        for part in parts:
            node = node.get(part) or {}
        if last in node and node[last] == before:
            del node[last]
    if relevant["task"].get("low_data") == {}:  # this group came with its fields
        del relevant["task"]["low_data"]
    text = json.dumps({"key_version": KEY_VERSION, **relevant}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
