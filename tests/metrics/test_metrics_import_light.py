"""Metrics and statistics load without the heavy libraries: reports run on a machine that has none of them."""

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate

import repro.metrics

HEAVY = (
    *("torch", "transformers", "sklearn", "nltk", "datasets", "sacrebleu", "seqeval", "scipy"),
    *("evaluate", "rouge_score", "bert_score", "pycocoevalcap", "unidecode", "huggingface_hub"),
)
METRICS = sorted(f"repro.metrics.{module.name}" for module in pkgutil.iter_modules(repro.metrics.__path__))


def loaded_by(modules: list[str]) -> set[str]:
    """Top-level packages that a fresh interpreter has after importing `modules`."""
    program = "import importlib, json, sys\n"
    program += f"[importlib.import_module(name) for name in {modules!r}]\n"
    program += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    environment = {**os.environ, "PYTHONPATH": str(Path(repro.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout))


def test_metrics_import_no_heavy_library() -> None:
    assert {"accuracy", "bleu", "macro_f1", "spans"} <= {name.rpartition(".")[2] for name in METRICS}
    loaded = loaded_by(METRICS)
    assert "numpy" in loaded
    assert not loaded.intersection(HEAVY)


def test_stats_import_nothing_but_the_standard_library() -> None:
    loaded = loaded_by(["repro.papers.statistics"])
    assert "repro" in loaded
    assert not loaded.intersection([*HEAVY, "numpy"])


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("repro.metrics.accuracy.Accuracy", {}),
        ("repro.metrics.macro_f1.MacroF1", {"classes": 3}),
        ("repro.metrics.spans.SpanF1", {}),
        ("repro.metrics.bleu.E2EBleu", {}),
        ("repro.metrics.binary_f1.BinaryF1", {}),
        ("repro.metrics.multirc.MultircF1aEm", {}),
        ("repro.metrics.record.RecordF1Em", {}),
        ("repro.metrics.multi_bleu.MultiBleu", {"references": 3}),
        ("repro.metrics.nist.Nist", {}),
        ("repro.metrics.meteor.Meteor", {"text": "webnlg", "references": 3}),
        ("repro.metrics.coco_rouge.CocoRougeL", {}),
        ("repro.metrics.cider.Cider", {}),
        ("repro.metrics.ter.Ter", {"text": "as_is", "references": 1}),
        ("repro.metrics.rouge.Rouge", {"batch_size": 10}),
        ("repro.metrics.rouge.CorpusRouge", {}),
        ("repro.metrics.neural.BertScore", {"model": "roberta-large", "layer": 17}),
    ],
)
def test_hydra_builds_every_metric(target: str, arguments: dict[str, int | str]) -> None:
    metric = instantiate({"_target_": target, **arguments})
    # The runner takes the first output for the main value, and `reduce` must give every output that is promised.
    lengths = {"accuracy": 2, "f1_macro": 9, "span_f1": 3, "bleu": 10, "f1": 3, "multirc": 5, "record": 3}
    lengths |= {"nist": 11, "meteor": 6, "rouge_l_coco": 2}
    lengths |= {"cider": 2, "ter": 2, "rouge": 4, "rouge_corpus": 4, "bertscore": 2}
    statistics_length = lengths[metric.name]
    assert tuple(metric.reduce(np.ones((1, statistics_length)))) == metric.outputs
