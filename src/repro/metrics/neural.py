"""Metrics that need a trained model: BERTScore, BLEURT, MoverScore. Optional (extra `neural-metrics`).

Which weights give a value is part of the value: each class says it, and none downloads what was not asked for by name.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from repro.errors import MetricUnavailable
from repro.metrics.base import texts


def _packaged(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


class _MeanOfScores:
    """Mean in percent of scores from 0 to 1."""

    name: str
    outputs: tuple[str, ...]
    higher_is_better: bool = True
    costly: bool = True

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        raise NotImplementedError

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [N, 2]."""
        raise NotImplementedError

    def score(self, prediction: str, references: Sequence[str | None]) -> list[float]:
        """Statistics [score, 1] of one output.

        Raises:
            ValueError: no reference.
            MetricUnavailable: a package or the weights are missing.
        """
        return self.score_all([prediction], [references])[0]

    def reduce(self, statistics: np.ndarray) -> dict[str, float]:
        """Mean in percent from statistics [N, 2]."""
        total, count = np.asarray(statistics, dtype=float).reshape(-1, 2).sum(axis=0)
        return {self.outputs[0]: float(100.0 * total / count) if count else 0.0}

    def _refuse(self) -> None:
        if why := self.unavailable():
            raise MetricUnavailable(f"{why}.")


class BertScore(_MeanOfScores):
    """BERTScore F in percent, the highest over the references, without idf and without rescaling.

    Args:
        model: a local folder, or a hub id whose weights lie in the hub's cache (with a network: are fetched).
        layer: whose hidden states are compared; 17 belongs to roberta-large, the default of `--lang en`.
        references: an example's first so many references count, padded with empty ones as DART's script passes them.
            None: all, no padding.
        batch_size: texts that the model reads at once.
    """

    name: str = "bertscore"
    equals: str = (
        "bert_score 0.3.13, roberta-large layer 17, no idf, not rescaled (`bert-score --lang en`), F, times 100"
    )
    outputs: tuple[str, ...] = ("bertscore",)
    needs: str = "bert-score (extra neural-metrics) and the weights of roberta-large (1.4 GB)"
    golden: str = "bert_score itself on a tiny local model: the wiring, not the published values"

    def __init__(
        self,
        model: str = "roberta-large",
        layer: int = 17,
        references: int | None = None,
        batch_size: int = 64,
    ) -> None:
        if layer < 1:
            raise ValueError(f"bertscore: layer is {layer}; layers are counted from 1.")
        self.model, self.layer, self.references, self.batch_size = model, layer, references, batch_size

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        if not _packaged("bert_score"):
            return "the package bert-score is missing (pip install 'repro[neural-metrics]')"
        return _weights_missing(self.model)

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [N, 2]; one load of the model a process.

        Raises:
            ValueError: an example without a reference.
            MetricUnavailable: package or weights are missing.
        """
        self._refuse()
        own = [texts(self.name, some, self.references) for some in references]
        padded = [some + [""] * ((self.references or 0) - len(some)) for some in own]
        scorer = _bert_scorer(self.model, self.layer, self.batch_size)
        _, _, found = scorer.score(list(predictions), padded)
        return [[float(value), 1.0] for value in found]


def _weights_missing(model: str) -> str | None:
    """Why weights cannot be had without a network; None for a folder that is there, a cached hub id, or online."""
    if Path(model).expanduser().is_dir():
        return None
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return f"the model folder {model} is not there (give a folder with config, weights and tokenizer, or a hub id)"
    from huggingface_hub import try_to_load_from_cache

    cached = isinstance(try_to_load_from_cache(model, "config.json"), str)
    if cached or os.environ.get("HF_HUB_OFFLINE", "0") in ("", "0"):
        return None
    return (
        f"the weights of {model} are neither a local folder nor in the hub's cache, and HF_HUB_OFFLINE is set "
        "(download them where there is a network, or give a folder)"
    )


@cache
def _bert_scorer(model: str, layer: int, batch_size: int) -> Any:
    """bert_score's scorer with its model loaded.

    Raises:
        MetricUnavailable: the weights cannot be loaded.
    """
    from bert_score import BERTScorer

    try:
        scorer = BERTScorer(model_type=model, num_layers=layer, batch_size=batch_size, idf=False)
    except (OSError, AssertionError) as error:
        raise MetricUnavailable(f"BERTScore cannot load {model} with {layer} layers: {error}") from error
    scorer._tokenizer = SpacedTokenizer(scorer._tokenizer)
    return scorer


class SpacedTokenizer:
    """A tokenizer that does under transformers 5 what bert_score 0.3.13 expects.

    bert_score asks RoBERTa's tokenizer for a space before the first word; transformers 5 ignores that argument, and the
    first word then has other tokens and every score changes a little. It also encodes the empty text by a method that
    is gone.

    Args:
        tokenizer: as loaded by bert_score.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._before = " " if any(name in type(tokenizer).__name__ for name in ("Roberta", "GPT2")) else ""
        self.model_max_length = min(int(tokenizer.model_max_length), 512)

    def encode(self, text: str, **options: Any) -> list[int]:
        """Ids with special tokens, cut at the model's length."""
        return list(self._tokenizer.encode(self._before + text if text else text, **options))

    def build_inputs_with_special_tokens(self, ids: Sequence[int]) -> list[int]:
        """Ids of the empty text; bert_score asks for nothing else."""
        if ids:
            raise ValueError(f"only the empty text is asked for, not {list(ids)}.")
        return self.encode("")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class Bleurt(_MeanOfScores):
    """BLEURT of the first reference, times 100 (some checkpoints give values below 0 or above 100).

    The DART script scores with the package's own `test_checkpoint`, a toy of 2 layers and width 128; its values say
    nothing about quality and are comparable only with those of the same script. `evaluate` takes bleurt-base-128.

    Args:
        checkpoint: `test_checkpoint`, or the folder of a checkpoint.
    """

    name: str = "bleurt"
    equals: str = (
        "google-research/bleurt `bleurt.score` with its test_checkpoint, first reference (DART's script), times 100"
    )
    outputs: tuple[str, ...] = ("bleurt",)
    needs: str = "the package bleurt (TensorFlow; not on PyPI: install it from its repository) and a checkpoint"
    golden: str = "none: neither package nor checkpoint can be had by name; only the wiring is tested, on a stand-in"

    def __init__(self, checkpoint: str = "test_checkpoint") -> None:
        self.checkpoint = checkpoint

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        if not _packaged("bleurt"):
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
        self._refuse()
        from bleurt.score import BleurtScorer

        first = [texts(self.name, own)[0] for own in references]
        found = BleurtScorer(str(self._folder())).score(references=first, candidates=list(predictions))
        return [[float(value), 1.0] for value in found]

    def _folder(self) -> Path:
        if self.checkpoint != "test_checkpoint":
            return Path(self.checkpoint).expanduser()
        found = importlib.util.find_spec("bleurt")
        return Path(next(iter((found and found.submodule_search_locations) or ["bleurt"]))) / "test_checkpoint"


class MoverScore(_MeanOfScores):
    """MoverScore of the first reference: always missing here, with the reason.

    The newest release, moverscore 1.0.3 (moverscore_v2: distilbert-base-uncased, idf from each side, unigrams), uses
    `np.float`, which numpy dropped in 1.24, and `tokenizer.max_len`, which transformers dropped in 4: no environment
    of this project can run it. Score the predictions of a run in an environment of its own.
    """

    name: str = "moverscore"
    equals: str = "none; DART's script takes moverscore_v2 (distilbert-base-uncased), first reference, n_gram 1"
    outputs: tuple[str, ...] = ("moverscore",)
    needs: str = "numpy older than 1.24 and transformers older than 4, which this project cannot have"
    golden: str = "none"

    def unavailable(self) -> str | None:
        """Why it cannot run here."""
        return (
            "moverscore 1.0.3, the newest release, needs numpy older than 1.24 and transformers older than 4 (score "
            "the predictions of the run in an environment of its own)"
        )

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Raises MetricUnavailable."""
        raise MetricUnavailable(f"{self.unavailable()}.")
