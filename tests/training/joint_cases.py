"""Unlike trials over one tiny model, jointly and alone: what the tests of joint training and of recordings share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch

from repro.methods.parts.encoded_prompt import PTuning
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from repro.models.backbone import Backbone
from repro.models.interface import RowLoss
from repro.training.checkpoint import Checkpoints
from repro.training.loop import ActiveTrial, train
from repro.training.trainable import TrainableTrial
from tests.training.tiny_training import Recorder, close, load, make_trial

ADAFACTOR = {"name": "adafactor", "weight_decay": 1e-3, "factored": "always"}


@dataclass
class Kind:
    """Unlike trials over one model."""

    model: str
    format: str
    methods: Sequence[Callable[[], Any]]
    options: dict[str, Any] = field(default_factory=dict)

    def trial(self, number: int, backbone: Backbone, **changes: Any) -> TrainableTrial:
        """Trial `number`: other seed, rate, prompt, batch, steps, clipping, data and reduction than the others."""
        unlike: list[dict[str, Any]] = [
            {"batch_size": 3, "steps": 8, "clip_norm": 0.3},
            {"batch_size": 5, "steps": 6, "clip_norm": None, "count": 11, "example_sum": True},
            {"batch_size": 2, "steps": 7, "clip_norm": 1e-3, "evaluate_every": 2},
            {"batch_size": 4, "steps": 8, "microbatches": 2, "count": 9},
        ]
        dtype = str(backbone.dtype).removeprefix("torch.")
        options = {"seed": 3 + number, "rate": (0.02, 0.2, 0.05, 0.1)[number], "dtype": dtype, "backbone": backbone}
        options |= unlike[number] | self.options | changes
        return make_trial(self.model, self.methods[number](), self.format, **options)


def prompts(*lengths: int, **options: Any) -> list[Any]:
    return [lambda length=length: PromptTuning(length, "uniform", **options) for length in lengths]


KINDS = {
    "prompt tuning, T5, adafactor": Kind("tiny-t5", "text_to_text", prompts(5, 2, 5, 9), ADAFACTOR),
    "prompt tuning, T5, adamw": Kind("tiny-t5", "text_to_text", prompts(5, 5, 5, 5), {"weight_decay": 0.01}),
    "prefix tuning with MLP, GPT-2, adamw": Kind(
        "tiny-gpt2", "text_to_text",
        [
            lambda n=n, d=d: build_method("prefix_tuning", length=n, hidden=6, prefix_dropout=d)
            for n, d in ((3, 0.3), (3, 0.3), (6, 0.0), (2, 0.5))
        ],
    ),
    "prompt tuning after the input, GPT-2, adafactor": Kind(
        "tiny-gpt2", "text_to_text", prompts(4, 1, 4, 3, placement="after"), ADAFACTOR
    ),
    "P-Tuning v2, BERT pairs, adamw": Kind(
        "tiny-bert", "pair",
        [lambda n=n: build_method("p_tuning_v2", length=n, prefix_dropout=0.3) for n in (4, 4, 7, 4)],
    ),
    "P-Tuning v2 with MLP, BERT tagging, adafactor": Kind(
        "tiny-bert", "tagging",
        [
            lambda n=n, h=h: build_method(
                "p_tuning_v2", length=n, reparameterisation="mlp", hidden=h, prefix_dropout=0.1
            )
            for n, h in ((4, 8), (2, 8), (4, 6), (4, 8))
        ],
        ADAFACTOR,
    ),
    "P-tuning with LSTM dropout, BERT pairs, adamw": Kind(
        "tiny-bert", "pair",
        [lambda n=n: PTuning(n, "lstm", 6, lstm_dropout=0.4, placement="before") for n in (3, 3, 5, 2)],
    ),
    "prompt tuning, BERT choices, adamw": Kind("tiny-bert", "choice", prompts(4, 2, 4, 3)),
    "prompt tuning, BART, adamw": Kind("tiny-bart", "text_to_text", prompts(5, 2, 5, 9)),
    "prefix tuning, Llama, adamw": Kind(
        "tiny-llama", "text_to_text",
        [lambda n=n: build_method("prefix_tuning", length=n, hidden=6) for n in (3, 5, 2, 3)],
    ),
}  # fmt: skip
FIRST = ("prompt tuning, T5, adafactor", "prefix tuning with MLP, GPT-2, adamw", "P-Tuning v2, BERT pairs, adamw")


class Scene:
    """A kind's trials over one backbone, with checkpoints in a folder.

    Args:
        packing: of the backbone; None: as it is loaded.
    """

    def __init__(
        self, case: str, folder: Path, dropout: float | None = None, packing: bool | None = None, dtype: str = "float64"
    ) -> None:
        kind = KINDS[case]
        self.kind = replace(kind, options={**kind.options, "dropout": dropout})
        self.backbone = load(kind.model, dtype, dropout)
        if packing is not None:
            self.backbone.packing = packing
        self.folder = folder

    def trial(self, number: int, **changes: Any) -> TrainableTrial:
        """Trial `number`."""
        return self.kind.trial(number, self.backbone, **changes)

    def checkpoints(self, number: int) -> Checkpoints:
        """Those of trial `number`."""
        return Checkpoints(self.folder / str(number))

    def active(self, number: int, reporter: Recorder | None = None, **changes: Any) -> ActiveTrial:
        """Trial `number`, ready for a loop, from its last checkpoint on."""
        return ActiveTrial(self.trial(number, **changes), self.checkpoints(number), reporter or Recorder())

    def all(self, **changes: Any) -> list[ActiveTrial]:
        """The four trials."""
        return [self.active(number, **changes) for number in range(4)]

    def alone(self, number: int, **changes: Any) -> ActiveTrial:
        """Trial `number`, trained alone."""
        active = self.active(number, **changes)
        train([active], lambda _: None)
        return active


@cache
def alone(case: str, number: int, dropout: float | None = None, packing: bool | None = None) -> ActiveTrial:
    """A trial that was trained alone, in one thread; tests must not change it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        trained = Scene(case, Path(folder), dropout, packing).alone(number)
    torch.set_num_threads(threads)
    return trained


def negligible(name: str, format: str) -> bool:
    """All choices of an example share the head's bias: its gradient is rounding, which Adam makes a step of."""
    return format == "choice" and name == "method.head.bias"


def assert_same_run(case: str, ours: ActiveTrial, theirs: ActiveTrial, tolerance: float = 1e-10) -> None:
    """Losses step by step, curve, selection, counts and the chosen tensors of two runs of one trial."""
    assert isinstance(ours.reporter, Recorder) and isinstance(theirs.reporter, Recorder)
    losses, progress, expected = ours.reporter.losses, ours.progress, theirs.progress
    assert losses and losses == pytest.approx(theirs.reporter.losses[-len(losses) :], rel=tolerance)
    assert (progress.step, progress.tokens) == (expected.step, expected.tokens)
    assert [row["step"] for row in progress.curve] == [row["step"] for row in expected.curve]
    for row, wanted in zip(progress.curve, expected.curve, strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=tolerance)
        assert row["validation"] == pytest.approx(wanted["validation"], rel=tolerance)
    assert progress.best is not None and expected.best is not None
    assert progress.best["step"] == expected.best["step"]
    for name, tensor in ours.trial.tensors.items():
        if not negligible(name, KINDS[case].format):
            close(tensor, theirs.trial.tensors[name], 10 * tolerance)


def watch_losses(trial: TrainableTrial, before: Callable[[Mapping[str, Any]], None]) -> None:
    """Call `before` with the batch of every pass of the trial's adapter."""
    inner = trial.adapter.losses

    def losses(batch: Any, *args: Any, **given: Any) -> RowLoss:
        before(batch)
        return inner(batch, *args, **given)

    trial.adapter.losses = losses  # type: ignore[method-assign]
