"""Every method fits four examples through its prompt or prefix alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from repro.training.checkpoint import Progress
from repro.training.optimisers import make_optimiser
from repro.training.trainable import TrainableTrial
from tests.training.tiny_training import METHODS, make_trial, optimiser_config, train_step


def enlarge(run: TrainableTrial, by: float) -> None:
    """A fresh model's weights are so small that no prompt could change its outputs; heads are made large and stay."""
    with torch.no_grad():
        for tensor in run.adapter.backbone.model.parameters():
            if tensor.dim() > 1:
                tensor.mul_(by)
        if "head.weight" in run.method.parameters:
            run.method.parameters["head.weight"].mul_(50)


ADAFACTOR = {"name": "adafactor"}
CASES: list[tuple[str, Callable[[], Any], str, float, float, float, dict[str, Any]]] = [
    # model, method, format, weights times, rate, loss at the end over the first
    ("tiny-t5", lambda: PromptTuning(20, "uniform"), "text_to_text", 1.5, 0.1, 0.5, {}),
    ("tiny-t5", lambda: PromptTuning(20, "uniform"), "text_to_text", 1.5, 0.3, 0.6, ADAFACTOR),
    ("tiny-t5", lambda: build_method("prefix_tuning", length=10, hidden=32), "text_to_text", 1.5, 0.02, 0.2, {}),
    ("tiny-gpt2", lambda: build_method("prefix_tuning", length=10, hidden=32), "text_to_text", 10, 0.02, 0.4, {}),
    ("tiny-gpt2", lambda: PromptTuning(20, "uniform"), "text_to_text", 10, 0.1, 0.8, {}),
    ("tiny-bert", lambda: build_method("p_tuning_v2", length=10, prefix_dropout=0.0), "pair", 10, 0.03, 0.1, {}),
    (
        "tiny-bert",
        lambda: build_method("p_tuning_v2", length=10, reparameterisation="mlp", hidden=32, prefix_dropout=0.0),
        "choice",
        10,
        0.02,
        0.1,
        {},
    ),
    ("tiny-bert", lambda: build_method("p_tuning_v2", length=10, prefix_dropout=0.0), "tagging", 10, 0.03, 0.1, {}),
    ("tiny-bert", lambda: PromptTuning(10, "uniform"), "pair", 10, 0.1, 0.1, {}),
]


@pytest.mark.parametrize(("model", "method", "format", "times", "rate", "ratio", "optimiser"), CASES)
def test_four_examples_are_learned(
    monkeypatch: pytest.MonkeyPatch, model: str, method: Callable[[], Any], format: str, times: float, rate: float,
    ratio: float, optimiser: dict[str, Any],
) -> None:  # fmt: skip
    monkeypatch.setitem(METHODS, "tried", method)
    run, progress = make_trial(model, "tried", format, count=4, batch_size=4, dtype="float32"), Progress()
    enlarge(run, times)
    prompt = {name: tensor for name, tensor in run.tensors.items() if "head." not in name}
    run.optimiser = make_optimiser(prompt, optimiser_config(**optimiser))
    run.rate = lambda step: torch.tensor([rate])
    for _ in range(80):
        train_step(run, progress)
    first, last = progress.losses[0], progress.losses[-1]
    assert first > 0.3 and last < ratio * first
