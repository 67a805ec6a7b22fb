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

from repro.sweeps.executors.slurm.states import STATUSES
from scripts.faults import slurm
from scripts.faults.cluster import Bench, cluster, unavailable
from scripts.faults.result import Result

ROOT = Path(__file__).parents[3]

WHY = unavailable()
LONG = pytest.mark.skipif(
    not os.environ.get("REPRO_LONG_TESTS"), reason="minutes of jobs on a real Slurm: REPRO_LONG_TESTS=1, or make faults"
)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A Slurm of two slots that this test has for itself."""
    if WHY is not None:
        pytest.skip(WHY)
    with cluster(tmp_path / "state", SLURM_GPUS="1") as commands:
        folder = tmp_path / "50%a of it"  # Slurm's file names have % too
        folder.mkdir()
        yield Bench(folder, commands)


def check_what_is_left(bench: Bench) -> None:
    """Nothing is pickled; no trial looks as if it ran; no lock stays; trials that trained jointly say so."""
    files = [path for path in bench.folder.glob("cluster/runs/**/*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt") or path.name == "lock"]
    assert not list(bench.folder.glob("cluster/runs/*/progress.json")), "all have records"
    told = [json.loads(path.read_text()) for path in bench.folder.glob("cluster/results/records/*/record.json")]
    assert {record["provenance"].get("joint_trials") for record in told} == {2}, (
        "the two trials of a job train together"
    )
    [counts] = [line for line in bench.repro("status").stdout.splitlines() if " trials: " in line]
    assert re.fullmatch(rf"{len(told)} trials:( \d+ (done|collapsed),?)+", counts)


def check_went_on(bench: Bench, key: str, steps: int) -> None:
    """A trial that was submitted again went on from its checkpoint."""
    record = json.loads((bench.folder / "cluster" / "results" / "records" / key / "record.json").read_text())
    logs = "".join(path.read_text() for path in sorted(bench.arrays()[1].folder.glob("*log.err")))
    first = re.search(rf"seed {record['seed']}: step (\d+)/{steps}", logs)
    assert first is not None and int(first.group(1)) > 1


def test_jobs_killed_preempted_and_cancelled_end_as_undisturbed_trials(bench: Bench) -> None:
    found, hit = slurm.measured(bench, slurm.QUICK)
    assert found == [Result(f"Slurm: {name}", 1, 1, 0) for name in ("job killed", "preempted", "cancelled")]
    events = [line["event"] for line in bench.attempts()]
    assert sorted(events) == ["begin"] * 5 + ["done"] * 3 + ["requeued"], "three jobs, one of them twice, and two again"
    check_what_is_left(bench)
    check_went_on(bench, hit["job killed"][0][0], 120)


@LONG
def test_whatever_happens_to_jobs_their_trials_end_as_undisturbed_ones(bench: Bench) -> None:
    found, hit = slurm.measured(bench, slurm.EVERYTHING)
    once = ("job killed", "time limit", "SIGTERM", "node failure")
    assert found == [*(Result(f"Slurm: {name}", 1, 1, 0) for name in once), Result("Slurm: half cancelled", 2, 2, 0)]
    jobs = {
        event: [line["job"] for line in bench.attempts() if line["event"] == event] for event in ("requeued", "done")
    }
    assert len(jobs["requeued"]) == 2, "one job timed out, one preempted"
    # The node may fail when a job has just noted its end: that job starts again, and finds nothing to do.
    assert len(set(jobs["done"])) == 4, "1 + 3 ended"
    check_what_is_left(bench)
    check_went_on(bench, hit["job killed"][0][0], 240)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        ({"a": [1.0, "x", None]}, {"a": [1.0 + 1e-7, "x", None]}, True),
        ({"a": [1.0]}, {"a": [1.001]}, False),
        ({"a": [1.0]}, {"a": [1.0, 2.0]}, False),
        ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {"a": 2}, False),
        ([0.0], [1e-6], True),
        ([float("nan")], [0.0], False),
    ],
)
def test_what_counts_as_the_same_result(left: object, right: object, equal: bool) -> None:
    assert slurm.close(left, right) == slurm.close(right, left) == equal


PAGE = (ROOT / "docs" / "slurm.md").read_text(encoding="utf-8")
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


@LONG
@pytest.mark.real
def test_the_walk_through_of_the_docs(bench: Bench) -> None:
    """Its commands on a new cluster print what the page says, but for what depends on the moment."""
    data = os.environ.get("REPRO_DATA_ROOT", str(ROOT.parent / "shared" / "data"))
    if not (Path(data) / "superglue" / "CB").is_dir():
        pytest.skip("no CB in $REPRO_DATA_ROOT")
    pytest.importorskip("cognition", reason="bert-tiny is not installed (make offline-models)")
    steps = walk_through()
    assert [command.split()[0] for command, _ in steps].count("repro") == 6
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
    from repro.cli.registry import COMMANDS

    words = [line.split() for line in re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)]
    ours = [line[1] for line in words if line[0] == "repro"]
    assert set(ours) >= {"run", "status", "sweep"} and set(ours) <= {command.name for command in COMMANDS}
