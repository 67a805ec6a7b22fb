"""docs/tasks.md, and `repro tasks NAME`, are what configs, kinds, papers and assets.yaml say."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.cli import tasks_page
from repro.config.task_files import task_names, typed_task
from repro.papers import registry
from repro.tasks.registry import task_in_format, task_kind

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date():
    text = (ROOT / "docs" / "tasks.md").read_text()
    assert text == tasks_page.page(), "run: repro tasks --write docs/tasks.md"
    assert len(text.split()) <= 1500 and all(f"| {name} |" in text for name in task_names())


@pytest.mark.parametrize("name", task_names())
def test_every_task_says_what_it_is(name):
    config, text = typed_task(name, tasks_page.ROOT), tasks_page.story(name)
    assert text.startswith(f"# {name}\n") and f"the {config.report_split} split" in text
    if not config.parts:
        assert "licence: " in text
        assert all(f"{rows:,}" in text for rows in config.rows.values())
        assert all(digits in text for digits in config.sha256.values())
        for metric in task_in_format(config, config.formats[0]).metrics:
            assert f"`{metric.name}`" in text and metric.equals in text
    if config.paper_name:
        cells = registry.cells(task=config.paper_name)
        assert cells, f"task.paper_name={config.paper_name}: no paper reports a task of that name"


@pytest.mark.parametrize("name", task_names())
def test_every_format_is_shown_with_its_fields(name):
    config = typed_task(name, tasks_page.ROOT)
    for format in () if config.parts else config.formats:
        reads, answers = tasks_page.shown_format(config, format)
        fixed = task_kind(config.kind).sample_fields
        inputs = () if format == "cloze" else task_in_format(config, format).inputs
        assert all(field.upper() in reads + answers for field in inputs if field not in fixed), (format, reads)
        assert answers


def test_what_is_shown_is_what_the_papers_formats_are():
    """papers/lester2021 (c) and papers/liu2022 (c), read by hand."""
    shown = {
        ("rte", "text_to_text"): ("`hypothesis: HYPOTHESIS premise: PREMISE`", "`entailment`"),
        ("rte", "pair"): ("`PREMISE` and `HYPOTHESIS`", "a class"),
        ("wic", "pair"): ("`WORD: SENTENCE1` and `WORD: SENTENCE2`", "a class"),
        ("copa", "choice"): ("`PREMISE because` + `CHOICE1`; `PREMISE because` + `CHOICE2`", "which of them"),
        ("squad", "text_to_text"): ("`question: QUESTION context: CONTEXT`", "`TARGET`"),
        ("squad", "span"): ("`QUESTION` and windows of `CONTEXT`", "a piece of the context"),
    }
    for (name, format), expected in shown.items():
        assert tasks_page.shown_format(typed_task(name, "d"), format) == expected


def test_tables_are_those_of_the_registry():
    assert tasks_page.tables_of("conll04") == {"liu2022": ["Figure 4", "Table 3"]}
    assert tasks_page.tables_of(None) == {}
