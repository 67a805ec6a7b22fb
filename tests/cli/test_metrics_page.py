"""docs/metrics.md, and `repro metrics NAME`, are what the classes and the task configs say."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.cli import metrics_page
from repro.config.compose import options
from repro.metrics.registry import metric_class

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date():
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert text == metrics_page.page(), "run: repro metrics --write docs/metrics.md"
    assert len(text.split()) <= 900


@pytest.mark.parametrize("name", metrics_page.built_in())
def test_every_metric_says_what_it_is(name):
    kind, text = metric_class(name), metrics_page.story(name)
    assert (kind.__doc__ or "").split(".")[0].split()[0] in text
    assert "- values: " in text and "- equals: " in text
    assert kind.higher_is_better or "lower is better" in text


def test_deviations_stand_under_their_metric():
    assert "- deviation: sacrebleu's port of tercom" in metrics_page.story("ter")


def test_every_metric_of_a_task_is_on_the_page():
    assert set(metrics_page.tasks()) <= set(metrics_page.built_in())
    assert "e2e" in metrics_page.tasks()["e2e_bleu"]
    used = {name for names in metrics_page.tasks().values() for name in names}
    assert used <= set(options("task")) and len(used) > 5
