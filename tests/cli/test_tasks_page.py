"""docs/tasks.md is what configs, classes, papers and assets.yaml say of each task."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.cli import tasks_page
from repro.config.task_files import parts_of, task_config, task_names
from repro.papers import registry
from repro.trials.build import task_in_format

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "tasks.md").read_text() == tasks_page.page(), "run: repro tasks --write docs/tasks.md"


@pytest.mark.parametrize("name", task_names())
def test_every_task_says_what_it_is(name: str) -> None:
    config, section = task_config(name, tasks_page.ROOT), tasks_page._section(name)
    assert section.startswith(f"## {name}\n")
    assert f"the {config['report_split']} split" in section
    for part in parts_of(config).values():
        if not config["parts"]:
            assert "licence: " in section
            assert all(f"{rows:,}" in section for rows in part["rows"].values())
            assert all(digits in section for digits in part["sha256"].values())
            for metric in task_in_format(part, part["formats"][0]).metrics:
                assert f"`{metric.name}`" in section and metric.equals in section
    if config["paper_name"]:
        cells = registry.cells(task=config["paper_name"])
        assert cells, f"task.paper_name={config['paper_name']}: no paper reports a task of that name"


@pytest.mark.parametrize("name", task_names())
def test_every_form_is_shown_with_its_fields(name: str) -> None:
    for part in parts_of(task_config(name, tasks_page.ROOT)).values():
        for format in part["formats"]:
            reads, answers = tasks_page.shown_format(part, format)
            fixed = tasks_page.FIELDS.get(part["_target_"], {})
            fields = [
                field for field in task_in_format(part, format).inputs if field not in fixed and format != "cloze"
            ]
            assert all(field.upper() in reads + answers for field in fields), (format, reads)
            assert answers


def test_what_is_shown_is_what_the_papers_formats_are() -> None:
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
        assert tasks_page.shown_format(task_config(name, "d"), format) == expected


def test_tables_are_those_of_the_registry() -> None:
    assert tasks_page.tables_of("conll04") == {"liu2022": ["Figure 4", "Table 3"]}
    assert tasks_page.tables_of(None) == {}
