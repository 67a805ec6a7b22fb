"""BERTScore, which needs a trained model (extra `neural-metrics`). Nothing is downloaded that was not asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from repro.errors import MetricUnavailable
from repro.metrics.base import MeanMetric, texts
from repro.metrics.registry import register


def packaged(name: str) -> bool:
    """Whether a package is installed; it is not imported."""
    return importlib.util.find_spec(name) is not None


@register("bertscore")
class BertScore(MeanMetric[str, str | None]):
    """BERTScore F in percent, the highest over the references, without idf and without rescaling.

    Args:
        model: a local folder, or a hub id whose weights lie in the hub's cache.
        layer: whose hidden states are compared; 17 belongs to roberta-large, the default of `--lang en`.
        references: an example's first so many references count, padded with empty ones as DART's script passes them.
            None: all, no padding.
        batch_size: texts that the model reads at once.
    """

    costly = True
    name = "bertscore"
    equals = "bert_score 0.3.13, roberta-large layer 17, no idf, not rescaled (`bert-score --lang en`), F, times 100"
    outputs = ("bertscore",)
    needs = "bert-score (extra neural-metrics) and the weights of roberta-large (1.4 GB)"
    golden = "bert_score itself on a tiny local model: the wiring, not the published values"

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
        if not packaged("bert_score"):
            return "the package bert-score is missing (pip install 'repro[neural-metrics]')"
        return _weights_missing(self.model)

    def score_all(self, predictions: Sequence[str], references: Sequence[Sequence[str | None]]) -> list[list[float]]:
        """Statistics [N, 2]; one load of the model a process.

        Raises:
            ValueError: an example without a reference.
            MetricUnavailable: package or weights are missing.
        """
        if why := self.unavailable():
            raise MetricUnavailable(f"{why}.")
        own = [texts(self.name, some, self.references) for some in references]
        padded = [some + [""] * ((self.references or 0) - len(some)) for some in own]
        scorer = _bert_scorer(self.model, self.layer, self.batch_size)
        _, _, found = scorer.score(list(predictions), padded)
        return [[float(value), 1.0] for value in found]


def _weights_missing(model: str) -> str | None:
    """Why weights cannot be loaded; None for a folder that is there and for a hub id whose weights are cached."""
    if Path(model).expanduser().is_dir():
        return None
    if model.startswith((".", "/", "~")) or model.count("/") > 1:
        return f"the model folder {model} is not there (give a folder with config, weights and tokenizer, or a hub id)"
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")
    if any(isinstance(try_to_load_from_cache(model, file), str) for file in files):
        return None
    return (
        f"the weights of {model} are neither a local folder nor in the hub's cache (fetch them: `hf download {model}`, "
        "or give a folder)"
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
        self.pad_token_id = tokenizer.pad_token_id
        self.sep_token_id, self.cls_token_id = tokenizer.sep_token_id, tokenizer.cls_token_id

    def encode(self, text: str, **options: Any) -> list[int]:
        """Ids with special tokens, cut at the model's length."""
        return list(self._tokenizer.encode(self._before + text if text else text, **options))

    def build_inputs_with_special_tokens(self, ids: Sequence[int]) -> list[int]:
        """Ids of the empty text; bert_score asks for nothing else."""
        if ids:
            raise ValueError(f"only the empty text is asked for, not {list(ids)}.")
        return self.encode("")
