"""Our own training step, as a trial runs it: a `training.step.TrialBatch` over given batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.workloads import Workload
from repro.config.schema import OptimiserConfig
from repro.models.encoding.batch import Batch, Encoded, collate
from repro.models.interface import ModelAdapter
from repro.models.loading import LoadOptions, adapt, load_backbone
from repro.training.checkpoint import Progress
from repro.training.cuda_graphs import RecordingRunner
from repro.training.optimisers import make_optimiser
from repro.training.passes import StepWork
from repro.training.step import TrialBatch
from repro.training.trainable import TrainableTrial, trained
from repro.trials.tensors import build_tensors

ADAMW = OptimiserConfig(name="adamw", learning_rate=1e-3)
STEPS = 10**9
"""More than are ever made: before a trial's last step the next one is made ready on a GPU."""


def loaded(workload: Workload, dtype: str, packing: bool | str, device: torch.device) -> ModelAdapter:
    """The workload's frozen model in the role of its format."""
    options = LoadOptions(dtype, packing=str(packing))
    backbone, _ = load_backbone(workload.model, options, device, workload.format)
    return adapt(backbone, workload.format, max_input_length=256, max_target_length=256)


def made(workload: Workload, adapter: ModelAdapter, rate: float) -> tuple[TrainableTrial, list[list[Encoded]]]:
    """A trial of the workload at a learning rate, and the batches that it goes round."""
    method, backbone = workload.method(), adapter.backbone
    task: Any = SimpleNamespace(format=workload.format, labels=("no", "yes"), parts={})
    build_tensors(method, backbone, task, [workload.seed])
    size, examples = workload.batch_size, workload.examples()
    batches = [examples[start : start + size] for start in range(0, len(examples), size)]
    run = TrainableTrial(
        adapter=adapter,
        method=method,
        optimiser=make_optimiser(trained(method, {}), ADAMW),
        rate=lambda step: torch.tensor([rate]),
        examples=lambda step: [[one] for one in batches[step % len(batches)]],
        evaluate=lambda: (0.0, {}),
        steps=STEPS,
        steps_per_epoch=len(batches),
        evaluate_every=1,
        seed=workload.seed,
        keep_best=False,
        clip_norm=1.0,
        example_sum=False,
        pad_id=backbone.tokenizer.pad_token_id,
    )
    return run, batches


class Ours:
    """K = 1 trial of a workload.

    Args:
        dtype: the frozen weights' (prompts and optimiser stay float32).
        packing: as `trainer.packing`.
    """

    def __init__(self, workload: Workload, dtype: str, packing: bool | str, device: torch.device):
        self.adapter = loaded(workload, dtype, packing, device)
        self.run, self.examples = made(workload, self.adapter, ADAMW.learning_rate)
        self.method, self.device, self.progress = self.run.method, device, Progress()
        self.runner = RecordingRunner()
        self.trial_batch = TrialBatch(self.runner)
        """One for all steps: recordings and the step that was made ready are for the next one."""

    def batch(self, examples: list[Encoded]) -> Batch:
        """Padded, as every batch is until the adapter packs it."""
        return collate(examples, self.adapter.backbone.tokenizer.pad_token_id)

    def losses(self) -> list[float]:
        """Of every batch, with the starting prompt."""
        found = []
        for examples in self.examples:
            losses = self.adapter.losses(self.batch(examples).to(self.device), self.method.injection(training=True))
            found.append(float(losses.total.detach().sum() / losses.count.sum()))
        return found

    def forward_backward(self, index: int) -> None:
        """The gradient of one batch and nothing else, for the count of saved activations."""
        batches = [self.batch(self.examples[index])]
        StepWork([self.run], None).backward(batches, batches)

    def one_pass(self) -> None:
        """A step on every batch."""
        for _ in self.examples:
            [failure] = self.trial_batch.step([self.run], [self.progress])
            if failure is not None:
                raise failure
