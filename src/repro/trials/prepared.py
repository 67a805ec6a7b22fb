"""A trial with its model loaded: prepare, train, report. `runner.py` calls it once config and data are good."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.config.schema import ModelConfig
from repro.errors import ConfigError, TrialFailed
from repro.evaluation.scoring import (
    Evaluation,
    encoded_by,
    higher_is_better,
    mean_loss,
    predict,
    score,
    score_subset,
    subsets,
    write_predictions,
)
from repro.methods.base import Context, Method
from repro.models.backbone import Backbone
from repro.models.encoding.batch import Encoded
from repro.models.encoding.span_encoding import SpanOptions, separated
from repro.models.interface import ModelAdapter
from repro.models.loading import Loaded, LoadOptions, adapt
from repro.models.prefix_activations import activations
from repro.models.tuning import tune
from repro.store.files import write_atomic
from repro.store.record import Record
from repro.tasks.clusters import cluster_numbers
from repro.tasks.mixture import groups
from repro.training.batching import DataOrder, mixed_seed
from repro.training.checkpoint import Checkpoints, Progress
from repro.training.distributed.process_group import ProcessGroup
from repro.training.distributed.sharded_trial import ShardedTrial
from repro.training.loop import ActiveTrial, train
from repro.training.memory import peak_resident
from repro.training.optimisers import make_optimiser
from repro.training.progress import ProgressReporter
from repro.training.schedules import schedule
from repro.training.token_cache import TokenCache, token_cache
from repro.training.trainable import TrainableTrial, trained

_INITIAL, _TUNED = 0x1217, 0x70E
"""Streams of the seed that draw starting values: the method's, and of layers added to the backbone."""

Plain = Mapping[str, Any]


def loading(plain: Plain) -> tuple[ModelConfig, LoadOptions]:
    """What loading a trial's backbone needs to know."""
    trainer = plain["trainer"]
    options = LoadOptions(
        trainer["dtype"],
        trainer["attention"],
        str(trainer["packing"]),
        trainer["backbone_dropout"],
        trainer["attention_dropout"],
    )
    return ModelConfig(**plain["model"]), options


def adapted(backbone: Backbone, task: Any, config: Plain, head_dropout: float = 0.0) -> ModelAdapter:
    """The backbone in its role for a task.

    Args:
        config: the task's.
    """
    return adapt(
        backbone,
        task.format,
        max_input_length=config["max_input_length"],
        max_target_length=config["max_target_length"],
        labels=config["labels"],
        verbaliser=config["verbaliser"],
        sentinel=config["sentinel"],
        spans=SpanOptions.of(config["options"]),
        head_dropout=head_dropout,
        vocabulary=getattr(task, "vocabulary", ()),
    )


def build_tensors(
    method: Method, backbone: Backbone, task: Any, seeds: Sequence[int], start_from: str | None = None
) -> None:
    """Draw the method's starting values, each trial's from its own seed, and move them beside the model.

    Args:
        start_from: file of an exported prompt that takes the place of the drawn values.

    Raises:
        ConfigError: the file holds another method's tensors, or tensors of other shapes.
    """
    outputs = None
    if backbone.spec.kind == "encoder" and task.format != "cloze":  # the cloze's head is the language model's own
        several = len(getattr(task, "parts", ())) or 1  # data sets of a mixture, each with a start and an end
        outputs = {"choice": 1, "ranking": 2, "span": 2 * several}.get(task.format, len(task.labels))
    context = Context(
        spec=backbone.spec,
        embeddings=backbone.model.get_input_embeddings().weight.detach().float(),
        tokenize=lambda text: backbone.tokenizer(text, add_special_tokens=False)["input_ids"],
        labels=task.labels,
        outputs=outputs,
        activations=lambda ids: activations(backbone, ids),
        generators=[torch.Generator().manual_seed(mixed_seed(seed, _INITIAL)) for seed in seeds],
    )
    method.build(context)
    if start_from is not None:
        _start(method, start_from)
    method.parameters = {
        name: tensor.detach().to(backbone.device, torch.promote_types(backbone.dtype, torch.float32)).requires_grad_()
        for name, tensor in method.parameters.items()
    }


def _start(method: Method, file: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        method.start(load_file(str(Path(file).expanduser())))
    except (SafetensorError, ValueError) as error:
        raise ConfigError(f"method.start_from={file}: {error}") from error


def tuned_weights(own: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Views [1, ...] of tuned weights of the backbone, for the optimiser, and what copies their gradients over."""
    views = {f"backbone.{name}": parameter.detach()[None] for name, parameter in own.items()}

    def sync() -> None:
        for name, parameter in own.items():
            gradient, parameter.grad = parameter.grad, None
            views[f"backbone.{name}"].grad = None if gradient is None else gradient[None]

    return views, sync


class Trial:
    """One trial, ready to train, alone or in a gang."""

    def __init__(self, plain: Plain, task: Any, examples: Mapping[str, Sequence[Any]], selection: str):
        self.plain, self.task, self.examples, self.selection = plain, task, examples, selection
        self.trainer = plain["trainer"]
        self.sign = 1.0 if higher_is_better(task, selection) else -1.0
        """Times the value of selection: the loop takes the highest."""
        self.parameters: dict[str, int] = {}
        self.deviations: list[str] = []
        self.weights: dict[str, Any] = {}
        self.own: dict[str, torch.nn.Parameter] = {}
        """Weights of the backbone that the method trains."""
        self.frozen = 0

    @classmethod
    def prepare(
        cls,
        plain: Plain,
        task: Any,
        examples: Mapping[str, Sequence[Any]],
        selection: str,
        device: torch.device,
        method: Method,
        loaded: Loaded | None = None,
        ranks: ProcessGroup | None = None,
    ) -> Trial:
        """Load the model, or take the one that the trials of a gang share, and make the method's tensors.

        Args:
            ranks: the processes that train the trial together, each with its share of the weights.
        """
        trial = cls(plain, task, examples, selection)
        if trial.trainer["threads"]:
            torch.set_num_threads(trial.trainer["threads"])
        trial.device, trial.method = device, method
        first_at = device if ranks is None else torch.device("cpu")  # whole, it may be too large for one GPU
        loaded = loaded or Loaded.of(*loading(plain), first_at, task.format)
        trial.backbone, trial.deviations, trial.frozen = loaded.backbone, [*loaded.deviations], loaded.frozen
        dropout = trial.trainer["backbone_dropout"] or 0.0
        trial.adapter = adapted(trial.backbone, task, plain["task"], dropout)
        trial.weights = {"sha256": loaded.weights, "location": plain["model"]["location"]}
        if method.tuning is not None:
            trial.own = tune(trial.backbone, method.tuning, mixed_seed(plain["seed"], _TUNED))
            trial.backbone.key_dropouts()
        build_tensors(method, trial.backbone, task, [plain["seed"]], plain["method"].get("start_from"))
        if ranks is not None:
            trial.together = ShardedTrial(trial.backbone, trial.own, method, ranks)
            trial.own, trial.adapter = trial.together.own, trial.together.adapter(trial.adapter)
        trial.parameters = trial._count()
        trial.tokens = token_cache(plain, task.format, trial.backbone)
        trial._plan()
        return trial

    together: ShardedTrial | None = None
    """What several processes that train the trial have in common; None: one process."""
    device: torch.device
    method: Method
    backbone: Backbone
    adapter: ModelAdapter
    tokens: TokenCache | None

    def _count(self) -> dict[str, int]:
        """Tuned weights are trained and stored; what was there before and is not tuned is frozen."""
        counts = self.method.parameter_counts()
        tuned = sum(parameter.numel() for parameter in self.own.values())
        now = sum(parameter.numel() for parameter in self.backbone.whole.parameters())
        added = now - self.frozen
        return counts | {k: counts[k] + tuned for k in ("trained", "stored")} | {"frozen": self.frozen - tuned + added}

    def encode(self, examples: Sequence[Any], training: bool) -> list[list[Encoded]]:
        """The token ids of examples: from the cache where they were tokenised before, equal either way."""
        if self.tokens is None:
            return encoded_by(self.adapter, self.task)(examples, training)
        return self.tokens.encoded([self.task.render(one) for one in examples], training, self.adapter.encode)

    def _plan(self) -> None:
        """What a step may draw from, steps in all, and after which the trial is evaluated."""
        encoded = self.encode(self.examples["train"], True)
        self.encoded = separated(encoded, self.task.format)
        kinds = groups(self.task, self.examples["train"])
        if kinds is not None:  # of each window, in the span format
            pairs = zip(kinds, encoded, strict=True)
            kinds = [kind for kind, items in pairs for _ in separated([items], self.task.format)]
        order = DataOrder(len(self.encoded), self.trainer["batch_size"], self.plain["seed"], kinds)
        self.order, per_epoch = order, order.steps_per_epoch
        steps = self.trainer["steps"]  # 0: nothing is trained, the starting values are scored
        self.steps = self.trainer["epochs"] * per_epoch if steps is None else steps
        every = str(self.trainer["evaluate_every"])
        self.evaluate_every = per_epoch if every == "epoch" else int(every)

    def _fit(self, console: ProgressReporter) -> TrainableTrial:
        tuned, sync = tuned_weights(self.own) if self.together is None else self.together.tuned_weights()
        trainer, pad = self.trainer, self.backbone.tokenizer.pad_token_id
        factor = schedule(
            trainer["schedule"]["name"],
            trainer["schedule"]["warmup_steps"],
            trainer["schedule"]["gamma"],
            self.steps,
            self.order.steps_per_epoch,
        )
        base = trainer["optimiser"]["learning_rate"]
        if trainer["gradient_checkpointing"]:
            self.backbone.model.gradient_checkpointing_enable({"use_reentrant": False})
        split = None if self.together is None else self.together.shards
        return TrainableTrial(
            adapter=self.adapter,
            method=self.method,
            optimiser=make_optimiser(trained(self.method, tuned), trainer["optimiser"], split),
            rate=lambda step: torch.tensor([base * factor(step)]),
            examples=lambda step: [self.encoded[index] for index in self.order.indices(step)],
            evaluate=lambda: self._evaluate(console),
            steps=self.steps,
            steps_per_epoch=self.order.steps_per_epoch,
            evaluate_every=self.evaluate_every,
            seed=self.plain["seed"],
            keep_best=trainer["selection"]["rule"] == "best",
            clip_norm=trainer["clip_norm"],
            example_sum=trainer["loss_reduction"] == "example_sum",
            pad_id=pad,
            microbatches=trainer["microbatches"],
            z_loss=trainer["z_loss"],
            tuned=tuned,
            sync_gradients=sync,
            checkpoint_seconds=trainer["checkpoint_seconds"],
            graphs=trainer["graphs"],
            **({} if self.together is None else self.together.options),
            train_mode=bool(
                trainer["backbone_dropout"]
                or trainer["attention_dropout"]
                or trainer["gradient_checkpointing"]
                or (self.method.tuning is not None and self.method.tuning.dropout)
            ),
        )

    def _score(self, split: str, console: ProgressReporter, selection: str | None = None) -> Evaluation:
        decoding = self.plain["task"]["decoding"]
        size = decoding["batch_size"] if self.task.format == "text_to_text" else self.trainer["evaluation_batch_size"]
        examples, injection = self.examples[split], self.method.injection(training=False)
        if not self.task.metrics:  # language modelling: there is nothing to decode
            loss = self._mean_loss(examples, injection, size, console)
            return Evaluation({"loss": loss, "perplexity": math.exp(loss)}, {}, [], None, 0)
        outputs = predict(self.adapter, self.task, examples, injection, decoding, size, console.between, self.encode)
        if self.together is None:
            return score(self.task, examples, outputs, selection)
        found = self.together.ranks.of_first(lambda: asdict(score(self.task, examples, outputs, selection)))
        return Evaluation(**found)

    def _mean_loss(self, examples: Sequence[Any], injection: Any, size: int, console: ProgressReporter) -> float:
        loss = mean_loss(self.adapter, self.task, examples, injection, size, console.between, self.encode)
        return loss if self.together is None else self.together.ranks.share(loss)

    @torch.no_grad()
    def _evaluate(self, console: ProgressReporter) -> tuple[float, dict[str, Any]]:
        """The value to select by (higher is better), and {split: values}."""
        split, size = self.trainer["selection"]["split"], self.trainer["evaluation_batch_size"]
        if self.selection == "loss":
            injection = self.method.injection(training=False)
            examples = self.examples[split]
            loss = self._mean_loss(examples, injection, size, console)
            return self.sign * loss, {split: {"loss": loss}}
        found = self._score(split, console, self.selection)
        if self.selection in found.missing:
            raise TrialFailed(f"no checkpoint can be chosen by {self.selection}: {found.missing[self.selection]}")
        return self.sign * found.values[self.selection], {split: found.values}

    def member(self, checkpoints: Checkpoints, console: ProgressReporter) -> ActiveTrial:
        """The trial as the loop trains it, from its last checkpoint on."""
        self.backbone.model.eval()
        fit = self._fit(console)
        files = checkpoints if self.together is None else self.together.checkpoints(checkpoints, fit)
        return ActiveTrial(fit, files, console)

    def train(self, record: Record, checkpoints: Checkpoints, console: ProgressReporter) -> None:
        """Train alone, and fill the record's curve, selection and costs; the method then holds the chosen checkpoint.

        Raises:
            TrialFailed: the record has what the last checkpoint knows.
        """
        member = self.member(checkpoints, console)
        try:
            train([member], lambda one: None, alone=True)
        finally:
            self.note_checkpoint(record, checkpoints)
        if member.failure is not None:
            raise member.failure
        self.note(record, member.progress)

    def note_checkpoint(self, record: Record, checkpoints: Checkpoints) -> None:
        """Fill a record with what the last checkpoint knows, if there is one."""
        found = checkpoints.load() if self._writes else None
        if found is not None:
            self.note(record, found[0])

    def note(self, record: Record, progress: Progress) -> None:
        """Fill a record's curve, selection and costs."""
        rule = self.trainer["selection"]["rule"]
        chosen = progress.best or {"step": progress.step, "epoch": progress.step / self.order.steps_per_epoch}
        value = chosen.get("value")
        if value is not None:
            value = self.sign * value
        record.curve = progress.curve
        if progress.notes:
            record.provenance["notes"] = progress.notes
        record.selection = {
            "rule": rule,
            "split": self.trainer["selection"]["split"],
            "metric": self.selection,
            "step": chosen["step"],
            "epoch": chosen["epoch"],
            "value": value,
        }
        record.cost |= {key: round(value, 3) for key, value in asdict(progress).items() if key.endswith("_seconds")}
        record.cost |= {"steps": progress.step, "tokens": progress.tokens, "padded_tokens": progress.padded_tokens}
        epochs, steps = divmod(progress.step, self.order.steps_per_epoch)  # an epoch's last batch may be smaller
        record.cost["examples"] = epochs * self.order.examples + steps * self.order.batch_size
        # 2 FLOPs a weight and token forward, 2 for the gradient of activations, 2 more for that of trained weights;
        # embedding tables are looked up, not multiplied.
        tables = sum(m.weight.numel() for m in self.backbone.model.modules() if isinstance(m, torch.nn.Embedding))
        weights = sum(p.numel() for p in self.backbone.model.parameters()) - tables
        per_token = (6 if self.method.tuning else 4) * weights
        record.cost["flops"] = float(per_token * progress.padded_tokens)

    @torch.no_grad()
    def report(self, record: Record, folder: Path, console: ProgressReporter) -> None:
        """Score the reported and the selection split at the chosen checkpoint; write predictions and the prompt."""
        from safetensors.torch import save

        started = time.monotonic()
        self.backbone.model.eval()
        reported = self.plain["task"]["report_split"]
        for split in dict.fromkeys((self.trainer["selection"]["split"], reported)):
            found = self._score(split, console)
            record.metrics[split] = found.values
            record.statistics[split] = found.statistics
            if numbers := cluster_numbers(self.examples[split]):
                record.clusters[split] = numbers
            if found.missing:
                record.missing[split] = found.missing
                self.deviations += [f"{split}: {name} is missing: {why}" for name, why in found.missing.items()]
            self._note_subsets(record, split, found)
            if found.predictions and self._writes:
                file = folder / f"predictions-{split}.jsonl"
                write_predictions(file, self.examples[split], found.predictions, write_atomic)
            if found.cut:
                self.deviations.append(f"{split}: {found.cut} words beyond task.max_input_length are not scored")
            if split == reported and found.collapsed:
                record.status, record.reason = "collapsed", f"{found.collapsed} ({split})"
        exported = {name: tensor.cpu().contiguous() for name, tensor in self.method.export().items()}
        exported |= self._own_weights()
        if exported and self._writes:
            write_atomic(folder / "prompt.safetensors", save(exported))
        record.cost["evaluation_seconds"] = round(
            record.cost.get("evaluation_seconds", 0.0) + time.monotonic() - started, 3
        )
        peak = float(self._peak_memory())  # of several processes, the one that takes most
        record.cost["peak_memory_bytes"] = peak if self.together is None else self.together.ranks.most(peak)

    @property
    def _writes(self) -> bool:
        return self.together is None or self.together.ranks.first

    def _own_weights(self) -> dict[str, Tensor]:
        """Whole tuned weights of the backbone, on the CPU; empty in processes that do not write."""
        if self.together is not None:
            return self.together.whole_weights()
        return {f"backbone.{name}": own.detach().cpu().contiguous().clone() for name, own in self.own.items()}

    def _note_subsets(self, record: Record, split: str, found: Evaluation) -> None:
        """Scores of the parts of a split that its task names (WebNLG: seen and unseen), and who belongs to them."""
        parts = subsets(split, self.examples[split]) if found.statistics else {}
        for name, members in parts.items():
            record.metrics[name] = score_subset(self.task, found.statistics, members)
            if found.missing:
                record.missing[name] = dict(found.missing)
        if parts:
            record.subsets[split] = parts

    def _peak_memory(self) -> int:
        """Bytes: the GPU's peak where one is used, else the process's largest resident size."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return peak_resident()
