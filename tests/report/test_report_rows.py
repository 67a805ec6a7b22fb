"""The rows, their texts and REPORT.md: what is shown and what is marked."""

from __future__ import annotations

import csv
import io
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from repro.papers import registry
from repro.report.compare.groups import groups
from repro.report.compare.rows import MISSING, Row, answers, method_names, rows, scores
from repro.report.markdown import escape
from repro.report.pages.comparison_table import comma_separated, markdown, reasons
from repro.report.pages.terminal import print_report
from repro.report.pages.write import report_files, write_report
from repro.report.tables.own_tables import markdown as own_markdown
from repro.report.tables.own_tables import own_tables
from repro.store.record import Record

Make = Callable[..., Record]
OWN = {"experiment_name": "offline/length"}
STAND_IN = {"model.name": "minilm", "model.paper_name": None}


def table(*records: Record) -> list[Row]:
    found = groups(records)
    return rows(scores(found, registry.cells()), method_names(found))


def test_a_row_shows_both_numbers_and_where_the_papers_is_printed(make: Make) -> None:
    (row,) = table(*(make(seed, score) for seed, score in ((1, 89.0), (2, 90.0), (3, 91.0))))
    assert (row.paper, row.task, row.model, row.metric, row.split) == (
        "liu2022",
        "rte",
        "roberta-large",
        "accuracy",
        "validation",
    )
    assert row.method == "p_tuning_v2 (length=128, reparameterisation=embedding)"
    assert (row.ours, row.spread, row.n) == (90.0, 1.0, 3)
    assert row.low < 90.0 < row.high
    assert (row.theirs, row.source, row.difference) == (89.5, "liu2022, Table 2", 0.5)
    assert (row.trained, row.status, row.verdict, row.context) == (6293506, "3 done", "reproduced", "")


def test_losses_and_names_that_no_paper_has_get_no_row(make: Make) -> None:
    metrics = {"validation": {"accuracy": 89.0, "loss": 0.1, "illegal_outputs": 3.0}, "test": {"accuracy": 88.0}}
    assert [(row.split, row.metric) for row in table(make(metrics=metrics))] == [("validation", "accuracy")]


def test_another_split_gets_a_row_where_a_paper_prints_it(make: Make) -> None:
    change = {"method.name": "fine_tuning", "method.length": None, "method.reparameterisation": None}
    change |= {"model.paper_name": "gpt2-medium", "task.name": "e2e", "task.paper_name": "e2e"}
    metrics = {"test": {"bleu": 68.8}, "validation": {"bleu": 70.0}}
    found = table(make(metric="bleu", metrics=metrics, change=change | {"task.report_split": "test"}))
    assert {row.split for row in found} == {"test", "validation"}
    assert all(row.theirs is not None for row in found)


def test_variables_in_which_two_rows_differ_are_part_of_the_method(make: Make) -> None:
    fast = {"trainer.optimiser.learning_rate": 0.01, "trainer.checkpoint_seconds": 7.0}
    found = table(make(1), make(1, change=fast), make(1, change={"task.name": "boolq", "task.paper_name": "boolq"}))
    methods = {(row.task, row.method) for row in found}
    assert methods == {
        ("rte", "p_tuning_v2 (length=128, reparameterisation=embedding, optimiser.learning_rate=0.005)"),
        ("rte", "p_tuning_v2 (length=128, reparameterisation=embedding, optimiser.learning_rate=0.01)"),
        ("boolq", "p_tuning_v2 (length=128, reparameterisation=embedding)"),
    }


def test_a_stand_in_has_no_papers_number_and_its_context_is_apart(make: Make) -> None:
    (row,) = table(make(change=STAND_IN))
    assert (row.theirs, row.source, row.difference, row.verdict) == (None, MISSING, None, "not comparable")
    assert row.context.startswith("liu2022: bert-large 78.3 (dev), roberta-large 89.5 (dev)")
    # No table of comparisons, and in its own table no paper's number; the context stands in the list of reasons.
    assert markdown([row]) == "No run of ours agrees with a cell of a paper in every respect yet.\n"
    (own,) = own_tables([row])
    assert "89.5" not in own_markdown(own).replace("89.50", "") and "minilm" in own_markdown(own)
    assert "As" not in own_markdown(own) and "as context only: liu2022: bert-large 78.3 (dev)" in reasons([row])


def test_one_run_is_marked_and_has_no_spread(make: Make) -> None:
    (row,) = table(make())
    assert (row.n, row.spread, row.low) == (1, None, None)
    line = markdown([row]).splitlines()[2]
    assert f"| {MISSING} | 1 (one run) | (no interval) |" in line


def test_collapsed_and_failed_runs_are_counted_and_marked(make: Make) -> None:
    collapsed = make(2, 52.0, status="collapsed", reason="It predicts one class.")
    failed = make(3, status="failed", reason="The loss became NaN.")
    (row,) = table(make(1, 90.0), collapsed, failed)
    assert (row.ours, row.n, row.status) == (71.0, 2, "1 done, 1 collapsed, 1 failed")
    assert "**1 done, 1 collapsed, 1 failed**" in markdown([row])
    report = report_files([make(1, 90.0), collapsed, failed], registry.cells())["REPORT.md"]
    failures = report.split("## Failures")[1]
    assert "It predicts one class." in failures and "The loss became NaN." in failures
    assert collapsed.key in failures and make(1).key not in failures


def test_a_group_that_failed_has_a_row_without_numbers(make: Make) -> None:
    (row,) = table(make(1, status="failed", reason="Out of memory."))
    assert (row.ours, row.n, row.verdict, row.status) == (None, 0, "not run", "1 failed")
    assert "Out of memory." in row.reason
    line = own_markdown(own_tables([row])[0]).splitlines()[2]
    assert "not run" in line and " 0.00 " not in line and "nan" not in line.lower()


def test_rows_are_sorted_by_paper_task_model_and_method(make: Make) -> None:
    t5 = {"method.name": "prompt_tuning", "model.name": "t5-xxl-lm-adapt", "model.paper_name": "t5-xxl-lm-adapt"}
    t5 |= {"method.length": 100, "method.initialisation": "class_label", "recipe.paper": "lester2021"}
    none = {"task.name": "wnut17", "task.paper_name": None, "recipe.paper": None, "experiment_name": None}
    boolq = {"task.name": "boolq", "task.paper_name": "boolq"}
    records = [
        make(change=none),
        make(change=STAND_IN),
        make(),
        make(change=boolq),
        make(change=t5),
        make(change=t5 | boolq),
    ]
    order = [(row.paper, row.task, row.model) for row in table(*records)]
    assert order == [
        ("lester2021", "boolq", "t5-xxl-lm-adapt"),
        ("lester2021", "rte", "t5-xxl-lm-adapt"),
        ("liu2022", "boolq", "roberta-large"),
        ("liu2022", "rte", "minilm"),
        ("liu2022", "rte", "roberta-large"),
        (MISSING, "wnut17", "roberta-large"),
    ]


def test_lengths_are_sorted_as_numbers(make: Make) -> None:
    found = table(*(make(change={"method.length": length}) for length in (128, 8, 20)))
    assert [row.method.split(",")[0] for row in found] == [f"p_tuning_v2 (length={length}" for length in (8, 20, 128)]


# ---- Markdown and CSV


def test_a_difference_that_rounds_to_nothing_has_no_minus(make: Make) -> None:
    assert "| +0.00 |" in markdown(table(make(1, 89.4999)))


def test_markdown_cells_are_escaped() -> None:
    assert escape("a|b\n<script>&\\|") == "a\\|b &lt;script&gt;&amp;&#92;\\|"


def test_every_markdown_line_has_as_many_cells_as_the_head(make: Make) -> None:
    odd = make(1, status="failed", reason="a | b <img src=x>\nsecond line", change={"method.length": 9})
    found = table(odd, make(change=STAND_IN), make(2, change={"method.length": 7}), make(3))
    texts = [markdown(found).partition("\n\n")[0], *(own_markdown(one) for one in own_tables(found))]
    for text in texts:
        lines = text.splitlines()
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(lines) >= 3 and len(counts) == 1
    assert "<img" not in markdown(found) + reasons(found) + "".join(texts)
    assert "&lt;img" in reasons(found)


def test_csv_reads_back(make: Make) -> None:
    record = make(1, 90.123456, deviations=['The batch is 16, "not" 32.', "Another."])
    (read,) = csv.DictReader(io.StringIO(comma_separated(table(record, make(2, 91.0)))))
    assert float(read["ours"]) == pytest.approx(90.561728)
    assert (read["theirs"], read["n"], read["trained"]) == ("89.5", "2", "6293506")
    assert read["deviations"] == 'The batch is 16, "not" 32. ; Another.'
    (empty,) = csv.DictReader(io.StringIO(comma_separated(table(make(change=STAND_IN)))))
    assert empty["theirs"] == empty["difference"] == empty["spread"] == ""


# ---- the report


def test_the_report_says_what_made_each_number(make: Make) -> None:
    records = [make(seed, 89.0 + seed, deviations=["The batch is 16."]) for seed in (1, 2)]
    report = report_files(records, registry.cells())["REPORT.md"]
    assert "2 records (2 done, 0 failed, 0 collapsed) in 1 groups." in report
    section = report.split("## Runs")[1]
    for text in (
        f"seeds: 1 (done, `{records[0].key}`), 2 (done",
        "seed 1: epoch 9, step 700 (best validation accuracy = 90.00)",
        "seed 2: 1,234 seconds, 7,800 steps",
        "train 2,490 rows, validation 277 rows",
        "- deviation: The batch is 16.",
        "repro run task=rte seed=1",
        "6,293,506 trained, 6,293,506 stored, 355,359,744 frozen",
        "torch 2.9",
        "stated by neither paper nor code: warmup",
    ):
        assert text in section, text
    assert "No run failed or collapsed." in report


def test_coverage_counts_compared_results_only(make: Make) -> None:
    def line(*records: Record) -> str:
        report = report_files(records, registry.cells())["REPORT.md"]
        return next(text for text in report.splitlines() if text.startswith("| liu2022 | 348"))

    assert line(make(change=STAND_IN)) == "| liu2022 | 348 | 0 | 348 |"
    assert line(make(1, status="failed")) == "| liu2022 | 348 | 0 | 348 |"
    # Table 2 of RTE; the head ablation (Table 4) and the full depth of Figure 3 agree with other models or values.
    covered = int(line(make()).split("|")[3])
    assert 1 <= covered <= 3


def test_equal_records_give_equal_bytes(make: Make, tmp_path: Path) -> None:
    from repro.store.store import Store

    lengths = [STAND_IN | OWN | {"method.length": length} for length in (21, 23)]
    changes = [{}, STAND_IN, *lengths, {"task.name": "boolq", "task.paper_name": "boolq"}]
    records = [make(seed, 88.0 + seed, change=change) for seed in (1, 2, 3) for change in changes]
    records.append(make(9, status="failed", reason="The loss became NaN."))
    outputs = []
    for number in (1, 2):
        random.Random(number).shuffle(records)
        store = Store(tmp_path / f"records{number}")
        for record in records:
            store.put(record)
        out = tmp_path / f"out{number}"
        paths = write_report(tmp_path / f"records{number}", out).paths
        outputs.append({path.relative_to(out).as_posix(): path.read_bytes() for path in paths})
        assert set(outputs[-1]) == {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    # Figures too: drawn twice, in two folders.
    assert {"REPORT.md", "index.html", "figures/ours-ablations.svg", "figures/parity.svg"} <= set(outputs[0])
    assert outputs[0] == outputs[1]
    assert str(tmp_path).encode() not in b"".join(outputs[0].values())
    direct = report_files(records, registry.cells())
    assert all(outputs[0][name] == text.encode() for name, text in direct.items())
    assert b"16 records (15 done, 1 failed, 0 collapsed)" in outputs[0]["REPORT.md"]


def test_an_empty_store_gives_a_report_that_says_so(tmp_path: Path) -> None:
    written = write_report(tmp_path / "nothing", tmp_path / "out")
    text = (tmp_path / "out" / "REPORT.md").read_text(encoding="utf-8")
    assert all(cell.verdict == "not run" for e in written.contents.exhibits for cell in e.cells.values())
    assert "0 records" in text and "There are no records yet." in text
    assert "| lester2021 | 88 | 0 | 88 |" in text


# ---- the terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_where_there_is_no_terminal(make: Make) -> None:
    stream = io.StringIO()
    print_report(table(make(1, 89.0), make(2, 89.5), make(3, 90.0), make(change=STAND_IN)), stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3 and "\x1b" not in stream.getvalue()
    assert "89.50 ± 0.50" in lines[2] and "89.50 (liu2022, Table 2)" in lines[2] and lines[2].endswith("reproduced")
    assert "1 done" in lines[1] and lines[1].endswith("not comparable")


def test_a_terminal_gets_a_table_of_its_width(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    (row,) = table(make(1, 89.0), make(2, 89.5), make(3, 90.0))
    print_report([row, replace(row, task="[red]rte")], stream)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert shown.count("reproduced") == 2 and "[red]rte" in shown and "…" not in shown


# ---- several cells that agree with one score


def test_a_score_is_compared_with_each_cell_that_agrees_with_it_for_itself(make: Make) -> None:
    """GPT-2's fine-tuning on E2E has one number in the proceedings and another in arXiv v1."""
    change = {"method.name": "fine_tuning", "method.length": None, "method.reparameterisation": None}
    change |= {"model.name": "gpt2-medium", "model.paper_name": "gpt2-medium"}
    change |= {"task.name": "e2e", "task.paper_name": "e2e", "task.report_split": "test"}
    records = [make(seed, score, split="test", metric="bleu", change=change) for seed, score in ((1, 68.7), (2, 68.9))]
    by_cell = answers(scores(groups(records), registry.cells()))
    cells = {cell.id: cell for cell in registry.cells(paper="liliang2021") if cell.id in by_cell}
    main = {cell.edition: by_cell[key][0].comparison for key, cell in cells.items() if cell.metric == "bleu"}
    assert {"acl", "v1"} <= set(main)
    for key, cell in cells.items():
        (score,) = by_cell[key]
        assert score.comparison.reported.id == key
        assert score.comparison.difference == pytest.approx(68.8 - cell.number)
    assert main["acl"].difference == pytest.approx(0.0) and main["v1"].difference == pytest.approx(0.6)
