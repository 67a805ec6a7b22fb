"""On a real GPU: the attention kernel, recorded passes, prepared steps and packing give plain computation's
numbers. Skipped where there is none.

They need torch, transformers and pytest of everything the project depends on, so that a machine can run them that has
little else: `PYTHONPATH=src python -m pytest -W default tests/training/test_on_gpu.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.joint import Trials
from benchmarks.ours import Ours, loaded
from benchmarks.workloads import TINY, Lengths, Workload
from repro.models.attention import varlen_kernel
from repro.training import cuda_graphs, fixed_shapes
from repro.training.cuda_graphs import CudaRecorder, RecordingRunner, Work
from repro.training.passes import PlainRunner
from repro.training.step import TrialBatch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
    pytest.mark.filterwarnings("default"),  # of other versions than the project's own environment has
]
DEVICE = torch.device("cuda")
WIDER = {"width": 128, "heads": 2, "head_dim": 64, "feed_forward": 256, "max_positions": 256}
KINDS = {
    one.name: replace(one, model=replace(one.model, **WIDER), batch_size=4, batches=4, lengths=Lengths(20, 0.5, 6, 60))
    for one in TINY
}
"""Prompt tuning of T5, prefix-tuning of GPT-2, P-Tuning v2 of BERT, with heads as wide as real ones."""
CLOSE = {"float32": 1e-4, "bfloat16": 3e-3}
"""Losses agree to this share: those of unlike batches differ by more."""
ALIKE = {"float32": 1e-3, "bfloat16": 0.1}
"""Gradients agree to this share of their norm."""
HEADS = (WIDER["heads"], WIDER["heads"], WIDER["head_dim"])
"""Of queries and of keys, and their size."""
MEMBERS = {"alone": (0,), "jointly": (0, 1, 2)}
kinds = pytest.mark.parametrize("kind", KINDS)
dtypes = pytest.mark.parametrize("dtype", CLOSE)


class Counting(CudaRecorder):
    """Counts the recordings."""

    records = 0

    def record(self, work: Work) -> Work:
        """As `CudaRecorder`."""
        self.records += 1
        return super().record(work)


@pytest.fixture
def few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding so coarse that a recording serves batches of unlike lengths, and every shape is recorded at once."""
    monkeypatch.setattr(fixed_shapes, "rounded", lambda count: 8 if count <= 8 else -(-count // 96) * 96)
    monkeypatch.setattr(fixed_shapes, "LEAST", 200)
    monkeypatch.setattr(cuda_graphs, "SEEN_BEFORE", 0)


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many queries each call of the kernel for unlike lengths had."""
    seen: list[int] = []
    original: Callable[..., Tensor] = varlen_kernel.kernel

    def counted(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(len(args[0]))
        return original(*args, **kwargs)

    assert varlen_kernel.right(DEVICE, torch.bfloat16, *HEADS)  # compared before, with the kernel itself
    monkeypatch.setattr(varlen_kernel, "kernel", counted)
    yield seen


def same_steps(workload: Workload, dtype: str, members: tuple[int, ...], ours: TrialBatch, theirs: TrialBatch) -> None:
    """Both make two passes from the same start; every loss of every trial is compared."""
    adapter = loaded(workload, dtype, True, DEVICE)
    mine, others = (Trials(workload, members, adapter) for _ in range(2))
    mine.trial_batch, others.trial_batch = ours, theirs
    for run in others.runs:
        run.graphs = False
    for _ in range(2):
        mine.one_pass()
        others.one_pass()
    for one, other in zip(mine.progresses, others.progresses, strict=True):
        assert len(one.losses) == 2 * workload.batches
        assert one.losses == pytest.approx(other.losses, rel=CLOSE[dtype])
        assert len(set(one.losses)) == len(one.losses)


def test_the_kernel_agrees_with_plain_attention() -> None:
    for heads in (HEADS, (4, 2, 64)):
        assert varlen_kernel.right(DEVICE, torch.bfloat16, *heads)
        for causal in (False, True):
            assert 0 < varlen_kernel.difference(DEVICE, torch.bfloat16, causal, *heads) <= varlen_kernel.TOLERANCE


@dtypes
@kinds
@pytest.mark.parametrize("members", MEMBERS)
def test_recorded_steps_are_the_steps(kind: str, dtype: str, members: str, few_shapes: None) -> None:
    counting = Counting()
    runner = RecordingRunner(counting)
    same_steps(KINDS[kind], dtype, MEMBERS[members], TrialBatch(runner), TrialBatch())
    assert runner.graphs is not None and not runner.graphs.broken
    assert runner.graphs.replays > counting.records > 0


@kinds
def test_a_gpu_records_by_itself(kind: str, few_shapes: None) -> None:
    runner, plain = RecordingRunner(), RecordingRunner()
    same_steps(KINDS[kind], "bfloat16", (0,), TrialBatch(runner), TrialBatch(plain))
    assert runner.graphs is not None and runner.graphs.replays > 0 and not runner.graphs.broken
    assert plain.graphs is None


@dtypes
@kinds
@pytest.mark.parametrize("members", MEMBERS)
def test_a_prepared_step_is_the_step(kind: str, dtype: str, members: str) -> None:
    ready, late = PlainRunner(prefetch=True), PlainRunner(prefetch=False)
    adapter = loaded(KINDS[kind], dtype, True, DEVICE)
    mine, others = (Trials(KINDS[kind], MEMBERS[members], adapter) for _ in range(2))
    mine.trial_batch, others.trial_batch = TrialBatch(ready), TrialBatch(late)
    for _ in range(2):
        mine.one_pass()
        others.one_pass()
    for one, other in zip(mine.progresses, others.progresses, strict=True):
        assert one.losses == pytest.approx(other.losses, rel=CLOSE[dtype])
    assert ready.prepared is not None and late.prepared is None
    assert ready.prepared.passes[0].owner.device.type == DEVICE.type


@dtypes
@kinds
def test_packed_batches_are_the_padded_ones(kind: str, dtype: str, kernel_calls: list[int]) -> None:
    packed, padded = (Ours(KINDS[kind], dtype, packing, DEVICE) for packing in (True, False))
    assert packed.losses() == pytest.approx(padded.losses(), rel=CLOSE[dtype])
    for index in range(len(packed.examples)):
        for side in (packed, padded):
            side.forward_backward(index)
    for name, tensor in packed.method.parameters.items():
        ours, theirs = tensor.grad, padded.method.parameters[name].grad
        assert ours is not None and theirs is not None and float(theirs.norm()) > 0, name
        assert float((ours - theirs).norm()) <= ALIKE[dtype] * float(theirs.norm()), name
    takes = dtype == "bfloat16" and kind != "t5"  # half precision without a bias
    assert bool(kernel_calls) == takes
