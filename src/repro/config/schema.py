"""The typed schema of one trial.

Hydra composes `conf/`, and `repro.config.compose.trial_config` turns the result into one `TrialConfig`. A misspelt key
or a value of the wrong type is refused by this schema; combinations that cannot work are refused by
`repro.config.rules`, before any data or model is read. Nothing here imports torch or transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repro.config.conversion import from_plain, replaced, to_plain
from repro.config.task_schema import DecodingConfig as DecodingConfig
from repro.config.task_schema import LowData as LowData
from repro.config.task_schema import SplitLimits as SplitLimits
from repro.config.task_schema import TaskConfig as TaskConfig
from repro.methods.fields import setting
from repro.methods.registry import method
from repro.methods.schema import MethodConfig


@dataclass(kw_only=True)
class ModelConfig:
    """Frozen facts of a backbone, known without loading it; loading checks them against the weights."""

    name: str = setting()
    paper_name: str | None = setting(None, changes_result=False)
    """The key under which a paper reports this model (`papers/reported`), null if none of them used it."""
    family: str = setting()
    """t5 | bart | gpt2 | llama | bert | roberta"""
    kind: str = setting(allowed=("encoder", "decoder", "encoder_decoder"))
    """encoder | decoder | encoder_decoder"""
    source: str = setting(changes_result=False, allowed=("hub", "folder", "package", "random"))
    """hub (location is a hub id) | folder | package (location is `package:path/in/it`) | random (tests: no weights)"""
    location: str = setting(changes_result=False)
    revision: str | None = setting(None, changes_result=False)
    pickled: bool = setting(False, changes_result=False)
    """Its authors published it without safetensors: it must be converted first."""
    weights: str | None = None
    """Content hash of the checkpoint's tensors (`repro.models.weights`), checked on loading; null: not known."""
    layers: int = setting()
    decoder_layers: int | None = None
    heads: int = setting()
    kv_heads: int | None = None
    head_dim: int = setting()
    width: int = setting()
    feed_forward: int = setting()
    vocabulary: int = setting()
    max_positions: int | None = None
    """Rows of the position table that tokens can use; null for relative positions."""
    tied_head: bool = True
    parameters: int | None = None
    """Number of frozen parameters, counted on meta tensors (heads of ours excluded)."""
    licence: str | None = setting(None, changes_result=False)
    note: str | None = setting(None, changes_result=False)


@dataclass(kw_only=True)
class OptimiserConfig:
    name: str = setting("adamw", allowed=("adamw", "adafactor"))
    """adamw | adafactor"""
    learning_rate: float = setting(above=0)
    backbone_learning_rate: float | None = setting(None, above=0)
    """Of tuned weights of the backbone, under the same schedule; null: as everything else."""
    weight_decay: float = setting(0.0, at_least=0)
    beta1: float = setting(0.9, at_least=0, below=1)
    beta2: float = setting(0.999, at_least=0, below=1)
    epsilon: float = setting(1e-8, above=0)
    decay_rate: float = setting(0.8, above=0)
    """Adafactor: beta2_t = 1 - (t + 1)^-decay_rate."""
    step_offset: int = setting(0, at_least=0)
    """Adafactor: t starts here (official runs: 1,100,000, the step of the frozen checkpoint)."""
    clip_threshold: float = setting(1.0, above=0)
    """Adafactor: an update's root mean square is cut to this."""
    factored: str = setting("auto", allowed=("auto", "always", "never"))
    """Adafactor: auto (second moments of a matrix whose two sides are at least 128 are factored) | always | never"""
    weight_decay_form: str = setting("absolute", allowed=("absolute", "times_learning_rate"))
    """Adafactor: absolute (T5X: p *= 1 - decay) | times_learning_rate (transformers)"""
    parameter_scaling: bool = False
    """Adafactor: each tensor's rate is multiplied by its root mean square, at least 1e-3."""


@dataclass(kw_only=True)
class ScheduleConfig:
    name: str = setting("constant", allowed=("constant", "linear", "exponential"))
    """constant | linear (to 0) | exponential (per epoch)"""
    warmup_steps: int = setting(0, at_least=0)
    gamma: float = setting(0.95, above=0)
    """exponential: factor per epoch."""


@dataclass(kw_only=True)
class SelectionConfig:
    """Which checkpoint is the result."""

    rule: str = setting("best", allowed=("best", "last"))
    """best (first on ties) | last"""
    split: str = setting("validation", allowed=("validation", "test"))
    metric: str | None = None
    """null: the task's first metric; `loss` is the mean validation loss (lower is better)."""
    examples: int | None = setting(None, at_least=1)
    """Checkpoints are compared on the first so many examples of the split; null: on all, as the result is."""


@dataclass(kw_only=True)
class TrainerConfig:
    epochs: int | None = setting(None, at_least=1)
    steps: int | None = setting(None, at_least=0)
    """Exactly one of epochs and steps is set."""
    batch_size: int = setting(32, at_least=1)
    microbatches: int = setting(1, at_least=1)
    """A step's examples, sorted by length, are cut into so many passes: less padding and memory, the same gradient."""
    optimiser: OptimiserConfig = setting()
    schedule: ScheduleConfig = setting(factory=ScheduleConfig)
    clip_norm: float | None = setting(1.0, above=0)
    loss_reduction: str = setting("token_mean", allowed=("token_mean", "example_sum", "sum"))
    """token_mean (over all target tokens of the batch) | example_sum (tokens summed, mean over examples) | sum (T5X)"""
    last_batch: str = setting("smaller", allowed=("smaller", "filled"))
    """When fewer examples than a batch are left of an epoch: a smaller batch | filled up from the next epoch (as T5X,
    whose batches are cut from a repeated stream)"""
    z_loss: float = setting(0.0, shared_jointly=True, at_least=0)
    """c of the term c x log(Z)^2 at every target token while training, Z the sum of exp(logits) (T5X; not on heads)."""
    backbone_dropout: float | None = setting(None, shared_jointly=True, at_least=0, below=1)
    """null: the frozen backbone is in eval mode; a number: train mode with this rate in its hidden layers."""
    attention_dropout: float | None = setting(None, shared_jointly=True, at_least=0, below=1)
    """As above, in its attention probabilities; null follows backbone_dropout."""
    dropout_masks: str = setting("each_position", shared_jointly=True, allowed=("each_position", "whole_sequence"))
    """The backbone's dropout masks: each_position | whole_sequence (one for all positions of a sequence, in attention
    for all queries: Flaxformer's broadcast_dims)"""
    evaluate_every: str = "epoch"
    """`epoch`, or a number of steps."""
    selection: SelectionConfig = setting(factory=SelectionConfig)
    evaluation_batch_size: int = setting(64, changes_result=False, at_least=1)
    dtype: str = setting("float32", shared_jointly=True, allowed=("float32", "bfloat16", "float64"))
    """Storage and compute of the frozen backbone: float32 | bfloat16 | float64. Prompts and optimiser stay float32."""
    device: str = setting("auto", changes_result=False, shared_jointly=True)
    attention: str = setting("sdpa", shared_jointly=True, allowed=("sdpa", "eager"))
    """sdpa | eager"""
    packing: str = setting("auto", changes_result=False, shared_jointly=True, allowed=("auto", "true", "false"))
    """Sequences of a batch end to end, without padding: auto (where that is quicker) | true (wherever it can) | false.
    The same batch, loss and gradient up to rounding; dropout is drawn in another order."""
    graphs: bool = setting(True, changes_result=False, shared_jointly=True)
    """On a GPU, passes over packed batches are recorded as CUDA graphs and replayed: equal results up to rounding."""
    gradient_checkpointing: bool = setting(False, changes_result=False, shared_jointly=True)
    checkpoint_seconds: float = setting(300.0, changes_result=False, at_least=0)
    """Seconds between checkpoints for resuming; does not change the result."""
    if_running: str = setting("wait", changes_result=False, allowed=("wait", "skip"))
    """Another process runs the same key: wait | skip"""
    threads: int | None = setting(None, changes_result=False, shared_jointly=True, at_least=1)
    joint_trials: str = setting("auto", changes_result=False)
    """How many trials train together where a sweep has several over one model (`hydra/launcher=joint`, `repro sweep
    --joint`, a job of Slurm): a number, or `auto` (by the tokens of a step and by memory). Changes no result."""


@dataclass(kw_only=True)
class TrackerConfig:
    name: str = setting("none", allowed=("none", "wandb", "tensorboard"))
    """none | wandb | tensorboard"""
    project: str = "repro"
    group: str | None = None
    """Runs to show together."""
    tags: list[str] = setting(factory=list)
    mode: str = setting("offline", allowed=("offline", "online", "disabled"))
    """wandb: offline | online | disabled"""


@dataclass(kw_only=True)
class PathsConfig:
    """Folders of this machine. They are not written into records; a config read from one has these defaults."""

    data_root: str = "data"
    results_root: str = "results"
    """Records (small, kept in git) are in `<results_root>/records`."""
    runs_root: str = "runs"
    """Checkpoints, predictions, prompts: large, not kept in git."""
    cache_root: str | None = None
    """Token ids of splits that were tokenised before (`training/token_cache.py`); null: nothing is cached."""
    cache_gigabytes: float = setting(4.0, above=0)
    """Beyond this the files that were not used for longest are removed."""


@dataclass(kw_only=True)
class RecipeConfig:
    """Where the hyperparameters of this cell come from. Set by a file of conf/recipe; `name` null: our defaults."""

    name: str | None = None
    paper: str | None = None
    exhibit: str | None = None
    """The paper's table or figure, such as `table2`: the first that a run of this recipe is compared with."""
    sources: dict[str, str] = setting(factory=dict)
    """One line a hyperparameter: the paper's section or the official file that states it."""
    unknown: list[str] = setting(factory=list)
    """What neither paper nor code states."""
    search: dict[str, list[Any]] = setting(factory=dict)
    """{override: values} of the authors' search, for hyperparameters of this cell that nobody published."""
    deviations: list[str] = setting(factory=list)


def method_schema(data: Mapping[str, object]) -> type[MethodConfig]:
    """The schema of the method that some plain values configure.

    Raises:
        ConfigError: no method of this name is registered.
    """
    return method(str(data.get("name"))).schema


@dataclass(kw_only=True)
class TrialConfig:
    """One trial: everything that one record answers for."""

    method: MethodConfig = setting()
    model: ModelConfig = setting()
    task: TaskConfig = setting()
    trainer: TrainerConfig = setting()
    tracker: TrackerConfig = setting(factory=TrackerConfig, changes_result=False)
    paths: PathsConfig = setting(factory=PathsConfig, changes_result=False)
    recipe: RecipeConfig = setting(factory=RecipeConfig, changes_result=False)
    experiment_name: str | None = setting(None, changes_result=False)
    seed: int = setting(1, at_least=0)
    rerun: bool = setting(False, changes_result=False)
    """Run again a trial whose record says `failed`."""

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> TrialConfig:
        """A config from plain values, as JSON or a resolved Hydra config has them. Keys left out have their defaults.

        Raises:
            ConfigError: an unknown key, a value of the wrong type, or no value where there is no default.
        """
        return from_plain(cls, data, {MethodConfig: method_schema})

    def with_value(self, key: str, value: object) -> TrialConfig:
        """A copy with another value at a dotted key; what is not on the way is shared.

        Raises:
            ConfigError: no such key, or a value of the wrong type.
        """
        return replaced(self, key.split("."), value, {MethodConfig: method_schema})

    def to_dict(self) -> dict[str, Any]:
        """The config as plain JSON values."""
        return to_plain(self)
