"""Fine-tuning: the optimiser's tensors are the model's own weights, and training is what torch's AdamW makes of it."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from repro.methods.base import Tuning
from repro.models.encoding.batch import IGNORE, Batch
from repro.models.tuning import tune
from repro.training.checkpoint import Checkpoints, Progress
from repro.training.trainable import TrainableTrial
from repro.trials.tensors import tuned_weights
from tests.training.tiny_training import Recorder, batches, close, copies, load, make_trial, train_step, train_trial

MODELS = ["tiny-t5", "tiny-bart", "tiny-gpt2", "tiny-llama", "tiny-bert", "tiny-roberta"]


@pytest.mark.parametrize("model", MODELS)
def test_views_share_storage_with_the_model(model: str) -> None:
    backbone = load(model)
    views, sync = tuned_weights(tune(backbone, Tuning("all"), 0))
    own = dict(backbone.model.named_parameters())
    assert set(views) == {f"backbone.{name}" for name in own}
    assert all(parameter.requires_grad for parameter in own.values())
    for name, parameter in own.items():
        view = views[f"backbone.{name}"]
        assert view.shape == (1, *parameter.shape) and view.data_ptr() == parameter.data_ptr()
        parameter.grad = torch.full_like(parameter, 3.0)
    sync()
    assert all(parameter.grad is None for parameter in own.values())
    assert all(torch.equal(view.grad, torch.full_like(view, 3.0)) for view in views.values())
    name = next(iter(own))
    views[f"backbone.{name}"].fill_(5.0)
    assert torch.equal(own[name], torch.full_like(own[name], 5.0))
    sync()  # no gradient since: an old one must not be used again
    assert all(view.grad is None for view in views.values())


def unseen(name: str) -> bool:
    """BERT's key biases: each adds the same to all scores of a query, which the softmax does not see."""
    return name.endswith("key.bias")


def naive_t5(model: Any, head: Any, batch: Batch) -> Tensor:
    out = model(input_ids=batch.ids, attention_mask=batch.mask, labels=batch.target_ids, use_cache=False)
    return F.cross_entropy(out.logits.flatten(0, 1), batch.target_ids.flatten(), ignore_index=IGNORE)


def naive_gpt2(model: Any, head: Any, batch: Batch) -> Tensor:
    logits = model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), batch.token_labels[:, 1:].flatten(), ignore_index=IGNORE)


def naive_bert(model: Any, head: Any, batch: Batch) -> Tensor:
    pooled = model(input_ids=batch.ids, attention_mask=batch.mask, token_type_ids=batch.token_types).pooler_output
    return F.cross_entropy(F.linear(pooled, *head), batch.labels)


CASES: list[tuple[str, str, Callable[..., Tensor]]] = [
    ("tiny-t5", "text_to_text", naive_t5),
    ("tiny-gpt2", "text_to_text", naive_gpt2),
    ("tiny-bert", "pair", naive_bert),
]


def trained_naively(run: TrainableTrial, loss_of: Callable[..., Tensor]) -> tuple[dict[str, Tensor], list[float]]:
    """A copy of the model under transformers' own attention, torch's clipping and torch's AdamW."""
    from transformers import PreTrainedModel

    model = copy.deepcopy(run.adapter.backbone.model).requires_grad_(True)
    for part in model.modules():
        if isinstance(part, PreTrainedModel):
            part.config._attn_implementation = "sdpa"
    new = {name: torch.nn.Parameter(tensor[0].detach().clone()) for name, tensor in run.method.parameters.items()}
    parameters = [*new.values(), *model.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=1.0, weight_decay=0.1)
    losses = []
    for step in range(run.steps):
        (batch,) = batches(run, step)
        loss = loss_of(model, tuple(new.values()), batch)
        losses.append(float(loss.detach()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimiser.param_groups[0]["lr"] = float(run.rate(step)[0])
        optimiser.step()
        optimiser.zero_grad()
    own = {f"backbone.{name}": parameter for name, parameter in model.named_parameters()}
    return own | {f"method.{name}": parameter for name, parameter in new.items()}, losses


@pytest.mark.parity
@pytest.mark.parametrize(("model", "format", "loss_of"), CASES)
def test_training_equals_a_naive_loop_with_torch(model: str, format: str, loss_of: Callable[..., Tensor]) -> None:
    run = make_trial(
        model, "fine_tuning", format, steps=4, rate=1e-2, clip_norm=0.5, weight_decay=0.1, count=8, batch_size=4
    )
    expected, losses = trained_naively(run, loss_of)
    before, progress = copies(run.tensors), Progress()
    for _ in range(run.steps):
        train_step(run, progress)
    assert set(run.tensors) == set(expected)
    for name, tensor in run.tensors.items():
        if unseen(name):
            assert torch.allclose(tensor[0], expected[name], rtol=0, atol=1e-9)
        else:
            close(tensor[0], expected[name], 1e-10)
            assert not torch.equal(tensor, before[name])
    assert progress.losses == pytest.approx(losses, rel=1e-6)


@pytest.mark.parametrize(("model", "format", "loss_of"), CASES)
def test_every_weight_gets_a_gradient(model: str, format: str, loss_of: Callable[..., Tensor]) -> None:
    run = make_trial(model, "fine_tuning", format, rate=1e-2)
    given: dict[str, float] = {}
    inner = run.optimiser.step

    def step(rate: Tensor) -> None:
        given.update({n: float(t.grad.abs().max()) for n, t in run.tensors.items() if t.grad is not None})
        inner(rate)

    run.optimiser.step = step  # type: ignore[method-assign]
    train_step(run, Progress())
    assert set(given) == set(run.tensors)
    assert {name for name, size in given.items() if size < 1e-12} == {name for name in given if unseen(name)}
    assert all(tensor.grad is None for tensor in run.tensors.values())
    assert all(parameter.grad is None for parameter in run.adapter.backbone.model.parameters())


def test_the_best_weights_are_put_back_into_the_model(tmp_path: Path) -> None:
    run = make_trial("tiny-t5", "fine_tuning", steps=8, rate=1e-2)
    start, seen = copies(run.adapter.backbone.model.state_dict()), []

    def evaluate() -> tuple[float, dict[str, Any]]:
        seen.append(copies(run.adapter.backbone.model.state_dict()))
        return float(-len(seen)), {}

    run.evaluate = evaluate
    train_trial(run, Checkpoints(tmp_path), Recorder())
    now = run.adapter.backbone.model.state_dict()
    assert len(seen) == 3
    for name, tensor in now.items():
        assert torch.equal(tensor, seen[0][name]) and not torch.equal(tensor, seen[2][name])
        assert not torch.equal(tensor, start[name])


@pytest.mark.parametrize("optimiser", [{"name": "adamw"}, {"name": "adafactor"}])
def test_tied_weights_are_trained_once(optimiser: dict[str, Any]) -> None:
    run = make_trial("tiny-gpt2", "fine_tuning", steps=2, rate=1e-2, **optimiser)
    model = run.adapter.backbone.model
    names = [name for name in run.tensors if "wte" in name or "lm_head" in name]
    assert names == ["backbone.transformer.wte.weight"]
    train_step(run, Progress())
    assert (
        model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr() == run.tensors[names[0]].data_ptr()
    )
