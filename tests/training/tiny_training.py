"""Tiny models, toy examples of every format, and a `TrainableTrial` made of them, without a config."""

import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from repro.config.schema import OptimiserConfig
from repro.errors import Interrupted
from repro.evaluation.decoding import mean_loss, predict
from repro.methods.parts.backbone_weights import FineTuning
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from repro.models.backbone import Backbone
from repro.models.encoding.batch import Batch
from repro.models.tuning import tune
from repro.tasks.base import Choice, Example, Pair, Ranking, Rendered, Tagged, Task, TextToText
from repro.training.batching import DataOrder, training_batches
from repro.training.checkpoint import CheckpointStore, Progress
from repro.training.distributed.process_group import ProcessGroup
from repro.training.distributed.sharded_trial import ShardedTrial
from repro.training.loop import ActiveTrial, train
from repro.training.optimisers import make_optimiser
from repro.training.passes import StepWork
from repro.training.step import TrialBatch
from repro.training.trainable import Group, Reporter, TrainableTrial
from repro.trials.tensors import build_tensors, tuned_weights
from tests.models.loaded import adapt, load_backbone

CONF = Path(__file__).parents[2] / "conf" / "model"
LENGTHS = {"max_input_length": 64, "max_target_length": 16}
DECODING = {"beams": 1, "max_new_tokens": 4}
CPU = torch.device("cpu")

METHODS: dict[str, Callable[[], Any]] = {
    "prompt_tuning": lambda: PromptTuning(5, "uniform"),
    "prefix_mlp": lambda: build_method("prefix_tuning", length=3, hidden=6),
    "prefix_mlp_dropout": lambda: build_method("prefix_tuning", length=3, hidden=6, prefix_dropout=0.3),
    "p_tuning_v2": lambda: build_method("p_tuning_v2", length=4, prefix_dropout=0.0),
    "p_tuning_v2_dropout": lambda: build_method("p_tuning_v2", length=4, prefix_dropout=0.3),
    "fine_tuning": FineTuning,
}


def facts(model: str) -> dict[str, Any]:
    """`conf/model/<model>.yaml`"""
    return yaml.safe_load((CONF / f"{model}.yaml").read_text())


def load(model: str, dtype: str = "float64", dropout: float | None = None) -> Backbone:
    """The tiny model as the project loads it.

    T5's norm computes in float32 whatever the weights are: in float64 torch's own replaces it, or no comparison could
    be closer than 1e-7.
    """
    trainer = {"dtype": dtype, "attention": "sdpa", "backbone_dropout": dropout, "attention_dropout": None}
    loaded, _ = load_backbone(facts(model), trainer, CPU)
    for part in list(loaded.model.modules()) if dtype == "float64" else []:
        for name, child in list(part.named_children()):
            if type(child).__name__ == "T5LayerNorm":
                exact = torch.nn.RMSNorm(child.weight.shape, child.variance_epsilon)
                exact.weight = child.weight
                setattr(part, name, exact)
    return loaded


@dataclass
class ToyTask(Task):
    """A task whose examples carry their own rendering; class ids and strings are their own predictions."""

    format: str
    labels: tuple[str, ...] = ("no", "yes", "maybe")
    metrics: tuple[Any, ...] = ()

    def render(self, example: Example) -> Rendered:
        return example.fields["rendered"]

    def parse(self, output: Any, example: Example) -> Any:
        if self.format == "ranking":
            return max(range(len(output)), key=output.__getitem__)
        return [self.labels[tag] for tag in output] if self.format == "tagging" else output


def _text(draw: random.Random, low: int, high: int) -> str:
    return "".join(draw.choices(string.ascii_lowercase, k=draw.randint(low, high)))


def toy_example(format: str, index: int, seed: int = 0) -> Example:
    """Example `index` of a format: random letters, of very different lengths."""
    draw = random.Random(seed * 1000 + index)
    rendered: Rendered
    references: tuple[Any, ...]
    if format == "text_to_text":
        rendered = TextToText(_text(draw, 3, 25), _text(draw, 1, 6))
        references = (rendered.target,)
    elif format == "pair":
        rendered = Pair(_text(draw, 3, 20), _text(draw, 1, 9), index % 3)
        references = (rendered.label,)
    elif format == "choice":
        first = _text(draw, 3, 20)
        rendered = Choice(tuple((first, _text(draw, 1, 9)) for _ in range(2)), index % 2)
        references = (rendered.label,)
    elif format == "ranking":
        first, count = _text(draw, 3, 20), draw.randint(1, 4)
        rendered = Ranking(
            tuple((first, _text(draw, 1, 9)) for _ in range(count)), tuple(i == index % count for i in range(count))
        )
        references = (index % count,)
    else:
        words = tuple(_text(draw, 1, 4) for _ in range(draw.randint(1, 6)))
        rendered = Tagged(words, tuple(draw.randrange(3) for _ in words))
        references = ([ToyTask.labels[tag] for tag in rendered.tags],)
    return Example(str(index), {"rendered": rendered}, references)


def toy_examples(format: str, count: int, seed: int = 0) -> list[Example]:
    """`count` examples."""
    return [toy_example(format, index, seed) for index in range(count)]


def optimiser_config(**changes: Any) -> OptimiserConfig:
    """The library's defaults, changed."""
    return OptimiserConfig(**{"learning_rate": 1.0, **changes})


def batches(trial: TrainableTrial, step: int) -> list[Batch]:
    """The passes of a step of this trial alone."""
    return training_batches([trial.share(step)], trial.pad_id, trial.microbatches)


def make_trial(
    model: str,
    method: Any,
    format: str = "text_to_text",
    *,
    seed: int = 1,
    rate: float = 0.05,
    count: int = 7,
    batch_size: int = 3,
    microbatches: int = 1,
    steps: int = 5,
    evaluate_every: int | None = None,
    keep_best: bool = True,
    clip_norm: float | None = 1.0,
    example_sum: bool = False,
    dtype: str = "float64",
    dropout: float | None = None,
    backbone: Backbone | None = None,
    ranks: ProcessGroup | None = None,
    **optimiser: Any,
) -> TrainableTrial:
    """A trial of fresh objects, evaluated by minus the loss, or by accuracy on encoders.

    Args:
        ranks: the processes that train it together, as `Trial.prepare` has them do it; None: this one.
        backbone: to share one with other trials; None: one of its own.
        method: a name of METHODS, or a method.
    """
    backbone, task = backbone or load(model, dtype, dropout), ToyTask(format)
    adapter: Any = adapt(backbone, format, LENGTHS, dropout or 0.0)
    made = METHODS[method]() if isinstance(method, str) else method
    build_tensors(made, backbone, task, [seed])
    encoded = [adapter.encode(task.render(example), True) for example in toy_examples(format, count)]
    order = DataOrder(count, batch_size, seed)
    validation = toy_examples(format, 5, seed=9)
    per_epoch = order.steps_per_epoch

    def evaluate() -> tuple[float, dict[str, Any]]:
        injection = made.injection(training=False)
        if backbone.spec.kind == "encoder":
            found = predict(adapter, task, validation, injection, DECODING, 4, lambda count: None)
            value = sum(p == example.references[0] for p, example in zip(found, validation, strict=True)) / 5
        else:
            value = -mean_loss(adapter, task, validation, injection, 4, lambda count: None)
        return value, {"validation": {"value": value}}

    own = tune(backbone, made.tuning, 0) if made.tuning else {}
    together = None if ranks is None else ShardedTrial(backbone, own, made, ranks)
    tuned, sync = tuned_weights(own) if together is None else together.tuned_weights()
    adapter = adapter if together is None else together.adapter(adapter)
    run = TrainableTrial(
        adapter=adapter,
        method=made,
        optimiser=None,  # type: ignore[arg-type]
        rate=lambda step: torch.tensor([rate], dtype=torch.float64) / (1 + 0.1 * step),
        examples=lambda step: [encoded[index] for index in order.indices(step)],
        evaluate=evaluate,
        steps=steps,
        steps_per_epoch=per_epoch,
        evaluate_every=evaluate_every or per_epoch,
        seed=seed,
        keep_best=keep_best,
        clip_norm=clip_norm,
        example_sum=example_sum,
        pad_id=0,
        microbatches=microbatches,
        tuned=tuned,
        sync_gradients=sync,
        train_mode=bool(dropout),
        group=Group() if together is None else together.group,
    )
    split = None if together is None else together.shards
    run.optimiser = make_optimiser(run.tensors, optimiser_config(**optimiser), split)
    return run


def train_trial(trial: TrainableTrial, checkpoints: CheckpointStore, reporter: Reporter) -> Progress:
    """Train one trial to its last step; its failure is raised."""
    active = ActiveTrial(trial, checkpoints, reporter)
    train([active], lambda _: None)
    if active.failure is not None:
        raise active.failure
    return active.progress


def train_step(trial: TrainableTrial, progress: Progress) -> float:
    """One update of one trial; returns its loss, or raises its failure."""
    [failure] = TrialBatch().step([trial], [progress])
    if failure is not None:
        raise failure
    return progress.losses[-1]


def backward(
    trials: Sequence[TrainableTrial],
    batches: Sequence[Batch],
    keys: Sequence[int] | None = None,
    whole: Sequence[Batch] | None = None,
) -> Tensor:
    """Gradients of every trial's loss over these batches, each a pass; returns the losses [K].

    Args:
        whole: the passes of all processes, where `batches` are one process's part.
    """
    return StepWork(trials, keys).backward(batches, batches if whole is None else whole)


class Recorder:
    """A watcher that notes what it is told; may ask to stop, save, or crash after some step."""

    def __init__(self, stop_at: int | None = None, save_at: Sequence[int] = (), crash_at: int | None = None):
        self.stop_at, self.save_at, self.crash_at = stop_at, save_at, crash_at
        self.losses: list[float] = []
        self.rows: list[Mapping[str, Any]] = []
        self.now: int | None = None

    def step(self, progress: Progress, loss: float) -> None:
        self.losses.append(loss)
        self.now = progress.step

    def evaluated(self, progress: Progress, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    def stop_if_asked(self, save: Callable[[], None]) -> None:
        if self.now in self.save_at:
            save()
        if self.now is not None and self.now == self.crash_at:
            raise Crash
        if self.now is not None and self.now == self.stop_at:
            save()
            raise Interrupted("asked to stop")


class Crash(Exception):
    """Stands for whatever ends a process without warning."""


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as they are now."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def same_bits(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """All tensors equal to the last bit, and there are some."""
    assert ours and set(ours) == set(theirs)
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name]), name


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Equal within `tolerance` of the largest value, and not because both are nothing."""
    ours, theirs = ours.detach(), theirs.detach()
    assert ours.shape == theirs.shape and torch.isfinite(ours).all()
    scale = float(theirs.abs().max())
    assert scale > 1e-9, "nothing to compare"
    assert float((ours - theirs).abs().max()) <= tolerance * scale
