"""The papers' exhibits with our scores in them: each score where it belongs and nowhere else, in three formats."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from repro.papers import arithmetic, exhibits, registry
from repro.report.compare.compare import COMPARABLE_KINDS
from repro.report.compare.groups import groups
from repro.report.compare.our_cells import SUPERGLUE, Results
from repro.report.compare.rows import method_names, rows, scores
from repro.report.tables.exhibit_tables import comma_separated, latex, latex_escape, markdown_table
from repro.report.tables.exhibits import NOT_RUN, Filled, filled, layouts
from repro.report.tables.own_tables import latex as own_latex
from repro.report.tables.own_tables import own_tables
from repro.store.record import Record

Make = Callable[..., Record]
GPT2: dict[str, Any] = {
    **{"method.name": "fine_tuning", "method.length": None, "method.reparameterisation": None},
    **{"model.name": "gpt2-medium", "model.paper_name": "gpt2-medium"},
    **{"task.name": "webnlg", "task.paper_name": "webnlg", "task.report_split": "test"},
}


def shown(*records: Record) -> dict[str, Filled]:
    found = groups(records)
    return {one.name: one for one in filled(scores(found, registry.cells()), Results(found))}


def cells_with_scores(found: dict[str, Filled]) -> dict[tuple[str, str], str]:
    """{(exhibit, id of the cell): verdict} of the places with a score."""
    return {(name, p.reported.id): p.verdict for name, e in found.items() for p in e.cells.values() if p.scores}


def test_every_result_of_a_paper_stands_in_an_exhibit_of_the_report() -> None:
    there = {cell.id for layout in layouts() for cell in layout.cells.values()}
    missing = [cell.id for cell in registry.cells(kind=COMPARABLE_KINDS) if cell.id not in there]
    assert missing == []
    assert len({(one.paper, one.key, one.edition) for one in layouts()}) == len(list(layouts())) > 30


def test_nothing_run_is_not_run_everywhere() -> None:
    found = shown()
    for exhibit in found.values():
        assert exhibit.ran == 0
        table = markdown_table(exhibit)
        assert table.count(NOT_RUN) == len(exhibit.cells)
        assert [row["verdict"] for row in csv.DictReader(io.StringIO(comma_separated(exhibit)))] == [NOT_RUN] * len(
            exhibit.cells
        )
        for row in csv.DictReader(io.StringIO(comma_separated(exhibit))):
            assert (row["ours"], row["difference"], row["n"]) == ("", "", "0")


def test_a_score_stands_in_its_own_place_and_no_other(make: Make) -> None:
    found = shown(*(make(seed, 89.0 + seed) for seed in (1, 2, 3)))
    there = cells_with_scores(found)
    assert there["liu2022-table2", "liu2022/t2.roberta-large.rte.pt-2"] in ("reproduced", "close")
    # Whatever else agrees has the same model, method, task and split, and no variable that differs.
    for _, cell in there:
        (one,) = registry.cells(id=cell)
        assert (one.model, one.method, one.task, one.our_split) == ("roberta-large", "p_tuning_v2", "rte", "validation")


def test_of_a_search_the_best_selected_point_is_shown_not_the_best_reported(make: Make) -> None:
    """The score that selects is here another than the one that is reported, as where one is of development data."""

    def tried(rate: float, reported: float, selected: float) -> Record:
        selection = {"metric": "another", "split": "validation", "value": selected}
        return make(1, reported, change={"trainer.optimiser.learning_rate": rate}, selection=selection)

    for order in (1, -1):
        points = [tried(0.1, 88.0, 90.0), tried(0.2, 89.0, 80.0), tried(0.3, 70.0, 85.0)][::order]
        for rates in (points, [*points, tried(0.4, 95.0, 10.0)]):
            exhibit = shown(*rates)["liu2022-table2"]
            (cell,) = [p for p in exhibit.cells.values() if p.reported.id == "liu2022/t2.roberta-large.rte.pt-2"]
            assert cell.ours_text().startswith("88.0 ") and f"chosen from {len(rates)} settings" in cell.ours_text()
            assert "chosen from" in markdown_table(exhibit) and "chosen from" in latex(exhibit)
            rows_ = csv.DictReader(io.StringIO(comma_separated(exhibit)))
            (row,) = [row for row in rows_ if row["cell"] == cell.reported.id]
            assert (row["settings"], row["runs"]) == (str(len(rates)), points[::order][0].key)


def test_a_stand_in_is_in_no_place(make: Make) -> None:
    assert cells_with_scores(shown(make(change={"model.name": "minilm", "model.paper_name": None}))) == {}
    assert cells_with_scores(shown(make(change={"task.limit.train": 100}))) == {}


def test_numbers_are_printed_in_the_papers_unit(make: Make) -> None:
    """METEOR of WebNLG is printed as 0.46; our records hold percent."""
    metrics = {"test": {"bleu": 60.0, "meteor": 45.5}}
    found = shown(*(make(seed, metric="bleu", metrics=metrics, change=GPT2) for seed in (1, 2)))
    cells = found["liliang2021-table2-acl"].cells.values()
    (cell,) = [cell for cell in cells if cell.scores and cell.reported.our_metric == "meteor"]
    assert cell.ours_text().startswith("0.455 [0.455, 0.455] (n = 2)")
    assert float(cell.difference_text()) == pytest.approx(0.455 - float(cell.reported.value), abs=6e-4)
    lines = csv.DictReader(io.StringIO(comma_separated(found["liliang2021-table2-acl"])))
    (line,) = [line for line in lines if line["cell"] == cell.reported.id]
    assert float(line["ours"]) == pytest.approx(0.455) and float(line["paper_value"]) == cell.reported.value


def test_each_edition_has_its_own_table(make: Make) -> None:
    change = GPT2 | {"task.name": "e2e", "task.paper_name": "e2e"}
    found = shown(*(make(seed, 68.8, metric="bleu", split="test", change=change) for seed in (1, 2)))
    differences = {}
    for name in ("liliang2021-table2-acl", "liliang2021-table2-v1"):
        (cell,) = [p for p in found[name].cells.values() if p.scores]
        differences[name] = cell.difference_text()
        assert cell.paper_text() in markdown_table(found[name])
    assert differences == {"liliang2021-table2-acl": "+0.0", "liliang2021-table2-v1": "+0.6"}


def test_one_run_and_a_collapsed_run_are_marked_in_all_formats(make: Make) -> None:
    one = shown(make(1, 90.0))["liu2022-table2"]
    assert "*ours 90.0 (no interval) (n = 1)*" in markdown_table(one)
    assert r"\textcolor{gray}{90.0 (no interval) (n = 1)}" in latex(one)
    bad = shown(make(1, 90.0), make(2, 52.7, status="collapsed"))["liu2022-table2"]
    assert "(n = 2, 1 collapsed)" in markdown_table(bad) and "$^{c}$" in latex(bad)
    (line,) = [row for row in csv.DictReader(io.StringIO(comma_separated(bad))) if row["n"] != "0"]
    assert (line["collapsed"], len(line["runs"].split())) == ("1", 2)


def test_a_plot_without_numbers_shows_ours_alone(make: Make) -> None:
    layout = exhibits.exhibit("liliang2021", "figure4b")
    printed = layout.cells["20", "BLEU"]
    change = {"method.name": "prefix_tuning", "method.length": 20, "method.reparameterisation": "mlp"}
    change |= {"model.name": "gpt2-medium", "model.paper_name": "gpt2-medium"}
    change |= {"task.name": "dart", "task.paper_name": "dart", "task.report_split": "test"}
    records = [make(seed, 45.0 + seed, split="test", metric="bleu", change=change) for seed in (1, 2)]
    found = shown(*records)["liliang2021-figure4b"]
    assert [cell for cell, one in found.cells.items() if one.scores] == [("20", "BLEU")]
    cell = found.cells["20", "BLEU"]
    assert (cell.reported, cell.verdict, cell.paper_text()) == (printed, "no number in the paper", "not printed")
    assert cell.ours_text().startswith("46.5 [") and cell.difference_text() == "—"


# ---- LaTeX


def test_latex_escapes_what_latex_reads_as_commands() -> None:
    plain = "50 % of a_b & c# {x} $5 ~ ^ \\ <|>"
    assert latex_escape(plain) == (
        r"50 \% of a\_b \& c\# \{x\} \$5 \textasciitilde{} \textasciicircum{} \textbackslash{} "
        r"\textless{}\textbar{}\textgreater{}"
    )


def check_tabular(text: str) -> None:
    """Columns add up in every line, braces and environments close, and no special character stands bare."""
    spec = re.search(r"\\begin\{tabular\}\{([lrc]+)\}", text)
    assert spec is not None
    inside = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    lines = [line for line in inside.splitlines() if r"\\" in line]
    assert lines
    for line in lines:
        content = line.split(r" \\")[0]
        spans = sum(int(width) - 1 for width in re.findall(r"\\multicolumn\{(\d+)\}", content))
        assert len(re.findall(r"(?<!\\)&", content)) + 1 + spans == len(spec[1]), line
    assert len(re.findall(r"(?<!\\)\{", text)) == len(re.findall(r"(?<!\\)\}", text))
    assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)[::-1]
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%") and r"\label" not in line)
    body = body.replace(r"{!}{%", "")  # a comment sign that swallows the line's end
    assert not re.search(r"(?<!\\)[%#]|(?<![\\])_", body)
    body.encode("ascii", "namereplace")


def test_latex_tables_are_well_formed(make: Make) -> None:
    found = shown(make(1, 90.0), make(2, 91.0), make(3, 80.0, change={"method.length": 20}))
    for exhibit in found.values():
        check_tabular(latex(exhibit))
    for text in (r"\multicolumn{3}{c}{BoolQ}", r"\cmidrule(lr){3-5}", r"\midrule", "not run"):
        assert text in latex(found["liu2022-table2"])
    odd = make(1, status="failed", reason="x", change={"task.name": "50%_{of}\\ &", "task.paper_name": None})
    own = groups([odd, make(change={"method.length": 7})])
    for table in own_tables(rows(scores(own, registry.cells()), method_names(own))):
        check_tabular(own_latex(table))


def test_a_value_that_cannot_be_is_marked_in_every_format() -> None:
    """Liu et al. print accuracies on 277 and 104 examples that no number of right answers gives."""
    exhibit = shown()["liu2022-table2"]
    odd = [cell for cell in exhibit.cells.values() if cell.doubtful]
    unreachable = {one.cell.id for one in arithmetic.findings("liu2022") if one.kind == "unreachable"}
    wrong = {cell.id for cell in registry.cells(paper="liu2022", at="Table 2") if not cell.usable}
    assert {cell.reported.id for cell in odd} == wrong | {i for i in unreachable if i.startswith("liu2022/t2.")}
    assert len(odd) > 2
    assert markdown_table(exhibit).count(" †<br>") == len(odd)
    assert latex(exhibit).count(r"$^{\dagger}$ ") == len(odd)


def test_a_deviation_keeps_its_printed_digits() -> None:
    exhibit = shown()["lester2021-figure1"]
    assert exhibit.cells["Base", "prompt tuning"].paper_text() == "~63.7 ± 1.25"
    assert exhibit.cells["XXL", "model tuning"].paper_text() == "~89.9 ± 0.2"


def test_an_average_over_tasks_stands_in_its_exhibit_and_only_if_all_tasks_ran(make: Make) -> None:
    base = {"method.name": "prompt_tuning", "method.length": 100, "method.initialisation": "class_label"}
    base |= {
        "method.reparameterisation": None,
        "model.name": "t5-small-lm-adapt",
        "model.paper_name": "t5-small-lm-adapt",
    }
    records, means = [], []
    for number, (task, metrics) in enumerate(SUPERGLUE.items()):
        for seed in (1, 2, 3):
            scored = {name: 50.0 + number + seed + 2 * index for index, name in enumerate(metrics)}
            change = base | {"task.name": task, "task.paper_name": task}
            records.append(make(seed, metric=metrics[0], metrics={"validation": scored}, change=change))
            means.append(sum(scored.values()) / len(scored))
    cell = shown(*records)["lester2021-figure1"].cells["Small", "prompt tuning"]
    summary = cell.scores[0].comparison.summary
    assert (summary.n, cell.n) == (3, 3) and summary.mean == pytest.approx(sum(means) / len(means))
    assert cell.scores[0].comparison.difference == pytest.approx(summary.mean - 58.5)
    assert {score.group.names.task for score in cell.scores} == set(SUPERGLUE)
    # The same setting stands in the plot without numbers, beside the default that Figure 1 gives.
    assert shown(*records)["lester2021-figure3a"].cells["100", "Small"].verdict == cell.verdict
    without = [record for record in records if record.config["task"]["name"] != "wsc"]
    assert shown(*without)["lester2021-figure1"].ran == 0
