"""BLEURT: a metric that needs a trained model. Its package is not on PyPI."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from repro.errors import MetricUnavailable
from repro.metrics.base import MeanMetric, texts
from repro.metrics.bertscore import packaged
from repro.metrics.registry import register


@register("bleurt")
class Bleurt(MeanMetric[str, str | None]):
    """BLEURT of the first reference, times 100 (some checkpoints give values below 0 or above 100).

    The DART script scores with the package's own `test_checkpoint`, a toy of 2 layers and width 128; its values say
    nothing about quality and are comparable only with those of the same script. `evaluate` takes bleurt-base-128.

    Args:
        checkpoint: `test_checkpoint`, or the folder of a checkpoint.
    """

    costly = True
    name = "bleurt"
    equals = (
        "google-research/bleurt `bleurt.score` with its test_checkpoint, first reference (DART's script), times 100"
    )
    outputs = ("bleurt",)
    needs = "the package bleurt (TensorFlow; not on PyPI: install it from its repository) and a checkpoint"
    golden = "none: neither package nor checkpoint can be had by name; only the wiring is tested, on a stand-in"

    def __init__(self, checkpoint: str = "test_checkpoint") -> None:
        self.checkpoint = checkpoint

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        if not packaged("bleurt"):
            return "the package bleurt is missing (it is not on PyPI: pip install it from google-research/bleurt)"
        if not self._folder().is_dir():
            return f"the BLEURT checkpoint {self._folder()} is not there (give `test_checkpoint` or a folder)"
        return None

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [N, 2].

        Raises:
            ValueError: an example without a reference.
            MetricUnavailable: package or checkpoint are missing.
        """
        if why := self.unavailable():
            raise MetricUnavailable(f"{why}.")
        from bleurt.score import BleurtScorer

        first = [texts(self.name, own)[0] for own in references]
        found = BleurtScorer(str(self._folder())).score(references=first, candidates=list(predictions))
        return [[float(value), 1.0] for value in found]

    def _folder(self) -> Path:
        if self.checkpoint != "test_checkpoint":
            return Path(self.checkpoint).expanduser()
        found = importlib.util.find_spec("bleurt")
        return Path(next(iter((found and found.submodule_search_locations) or ["bleurt"]))) / "test_checkpoint"
