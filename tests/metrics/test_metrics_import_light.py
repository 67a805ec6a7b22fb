"""Metrics and statistics load without the heavy libraries: reports run on a machine that has none of them."""

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

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
    assert {"accuracy", "e2e_bleu", "f1_macro", "spans"} <= {name.rpartition(".")[2] for name in METRICS}
    loaded = loaded_by(METRICS)
    assert "numpy" in loaded
    assert not loaded.intersection(HEAVY)


def test_stats_import_nothing_but_the_standard_library() -> None:
    loaded = loaded_by(["repro.papers.statistics"])
    assert "repro" in loaded
    assert not loaded.intersection([*HEAVY, "numpy"])
