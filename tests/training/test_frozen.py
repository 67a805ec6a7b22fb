"""Frozen means frozen: nothing is kept for a weight that is not trained, or computed for a prompt that is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from repro.methods.base import Injection, KeyValue
from repro.training.checkpoint import Progress
from repro.training.optimisers import make_optimiser
from repro.training.trainable import TrainableTrial
from tests.models.loaded import load_backbone
from tests.training.tiny_training import CPU, backward, batches, load, make_trial, optimiser_config, train_step

KINDS = [
    ("tiny-t5", "prompt_tuning", "text_to_text"),
    ("tiny-bart", "prefix_mlp", "text_to_text"),
    ("tiny-gpt2", "prefix_mlp", "text_to_text"),
    ("tiny-llama", "prefix_mlp", "text_to_text"),
    ("tiny-bert", "p_tuning_v2", "pair"),
    ("tiny-roberta", "p_tuning_v2", "tagging"),
]


@contextmanager
def kept() -> Iterator[dict[int, int]]:
    """{storage: bytes} that autograd keeps for the backward pass."""
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def projections(model: nn.Module) -> dict[str, nn.Module]:
    """Every matrix of a backbone."""
    return {name: part for name, part in model.named_modules() if type(part).__name__ in ("Linear", "Conv1D")}


@pytest.mark.parametrize("packing", [True, False])
@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_no_gradient_of_a_weight_and_no_input_of_a_matrix_is_kept(
    model: str, method: str, format: str, packing: bool
) -> None:
    run = make_trial(model, method, format, count=6, batch_size=6)
    run.adapter.backbone.packing = packing
    inner = run.adapter.backbone.model
    inputs: dict[str, Tensor] = {}  # alive until the end, or their memory would be another tensor's
    for name, part in projections(inner).items():
        part.register_forward_pre_hook(lambda module, args, name=name: inputs.__setitem__(name, args[0]))
    with kept() as saved:
        backward([run], batches(run, 0))
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in inner.parameters())
    assert all(tensor.grad is not None for tensor in run.tensors.values())
    assert len(inputs) > 8
    # Norms and attention keep what they make for themselves; behind an activation nothing but the matrix would keep it.
    ends = ("output.dense", "mlp.c_proj", "fc2", "wo", "down_proj")
    mine = [name for name in inputs if name.endswith(ends) and "attention" not in name]
    assert len(mine) >= 2
    assert [name for name in mine if inputs[name].untyped_storage().data_ptr() in saved] == []
    inner.requires_grad_(True)
    with kept() as saved:
        backward([run], batches(run, 0))
    assert all(inputs[name].untyped_storage().data_ptr() in saved for name in mine)


def saved_by(run: TrainableTrial) -> int:
    with kept() as saved:
        backward([run], batches(run, 0))
    weights = {p.untyped_storage().data_ptr() for p in run.adapter.backbone.whole.parameters()}
    return sum(size for pointer, size in saved.items() if pointer not in weights)


@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_packed_sequences_keep_less_for_the_backward_pass(model: str, method: str, format: str) -> None:
    """Toy examples are of very different lengths, so that most of a padded batch is padding."""
    run = make_trial(model, method, format, count=8, batch_size=8)
    run.adapter.backbone.packing = False
    padded = saved_by(run)
    run.adapter.backbone.packing = True
    assert saved_by(run) < 0.9 * padded


@pytest.mark.parametrize("packing", [True, False])
def test_nothing_is_computed_below_the_lowest_prompt(packing: bool) -> None:
    run = make_trial("tiny-bert", "p_tuning_v2", "pair", count=4, batch_size=4)
    run.adapter.backbone.packing = packing
    seen: list[bool] = []
    for block in run.adapter.backbone.model.encoder.layer:
        block.register_forward_pre_hook(lambda module, args: seen.append(args[0].requires_grad))
    backward([run], batches(run, 0))
    assert seen == [False, True]  # tokens reach the first block without a gradient; its prefix is what needs one
    seen.clear()
    bone = run.adapter.backbone
    shape = (1, 1, bone.spec.heads, 4, bone.spec.head_dim)
    full: Injection = run.method.injection(training=True)
    keys, values = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for _ in range(2))
    kv = KeyValue(keys, values, layers=(1,))
    losses = run.adapter.losses(batches(run, 0)[0], Injection(kv={"encoder": kv}, head=full.head))
    losses.total.sum().backward()
    assert seen == [False, False]
    assert kv.keys.grad is not None


@pytest.mark.parametrize("microbatches", [1, 4])
def test_what_makes_a_prefix_runs_once_a_step(microbatches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from repro.methods.parts import reparameterisation

    run = make_trial("tiny-gpt2", "prefix_mlp", "text_to_text", count=8, batch_size=8, microbatches=microbatches)
    calls: list[str] = []
    made = reparameterisation.mlp
    monkeypatch.setattr(reparameterisation, "mlp", lambda tensors, name: calls.append(name) or made(tensors, name))
    backward([run], batches(run, 0))
    assert len(batches(run, 0)) == microbatches
    assert calls == ["decoder"]
    assert all(tensor.grad.abs().max() > 0 for tensor in run.tensors.values())


@pytest.mark.parametrize(("model", "method", "format"), KINDS)
def test_weights_stored_in_bfloat16_leave_everything_trained_in_float32(model: str, method: str, format: str) -> None:
    run = make_trial(model, method, format, count=4, batch_size=4)
    bone = load(model, "bfloat16")
    assert {parameter.dtype for parameter in bone.whole.parameters()} == {torch.bfloat16}
    bone.packing = True
    run.adapter.backbone = bone
    for name, tensor in run.method.parameters.items():
        run.method.parameters[name] = tensor.detach().float().requires_grad_()
    run.optimiser = make_optimiser(run.method.parameters, optimiser_config())
    run.optimiser.tensors = run.tensors
    run.optimiser.state = {
        f"{moment}.{name}": torch.zeros_like(tensor) for name, tensor in run.tensors.items() for moment in MOMENTS
    }
    before = {name: tensor.detach().clone() for name, tensor in run.tensors.items()}
    train_step(run, Progress())
    for name, tensor in run.tensors.items():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, before[name])
    assert {tensor.dtype for tensor in run.optimiser.state.values()} == {torch.float32}
    assert all(float(tensor.abs().max()) > 0 for tensor in run.optimiser.state.values())


MOMENTS = ("first", "second")


def test_a_checkpoint_stored_in_float32_is_loaded_in_bfloat16(tmp_path: Any) -> None:
    """T5's library code would keep one matrix of each block in float32, had it been asked for float16."""
    made = load("tiny-t5", "float32")
    made.model.save_pretrained(tmp_path)
    made.tokenizer.save_pretrained(tmp_path)
    facts = {"family": "t5", "kind": "encoder_decoder", "source": "folder", "location": str(tmp_path), "name": "x"}
    spec = made.spec
    facts |= {"vocabulary": spec.vocabulary, "width": spec.width, "layers": 2, "decoder_layers": 2, "heads": spec.heads}
    facts |= {"head_dim": spec.head_dim, "tied_head": True, "feed_forward": made.model.config.d_ff}
    bone, _ = load_backbone(facts, {"dtype": "bfloat16", "attention": "sdpa"}, CPU)
    assert {parameter.dtype for parameter in bone.whole.parameters()} == {torch.bfloat16}
