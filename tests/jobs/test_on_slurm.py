"""A real one-node Slurm: faults, and the walk-through of docs/slurm.md. Skips where its packages are not installed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_faults
from slurm_faults import Bench, FaultResult

pytestmark = [
    pytest.mark.skipif(slurm_faults.unavailable() is not None, reason=str(slurm_faults.unavailable())),
    pytest.mark.xdist_group("slurm"),
]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A Slurm of two slots that this test has for itself."""
    with slurm_faults.cluster(tmp_path / "state") as slurm:
        yield Bench(tmp_path, slurm)


def test_killed_timed_out_preempted_and_cancelled_jobs_end_as_undisturbed_ones(bench: Bench) -> None:
    found = slurm_faults.measured(bench)
    assert found == [
        FaultResult("Slurm: job killed", 1, 1, 0),
        FaultResult("Slurm: time limit", 1, 1, 0),
        FaultResult("Slurm: preempted", 1, 1, 0),
        FaultResult("Slurm: half cancelled", 2, 2, 0),
    ]
    events = [line["event"] for line in bench.attempts()]
    # Four jobs got to run at first or by --resume and ended well; two of them had been put back before.
    assert events.count("requeued") == 2 and events.count("done") == 4 and events.count("begin") == 7
    files = [path for path in bench.folder.glob("cluster/runs/**/*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt")]
    assert not list(bench.folder.glob("cluster/runs/*/progress.json")), "all have records"
    [[killed, _]] = bench.hit["job killed"]
    record = json.loads((bench.folder / "cluster" / "results" / "records" / killed / "record.json").read_text())
    second = bench.folder / "cluster" / "runs" / "slurm" / bench.submissions()[1]["id"]
    logs = "".join(path.read_text() for path in sorted(second.glob("array-*/*log.err")))
    first = re.search(rf"seed {record['seed']}: step (\d+)/240", logs)
    assert first is not None and int(first.group(1)) > 1, "it went on from its checkpoint"
