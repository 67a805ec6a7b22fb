"""The gradient of a step is that of its examples: not of how they are cut, padded, or who else is in the batch."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from repro.models.encoding.batch import IGNORE, PAD, Batch, collate
from repro.training.trainable import TrainableTrial
from tests.models.loaded import adapt
from tests.training.tiny_training import CPU, LENGTHS, ToyTask, backward, batches, close, load, make_trial, toy_examples

KINDS = [
    ("tiny-t5", "prompt_tuning", "text_to_text"),
    ("tiny-gpt2", "prefix_mlp", "text_to_text"),
    ("tiny-bert", "p_tuning_v2", "pair"),
    ("tiny-bert", "p_tuning_v2", "tagging"),
    ("tiny-bert", "prompt_tuning", "choice"),
]


def step_gradients(run: TrainableTrial) -> tuple[dict[str, Tensor], Tensor]:
    """Gradients of step 0, and its losses [1]."""
    losses = backward([run], batches(run, 0))
    return {name: tensor.grad.clone() for name, tensor in run.tensors.items()}, losses


def naive_gradients(run: TrainableTrial) -> tuple[dict[str, Tensor], float]:
    """Every example alone, unpadded; its loss over what the reduction asks for, written out."""
    total, weight = torch.zeros((), dtype=torch.float64), 0
    for batch in batches(run, 0):
        width = batch.choices
        for first in range(0, len(batch.ids), width):
            some = slice(first, first + width)
            length = int(batch.mask[some].sum(1).max())
            cut = {n: getattr(batch, n) for n in ("ids", "mask", "order", "token_types", "token_labels")}
            cut = {n: None if value is None else value[some, :length] for n, value in cut.items()}
            target, labels = batch.target_ids, batch.labels
            if target is not None:
                target = target[some, : int((target[some] != IGNORE).sum(1).max())]
            if labels is not None:
                labels = labels[first // width : first // width + 1]
            one = replace(batch, **cut, rows=batch.rows[some], labels=labels, target_ids=target)
            loss = run.adapter.losses(one, run.method.injection(training=True))
            total = total + loss.total.sum()
            weight += 1 if run.example_sum else int(loss.count.sum())
    names = list(run.tensors)
    grads = torch.autograd.grad(total / weight, [run.tensors[name] for name in names])
    return dict(zip(names, grads, strict=True)), float(total.detach() / weight)


def negligible(name: str, format: str) -> bool:
    """All choices of an example share the head's bias: the softmax over them does not see it."""
    return format == "choice" and name == "method.head.bias"


@pytest.mark.parametrize("example_sum", [False, True], ids=["token_mean", "example_sum"])
@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_cutting_a_step_does_not_change_its_gradient(model: str, method: str, format: str, example_sum: bool) -> None:
    options = {"count": 9, "batch_size": 7, "example_sum": example_sum}
    expected, loss = naive_gradients(make_trial(model, method, format, **options))
    for microbatches in (1, 2, 5, 30):
        found, losses = step_gradients(make_trial(model, method, format, microbatches=microbatches, **options))
        assert found.keys() == expected.keys()
        for name, grad in found.items():
            if negligible(name, format):
                assert float(grad.abs().max()) < 1e-15
            else:
                close(grad, expected[name], 1e-12)
        assert float(losses) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(("model", "method", "format"), [KINDS[0], KINDS[1], KINDS[3]])
def test_the_two_reductions_differ_by_the_labels_an_example_has(model: str, method: str, format: str) -> None:
    token, _ = step_gradients(make_trial(model, method, format, count=6, batch_size=6))
    run = make_trial(model, method, format, count=6, batch_size=6, example_sum=True)
    example, _ = step_gradients(run)
    labels = sum(int(batch.label_counts().sum()) for batch in batches(run, 0))
    assert labels > 6
    for name, grad in token.items():
        close(grad * labels / 6, example[name], 1e-12)


def test_the_sum_is_the_mean_times_the_labels() -> None:
    """T5X's loss is not normalised: each token is equally important, in whatever batch."""
    mean, mean_loss = step_gradients(make_trial("tiny-t5", "prompt_tuning", "text_to_text", count=6, batch_size=6))
    run = make_trial("tiny-t5", "prompt_tuning", "text_to_text", count=6, batch_size=6, microbatches=2)
    run.summed = True
    total, total_loss = step_gradients(run)
    labels = sum(int(batch.label_counts().sum()) for batch in batches(run, 0))
    assert float(total_loss) == pytest.approx(float(mean_loss) * labels, rel=1e-6)
    for name, grad in mean.items():
        close(grad * labels, total[name], 1e-10)


@pytest.mark.parametrize(("model", "method"), [("tiny-t5", "prompt_tuning"), ("tiny-gpt2", "prefix_mlp")])
def test_a_step_adds_the_z_loss_and_evaluation_does_not(model: str, method: str) -> None:
    """A step's loss with c is linear in c, micro-batches or not; the adapter's formula has a test of its own."""
    at = {}
    for c in (0.0, 0.1, 0.2):
        for microbatches in (1, 3):
            run = make_trial(model, method, "text_to_text", count=6, batch_size=6, microbatches=microbatches)
            run.z_loss = c
            before = run.evaluate()[0]
            at[c, microbatches] = step_gradients(run)
            assert run.evaluate()[0] == before
        close(at[c, 3][1], at[c, 1][1], 1e-6)
    assert float(at[0.1, 1][1]) > float(at[0.0, 1][1]) + 1
    assert float(at[0.2, 1][1] - at[0.1, 1][1]) == pytest.approx(float(at[0.1, 1][1] - at[0.0, 1][1]), rel=1e-4)
    for name, grad in at[0.1, 1][0].items():
        close(grad * 2 - at[0.0, 1][0][name], at[0.2, 1][0][name], 1e-9)
        assert not torch.allclose(grad, at[0.0, 1][0][name], rtol=1e-3)


def padded_further(batch: Batch, by: int) -> Batch:
    """The same rows with `by` more places of padding in the input, and 2 in the target."""
    fills = {"ids": 0, "mask": 0, "order": PAD, "token_types": 0, "token_labels": IGNORE}
    wider = {
        n: None if getattr(batch, n) is None else F.pad(getattr(batch, n), (0, by), value=v) for n, v in fills.items()
    }
    target = None if batch.target_ids is None else F.pad(batch.target_ids, (0, 2), value=IGNORE)
    return replace(batch, **wider, target_ids=target)


@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_a_row_padded_further_has_the_same_loss(model: str, method: str, format: str) -> None:
    run = make_trial(model, method, format, count=5, batch_size=5)
    (batch,) = batches(run, 0)
    injection = run.method.injection(training=False)
    losses = [run.adapter.losses(b, injection) for b in (batch, padded_further(batch, 1), padded_further(batch, 13))]
    assert losses[0].total.min() > 0
    for other in losses[1:]:
        close(other.total, losses[0].total, 1e-12)
        assert torch.equal(other.count, losses[0].count)


def test_a_trial_without_labels_in_a_step_has_no_gradient() -> None:
    # Both rows of trial 1 lost their words to truncation: its gradient is 0, not 0 / 0.
    backbone, task = load("tiny-bert"), ToyTask("tagging")
    items = [adapt(backbone, "tagging", LENGTHS).encode(task.render(e), True)[0] for e in toy_examples("tagging", 4)]
    batch = collate(items, 0, rows=[0, 0, 1, 1])
    batch.token_labels[2:] = IGNORE
    runs = [make_trial("tiny-bert", "p_tuning_v2", "tagging", seed=seed, backbone=backbone) for seed in (1, 2)]
    losses = backward(runs, [batch.to(CPU)])
    assert losses[0] > 0 and losses[1] == 0
    for name, tensor in runs[0].tensors.items():
        other = runs[1].tensors[name].grad
        assert tensor.grad.abs().max() > 0 and torch.equal(other, torch.zeros_like(other))
