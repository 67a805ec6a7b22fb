"""docs/metrics.md is what the classes and the task configs say."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from repro.cli import metrics_page
from repro.config.compose import options

ROOT = Path(__file__).resolve().parents[2]
FOUND = dict(metrics_page.metrics())


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == metrics_page.page(), (
        "run: repro metrics --write docs/metrics.md"
    )


@pytest.mark.parametrize("target", FOUND)
def test_every_metric_says_what_it_is(target: str) -> None:
    kind = FOUND[target]
    section = metrics_page._section(target, kind)
    assert kind.equals in section and all(f"`{value}`" in section for value in kind.outputs)
    assert len(inspect.getdoc(kind) or "") > 40
    assert kind.higher_is_better or "lower is better" in section
    assert metrics_page.tests_of(kind.__name__), f"no test names {kind.__name__}"


def test_deviations_stand_under_their_metric() -> None:
    section = metrics_page._section("repro.metrics.ter.Ter", FOUND["repro.metrics.ter.Ter"])
    assert "- deviation: sacrebleu's port of tercom" in section


def test_every_metric_of_a_task_is_on_the_page() -> None:
    assert set(metrics_page.tasks()) <= set(FOUND) | {"repro.metrics.from_evaluate.FromEvaluate"}
    assert "e2e" in metrics_page.tasks()["repro.metrics.bleu.E2EBleu"]
    used = {name for names in metrics_page.tasks().values() for name in names}
    assert used <= set(options("task")) and len(used) > 5
