"""A real one-node Slurm: faults, and the walk-through of docs/slurm.md. Skips where its packages are not installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm_faults
from slurm_faults import Bench, FaultResult

from repro.jobs.states import STATUSES

WHY = slurm_faults.unavailable()
if not os.environ.get("REPRO_LONG_TESTS"):
    WHY = "minutes on a real Slurm: REPRO_LONG_TESTS=1 runs it"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A Slurm of two slots that this test has for itself."""
    if WHY is not None:
        pytest.skip(WHY)
    with slurm_faults.cluster(tmp_path / "state") as slurm:
        yield Bench(tmp_path, slurm)


def test_whatever_happens_to_jobs_their_trials_end_as_undisturbed_ones(bench: Bench) -> None:
    found = slurm_faults.measured(bench)
    assert found == [
        FaultResult("Slurm: job killed", 1, 1, 0),
        FaultResult("Slurm: time limit", 1, 1, 0),
        FaultResult("Slurm: preempted", 1, 1, 0),
        FaultResult("Slurm: node failure", 1, 1, 0),
        FaultResult("Slurm: half cancelled", 2, 2, 0),
    ]
    events = [line["event"] for line in bench.attempts()]
    assert events.count("requeued") == 2 and events.count("done") == 4, "one job timed out, one preempted; 1 + 3 ended"
    files = [path for path in bench.folder.glob("cluster/runs/**/*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt")]
    assert not list(bench.folder.glob("cluster/runs/*/progress.json")), "all have records"
    [[killed, _]] = bench.hit["job killed"]
    record = json.loads((bench.folder / "cluster" / "results" / "records" / killed / "record.json").read_text())
    second = bench.folder / "cluster" / "runs" / "slurm" / bench.submissions()[1]["id"]
    logs = "".join(path.read_text() for path in sorted(second.glob("array-*/*log.err")))
    first = re.search(rf"seed {record['seed']}: step (\d+)/240", logs)
    assert first is not None and int(first.group(1)) > 1, "it went on from its checkpoint"


PAGE = (slurm_faults.ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
NAME = re.compile(r"(?:prompt_tuning|p_tuning_v2) bert-tiny cb seed \d learning_rate=\S+")


def walk_through() -> list[tuple[str, list[str]]]:
    """(command, what it printed) of the page's walk-through, in order."""
    section = PAGE.partition("## A walk-through")[2].partition("\n## ")[0]
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            elif line:
                found[-1][1].append(line)
    return found


def shape(lines: list[str]) -> list[str]:
    """Lines without what another run need not have: numbers, widths, and in which state trials were found."""
    plain = [re.sub(r"\d+", "0", " ".join(line.partition("; found")[0].split())) for line in lines]
    return [line for line in plain if line]


def check_status(command: str, printed: list[str], shown: list[str]) -> None:
    names = [[match.group() for line in lines if (match := NAME.search(line))] for lines in (printed, shown)]
    assert sorted(names[0]) == sorted(names[1]) and len(names[0]) == 8, command
    assert shape(printed[1:2]) == shape(shown[1:2]), "the table's head"
    assert {line.split()[0] for line in printed[2:]} <= set(STATUSES)


@pytest.mark.real
def test_the_walk_through_of_the_docs(bench: Bench) -> None:
    """Its commands on a new cluster print what the page says, but for what depends on the moment."""
    data = os.environ.get("REPRO_DATA_ROOT", str(slurm_faults.ROOT.parent / "shared" / "data"))
    if not (Path(data) / "superglue" / "CB").is_dir():
        pytest.skip("no CB in $REPRO_DATA_ROOT")
    pytest.importorskip("cognition", reason="bert-tiny is not installed (make offline-models)")
    steps = walk_through()
    assert [command.split()[0] for command, _ in steps].count("repro") >= 7
    program = bench.folder / "bin" / "repro"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m repro "$@"\n')
    program.chmod(0o755)
    site = re.search(r"`~/.config/repro/slurm.yaml` of the walk-through:\n\n```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert site is not None
    config = bench.folder / "config" / "repro" / "slurm.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(site.group(1))
    environment = bench.environment | {"REPRO_DATA_ROOT": data}
    environment["PATH"] = f"{program.parent}:{environment['PATH']}"
    runs = bench.folder / "runs"
    for number, (command, shown) in enumerate(steps):
        before = steps[number - 1][0] if number else ""
        if "1e30" in before:
            bench.wait_for(lambda: len(list(runs.glob("*/progress.json"))) == 2)
        if "wait=true" in before:
            bench.wait_for(lambda: not bench.states())
        done = subprocess.run(
            command,
            shell=True,
            cwd=bench.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,  # it waits for jobs: seconds each on a quiet machine
        )
        printed = [line for line in done.stdout.splitlines() if line]
        if command.startswith("repro status"):
            check_status(command, printed, shown)
        elif "wait=true" in command:
            assert (done.returncode, printed[-1]) == (0, shown[-1]), done.stdout
        else:
            assert shape(printed) == shape(shown), command
    last = [printed for command, printed in steps if command == "repro status"][-1]
    assert last[0] == "8 trials: 4 failed, 4 done"


def test_commands_of_the_page_exist() -> None:
    """Also where there is no Slurm."""
    from repro.cli import COMMANDS

    words = [line.split() for line in re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)]
    ours = [line[1] for line in words if line[0] == "repro"]
    assert set(ours) >= {"run", "status", "sweep"} and set(ours) <= set(COMMANDS)
