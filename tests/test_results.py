"""What is committed under results/ is what the commands make of the committed records, and nothing else."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate

from repro.config import run_key
from repro.papers import registry
from repro.report.tables import report_files
from repro.store.store import Store

RESULTS = Path(__file__).parents[1] / "results"
RECORDS = sorted((RESULTS / "records").glob("*/record.json"))

pytestmark = pytest.mark.skipif(not RECORDS, reason="no records are committed")


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_a_record_is_named_by_its_content_and_its_metrics_follow_from_its_statistics(path):
    record = Store(RESULTS / "records").get(path.parent.name)
    assert record is not None
    assert run_key(record.config) == record.key == path.parent.name
    for split, by_metric in record.statistics.items():
        values: dict[str, float] = {}
        for metric in instantiate(record.config["task"]["metrics"]):
            values |= metric.reduce(np.asarray(by_metric[metric.name]))
        assert values == pytest.approx(record.metrics[split], abs=1e-9)
    assert record.provenance["git"]["commit"]
    assert record.provenance["data"]["train"]["rows"] > 0
    assert "/home/" not in path.read_text()
    assert "paths" not in record.config


def test_a_stand_in_model_is_in_no_papers_row():
    for path in RECORDS:
        record = json.loads(path.read_text())
        if record["config"]["model"]["paper_name"] is None:
            assert any("no paper used the model" in said for said in record["deviations"])


def test_the_report_is_what_the_records_give():
    made = report_files(Store(RESULTS / "records").records(), registry.cells())
    for name, text in made.items():
        assert (RESULTS / name).read_text() == text, f"results/{name} is stale: run `make report`"


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
