"""One training step and a whole evaluation of every task of conf/task in every format that it has, on made-up data.

A task of a new class needs a writer of its format in tests/conftest.py (`WRITERS`), else the fixture of made-up data
fails and says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest

from repro.config.task_files import task_names, typed_task
from tests.nested import run


def formats_of(name: str) -> list[str]:
    """The formats that a task's file names, and the cloze where it has a template."""
    config = typed_task(name, "d")
    return [*config.formats, *(["cloze"] if config.cloze and "cloze" not in config.formats else [])]


CASES = [(name, format) for name in task_names() for format in formats_of(name)]


def test_every_task_is_among_them() -> None:
    assert {name for name, _ in CASES} == set(task_names())


@pytest.mark.smoke
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("name", "format"), CASES)
def test_one_step_of_every_task_in_every_format(name: str, format: str, quick: Callable[..., dict[str, Any]]) -> None:
    model = "tiny-t5" if format == "text_to_text" else "tiny-bert"
    method = {"text_to_text": "prompt_tuning", "cloze": "p_tuning"}.get(format, "p_tuning_v2")
    plain = quick(f"task={name}", f"model={model}", f"method={method}", f"task.format={format}", "trainer.steps=1")
    rows = re.findall(r"\[P:(\d+)\]", "".join(plain["task"]["cloze"]))
    plain["method"] |= {"length": sum(map(int, rows)) if format == "cloze" else 4}
    if format == "cloze":  # a byte is a token of the tiny models
        words = zip(plain["task"]["verbaliser"], "abcdefgh", strict=False)
        plain["task"] |= {"verbaliser": dict(words)}
    if method == "prompt_tuning":
        plain["method"] |= {"initialisation": "sampled_vocabulary"}
    plain["paths"] |= {"cache_root": None}
    record = run(plain).record
    assert record is not None and record.status in ("done", "collapsed"), record
    assert record.cost["steps"] == 1
    splits = {plain["trainer"]["selection"]["split"], plain["task"]["report_split"]}
    assert splits <= set(record.metrics)
    for split in splits:
        values = record.metrics[split]
        assert values and all(value is None or math.isfinite(value) for value in values.values())
        parts = plain["task"]["parts"].values() or [plain["task"]]
        metrics = [metric for part in parts for metric in part["metrics"]]
        assert bool(record.statistics[split]) == bool(metrics)
