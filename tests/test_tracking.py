"""Trackers: what reaches them, and that nothing which happens there reaches the trial."""

import logging
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import repro
from repro.config import TrackerConfig
from repro.errors import ConfigError
from repro.store.record import Record
from repro.tracking import QUEUE_SIZE, NullTracker, WandbTracker, flattened, make_tracker

CONF = Path(repro.__file__).parents[2] / "conf" / "tracker"
RECORD = Record(
    "k", "done", {}, 1, metrics={"test": {"accuracy": 70.0}}, cost={"seconds": 2.0}, parameters={"trained": 9}
)


class FakeRun:
    """Remembers what it is given; `trouble` is called with the name of each call."""

    def __init__(self, trouble):
        self.rows, self.summary, self.exit_code, self.trouble = [], {}, None, trouble

    def log(self, values, step):
        self.trouble("log")
        self.rows.append((step, values))

    def finish(self, exit_code):
        self.trouble("finish")
        self.exit_code = exit_code


@pytest.fixture
def fake(monkeypatch):
    """A wandb that does `fake.trouble(call)` before each call, and keeps its runs and how they were started."""
    wandb = types.SimpleNamespace(runs=[], starts=[], trouble=lambda call: None)

    def init(**options):
        wandb.trouble("init")
        wandb.starts.append(options)
        wandb.runs.append(FakeRun(lambda call: wandb.trouble(call)))
        return wandb.runs[-1]

    wandb.init, wandb.Settings = init, lambda **options: options
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    return wandb


def track(folder, **options) -> WandbTracker:
    settings = {"project": "p", "group": "g", "mode": "offline", "key": "k", "config": {"seed": 1}, "folder": folder}
    return WandbTracker(**settings | options)


def test_values_reach_wandb_in_order(fake, tmp_path):
    tracker = track(tmp_path / "new" / "folder")
    for step in range(100):
        tracker.log({"train_loss": step / 2, "validation": {"accuracy": 1.0}}, step)
    tracker.finish(RECORD)
    (run,), (start,) = fake.runs, fake.starts
    assert run.rows == [(step, {"train_loss": step / 2, "validation/accuracy": 1.0}) for step in range(100)]
    assert run.summary["result/test/accuracy"] == 70.0
    assert run.summary["status"] == "done"
    assert run.summary["parameters/trained"] == 9
    assert run.exit_code == 0
    assert {name: start[name] for name in ("project", "group", "mode", "id", "name", "config")} == {
        "project": "p",
        "group": "g",
        "mode": "offline",
        "id": "k",
        "name": "k",
        "config": {"seed": 1},
    }
    assert Path(start["dir"]).is_dir()


def test_values_are_those_at_the_time_of_the_call(fake, tmp_path):
    gate = threading.Event()
    fake.trouble = lambda call: gate.wait(10)
    tracker = track(tmp_path)
    values = {"loss": 1.0, "validation": {"accuracy": 1.0}}
    tracker.log(values, 1)
    values["loss"] = values["validation"]["accuracy"] = 2.0
    gate.set()
    tracker.finish()
    assert fake.runs[0].rows == [(1, {"loss": 1.0, "validation/accuracy": 1.0})]


@pytest.mark.parametrize(
    ("record", "code"), [(None, 1), (Record("k", "failed", {}, 1), 1), (Record("k", "collapsed", {}, 1), 0)]
)
def test_exit_code_of_the_run(fake, tmp_path, record, code):
    tracker = track(tmp_path)
    tracker.finish(record)
    assert fake.runs[0].exit_code == code
    assert fake.runs[0].summary["status"] == (record.status if record else "interrupted")


@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(1), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_errors_cost_one_warning(fake, tmp_path, caplog, where, error):
    def trouble(call):
        if call == where:
            raise error

    fake.trouble = trouble
    with caplog.at_level(logging.WARNING, "repro"):
        tracker = track(tmp_path)
        for step in range(20):
            tracker.log({"loss": 1.0}, step)
            time.sleep(0.001)
        tracker.finish(RECORD)
        tracker.log({"loss": 1.0}, 99)
        tracker.finish(RECORD)
    (message,) = [entry.getMessage() for entry in caplog.records if entry.name == "repro.tracking"]
    assert "trial k" in message
    assert type(error).__name__ in message
    assert "tracker=none" in message


def test_without_wandb(monkeypatch, tmp_path, caplog):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = track(tmp_path)
    tracker.log({"loss": 1.0}, 1)
    tracker.finish(RECORD)
    assert caplog.text.count("wandb is off") == 1


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_slowness_does_not_hold_up_the_trial(fake, tmp_path, caplog, where):
    gate = threading.Event()
    fake.trouble = lambda call: gate.wait(20) if call == where else None
    began = time.monotonic()
    tracker = track(tmp_path, finish_seconds=0.1)
    for step in range(QUEUE_SIZE + 10):
        tracker.log({"loss": 1.0}, step)
    tracker.finish(RECORD)
    tracker.finish(RECORD)
    assert time.monotonic() - began < 5
    assert caplog.text.count("wandb is off") == 1
    gate.set()


def test_null_tracker_and_choice(fake, tmp_path):
    tracker = make_tracker({"name": "none"}, "k", {}, tmp_path)
    assert isinstance(tracker, NullTracker)
    tracker.log({"loss": 1.0}, 1)
    tracker.finish(RECORD)
    assert fake.starts == []
    tracker = make_tracker({"name": "wandb", "project": "q", "mode": "disabled"}, "k", {"seed": 3}, tmp_path)
    tracker.finish(RECORD)
    (start,) = fake.starts
    assert (start["project"], start["group"], start["mode"], start["id"]) == ("q", None, "disabled", "k")
    assert start["config"] == {"seed": 3}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "tensorboard"}, ["tracker.name", "'tensorboard'", "none, wandb", "tracker=none"]),
        ({"name": None}, ["tracker.name", "None", "none, wandb"]),
        (
            {"name": "wandb", "mode": "of"},
            ["tracker.mode", "'of'", "offline, online, disabled", "tracker.mode=offline"],
        ),
    ],
)
def test_unknown_choices_are_refused_first(fake, tmp_path, options, words):
    with pytest.raises(ConfigError) as caught:
        make_tracker(options, "k", {}, tmp_path)
    assert all(word in str(caught.value) for word in words)
    assert fake.starts == []


def test_flattened():
    assert flattened({"a": 1, "b": {"c": {"d": 2}, "e": 3}, "f": {}}) == {"a": 1, "b/c/d": 2, "b/e": 3}


@pytest.mark.parametrize("name", ["none", "wandb"])
def test_config_files_fit_the_schema(name, fake, tmp_path):
    path = CONF / f"{name}.yaml"
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert f"repro run tracker={name}" in first
    root = OmegaConf.create({"experiment_name": "table_1"})
    root.tracker = OmegaConf.merge(OmegaConf.structured(TrackerConfig), OmegaConf.load(path))
    plain = OmegaConf.to_container(root, resolve=True)["tracker"]
    assert plain["name"] == name
    assert plain["mode"] == "offline"
    assert plain["group"] == ("table_1" if name == "wandb" else None)
    make_tracker(plain, "k", {}, tmp_path).finish(RECORD)


def test_import_is_light():
    code = "import sys, repro.tracking; print(sorted({'wandb', 'torch', 'numpy'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(CONF.parents[1] / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.real
def test_real_wandb_offline(tmp_path):
    """Two trials at once, as in a gang, in a process of its own: wandb leaves threads and exit hooks behind."""
    code = """
import sys, logging
logging.basicConfig(level=logging.WARNING)
from repro.store.record import Record
from repro.tracking import make_tracker
options = {"name": "wandb", "project": "p", "group": None, "mode": "offline"}
trackers = [make_tracker(options, f"key{i}", {"seed": i}, sys.argv[1]) for i in range(2)]
for step in range(5):
    for tracker in trackers:
        tracker.log({"loss": 1.0 / (step + 1), "validation": {"accuracy": 50.0}}, step)
for i, tracker in enumerate(trackers):
    tracker.finish(Record(f"key{i}", "done", {}, i, metrics={"test": {"accuracy": 70.0}}))
"""
    environment = {"PYTHONPATH": str(CONF.parents[1] / "src"), "HOME": str(tmp_path), "WANDB_MODE": "online"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "wandb is off" not in done.stderr
    runs = sorted((tmp_path / "run" / "wandb").glob("offline-run-*-key*"))
    assert [run.name[-4:] for run in runs] == ["key0", "key1"]
    for run in runs:
        (data,) = run.glob("*.wandb")
        assert all(name in data.read_bytes() for name in (b"loss", b"validation/accuracy", b"result/test/accuracy"))
        assert b"hidden" in data.read_bytes(), "in place of the host name"
