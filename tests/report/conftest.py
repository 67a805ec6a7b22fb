"""Records made by hand: a p_tuning_v2 run of RoBERTa-large on RTE unless a test says otherwise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from repro.config.run_key import run_key
from repro.store.record import Record

BASE: dict[str, Any] = {
    "method": {
        "_target_": "repro.methods.p_tuning_v2.p_tuning_v2",
        "name": "p_tuning_v2",
        "length": 128,
        "reparameterisation": "embedding",
        "head": "linear",
        "layers": "all",
    },
    "model": {"name": "roberta-large", "paper_name": "roberta-large", "layers": 24, "width": 1024},
    "task": {
        "name": "rte",
        "paper_name": "rte",
        "report_split": "validation",
        "limit": {"train": None, "validation": None, "test": None, "seed": 0},
        "options": {},
    },
    "trainer": {"epochs": 100, "steps": None, "optimiser": {"learning_rate": 5e-3}},
    "recipe": {"name": "liu2022/p_tuning_v2/roberta-large/rte", "paper": "liu2022", "unknown": ["warmup"]},
    "paths": {"data_root": "data", "results_root": "results", "runs_root": "runs"},
    "experiment_name": "liu2022/table2",
}


@pytest.fixture(scope="session")
def make() -> Callable[..., Record]:
    """make(seed, score, split=, metric=, status=, change={dotted path: value}, any field of Record)."""

    def build(
        seed: int = 1,
        score: float | None = 89.5,
        *,
        split: str = "validation",
        metric: str = "accuracy",
        status: str = "done",
        change: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Record:
        config = copy.deepcopy(BASE) | {"seed": seed}
        for path, value in (change or {}).items():
            *parents, last = path.split(".")
            node = config
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = value
        defaults: dict[str, Any] = {
            "metrics": {} if score is None or status == "failed" else {split: {metric: score, "loss": 0.4}},
            "selection": {
                "rule": "best",
                "split": "validation",
                "metric": metric,
                "value": score,
                "step": 700,
                "epoch": 9,
            },
            "parameters": {"trained": 6293506, "stored": 6293506, "frozen": 355359744},
            "cost": {"seconds": 1234.4, "steps": 7800},
            "provenance": {
                "command": ["repro", "run", "task=rte", f"seed={seed}"],
                "device": "cpu",
                "packages": {"torch": "2.9", "peft": None},
                "data": {"train": {"rows": 2490, "sha256": "00"}, "validation": {"rows": 277, "sha256": "11"}},
            },
        }
        return Record(key=run_key(config), status=status, config=config, seed=seed, **(defaults | fields))

    return build


@pytest.fixture(scope="session")
def telling(make: Callable[..., Record]) -> Callable[..., list[Record]]:
    """telling(text, split=): seeds 1 to 3 of one setting (done, collapsed, failed) with the text in every field that a
    person or a data set can write.
    """

    def build(text: str, split: str = "validation") -> list[Record]:
        change = {"task.name": text, "task.paper_name": None, "model.name": text, "model.paper_name": None}
        change |= {"experiment_name": f"offline/{text}", "recipe.name": text, "recipe.unknown": [text]}
        change |= {"task.labels": [text, "no"], "method.note_": text}
        fields: dict[str, Any] = {
            "change": change,
            "metric": text,
            "split": split,
            "deviations": [text],
            "selection": {"rule": text, "split": text, "metric": text, "value": 1.0, "step": 1, "epoch": 1},
            "provenance": {
                "command": ["repro", text],
                "device": text,
                "packages": {text: text},
                "git": {"commit": text},
            },
            "curve": [{"step": 1, "epoch": 1.0, "train_loss": 0.1, text: {text: 1.0}}],
        }
        statuses = {2: "collapsed", 3: "failed"}
        return [
            make(seed, 50.0 + seed, status=statuses.get(seed, "done"), reason=text if seed > 1 else None, **fields)
            for seed in (1, 2, 3)
        ]

    return build
