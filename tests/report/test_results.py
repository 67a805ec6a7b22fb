"""What is committed under results/ is what the commands make of the committed records, and nothing else."""

import csv
import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from repro.config.run_key import run_key
from repro.metrics.registry import build_metric
from repro.papers import registry
from repro.report.pages.contents import Contents, contents
from repro.report.pages.html_report import page
from repro.report.pages.write import texts
from repro.store.store import Store
from tests.nested import resolved

RESULTS = Path(__file__).parents[2] / "results"
RECORDS = sorted((RESULTS / "records").glob("*/record.json"))

pytestmark = pytest.mark.skipif(not RECORDS, reason="no records are committed")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_a_record_is_named_by_its_content_and_its_metrics_follow_from_its_statistics(path):
    record = Store(RESULTS / "records").get(path.parent.name)
    assert record is not None
    assert run_key(record.config) == record.key == path.parent.name
    for split, by_metric in record.statistics.items():
        values: dict[str, float] = {}
        # Metrics beside the task's own may be missing here, or have no statistics.
        beside = [
            one for one in map(build_metric, record.config["task"].get("also_metrics", [])) if one.name in by_metric
        ]
        for metric in [*map(build_metric, record.config["task"]["metrics"]), *beside]:
            values |= metric.reduce(np.asarray(by_metric[metric.name]))
        assert values == pytest.approx(record.metrics[split], abs=1e-9)
    assert record.provenance["git"]["commit"]
    assert record.provenance["data"]["train"]["rows"] > 0
    assert "/home/" not in path.read_text()
    assert "paths" not in record.config


@pytest.mark.parametrize(
    ("experiment", "words"),
    [("offline/e2e", ()), *(("offline/ablation-e2e", (f"method={m}",)) for m in ("prefix_tuning", "infix_tuning"))],
)
def test_the_configs_of_today_still_lead_to_the_records(experiment, words, composed):
    """Metrics that E2E got later, and fields of low-data sets, leave the keys of these sweeps as they were."""
    key = run_key(resolved(composed(f"experiment={experiment}", *words, "seed=1")))
    assert (RESULTS / "records" / key / "record.json").is_file()


def test_a_stand_in_model_is_in_no_papers_row():
    for path in RECORDS:
        record = json.loads(path.read_text())
        if record["config"]["model"]["paper_name"] is None:
            assert any("no paper used the model" in said for said in record["deviations"])


@pytest.fixture(scope="module")
def made() -> Contents:
    return contents(Store(RESULTS / "records").records(statistics=False), registry.cells())


def test_the_report_is_what_the_records_give(made):
    files = texts(made)
    for name, text in files.items():
        assert (RESULTS / name).read_text(encoding="utf-8") == text, f"results/{name} is stale: run `make report`"
    there = {path.relative_to(RESULTS).as_posix() for path in (RESULTS / "tables").iterdir()}
    assert there == {name for name in files if name.startswith("tables/")}


def test_the_figures_are_what_the_records_give(made):
    """By the words in them: another release of matplotlib draws the same data in other bytes."""
    for figure in made.figures:
        drawn = (RESULTS / "figures" / f"{figure.name}.svg").read_text(encoding="utf-8")
        said = re.search(r"<desc[^>]*>(.*?)</desc>", drawn, re.DOTALL)
        assert said is not None and unescape(said[1]) == figure.description, (
            f"{figure.name} is stale: run `make report`"
        )
        assert (RESULTS / "figures" / f"{figure.name}.png").read_bytes().startswith(b"\x89PNG")
    names = {path.name for path in (RESULTS / "figures").iterdir()}
    assert names == {f"{figure.name}.{kind}" for figure in made.figures for kind in ("png", "svg")}


def test_the_page_is_what_the_records_give(made):
    drawings = {f.name: (RESULTS / "figures" / f"{f.name}.svg").read_text(encoding="utf-8") for f in made.figures}
    stale = "results/index.html is stale: run `make report`"
    assert (RESULTS / "index.html").read_text(encoding="utf-8") == page(made, drawings), stale


def test_the_scores_in_readme_stand_in_the_report():
    with (RESULTS / "tables" / "comparison.csv").open() as file:
        ours = {
            (f"{float(row['ours']):.2f}", f"{float(row['spread']):.2f}")
            for row in csv.DictReader(file)
            if row["spread"]
        }
    quoted = re.findall(r"\| (\d+\.\d\d) ± (\d+\.\d\d) \|", (RESULTS.parent / "README.md").read_text())
    assert quoted
    assert set(quoted) <= ours
