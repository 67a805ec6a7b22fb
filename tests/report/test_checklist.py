"""The checklist: filled from the records, `not recorded` where they are silent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from repro.report.compare.groups import groups
from repro.report.tables.checklist import checklist, varied
from repro.store.record import Record
from repro.store.store import Store

Make = Callable[..., Record]


def answers(*records: Record) -> dict[str, str]:
    return {item.name: " | ".join(item.answers) for item in checklist(groups(records))}


def test_ranges_are_the_fields_that_differ_within_an_experiment() -> None:
    fields = [
        {"method.length": length, "trainer.optimiser.learning_rate": rate, "model.name": "a", "model.width": length}
        for length, rate in ((128, 0.01), (8, 0.001), (20, 0.1))
    ]
    assert varied(fields) == {
        "method.length": ["8", "20", "128"],
        "trainer.optimiser.learning_rate": ["0.001", "0.01", "0.1"],
    }
    assert varied(fields[:1]) == {} == varied([])
    many = varied([{"method.length": length} for length in range(20)])["method.length"]
    assert many[-1] == "and 8 more" and many[:3] == ["0", "1", "2"]


def test_every_point_is_answered_from_the_records(make: Make) -> None:
    data = {"train": {"rows": 2490, "sha256": "ab" * 32}}
    rest = {"packages": {"torch": "2.9"}, "data": data, "git": {"commit": "c" * 40, "dirty": True}, "cpus": 2}
    provenance = {"device": "cpu", "weights": {"location": "hub", "sha256": "cd" * 32}, "python": "3.11.7"} | rest
    cost = {"seconds": 1800.0, "steps": 10, "tokens": 1000, "flops": 1e12, "peak_memory_bytes": 2.0**31}
    common = {"provenance": provenance, "cost": cost, "deviations": ["The batch is 16."]}
    records = [make(seed, **common) for seed in (1, 2)]
    records.append(make(3, status="collapsed", reason="It predicts one class.", **common))
    records.append(
        make(1, status="failed", reason="Out of memory.", change={"method.length": 20}, cost={}, provenance={})
    )
    found = answers(*records)
    assert (
        "4 runs (2 done, 1 failed, 1 collapsed) of 2 settings: 1 with 1 seed, 1 with 3 seeds."
        in found["Number of runs"]
    )
    assert "liu2022/table2: method.length in {20, 128}." in found["Ranges searched"]
    for text in (records[2].key, "It predicts one class.", "Out of memory."):
        assert text in found["Failed and collapsed runs"]
    assert "1.5 hours of wall time over all runs (1 runs do not say)." in found["Compute"]
    assert "Most memory of one run: 2.0 GiB." in found["Compute"]
    assert found["Hardware"] == "cpu, 2 CPU cores (3 runs) | not recorded (1 run)"
    assert "rte, train: 2,490 rows, SHA-256 abababababababab (3 runs)." in found["Data, with fingerprints"]
    assert "hub, SHA-256 cdcdcdcdcdcdcdcd (3 runs)" in found["Weights, with fingerprints"]
    assert "cccccccccccc with local changes (3 runs)" in found["Source revisions"]
    assert found["Software"] == "python 3.11.7 | torch 2.9"
    assert found["Deviations from the papers"] == "The batch is 16. (3 runs)"
    assert "liu2022/p_tuning_v2/roberta-large/rte: warmup" in found["Stated by neither paper nor code"]


def test_a_store_without_records_answers_nothing() -> None:
    assert {text for name, text in answers().items() if name != "Centre and spread"} == {"not recorded"}


def test_the_report_does_not_depend_on_the_order_of_sets(make: Make, tmp_path: Path) -> None:
    """Python orders sets of text anew in every process; two processes write the same bytes."""
    store = Store(tmp_path / "records")
    for number, rate in enumerate((0.1, 0.01, 0.001, 0.0001)):
        packages = {"packages": {"torch": f"2.{number}"}, "device": f"cpu {number}"}
        change = {"trainer.optimiser.learning_rate": rate, "model.name": "minilm", "model.paper_name": None}
        store.put(make(1, 50.0 + number, change=change, provenance=packages, deviations=[f"{number}", "all"]))
    code = (
        "import sys, json; from repro.report.pages.write import texts;"
        "from repro.report.pages.contents import contents;"
        "from repro.report.pages.html_report import page; from repro.store.store import Store;"
        "from repro.papers import registry;"
        "found = contents(Store(sys.argv[1]).records(), registry.cells());"
        "print(json.dumps([texts(found), page(found, {f.name: '<svg/>' for f in found.figures})]))"
    )
    outputs = []
    for seed in ("1", "2"):
        command = [sys.executable, "-c", code, str(tmp_path / "records")]
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        outputs.append(json.loads(done.stdout))
    assert outputs[0] == outputs[1]
