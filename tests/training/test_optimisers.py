"""AdamW and Adafactor over K trials at once: each trial as a reference would run it alone."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from repro.training.optimisers import clip_gradients, gradient_norms, make_optimiser
from repro.training.schedules import schedule
from tests.training.tiny_training import optimiser_config, same_bits

TRIALS, STEPS = 3, 6
SHAPES = {"matrix": (4, 5), "vector": (7,), "single": (1, 3)}
RATES = torch.tensor([1e-3, 0.1, 2.0], dtype=torch.float64)


def rates_at(step: int) -> Tensor:
    """[K], another one each step."""
    return RATES / (1 + step)


def leaves(shapes: dict[str, tuple[int, ...]], trials: int = TRIALS, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.randn(trials, *s, generator=generator, dtype=torch.float64) for n, s in shapes.items()}


def gradients(shapes: dict[str, tuple[int, ...]], steps: int = STEPS, trials: int = TRIALS) -> list[dict[str, Tensor]]:
    """Of very different sizes over steps and trials, so that clipping by RMS is on at some and off at others."""
    sizes = torch.tensor([1e-3, 1.0, 30.0][:trials], dtype=torch.float64)
    made = []
    for step in range(steps):
        drawn = leaves(shapes, trials, seed=100 + step)
        made.append({n: g * sizes.view(-1, *[1] * (g.dim() - 1)) * (4.0, 0.2, 1.0)[step % 3] for n, g in drawn.items()})
    return made


def run(tensors: dict[str, Tensor], grads: list[dict[str, Tensor]], rates: Any, **config: Any) -> dict[str, Tensor]:
    """`tensors` after our optimiser's steps."""
    optimiser = make_optimiser(tensors, optimiser_config(**config))
    for step, given in enumerate(grads):
        for name, grad in given.items():
            tensors[name].grad = grad.clone()
        optimiser.step(rates(step))
    assert optimiser.count == len(grads)
    return tensors


@pytest.mark.parity
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(("beta1", "beta2", "epsilon"), [(0.9, 0.999, 1e-8), (0.5, 0.9, 0.3), (0.0, 0.99, 1e-3)])
def test_adamw_equals_torch_trial_by_trial(decay: float, beta1: float, beta2: float, epsilon: float) -> None:
    grads = gradients(SHAPES)
    config = {"name": "adamw", "beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": decay}
    ours = run(leaves(SHAPES), grads, rates_at, **config)
    for trial in range(TRIALS):
        alone = {name: torch.nn.Parameter(tensor[trial].clone()) for name, tensor in leaves(SHAPES).items()}
        reference = torch.optim.AdamW(alone.values(), lr=1.0, betas=(beta1, beta2), eps=epsilon, weight_decay=decay)
        for step, given in enumerate(grads):
            reference.param_groups[0]["lr"] = float(rates_at(step)[trial])
            for name, parameter in alone.items():
                parameter.grad = given[name][trial].clone()
            reference.step()
        for name, parameter in alone.items():
            torch.testing.assert_close(ours[name][trial], parameter.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parity
def test_a_backbone_with_a_rate_of_its_own_follows_the_schedule_too() -> None:
    """P-tuning's two optimisers: torch's AdamW at 1e-5 and at 1e-4, each under its own linear schedule."""
    from transformers import get_linear_schedule_with_warmup

    shapes = {"method.prompt": (4, 5), "backbone.weight": (3, 2)}
    grads = gradients(shapes, trials=1)
    config = {"learning_rate": 1e-4, "backbone_learning_rate": 1e-5, "weight_decay": 0.1}
    linear = schedule("linear", 2, 0.95, STEPS, 3)
    ours = run(
        leaves(shapes, 1), grads, lambda step: torch.tensor([1e-4 * linear(step)], dtype=torch.float64), **config
    )
    for (name, start), rate in zip(leaves(shapes, 1).items(), (1e-4, 1e-5), strict=True):
        parameter = torch.nn.Parameter(start[0].clone())
        reference = torch.optim.AdamW([parameter], lr=rate, weight_decay=0.1)
        scheduler = get_linear_schedule_with_warmup(reference, 2, STEPS)
        for given in grads:
            parameter.grad = given[name][0].clone()
            reference.step()
            scheduler.step()
        torch.testing.assert_close(ours[name][0], parameter.detach(), rtol=1e-12, atol=1e-12)


def test_adamw_first_step_by_hand() -> None:
    # Corrected moments of the first step are g and g^2: the update is g / (|g| + epsilon), epsilon outside the root.
    tensors = {"p": torch.tensor([[2.0], [2.0]], dtype=torch.float64)}
    given = [{"p": torch.tensor([[0.5], [-1.5]], dtype=torch.float64)}]
    rate = torch.tensor([0.1, 0.2], dtype=torch.float64)
    run(tensors, given, lambda step: rate, name="adamw", epsilon=0.5, weight_decay=0.25)
    expected = [2.0 * (1 - 0.1 * 0.25) - 0.1 * 0.5 / (0.5 + 0.5), 2.0 * (1 - 0.2 * 0.25) + 0.2 * 1.5 / (1.5 + 0.5)]
    assert tensors["p"].flatten().tolist() == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_a_tensor_without_a_gradient_stays(name: str) -> None:
    tensors = leaves(SHAPES)
    before = {n: t.clone() for n, t in tensors.items()}
    given = {n: g for n, g in gradients(SHAPES)[0].items() if n != "vector"}
    run(tensors, [given], rates_at, name=name, weight_decay=0.1)
    assert torch.equal(tensors["vector"], before["vector"])
    assert not torch.equal(tensors["matrix"], before["matrix"])


def naive_adafactor(
    start: np.ndarray, grads: list[np.ndarray], rates: list[float], factored: bool, offset: int, decay: float,
    times_rate: bool, threshold: float, scaled: bool = False,
) -> tuple[np.ndarray, list[bool]]:  # fmt: skip
    """One trial's tensor by the rule of papers/lester2021 (a) and (e) written out; also which updates were cut."""
    value, second, cut = start.copy(), np.zeros_like(start), []
    row = column = np.zeros(1)
    if factored:
        row, column = np.zeros(start.shape[0]), np.zeros(start.shape[1])
    for t, (grad, rate) in enumerate(zip(grads, rates, strict=True)):
        beta2 = 1 - (t + offset + 1) ** -0.8
        square = grad * grad + 1e-30
        if factored:
            row = beta2 * row + (1 - beta2) * square.mean(axis=1)
            column = beta2 * column + (1 - beta2) * square.mean(axis=0)
            estimate = np.outer(row, column) / row.mean()
        else:
            second = beta2 * second + (1 - beta2) * square
            estimate = second
        update = grad / np.sqrt(estimate)
        rms = math.sqrt((update**2).mean())
        cut.append(rms > threshold)
        update = update / max(1.0, rms / threshold)
        rate = rate * max(1e-3, math.sqrt((value**2).mean())) if scaled else rate
        value = value * (1 - (rate * decay if times_rate else decay)) - rate * update
    return value, cut


@pytest.mark.parity
@pytest.mark.parametrize("offset", [0, 1_100_000])
@pytest.mark.parametrize("form", ["absolute", "times_learning_rate"])
@pytest.mark.parametrize("factored", ["always", "never"])
@pytest.mark.parametrize("threshold", [1.0, 0.3, 1e9])
def test_adafactor_equals_the_rule_written_out(offset: int, form: str, factored: str, threshold: float) -> None:
    grads = gradients(SHAPES)
    settings = {"decay_rate": 0.8, "weight_decay": 1e-2, "weight_decay_form": form, "factored": factored}
    ours = run(
        leaves(SHAPES), grads, rates_at, name="adafactor", step_offset=offset, clip_threshold=threshold, **settings
    )
    cuts: list[bool] = []
    for name, start in leaves(SHAPES).items():
        matrix = factored == "always" and start[0].dim() == 2
        for trial in range(TRIALS):
            alone = [given[name][trial].numpy() for given in grads]
            rates = [float(rates_at(step)[trial]) for step in range(STEPS)]
            expected, cut = naive_adafactor(
                start[trial].numpy(), alone, rates, matrix, offset, 1e-2, form == "times_learning_rate", threshold
            )
            cuts += cut
            np.testing.assert_allclose(ours[name][trial].numpy(), expected, rtol=1e-10, atol=1e-10)
    if threshold == 1e9:
        assert not any(cuts)
    elif offset == 0:
        assert any(cuts) and (threshold < 1 or not all(cuts))
    else:
        assert all(cuts)  # papers/lester2021 (e) 4: from step 1,100,000 on every update is cut for a long time


@pytest.mark.parity
@pytest.mark.parametrize("form", ["absolute", "times_learning_rate"])
@pytest.mark.parametrize("size", [1.0, 1e-6], ids=["scaled", "the smallest scale"])
def test_parameter_scaling_written_out(size: float, form: str) -> None:
    """Every trial's tensor scales its own rate, by 1e-3 where it is smaller than that."""
    grads, start = gradients(SHAPES), {name: size * tensor for name, tensor in leaves(SHAPES).items()}
    settings = {"weight_decay": 1e-2, "weight_decay_form": form, "factored": "always", "parameter_scaling": True}
    ours = run(
        {n: t.clone() for n, t in start.items()},
        grads,
        lambda step: 1e-3 * rates_at(step),
        name="adafactor",
        **settings,
    )
    for name, tensor in start.items():
        for trial in range(TRIALS):
            rates = [1e-3 * float(rates_at(step)[trial]) for step in range(STEPS)]
            alone = [given[name][trial].numpy() for given in grads]
            matrix = tensor[0].dim() == 2
            times_rate = form == "times_learning_rate"
            expected, _ = naive_adafactor(tensor[trial].numpy(), alone, rates, matrix, 0, 1e-2, times_rate, 1.0, True)
            np.testing.assert_allclose(ours[name][trial].numpy(), expected, rtol=1e-10, atol=1e-20)


@pytest.mark.parity
@pytest.mark.parametrize("scaled", [False, True])
def test_adafactor_equals_transformers_where_they_agree(scaled: bool) -> None:
    from transformers.optimization import Adafactor as Reference

    shapes = {"matrix": (4, 5), "vector": (7,)}
    grads = gradients(shapes)
    settings = {"weight_decay": 0.1, "weight_decay_form": "times_learning_rate", "factored": "always"}
    settings["parameter_scaling"] = scaled
    ours = run(leaves(shapes), grads, rates_at, name="adafactor", **settings)
    for trial in range(TRIALS):
        alone = {name: torch.nn.Parameter(tensor[trial].clone()) for name, tensor in leaves(shapes).items()}
        reference = Reference(
            alone.values(), lr=1.0, eps=(1e-30, 1e-3), clip_threshold=1.0, decay_rate=-0.8, weight_decay=0.1,
            scale_parameter=scaled, relative_step=False, warmup_init=False,
        )  # fmt: skip
        for step, given in enumerate(grads):
            reference.param_groups[0]["lr"] = float(rates_at(step)[trial])
            for name, parameter in alone.items():
                parameter.grad = given[name][trial].clone()
            reference.step()
        for name, parameter in alone.items():
            torch.testing.assert_close(ours[name][trial], parameter.detach(), rtol=1e-10, atol=1e-10)


def test_official_start_moves_every_trial_by_exactly_its_rate() -> None:
    # Zero second moments at t = 1,100,000: the raw update is some 250 times too large and is cut to RMS 1.
    tensors, grads = leaves({"prompt": (10, 8)}), gradients({"prompt": (10, 8)}, steps=1)
    before = tensors["prompt"].clone()
    run(tensors, grads, lambda step: RATES, name="adafactor", step_offset=1_100_000)
    moved = (tensors["prompt"] - before).flatten(1).square().mean(1).sqrt()
    torch.testing.assert_close(moved, RATES, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("shape", "starts"),
    [((127, 128), "never"), ((128, 128), "always"), ((128, 127), "never"), ((128, 300), "always"), ((300, 5), "never")],
)
def test_auto_factors_a_prompt_from_length_128_on(shape: tuple[int, int], starts: str) -> None:
    grads = gradients({"prompt": shape}, steps=2, trials=2)

    def after(factored: str) -> Tensor:
        tensors = leaves({"prompt": shape}, trials=2)
        return run(tensors, grads, lambda step: RATES[:2], name="adafactor", factored=factored)["prompt"]

    auto = after("auto")
    assert torch.equal(auto, after(starts))
    assert not torch.allclose(auto, after("never" if starts == "always" else "always"), atol=1e-3)


def test_the_trial_axis_never_counts_as_a_side_of_a_matrix() -> None:
    shapes = {"bias": torch.zeros(200, 300), "prompt": torch.zeros(200, 3, 300)}
    for factored in ("auto", "always"):
        state = make_optimiser(shapes, optimiser_config(name="adafactor", factored=factored)).state
        assert "second.bias" in state and ("row.prompt" in state) == (factored == "always")
    assert state["row.prompt"].shape == (200, 3) and state["column.prompt"].shape == (200, 300)


@pytest.mark.parametrize(
    "config",
    [
        {"name": "adamw", "weight_decay": 0.1},
        {"name": "adafactor", "factored": "never", "weight_decay": 1e-5},
        {"name": "adafactor", "factored": "always", "step_offset": 1_100_000},
    ],
)
def test_trials_never_touch_each_other(config: dict[str, Any]) -> None:
    shapes = {"prompt": (100, 32), "bias": (33,)}
    grads, start = gradients(shapes), leaves(shapes)
    together = run(leaves(shapes), grads, rates_at, **config)
    for trial in range(TRIALS):
        one = slice(trial, trial + 1)
        alone = {name: tensor[one].clone() for name, tensor in start.items()}
        given = [{name: grad[one] for name, grad in step.items()} for step in grads]
        run(alone, given, lambda step, one=one: rates_at(step)[one], **config)
        same_bits({name: tensor[one] for name, tensor in together.items()}, alone)


def test_state_and_count_are_all_that_resuming_needs() -> None:
    grads = gradients(SHAPES)
    for config in ({"name": "adamw"}, {"name": "adafactor", "factored": "always"}):
        whole = run(leaves(SHAPES), grads, rates_at, **config)
        first = leaves(SHAPES)
        optimiser = make_optimiser(first, optimiser_config(**config))
        second = {name: torch.zeros_like(tensor) for name, tensor in first.items()}
        for step, given in enumerate(grads):
            if step == 3:
                state, count = optimiser.state, optimiser.count
                for name, tensor in second.items():
                    tensor.copy_(first[name])
                first, optimiser = second, make_optimiser(second, optimiser_config(**config))
                for name, tensor in optimiser.state.items():
                    tensor.copy_(state[name])
                optimiser.count = count
            for name, grad in given.items():
                first[name].grad = grad.clone()
            optimiser.step(rates_at(step))
        same_bits(second, whole)


def test_float32_rates_reach_the_tensors_in_their_own_type() -> None:
    tensors = {"p": torch.ones(2, 3)}
    tensors["p"].grad = torch.ones(2, 3)
    make_optimiser(tensors, optimiser_config(name="adafactor")).step(torch.tensor([0.25, 0.5], dtype=torch.float64))
    assert tensors["p"].dtype == torch.float32
    assert tensors["p"].tolist() == [[0.75] * 3, [0.5] * 3]


@pytest.mark.parity
@pytest.mark.parametrize("limit", [1e-6, 0.5, 10.0, 1e6])
def test_clipping_equals_torch_trial_by_trial(limit: float) -> None:
    tensors, given = leaves(SHAPES), gradients(SHAPES)[0]
    for name, grad in given.items():
        scale = 1e-6 if limit == 1e-6 else 1.0  # where torch's 1e-6 in the denominator shows
        given[name] = grad * scale
        tensors[name].grad = given[name].clone()
    tensors["frozen"] = torch.ones(TRIALS, 2, dtype=torch.float64)
    norms = gradient_norms(tensors)
    clip_gradients(tensors, norms, limit)
    changed = []
    for trial in range(TRIALS):
        alone = [torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in SHAPES.values()]
        for parameter, name in zip(alone, SHAPES, strict=True):
            parameter.grad = given[name][trial].clone()
        norm = torch.nn.utils.clip_grad_norm_(alone, limit)
        assert float(norms[trial]) == pytest.approx(float(norm), rel=1e-12)
        changed.append(float(norm) + 1e-6 > limit)
        for parameter, name in zip(alone, SHAPES, strict=True):
            torch.testing.assert_close(tensors[name].grad[trial], parameter.grad, rtol=1e-12, atol=0)
    assert changed == {1e-6: [True] * 3, 0.5: [False, True, True], 10.0: [False, True, True], 1e6: [False] * 3}[limit]
