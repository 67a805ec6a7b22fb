"""Trackers: what reaches them, and that nothing which happens there reaches the trial."""

import json
import logging
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import repro
from repro.config.schema import TrackerConfig
from repro.errors import ConfigError, ReproError
from repro.store.record import Record
from repro.tracking import make_tracker, queued
from repro.tracking.backend import flattened, summary
from repro.tracking.build import backend
from repro.tracking.journal import Journal
from repro.tracking.queued import QUEUE_SIZE, NullTracker, QueuedTracker
from repro.tracking.reports import track_report

CONF = Path(repro.__file__).parents[2] / "conf" / "tracker"
RECORD = Record(
    "k", "done", {}, 1, metrics={"test": {"accuracy": 70.0}}, cost={"seconds": 2.0}, parameters={"trained": 9}
)


class FakeRun:
    """Remembers what it is given; `trouble` is called with the name of each call."""

    def __init__(self, trouble):
        self.rows, self.summary, self.exit_code, self.trouble = [], {}, None, trouble

    def log(self, values, step=None):
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


def track(folder, name="wandb", finish_seconds=30.0, key="k") -> QueuedTracker:
    tracker = TrackerConfig(name=name, project="p", group="g", tags=["a", "b"])
    return QueuedTracker(backend(tracker, key, {"seed": 1}, folder), f"trial {key}", finish_seconds)


@pytest.fixture
def troubled(monkeypatch, fake):
    """Both trackers with a library that does `fake.trouble(call)` before each call of ours."""
    from tensorboard.summary.writer import event_file_writer

    class Writer:
        def __init__(self, folder):
            fake.trouble("init")

        def add_event(self, event):
            if any(value.tag == "loss" for value in event.summary.value):
                fake.trouble("log")

        def flush(self):
            fake.trouble("finish")

        def close(self):
            pass

    monkeypatch.setattr(event_file_writer, "EventFileWriter", Writer)
    monkeypatch.setattr(queued, "_timed_out", threading.Event())
    return fake


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
    assert {name: start[name] for name in ("project", "group", "tags", "mode", "id", "name", "config")} == {
        "project": "p",
        "group": "g",
        "tags": ["a", "b"],
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


def test_summary_has_flat_names_and_says_what_is_missing():
    assert flattened({"a": 1, "b": {"c": {"d": 2}, "e": 3}, "f": {}}) == {"a": 1, "b/c/d": 2, "b/e": 3}
    assert summary(replace(RECORD, missing={"test": {"meteor": "no Java"}}))["missing/test/meteor"] == "no Java"


@pytest.mark.parametrize(
    ("record", "code"), [(None, 1), (Record("k", "failed", {}, 1), 1), (Record("k", "collapsed", {}, 1), 0)]
)
def test_exit_code_of_the_run(fake, tmp_path, record, code):
    tracker = track(tmp_path)
    tracker.finish(record)
    assert fake.runs[0].exit_code == code
    assert fake.runs[0].summary["status"] == (record.status if record else "interrupted")


def test_a_continued_trial_has_one_whole_run(fake, tmp_path):
    """Killed after step 9, the checkpoint at step 5: what an undisturbed trial would have logged, and nothing twice."""

    def steps(tracker, first, last):
        for step in range(first, last + 1):
            tracker.log({"train/loss": 100.0 - step}, step)
            if step % 5 == 0:
                tracker.log({"validation/accuracy": float(step)}, step)

    undisturbed = track(tmp_path / "one")
    steps(undisturbed, 1, 12)
    undisturbed.finish(RECORD)
    interrupted = track(tmp_path / "two")
    steps(interrupted, 1, 9)
    interrupted.finish()  # as after Ctrl-C
    left = tmp_path / "two" / "wandb" / "offline-run-20260101_000000-k"
    left.mkdir(parents=True)
    another = left.with_name("offline-run-20260101_000000-kk")
    another.mkdir()
    continued = track(tmp_path / "two")
    continued.log({"validation/accuracy": 5.0}, 5)  # the checkpoint lay between the two rows of step 5
    steps(continued, 6, 12)
    continued.finish(RECORD)

    def merged(run):  # as wandb does it: values of one step are one row
        found = {}
        for step, values in run.rows:
            found.setdefault(step, {}).update(values)
        return found

    assert merged(fake.runs[2]) == merged(fake.runs[0])
    assert [step for step, _ in fake.runs[2].rows] == sorted(step for step, _ in fake.runs[2].rows)
    assert {start["id"] for start in fake.starts} == {"k"}
    assert not left.exists() and another.exists(), "the new run holds all of the old one's"
    assert not (tmp_path / "two" / "tracked.jsonl").exists(), "the trial has ended"


def test_a_torn_journal_costs_its_last_row_only(tmp_path):
    journal = Journal(tmp_path)
    for step in range(1, 4):
        journal.add({"loss": float(step)}, step)
    journal.close(remove=False)
    with (tmp_path / "tracked.jsonl").open("a") as stream:
        stream.write('[{"loss": 4.')
    assert Journal(tmp_path).earlier(None) == [({"loss": float(step)}, step) for step in range(1, 4)]
    assert Journal(tmp_path).earlier(2) == [({"loss": float(step)}, step) for step in range(1, 3)]
    assert Journal(tmp_path).earlier(None) == [({"loss": float(step)}, step) for step in range(1, 3)]


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
@pytest.mark.parametrize(
    ("where", "error"), [("init", RuntimeError("boom")), ("log", SystemExit(1)), ("finish", KeyboardInterrupt())]
)
def test_errors_cost_one_warning(troubled, tmp_path, caplog, name, where, error):
    def trouble(call):
        if call == where:
            raise error

    troubled.trouble = trouble
    with caplog.at_level(logging.WARNING, "repro"):
        tracker = track(tmp_path, name)
        for step in range(20):
            tracker.log({"loss": 1.0}, step)
            time.sleep(0.001)
        tracker.finish(RECORD)
        tracker.log({"loss": 1.0}, 99)
        tracker.finish(RECORD)
    (message,) = [entry.getMessage() for entry in caplog.records if entry.name == "repro.tracking.queued"]
    assert message.startswith(f"{name} is off") and "trial k" in message
    assert type(error).__name__ in message
    assert "tracker=none" in message
    assert tracker.trouble is not None


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
def test_without_the_library(monkeypatch, tmp_path, caplog, name):
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    tracker = track(tmp_path, name)
    tracker.log({"loss": 1.0}, 1)
    tracker.finish(RECORD)
    assert caplog.text.count(f"{name} is off") == 1


@pytest.mark.parametrize("name", ["wandb", "tensorboard"])
@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_slowness_does_not_hold_up_the_trial(troubled, tmp_path, caplog, name, where):
    """Every call returns while the library stands still: the gate opens only when the trial is through."""
    gate = threading.Event()
    troubled.trouble = lambda call: gate.wait(60) if call == where else None
    tracker = track(tmp_path, name, finish_seconds=0.1)
    for step in range(QUEUE_SIZE + 10):
        tracker.log({"loss": 1.0}, step)
    tracker.finish(RECORD)
    tracker.finish(RECORD)
    assert not gate.is_set()
    assert caplog.text.count(f"{name} is off") == 1
    gate.set()


def test_a_sweep_waits_for_a_dead_tracker_once(troubled, tmp_path, monkeypatch):
    gate, waited = threading.Event(), []
    troubled.trouble = lambda call: gate.wait(60)
    monkeypatch.setattr(threading.Thread, "join", lambda self, timeout=None: waited.append(timeout))
    for number in range(3):
        track(tmp_path, key=f"k{number}").finish(RECORD)
    assert waited == [30.0, queued.IMPATIENT_SECONDS, queued.IMPATIENT_SECONDS]
    gate.set()


def scalars_of(folder):
    """{tag: [(step, value)]} and the tags of other kinds, as TensorBoard itself reads a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in tags["scalars"]}
    texts = {tag: make_ndarray(events.Tensors(tag)[0].tensor_proto) for tag in tags["tensors"]}
    images = {tag: events.Images(tag)[0].encoded_image_string for tag in tags["images"]}
    return scalars, {tag: str(text.item().decode()) for tag, text in texts.items() if text.ndim == 0}, images


def test_tensorboard_reads_what_was_written(tmp_path):
    tracker = track(tmp_path, "tensorboard")
    for step in range(1, 31):
        tracker.log({"train/loss": 1 / step, "note": "no number", "validation": {"accuracy": float(step)}}, step)
    tracker.finish(replace(RECORD, reason="a|b <b>"))
    scalars, texts, _ = scalars_of(tmp_path / "tensorboard")
    assert scalars["train/loss"] == [(step, pytest.approx(1 / step)) for step in range(1, 31)]
    assert scalars["validation/accuracy"] == [(step, step) for step in range(1, 31)]
    assert scalars["result/test/accuracy"] == [(30, 70.0)] and scalars["parameters/trained"] == [(30, 9.0)]
    assert "note" not in scalars
    assert "| project | p |" in texts["about"] and "| tags | a, b |" in texts["about"]
    assert "| seed | 1.0 |" in texts["config"] and "| status | done |" in texts["summary"]
    assert "| a\\|b &lt;b&gt; |" in texts["summary"], "markup of the data is text"


def test_tensorboard_shows_a_continued_trial_once(tmp_path):
    first = track(tmp_path, "tensorboard")
    for step in range(1, 10):
        first.log({"train/loss": float(step)}, step)
    first.log({"validation/accuracy": 9.0}, 9)
    first.finish()
    time.sleep(1.1)  # its files are named by the second
    second = track(tmp_path, "tensorboard")
    second.log({"validation/accuracy": 5.0}, 5)
    for step in range(6, 13):
        second.log({"train/loss": float(step)}, step)
    second.finish(RECORD)
    scalars, _, _ = scalars_of(tmp_path / "tensorboard")
    assert scalars["train/loss"] == [(step, step) for step in range(1, 13)]
    assert scalars["validation/accuracy"] == [(5, 5.0)]


def report_files(folder):
    (folder / "tables").mkdir(parents=True)
    (folder / "figures").mkdir()
    (folder / "tables" / "ours-cb.csv").write_text("task,ours\ncb,71.5\n")
    (folder / "tables" / "empty.csv").write_text("task,ours\n")
    (folder / "figures" / "parity.png").write_bytes(b"a png")
    (folder / "REPORT.md").write_text("# A report\n")
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_report_is_tracked_once(tmp_path):
    paths = report_files(tmp_path / "results")
    place = track_report(TrackerConfig(name="tensorboard"), tmp_path / "results", paths, tmp_path / "runs")
    _, texts, images = scalars_of(place / "tensorboard")
    assert "| cb | 71.5 |" in texts["tables/ours-cb"] and "tables/empty" not in texts
    assert images == {"figures/parity": b"a png"}
    assert track_report(TrackerConfig(name="tensorboard"), tmp_path / "results", paths, tmp_path / "runs") == place
    (tmp_path / "results" / "REPORT.md").write_text("# Another\n")
    assert track_report(TrackerConfig(name="tensorboard"), tmp_path / "results", paths, tmp_path / "runs") != place


def test_a_report_that_cannot_be_tracked_is_an_error(fake, tmp_path):
    paths = report_files(tmp_path / "results")
    fake.trouble = lambda call: (_ for _ in ()).throw(OSError("no room"))
    with pytest.raises(ReproError, match=r"is written, but wandb did not take it: OSError: no room"):
        track_report(TrackerConfig(name="wandb"), tmp_path / "results", paths, tmp_path / "runs")
    with pytest.raises(ConfigError, match="allowed are wandb, tensorboard"):
        track_report(TrackerConfig(name="none"), tmp_path / "results", paths, tmp_path / "runs")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TrackerConfig(name="mlflow"), ["tracker.name", "'mlflow'", "none, wandb, tensorboard", "tracker.name=none"]),
        (TrackerConfig(name="wandb", mode="of"), ["tracker.mode", "'of'", "offline, online, disabled"]),
    ],
)
def test_unknown_choices_are_refused_first(fake, tmp_path, options, words):
    with pytest.raises(ConfigError) as caught:
        make_tracker(options, "k", {}, tmp_path)
    assert all(word in str(caught.value) for word in words)
    assert fake.starts == []


@pytest.mark.parametrize("name", ["none", "wandb", "tensorboard"])
def test_config_files_fit_the_schema(name, fake, tmp_path):
    path = CONF / f"{name}.yaml"
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert f"repro run tracker={name}" in first
    root = OmegaConf.create({"experiment_name": "table_1"})
    root.update({group: {"name": f"a_{group}"} for group in ("method", "model", "task")})
    root.tracker = OmegaConf.merge(OmegaConf.structured(TrackerConfig), OmegaConf.load(path))
    tracker = TrackerConfig(**OmegaConf.to_container(root, resolve=True)["tracker"])
    assert (tracker.name, tracker.mode) == (name, "offline")
    assert tracker.group == (None if name == "none" else "table_1")
    assert tracker.tags == ([] if name == "none" else ["a_method", "a_model", "a_task"])
    made = make_tracker(tracker, "k", {}, tmp_path)
    assert isinstance(made, NullTracker) == (name == "none")
    made.log({"loss": 1.0}, 1)
    made.finish(RECORD)
    assert len(fake.starts) == (name == "wandb")


def test_import_is_light():
    heavy = "{'wandb', 'tensorboard', 'torch', 'numpy', 'matplotlib'}"
    code = f"import sys, repro.tracking; print(sorted({heavy} & set(sys.modules)))"
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
    """Two trials at once, as in joint training, in a process of its own: wandb leaves threads and exit hooks behind."""
    code = """
import sys, logging
logging.basicConfig(level=logging.WARNING)
from repro.config.schema import TrackerConfig
from repro.store.record import Record
from repro.tracking import make_tracker
options = TrackerConfig(name="wandb", project="p")
trackers = [make_tracker(options, f"key{i}", {"seed": i}, f"{sys.argv[1]}/{i}") for i in range(2)]
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
    runs = sorted((tmp_path / "run").glob("*/wandb/offline-run-*-key*"))
    assert [run.name[-4:] for run in runs] == ["key0", "key1"]
    for run in runs:
        (data,) = run.glob("*.wandb")
        assert b"hidden" in data.read_bytes(), "in place of the host name"
        read = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]  # wandb's own reader
        lines = subprocess.run(read, env=environment, capture_output=True, text=True, timeout=100, check=True).stdout
        records = [json.loads(line) for line in lines.splitlines()]
        kinds = Counter(record["type"] for record in records)
        assert kinds["exit"] == 1 and kinds["run"] == 1, "the run is complete"
        rows = [record for record in records if record["type"] == "history"]
        assert [row["history"]["step"]["num"] for row in rows] == [0, 1, 2, 3, 4]
        assert "validation/accuracy" in lines and "result/test/accuracy" in lines
        shown = [sys.executable, "-m", "wandb", "sync", "--dry-run", "--yes", str(run)]
        dry = subprocess.run(shown, env=environment, capture_output=True, text=True, timeout=100)
        assert dry.returncode == 0 and run.name in dry.stdout + dry.stderr, dry.stderr
