"""A trial with its model loaded: prepare, train, score. `lifecycle` calls it once config and data are good."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.config.schema import TaskConfig, TrialConfig
from repro.errors import ConfigError, TrialFailed
from repro.evaluation.decoding import decoding_settings, encoded_by, mean_loss, predict, write_predictions
from repro.evaluation.scoring import Evaluation, higher_is_better, score, score_subset, subsets
from repro.methods.base import Method
from repro.models.backbone import Backbone, recompute
from repro.models.encoding.batch import Encoded
from repro.models.encoding.span_encoding import SpanOptions, separated
from repro.models.interface import ModelAdapter
from repro.models.loading import Loaded, LoadOptions, adapt, check_labels
from repro.models.tuning import tune
from repro.store.files import write_atomic
from repro.store.record import Selection, WeightFacts
from repro.tasks.base import Task, batch_groups, every_metric
from repro.tasks.clusters import cluster_numbers
from repro.training.batching import DataOrder, mixed_seed
from repro.training.checkpoint import Checkpoints, Progress
from repro.training.distributed.process_group import ProcessGroup
from repro.training.distributed.sharded_trial import ShardedTrial
from repro.training.loop import ActiveTrial
from repro.training.memory import peak_resident
from repro.training.optimisers import make_optimiser
from repro.training.progress import ProgressReporter
from repro.training.schedules import schedule
from repro.training.token_cache import TokenCache, token_cache
from repro.training.trainable import Group, TrainableTrial, trained
from repro.trials.checks import origin_of
from repro.trials.recording import Scores, Trained
from repro.trials.tensors import build_tensors, tuned_weights

_TUNED = 0x70E
"""Stream of the seed that draws starting values of layers added to the backbone."""


def adapted(backbone: Backbone, task: Task, config: TaskConfig, head_dropout: float = 0.0) -> ModelAdapter:
    """The backbone in its role for a task.

    Args:
        config: the task's.
    """
    return adapt(
        backbone,
        task.format,
        max_input_length=config.max_input_length,
        max_target_length=config.max_target_length,
        max_evaluation_input_length=config.max_evaluation_input_length,
        labels=config.labels,
        verbaliser=config.verbaliser,
        sentinel=config.sentinel,
        spans=SpanOptions.of(config.options),
        head_dropout=head_dropout,
        vocabulary=task.vocabulary,
    )


class Trial:
    """One trial, ready to train, alone or jointly."""

    def __init__(self, config: TrialConfig, task: Task, examples: Mapping[str, Sequence[Any]], selection: str):
        self.config, self.trainer, self.task = config, config.trainer, task
        self.examples, self.selection = examples, selection
        self.sign = 1.0 if higher_is_better(task, selection) else -1.0
        """Times the value of selection: the loop takes the highest."""
        self.parameters: dict[str, int] = {}
        self.deviations: list[str] = []
        self.weights = WeightFacts()
        self.own: dict[str, torch.nn.Parameter] = {}
        """Weights of the backbone that the method trains."""
        self.frozen = 0

    @classmethod
    def prepare(
        cls,
        config: TrialConfig,
        task: Task,
        examples: Mapping[str, Sequence[Any]],
        selection: str,
        device: torch.device,
        method: Method,
        loaded: Loaded | None = None,
        processes: ProcessGroup | None = None,
    ) -> Trial:
        """Load the model, or take the one that jointly trained trials share, and make the method's tensors.

        Args:
            processes: the processes that train the trial together, each with its share of the weights.
        """
        trial = cls(config, task, examples, selection)
        if config.trainer.threads:
            torch.set_num_threads(config.trainer.threads)
        trial.device, trial.method = device, method
        first_at = device if processes is None else torch.device("cpu")  # whole, it may be too large for one GPU
        loaded = loaded or Loaded.of(config.model, LoadOptions.of(config.trainer), first_at, task.format)
        trial.backbone, trial.deviations, trial.frozen = loaded.backbone, [*loaded.deviations], loaded.frozen
        if task.format == "text_to_text" and config.model.source != "random":  # whose tokens are bytes
            kind, longest = config.model.kind, config.task.max_target_length
            check_labels(trial.backbone.tokenizer, kind, config.task.labels, longest)
        trial.adapter = adapted(trial.backbone, task, config.task, config.trainer.backbone_dropout or 0.0)
        trial.weights = {"sha256": loaded.weights, "location": config.model.location}
        if method.tuning is not None:
            trial.own = tune(trial.backbone, method.tuning, mixed_seed(config.seed, _TUNED))
            trial.backbone.key_dropouts()
        build_tensors(method, trial.backbone, task, [config.seed], config.method.start_from)
        if processes is not None:
            trial.sharded = ShardedTrial(trial.backbone, trial.own, method, processes)
            trial.own, trial.adapter = trial.sharded.own, trial.sharded.adapter(trial.adapter)
        trial.parameters = trial._count()
        trial.tokens = token_cache(config, task.format, trial.backbone)
        trial._plan()
        return trial

    sharded: ShardedTrial | None = None
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
        kinds = batch_groups(self.task, self.examples["train"])
        if kinds is not None:  # of each window, in the span format
            pairs = zip(kinds, encoded, strict=True)
            kinds = [kind for kind, items in pairs for _ in separated([items], self.task.format)]
        filled = self.trainer.last_batch == "filled"
        if filled and kinds is not None:
            raise ConfigError(
                "trainer.last_batch=filled: the batches of a mixture hold one data set each, and the last of each is "
                "smaller. Set trainer.last_batch=smaller."
            )
        order = DataOrder(len(self.encoded), self.trainer.batch_size, self.config.seed, kinds, filled)
        self.order, per_epoch = order, order.steps_per_epoch
        steps = self.trainer.steps  # 0: nothing is trained, the starting values are scored
        self.steps = (self.trainer.epochs or 0) * per_epoch if steps is None else steps
        every = self.trainer.evaluate_every
        self.evaluate_every = per_epoch if every == "epoch" else int(every)

    def _fit(self, console: ProgressReporter) -> TrainableTrial:
        tuned, sync = tuned_weights(self.own) if self.sharded is None else self.sharded.tuned_weights()
        trainer, pad = self.trainer, self.backbone.tokenizer.pad_token_id
        factor = schedule(
            trainer.schedule.name,
            trainer.schedule.warmup_steps,
            trainer.schedule.gamma,
            self.steps,
            self.order.steps_per_epoch,
        )
        base = trainer.optimiser.learning_rate
        if trainer.gradient_checkpointing:
            recompute(self.backbone)
        split = None if self.sharded is None else self.sharded.shards
        return TrainableTrial(
            adapter=self.adapter,
            method=self.method,
            optimiser=make_optimiser(trained(self.method, tuned), trainer.optimiser, split),
            rate=lambda step: torch.tensor([base * factor(step)]),
            examples=lambda step: [self.encoded[index] for index in self.order.indices(step)],
            evaluate=lambda: self._evaluate(console),
            steps=self.steps,
            steps_per_epoch=self.order.steps_per_epoch,
            evaluate_every=self.evaluate_every,
            seed=self.config.seed,
            keep_best=trainer.selection.rule == "best",
            clip_norm=trainer.clip_norm,
            example_sum=trainer.loss_reduction == "example_sum",
            summed=trainer.loss_reduction == "sum",
            pad_id=pad,
            microbatches=trainer.microbatches,
            z_loss=trainer.z_loss,
            tuned=tuned,
            sync_gradients=sync,
            checkpoint_seconds=trainer.checkpoint_seconds,
            graphs=trainer.graphs,
            origin=origin_of(self.task, self.weights.get("sha256")),
            group=Group() if self.sharded is None else self.sharded.group,
            train_mode=bool(
                trainer.backbone_dropout
                or trainer.attention_dropout
                or trainer.gradient_checkpointing
                or (self.method.tuning is not None and self.method.tuning.dropout)
            ),
        )

    def _score(self, split: str, console: ProgressReporter, selection: str | None = None) -> Evaluation:
        decoding = self.config.task.decoding
        size = decoding.batch_size if self.task.format == "text_to_text" else self.trainer.evaluation_batch_size
        examples, injection = self.examples[split], self.method.injection(training=False)
        if selection is not None:
            examples = examples[: self.trainer.selection.examples]
        if not every_metric(self.task):  # language modelling: there is nothing to decode
            loss = self._mean_loss(examples, injection, size, console)
            return Evaluation({"loss": loss, "perplexity": math.exp(loss)}, {}, [], None, 0)
        settings = decoding_settings(decoding, self.adapter, self.task, examples)
        outputs = predict(self.adapter, self.task, examples, injection, settings, size, console.between, self.encode)
        if self.sharded is None:
            return score(self.task, examples, outputs, selection)
        found = self.sharded.processes.of_first(lambda: asdict(score(self.task, examples, outputs, selection)))
        return Evaluation(**found)

    def _mean_loss(self, examples: Sequence[Any], injection: Any, size: int, console: ProgressReporter) -> float:
        loss = mean_loss(self.adapter, self.task, examples, injection, size, console.between, self.encode)
        return loss if self.sharded is None else self.sharded.processes.share(loss)

    @torch.no_grad()
    def _evaluate(self, console: ProgressReporter) -> tuple[float, dict[str, Any]]:
        """The value to select by (higher is better), and {split: values}."""
        split, size = self.trainer.selection.split, self.trainer.evaluation_batch_size
        if self.selection == "loss":
            injection = self.method.injection(training=False)
            examples = self.examples[split][: self.trainer.selection.examples]
            loss = self._mean_loss(examples, injection, size, console)
            return self.sign * loss, {split: {"loss": loss}}
        evaluation = self._score(split, console, self.selection)
        if self.selection in evaluation.missing:
            why = evaluation.missing[self.selection]
            raise TrialFailed(f"no checkpoint can be chosen by {self.selection}: {why}")
        return self.sign * evaluation.values[self.selection], {split: evaluation.values}

    def member(self, checkpoints: Checkpoints, console: ProgressReporter) -> ActiveTrial:
        """The trial as the loop trains it, from its last checkpoint on."""
        self.backbone.model.eval()
        fit = self._fit(console)
        files = checkpoints if self.sharded is None else self.sharded.checkpoints(checkpoints, fit)
        return ActiveTrial(fit, files, console)

    def last_known(self, checkpoints: Checkpoints) -> Trained:
        """What the last checkpoint knows of training; nothing where there is none."""
        saved = checkpoints.load() if self._writes else None
        return Trained() if saved is None else self.trained(saved[0])

    def trained(self, progress: Progress) -> Trained:
        """Curve, selection and costs of training."""
        chosen = progress.best or {"step": progress.step, "epoch": progress.step / self.order.steps_per_epoch}
        value = chosen.get("value")
        selection: Selection = {
            "rule": self.trainer.selection.rule,
            "split": self.trainer.selection.split,
            "metric": self.selection,
            "step": int(chosen["step"]),
            "epoch": chosen["epoch"],
            "value": None if value is None else self.sign * value,
        }
        return Trained(progress.curve, selection, self._cost(progress), progress.notes)

    def _cost(self, progress: Progress) -> dict[str, float]:
        epochs, steps = divmod(progress.step, self.order.steps_per_epoch)  # an epoch's last batch may be smaller
        # 2 FLOPs a weight and token forward, 2 for the gradient of activations, 2 more for that of trained weights;
        # embedding tables are looked up, not multiplied.
        tables = sum(m.weight.numel() for m in self.backbone.model.modules() if isinstance(m, torch.nn.Embedding))
        weights = sum(p.numel() for p in self.backbone.model.parameters()) - tables
        per_token = (6 if self.method.tuning else 4) * weights
        return {
            "train_seconds": round(progress.train_seconds, 3),
            "evaluation_seconds": round(progress.evaluation_seconds, 3),
            "steps": progress.step,
            "tokens": progress.tokens,
            "padded_tokens": progress.padded_tokens,
            "examples": epochs * self.order.examples + steps * self.order.batch_size,
            "flops": float(per_token * progress.padded_tokens),
        }

    @torch.no_grad()
    def report(self, folder: Path, console: ProgressReporter) -> Scores:
        """Score the reported and the selection split at the chosen checkpoint; write predictions and the prompt."""
        started, scores = time.monotonic(), Scores()
        self.backbone.model.eval()
        reported = self.config.task.report_split
        for split in dict.fromkeys((self.trainer.selection.split, reported)):
            evaluation = self._score(split, console)
            self._note(scores, split, evaluation)
            if evaluation.predictions and self._writes:
                file = folder / f"predictions-{split}.jsonl"
                write_predictions(file, self.examples[split], evaluation.predictions, write_atomic)
            if split == reported and evaluation.collapsed:
                scores.collapsed = f"{evaluation.collapsed} ({split})"
        self._write_prompt(folder)
        scores.seconds = time.monotonic() - started
        peak = float(self._peak_memory())  # of several processes, the one that takes most
        scores.peak_memory = peak if self.sharded is None else self.sharded.processes.most(peak)
        return scores

    def _note(self, scores: Scores, split: str, evaluation: Evaluation) -> None:
        """Add a split's scores, and those of the parts that its task names (WebNLG: seen and unseen)."""
        scores.metrics[split] = evaluation.values
        scores.statistics[split] = evaluation.statistics
        if numbers := cluster_numbers(self.examples[split]):
            scores.clusters[split] = numbers
        parts = subsets(split, self.examples[split]) if evaluation.statistics else {}
        for name, members in parts.items():
            scores.metrics[name] = score_subset(self.task, evaluation.statistics, members)
        if parts:
            scores.subsets[split] = parts
        if evaluation.missing:
            scores.missing |= {name: dict(evaluation.missing) for name in (split, *parts)}
            texts = evaluation.missing.items()
            scores.deviations += [f"{split}: {name} is missing: {why}" for name, why in texts]
        if evaluation.cut:
            over_all = ", ".join(f"{name} {value:.2f}" for name, value in evaluation.uncut.items())
            scores.deviations.append(
                f"{split}: {evaluation.cut} words beyond task.max_input_length are not scored"
                + (f"; over all gold words: {over_all}" if over_all else "")
            )

    def _write_prompt(self, folder: Path) -> None:
        from safetensors.torch import save

        exported = {name: tensor.cpu().contiguous() for name, tensor in self.method.export().items()}
        exported |= self._own_weights()
        if exported and self._writes:
            write_atomic(folder / "prompt.safetensors", save(exported))

    @property
    def _writes(self) -> bool:
        return self.sharded is None or self.sharded.processes.first

    def _own_weights(self) -> dict[str, Tensor]:
        """Whole tuned weights of the backbone, on the CPU; empty in processes that do not write."""
        if self.sharded is not None:
            return self.sharded.whole_weights()
        return {f"backbone.{name}": own.detach().cpu().contiguous().clone() for name, own in self.own.items()}

    def _peak_memory(self) -> int:
        """Bytes: the GPU's peak where one is used, else the process's largest resident size."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        return peak_resident()
