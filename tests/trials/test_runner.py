"""One config to one record: bad input, failed and interrupted trials, full disks, two at once, every method."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import getpass
import hashlib
import json
import math
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from repro.config.compose import trial_config
from repro.config.run_key import run_key
from repro.errors import ConfigError, DataError, StoreError, TrialFailed
from repro.store.checkpoints import newest
from repro.store.record import SCHEMA_VERSION, Record, with_checksum
from repro.store.store import Store
from tests.nested import resolved, run

pytestmark = pytest.mark.usefixtures("one_thread")

P2, FT, PT, PREFIX = "method=p_tuning_v2", "method=fine_tuning", "method=prompt_tuning", "method=prefix_tuning"
RTE = ("model=tiny-bert", "task=rte")


def record_files(folder: Path) -> list[Path]:
    return sorted((folder / "results" / "records").glob("*/record.json"))


def only_record(folder: Path) -> dict[str, Any]:
    [path] = record_files(folder)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def left_behind(folder: Path) -> list[str]:
    """Everything below a folder but what processes printed."""
    return sorted(path.name for path in folder.rglob("*") if not path.name.startswith("process-"))


# Bad input -----------------------------------------------------------------------------------------------------------


def test_bad_data_is_refused_before_torch_with_file_and_line(python, trial_arguments, own_data, tmp_path):
    def damage(file: str, line: int, text: str) -> str:
        path = own_data / file
        lines = path.read_text().splitlines()
        lines[line - 1] = text
        path.write_text("\n".join(lines) + "\n")
        return f"{path}:{line}"

    broken = damage("superglue/RTE/train.jsonl", 3, '{"premise": "x"')
    label = damage("superglue/CB/val.jsonl", 2, '{"premise": "a", "hypothesis": "b", "label": "maybe", "idx": 1}')
    tag = damage("conll04/test.txt", 2, "Lee x I-Nobody")
    pipe = damage("e2e/src1_valid.txt", 4, "name : Inn 1 | Type : pub Inn 1 is a pub .")
    (own_data / "superglue/COPA/val.jsonl").unlink()
    here = f"paths.data_root={own_data}"
    cases = [
        (["paths.data_root=nowhere"], "the data folder nowhere/superglue/RTE of the task rte does not exist"),
        ([here], f"{broken} is not JSON"),
        ([here, "task=cb"], f"{label}: the label is 'maybe': allowed is entailment, contradiction, neutral"),
        ([here, "task=conll04"], f"{tag}: the tag 'I-Nobody' is not one of"),
        ([here, "task=e2e", "model=tiny-gpt2"], f"{pipe} is 'name : Inn 1"),
        ([here, "task=copa"], "COPA/val.jsonl (copa, validation) does not exist"),
        (["task.check_rows=true"], "has 8 rows, the original train split of rte has 2490"),
        (["task.report_split=test"], "task.report_split=test: the test split of rte has no answers"),
        (["trainer.selection.split=test"], "trainer.selection.split=test: the test split of rte has no answers"),
        (["trainer.selection.metric=bleu"], "trainer.selection.metric=bleu: rte has accuracy, and loss."),
        (["+task.options.nope=1"], "unknown: nope"),
    ]
    code = (
        "import json, sys\n"
        "from repro.cli.main import main\n"
        "codes = [main(['run', *arguments]) for arguments in json.load(sys.stdin)]\n"
        "print(json.dumps([codes, sorted({'torch', 'transformers', 'datasets'} & set(sys.modules))]))\n"
    )
    folder = tmp_path / "here"
    folder.mkdir()
    commands = [[*trial_arguments(), *arguments] for arguments, _ in cases]
    commands = [_last_wins(command) for command in commands]
    done = python("-c", code, cwd=folder, text=json.dumps(commands))
    assert done.code == 0, done.err
    assert json.loads(done.out.splitlines()[-1]) == [[2] * len(cases), []]
    lines = done.err.splitlines()
    assert len(lines) == len(cases), done.err
    for (_, expected), line in zip(cases, lines, strict=True):
        assert line.startswith("repro: ") and expected in line
    assert left_behind(folder) == []


def _last_wins(overrides: list[str]) -> list[str]:
    """One value a key: Hydra takes the last of several values, but not of several choices of a group."""
    return list({text.partition("=")[0]: text for text in overrides}.values())


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("task.source=hub", "task.hub_id=nobody/nothing"), ("the hub data set nobody/nothing", "task.source=local")),
        (("model.source=hub", "model.location=nobody/nothing"), ("model.location=nobody/nothing", "HF_HUB_OFFLINE=1")),
        (("model.source=folder", "model.location=nowhere"), ("model.location=nowhere: no such file or folder",)),
        (("model.source=package", "model.location=no_such_one:m"), ("'no_such_one' is not installed", "make offline")),
        (("model.width=48",), ("model.width=48",)),
        (("trainer.device=cuda:99",), ("trainer.device=cuda:99: ", "Set trainer.device=auto or cpu.")),
    ],
    ids=["hub data", "hub model", "folder", "package", "facts", "device"],
)
def test_data_and_weights_that_cannot_be_had(arguments, parts, cli, trial_arguments, monkeypatch, tmp_path):
    if "model.width=48" in arguments:  # the weights do not have the width that the config says
        import repro.models.loading as loading

        real = loading.random_model
        monkeypatch.setattr(
            loading, "random_model", lambda model, *rest: real(dataclasses.replace(model, width=32), *rest)
        )
    done = cli("run", *trial_arguments(*arguments))
    assert done.code == 2
    assert done.err.count("\n") == 1 and done.err.startswith("repro: ") and "Traceback" not in done.err
    for part in parts:
        assert part in done.err
    assert left_behind(tmp_path) == []


# Trials that fail ----------------------------------------------------------------------------------------------------


def test_a_nan_loss_is_recorded_said_at_once_later_and_run_again_when_asked(cli, trial_arguments, tmp_path):
    arguments = trial_arguments("trainer.optimiser.learning_rate=1e30")
    first = cli("run", *arguments)
    assert first.code == 2 and "step 1/2" in first.err
    said = first.err.splitlines()[-1]
    assert said.startswith("repro: the loss became nan at step 2: lower trainer.optimiser.learning_rate (now ")
    record = only_record(tmp_path)
    assert (record["status"], record["reason"]) == ("failed", said.removeprefix("repro: "))
    assert record["metrics"] == {} and record["statistics"] == {}
    assert record["cost"]["seconds"] > 0 and record["provenance"]["data"]["train"]["rows"] == 8
    # Nothing half-written: neither predictions nor a prompt of a failed trial.
    assert not list((tmp_path / "runs").rglob("*.jsonl")) and not list((tmp_path / "runs").rglob("prompt.*"))
    [path] = record_files(tmp_path)
    kept = path.read_bytes()

    second = cli("run", *arguments)
    assert second.code == 2 and second.out == ""
    assert second.err == (
        f"repro: p_tuning_v2 tiny-bert rte seed 1 failed before ({record['reason']}) To run it again add rerun=true.\n"
    )
    assert path.read_bytes() == kept

    third = cli("run", *arguments, "rerun=true")
    assert third.code == 2 and "step 1/2" in third.err and third.err.splitlines()[-1] == said
    assert "rerun=true" not in only_record(tmp_path)["provenance"]["command"]


def test_a_failed_trial_that_left_a_checkpoint_continues_from_it(quick, monkeypatch, tmp_path):
    from repro.models.encoder import EncoderAdapter

    plain = quick(P2, *RTE, "trainer.steps=6", "trainer.evaluate_every=2", "trainer.checkpoint_seconds=1e-9")
    whole = run(plain).record
    Store(tmp_path / "results" / "records").delete(run_key(plain))

    calls = []

    def losses(self: Any, batch: Any, injection: Any, **given: Any) -> Any:
        calls.append(1)
        found = real(self, batch, injection, **given)
        return type(found)(found.total * math.nan, found.count) if len(calls) == 4 else found

    real = EncoderAdapter.losses
    monkeypatch.setattr(EncoderAdapter, "losses", losses)
    with pytest.raises(TrialFailed, match="became nan at step 4"):
        run(plain)
    assert (tmp_path / "runs" / run_key(plain) / "checkpoint" / "state.json").is_file()
    with pytest.raises(TrialFailed, match=r"failed before .* add rerun=true\.$"):
        run(plain)
    assert len(calls) == 4
    again = run(plain | {"rerun": True}).record
    assert len(calls) == 4 + 3, "steps 4, 5 and 6"
    assert whole is not None and again is not None
    assert results(again.to_json()) == results(whole.to_json())


def results(record: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on whether a trial was interrupted."""
    counts = {name: record["cost"][name] for name in ("steps", "examples", "tokens", "padded_tokens", "flops")}
    names = ("key", "status", "reason", "metrics", "statistics", "curve", "selection", "parameters", "deviations")
    return {name: record[name] for name in names} | counts


# Trials that are interrupted -----------------------------------------------------------------------------------------


INTERRUPTIBLE = ("trainer.steps=24", "trainer.evaluate_every=3", "trainer.optimiser.learning_rate=1e-2")


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_an_interrupted_trial_is_continued_and_ends_as_if_nothing_had_been(
    how, code, start, cli, trial_arguments, tmp_path
):
    arguments = trial_arguments(*INTERRUPTIBLE)
    if how == signal.SIGKILL:  # nothing can be saved when it comes: a checkpoint after every step
        arguments = [*arguments, "trainer.checkpoint_seconds=1e-9"]

    process = start("run", *arguments)
    process.wait_for(lambda: process.printed("epoch 1.5 " if how != signal.SIGKILL else "epoch 3 "))
    os.kill(process.pid, how)
    cut = process.end()
    assert cut.code == code, cut.err
    assert record_files(tmp_path) == []
    [folder] = [path for path in (tmp_path / "runs").iterdir() if path.name != "cache"]
    state, wrong = newest(folder / "checkpoint")  # a kill may come while a new state takes the place of the one before
    assert state is not None and 3 <= state.progress["step"] < 24, wrong
    if how == signal.SIGKILL:
        assert (folder / "lock").is_file(), "nobody could take the dead process's lock away"
    else:
        name = "p_tuning_v2 tiny-bert rte seed 1"
        said = f"repro: {name}: stopped after a checkpoint; the same command continues it.\n"
        assert cut.err.endswith(said) and "Traceback" not in cut.err
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoint", "progress.json"]

    again = cli("run", *arguments)
    unbroken = tmp_path / "unbroken"
    whole = cli("run", *arguments, f"paths.results_root={unbroken}/results", f"paths.runs_root={unbroken}/runs")
    assert (again.code, whole.code) == (0, 0), again.err + whole.err
    assert "epoch 1.5 " not in again.err, "it started anew"
    continued = only_record(tmp_path)
    assert results(continued) == results(only_record(unbroken)) and len(continued["curve"]) == 8
    assert sorted(path.name for path in folder.iterdir()) == ["predictions-validation.jsonl", "prompt.safetensors"]
    for path in folder.iterdir():
        assert path.read_bytes() == (unbroken / "runs" / folder.name / path.name).read_bytes()


def test_what_a_process_left_that_was_killed_after_its_record_goes_with_the_next_call(quick, tmp_path):
    from repro.store.lock import Owner

    plain = quick(P2, *RTE)
    folder = run(plain).folder
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "state.json").write_text("{}")
    dead = subprocess.Popen(["true"])
    dead.wait()
    (folder / "progress.json").write_text("{}")
    (folder / "lock").write_text(json.dumps(asdict(Owner.here()) | {"pid": dead.pid, "process_start": 1}))
    assert run(plain).from_store
    assert sorted(path.name for path in folder.iterdir()) == ["predictions-validation.jsonl", "prompt.safetensors"]
    (folder / "checkpoint").mkdir()
    (folder / "lock").write_text(json.dumps(asdict(Owner.here())))
    assert run(plain).from_store
    assert (folder / "checkpoint").is_dir() and (folder / "lock").is_file(), "a living process is left alone"


def test_a_damaged_checkpoint_costs_an_interval_and_is_noted_in_the_record(quick, monkeypatch, tmp_path):
    from repro.training.progress import ProgressReporter

    plain = quick(P2, *RTE, "trainer.steps=4", "trainer.evaluate_every=1", "trainer.checkpoint_seconds=0")
    whole = run(plain).record
    Store(tmp_path / "results" / "records").delete(run_key(plain))

    def stop(self: ProgressReporter, save: Callable[[], None]) -> None:
        if self._started is not None and self.file is not None and self.file._step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ProgressReporter, "stop_if_asked", stop)
        run(plain)
    folder = tmp_path / "runs" / run_key(plain) / "checkpoint"
    state, _ = newest(folder)
    assert state is not None and state.progress["step"] == 2
    (folder / state.tensors).write_bytes((folder / state.tensors).read_bytes()[:-1])
    record = run(plain).record
    assert whole is not None and record is not None
    [note] = record.provenance["notes"]
    assert note.startswith(f"the newest checkpoint was damaged ({state.file}: the checksum of step-")
    assert results(record.to_json()) == results(whole.to_json())


def test_two_processes_with_one_key_train_it_once(start, trial_arguments, tmp_path):
    arguments = trial_arguments("trainer.steps=60", "trainer.evaluate_every=4")
    first = start("run", *arguments)
    first.wait_for(lambda: first.printed("epoch 2 "))
    os.kill(first.pid, signal.SIGSTOP)  # however slow this machine is, it has not ended when the others look
    second, third = start("run", *arguments), start("run", *arguments, "trainer.if_running=skip")

    aside = third.end()
    assert aside.code == 0 and aside.err == ""
    assert re.fullmatch(r"trial [0-9a-f]{16}: another process runs it, stepped aside \(.*skip\)\n", aside.out)
    assert record_files(tmp_path) == [], "it stepped aside while the first was running"

    second.wait_for(lambda: second.printed("is being run by process"))
    os.kill(first.pid, signal.SIGCONT)
    trained = first.end()
    record = only_record(tmp_path)
    before = record_files(tmp_path)[0].read_bytes()
    waited = second.end()
    assert trained.code == waited.code == 0
    assert waited.err.startswith(f"trial {record['key']} is being run by process {first.pid} on ")
    assert waited.err.count("\n") == 1 and "(trainer.if_running=skip steps aside)" in waited.err
    assert "already in the store" in waited.out and "already in the store" not in trained.out
    assert record_files(tmp_path)[0].read_bytes() == before
    assert not list((tmp_path / "runs").rglob("lock*"))


# Disks that are full -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here: needs the right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, but: int) -> Path:
    """A file that takes all of the space but so many bytes."""
    path = disk / "filler"
    with path.open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(b"x" * 4096)
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - but)
    return path


def test_a_full_disk_under_the_results_costs_no_training(cli, trial_arguments, small_disk, tmp_path):
    arguments = trial_arguments(f"paths.results_root={small_disk}/results")
    filler = fill(small_disk, but=4096)
    done = cli("run", *arguments)
    assert done.code == 2 and "Traceback" not in done.err
    said = done.err.splitlines()[-1]
    assert said.startswith(f"repro: cannot write {small_disk}/results/records/") and "the disk is full" in said
    assert "free some space" in said and "the same command again" in said
    assert not [path for path in (small_disk / "results").rglob("*") if path.is_file()], "no torn record"
    filler.unlink()
    again = cli("run", *arguments)
    assert again.code == 0 and ": step " not in again.err and ": epoch " not in again.err, "only scored again"
    [path] = (small_disk / "results").rglob("record.json")
    assert json.loads(path.read_text())["cost"]["steps"] == 2


@pytest.mark.parametrize("but", [0, 4096])
def test_a_full_disk_under_the_runs(but, cli, trial_arguments, small_disk, tmp_path):
    fill(small_disk, but=but)  # no room for the lock; room for the lock but not for a checkpoint
    done = cli("run", *trial_arguments(f"paths.runs_root={small_disk}/runs"))
    assert done.code == 2 and "Traceback" not in done.err
    said = done.err.splitlines()[-1]
    assert said.startswith(f"repro: cannot {'write' if but else 'lock'} {small_disk}/runs/") and "disk is full" in said
    assert record_files(tmp_path) == []
    assert not [path for path in (small_disk / "runs").rglob("*") if path.is_file()]


def test_a_disk_that_gets_full_while_the_record_is_written(quick, monkeypatch, tmp_path):
    import repro.store.files as files

    plain = quick(P2, *RTE)
    real = files.write_new

    def write_new(path: Path, content: bytes) -> None:
        if "record.json" not in path.name:
            return real(path, content)
        real(path, content[: len(content) // 2])  # half of it fits
        path.unlink()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(files, "write_new", write_new)
    with pytest.raises(StoreError, match=r"cannot write .*record\.json: the disk is full\. To fix it, free"):
        run(plain)
    assert record_files(tmp_path) == [] and not list((tmp_path / "results").rglob("*.tmp"))
    assert not (tmp_path / "runs" / run_key(plain) / "lock").exists()
    monkeypatch.setattr(files, "write_new", real)
    outcome = run(plain)
    assert outcome.record is not None and not outcome.from_store and len(record_files(tmp_path)) == 1


# What a run leaves ---------------------------------------------------------------------------------------------------


def test_a_second_call_returns_the_stored_record_and_does_nothing(quick, monkeypatch, tmp_path):
    from repro.trials import lifecycle

    plain = quick(P2, *RTE)
    first = run(plain)
    assert not first.from_store and first.record is not None
    monkeypatch.setattr(lifecycle.Attempt, "prepare", lambda *_: pytest.fail("ran again"))
    again = run(plain)
    assert again.from_store and again.folder == first.folder == tmp_path / "runs" / run_key(plain)
    stored = json.loads(record_files(tmp_path)[0].read_text())
    assert again.record is not None and with_checksum(again.record.to_json()) == stored
    # A collapsed trial is a result; the same trial under other names and places is the same trial.
    assert again.record.status == "collapsed"
    other = plain | {"experiment_name": "x", "tracker": plain["tracker"] | {"project": "y"}}
    assert run(other).from_store


@pytest.mark.parametrize("mounted", [False, True])
def test_bad_config_leaves_empty_folders_as_little_as_anything_else(mounted, quick, monkeypatch, tmp_path):
    def rmdir(self: Path) -> None:  # a mount point, as in containers: that it cannot be removed is no error
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(self))

    if mounted:
        monkeypatch.setattr(Path, "rmdir", rmdir)
    plain = quick(P2, *RTE, "task.report_split=test")
    (tmp_path / "runs" / run_key(plain)).mkdir(parents=True)  # Hydra makes it
    with pytest.raises(ConfigError, match=r"task\.report_split=test"):
        run(plain)
    assert mounted or left_behind(tmp_path) == []


def test_a_trial_on_any_files_does_not_stand_for_one_on_the_papers(quick, own_data):
    """With `check_rows` on the sizes are looked at, whatever a trial without it has left in the store."""
    plain = quick(P2, *RTE)
    plain["paths"]["data_root"] = str(own_data)
    plain["task"]["data_dir"] = str(own_data / "superglue" / "RTE")
    assert not plain["task"]["check_rows"] and not run(plain).from_store and run(plain).from_store
    checked = plain | {"task": plain["task"] | {"check_rows": True}}
    with pytest.raises(DataError, match="has 8 rows, the original train split of rte has 2490"):
        run(checked)
    train = own_data / "superglue" / "RTE" / "train.jsonl"
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:6]))
    with pytest.raises(ConfigError, match=r"was made with other data: train"):
        run(plain)


# The record ----------------------------------------------------------------------------------------------------------

COMMAND = ["repro", "run", "method=fine_tuning", "model=tiny-bert", "task=rte"]
CHOICES = {"method": "fine_tuning", "model": "tiny-bert", "task": "rte"}


@pytest.fixture(scope="module")
def ran(
    composed: Callable[..., Any], data_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A fine-tuned tiny model that learns the made-up task: its folder, its config and its record as stored."""
    folder = tmp_path_factory.mktemp("ran")
    values = ["max_input_length=48", "check_rows=false", "limit.validation=5"]
    plain = resolved(
        composed(
            *(FT, *RTE, f"paths.data_root={data_root}", f"paths.results_root={folder}/results"),
            *(f"paths.runs_root={folder}/runs", "trainer.device=cpu", "trainer.batch_size=4", "trainer.epochs=15"),
            *("trainer.optimiser.learning_rate=1e-2", "trainer.evaluate_every=10", *(f"task.{v}" for v in values)),
        )
    )
    run(plain, CHOICES, COMMAND[2:])
    return folder, plain, only_record(folder)


def test_the_record_says_what_was_run(ran):
    _, plain, record = ran
    assert record["key"] == run_key(plain) == run_key(record["config"])
    assert (record["status"], record["reason"], record["seed"]) == ("done", None, 1)
    assert record["choices"] == CHOICES and record["provenance"]["command"] == COMMAND
    for group in ("method", "model", "trainer", "recipe", "tracker"):
        assert record["config"][group] == plain[group]
    assert record["config"]["task"] == plain["task"] | {"data_dir": record["config"]["task"]["data_dir"]}
    assert record["schema_version"] == SCHEMA_VERSION
    assert sorted(record) == sorted(with_checksum(Record("0", "done", {}, 1).to_json()))


def test_the_records_statistics_reproduce_its_metrics(ran):
    import numpy as np

    from repro.metrics.accuracy import Accuracy

    folder, _, record = ran
    rows = record["statistics"]["validation"]["accuracy"]
    assert Accuracy().reduce(np.asarray(rows)) == record["metrics"]["validation"]
    lines = (folder / "runs" / record["key"] / "predictions-validation.jsonl").read_text().splitlines()
    right = [float(json.loads(line)["prediction"] == json.loads(line)["references"][0]) for line in lines]
    assert rows == [[hit, 1.0] for hit in right] and len(rows) == 5
    assert record["metrics"]["validation"]["accuracy"] == pytest.approx(100 * sum(right) / 5) and sum(right) >= 4


def test_the_records_curve_and_selection(ran):
    _, _, record = ran
    curve, chosen = record["curve"], record["selection"]
    assert [row["step"] for row in curve] == [10, 20, 30]
    assert [row["epoch"] for row in curve] == [5.0, 10.0, 15.0]  # 8 examples in batches of 4
    assert curve[-1]["train_loss"] < curve[0]["train_loss"]
    # Linear decay to 0 over 30 steps; the rate of the last update before each evaluation.
    assert [row["learning_rate"] for row in curve] == pytest.approx([1e-2 * (30 - t) / 30 for t in (9, 19, 29)])
    scores = [row["validation"]["accuracy"] for row in curve]
    best = scores.index(max(scores))  # the first on ties
    assert chosen == {
        **{"rule": "best", "split": "validation", "metric": "accuracy"},
        **{"value": scores[best], "step": curve[best]["step"], "epoch": curve[best]["epoch"]},
    }
    assert record["metrics"]["validation"]["accuracy"] == scores[best], "the reported tensors are the chosen ones"


def test_the_records_counts_and_costs(ran):
    _, _, record = ran
    parameters, cost = record["parameters"], record["cost"]
    assert parameters["head"] == 2 * 32 + 2 and parameters["prompt"] == 0 and parameters["frozen"] == 0
    assert parameters["trained"] == parameters["stored"] > 10 * parameters["head"]
    assert cost["steps"] == 30 and cost["examples"] == 15 * 8
    assert 0 < cost["tokens"] <= cost["padded_tokens"] <= 30 * 4 * 48
    assert 0 < cost["train_seconds"] + cost["evaluation_seconds"] <= cost["seconds"] + 0.01
    assert cost["peak_memory_bytes"] > 1e7 and cost["flops"] > 6 * cost["tokens"]


def test_the_records_provenance(ran, data_root):
    from importlib import metadata

    _, _, record = ran
    found = record["provenance"]
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    if git.returncode == 0:
        assert found["git"]["commit"] == git.stdout.strip() and isinstance(found["git"]["dirty"], bool)
    for package in ("torch", "transformers", "numpy", "hydra-core"):
        assert found["packages"][package] == metadata.version(package)
    assert found["device"] == "cpu" and found["python"] and found["platform"] and found["cpus"] >= 1
    assert found["started"] <= found["finished"]
    # Fingerprints: the rows as they stand in the files, before the limit; and the weights.
    for split, file in (("train", "train.jsonl"), ("validation", "val.jsonl")):
        digest = hashlib.sha256()
        lines = (data_root / "superglue" / "RTE" / file).read_text().splitlines()
        for line in lines:
            row = json.loads(line)
            del row["idx"]
            digest.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        assert found["data"][split] == {"rows": len(lines), "sha256": digest.hexdigest()}
    assert sorted(found["data"]) == ["train", "validation"]
    assert re.fullmatch("[0-9a-f]{64}", found["weights"]["sha256"])


def test_the_weights_fingerprint_is_of_the_weights_before_training(ran, quick):
    frozen = run(quick(P2, *RTE)).record
    other = run(quick(P2, "model=tiny-roberta", "task=rte")).record
    assert frozen is not None and other is not None
    assert frozen.provenance["weights"]["sha256"] == ran[2]["provenance"]["weights"]["sha256"]
    assert other.provenance["weights"]["sha256"] != ran[2]["provenance"]["weights"]["sha256"]


def test_the_record_lists_every_deviation(ran):
    *data, recipe, model = ran[2]["deviations"]
    assert data == [
        "train: 8 rows, the original has 2490.",
        "validation: 6 rows, the original has 277.",
        "validation: 5 of 6 examples (task.limit.validation).",
    ]
    assert recipe.startswith("no recipe for this method, model and task") and model.endswith("the model tiny-bert")


def test_deviations_of_method_and_recipe_are_listed_once(composed):
    from repro.trials.recording import deviations

    config = trial_config(composed(PT, "model=t5-base-lm-adapt", "task=rte", "method.deviations=[m,t]"))
    said = deviations(config, ["t", "f"])
    assert said == ["m", "t", *config.recipe.deviations, "f"] and config.recipe.deviations


def test_barts_shifted_positions_are_said(composed):
    """gpt2/train_control.py shifts by `past_length`; modeling_bart.py counts the ids it is given."""
    from repro.trials.recording import SHIFTED_BART, deviations

    for shift, said in (("true", True), ("false", False)):
        for model in ("bart-large", "gpt2-medium"):
            config = trial_config(composed(PREFIX, f"model={model}", "task=e2e", f"method.shift_positions={shift}"))
            assert (SHIFTED_BART in deviations(config, [])) == (said and model == "bart-large")


def test_the_record_names_its_files_by_their_hashes(ran):
    folder, _, record = ran
    own = folder / "runs" / record["key"]
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in own.iterdir()}
    assert record["files"] == there and set(there) == {"predictions-validation.jsonl", "prompt.safetensors"}


def strings(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, item in node.items():
            yield from (key, *strings(item))
    elif isinstance(node, list):
        for item in node:
            yield from strings(item)
    elif isinstance(node, str):
        yield node


def test_the_record_names_no_folder_person_or_machine(ran):
    folder, _, record = ran
    texts = list(strings(record))
    assert len(texts) > 100
    words = {socket.gethostname(), str(folder), str(folder.parent), os.path.expanduser("~"), str(Path.cwd())} - {"/"}
    user = getpass.getuser()
    for text in texts:
        assert not re.search(r"(^|[\s='\":,\[])(/|~)[A-Za-z]", text), text
        assert not any(word in text for word in words), text
        assert f"/{user}" not in text
    assert record["config"]["task"]["data_dir"] == "superglue/RTE" and "paths" not in record["config"]


def test_the_record_round_trips_through_json(ran):
    from repro.store.files import json_text

    folder, _, record = ran
    stored = Store(folder / "results" / "records").get(record["key"])
    assert stored is not None and with_checksum(stored.to_json()) == record
    assert Record.from_json(json.loads(json.dumps(record))) == stored
    [path] = record_files(folder)
    assert json_text(record) == path.read_text()
    assert path.stat().st_size < 50_000


# Switches that change no result -------------------------------------------------------------------------------------


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("model", "task", "changed"),
    [
        ("tiny-bert", "rte", "trainer.gradient_checkpointing=true"),
        ("tiny-t5", "copa", "trainer.packing=true"),
        ("tiny-gpt2", "e2e", "trainer.packing=true"),
        ("tiny-gpt2", "e2e", "trainer.attention=eager"),
    ],
)
def test_memory_and_attention_switches_change_no_result(model, task, changed, quick, tmp_path):
    overrides = [PREFIX, f"model={model}", f"task={task}", "method.length=6", "trainer.evaluate_every=1"]
    plain = run(quick(*overrides)).record
    elsewhere = quick(*overrides, changed)
    elsewhere["paths"] = elsewhere["paths"] | {"results_root": f"{tmp_path}/2", "runs_root": f"{tmp_path}/3"}
    other = run(elsewhere).record
    assert plain is not None and other is not None
    same = "attention" not in changed
    assert (plain.key == other.key) == same, "memory and layout are no part of the key, the kernel is"
    ours, theirs = ([row["train_loss"] for row in record.curve] for record in (plain, other))
    assert len(ours) == 2 and ours[0] != ours[1]
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.smoke
@pytest.mark.parametrize("metric", ["loss", None])
def test_selection_by_loss_and_of_the_last_step(metric, quick):
    rule = ["trainer.selection.rule=last"] if metric is None else ["trainer.selection.metric=loss"]
    record = run(quick(P2, *RTE, "trainer.steps=4", "trainer.evaluate_every=1", *rule)).record
    assert record is not None and len(record.curve) == 4
    if metric is None:
        assert (record.selection["rule"], record.selection["step"]) == ("last", 4)
        return
    values = [row["validation"]["loss"] for row in record.curve]
    assert record.selection["value"] == min(values)
    assert record.selection["step"] == 1 + values.index(min(values))
    assert "loss" not in record.metrics["validation"] and "accuracy" in record.metrics["validation"]
