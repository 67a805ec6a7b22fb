"""`repro watch`: what is shown is what records and progress files say; nothing heavy is loaded."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from pytest import MonkeyPatch
from rich.console import Console

from repro.store.lock import Lock
from repro.store.progress import ProgressFile
from repro.store.record import Record
from repro.store.searches.journal import Sampler, Search, Setting
from repro.store.store import Store
from repro.sweeps import watch
from repro.sweeps.executors.slurm.states import State
from repro.sweeps.listing import Named
from repro.sweeps.watch import LEVELS, Line, Watched, frame, of_folder, of_search, sparkline
from tests.sweeps.conftest import Cli

KEYS = [f"{number:016x}" for number in range(6)]
CONFIG = {"method": {"name": "m"}, "model": {"name": "n"}, "task": {"name": "cb"}, "seed": 4}


def shown(lines: list[Line], about: str = "x", rows: int = 40, levels: str = LEVELS) -> list[str]:
    console = Console(file=io.StringIO(), width=160)
    console.print(frame(lines, about, rows, levels))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def done(key: str, status: str = "done") -> Record:
    curve = [{"step": step, "train_loss": 3.0 - step} for step in (1, 2)]
    selection = {"split": "validation", "metric": "accuracy", "value": 71.5}
    return Record(key, status, CONFIG, 4, curve=curve, selection=selection, cost={"steps": 2.0}, reason="NaN.")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """One trial that runs, one that was killed, one that is done, one that failed, one collapsed; one missing."""
    results, runs = tmp_path / "results", tmp_path / "runs"
    for key in KEYS[:5]:
        (runs / key).mkdir(parents=True)
    clock = iter(range(1000, 2000, 10))
    running = ProgressFile(runs / KEYS[0], 100, lambda: float(next(clock)), name="m n cb seed 1")
    for step in range(1, 21):
        running.trained(step, 20.0 - step)
    running.evaluated("validation accuracy 55.00")
    killed = ProgressFile(runs / KEYS[1], 100, name="m n cb seed 2")
    killed.trained(7, 0.25)
    for key, status in zip(KEYS[2:5], ("done", "failed", "collapsed"), strict=True):
        Store(results / "records").put(done(key, status))
    return results, runs


def test_each_trial_is_shown_as_it_is(folders: tuple[Path, Path]) -> None:
    results, runs = folders
    names = {key: Named(f"trial {key[-1]}", ("seed=1",)) for key in KEYS}
    with Lock(runs / KEYS[0] / "lock"):
        lines = Watched(results, runs, lambda: names, lambda: None).look()
        text = shown(lines, "offline/cb")
    assert text[0].startswith(
        "offline/cb: 6 trials: 1 running, 1 interrupted, 1 missing, 1 failed, 1 collapsed, 1 done"
    )
    assert [line.split()[0] for line in text[2:]] == [
        *("running", "failed", "interrupted", "missing", "collapsed", "done")
    ], "what runs first"
    rows = {line.split()[0]: line for line in text[2:]}
    assert "trial 0" in rows["running"] and "20/100" in rows["running"] and "0.000" in rows["running"]
    assert "validation accuracy 55.00" in rows["running"] and "0:14:" in rows["running"], "80 steps of 10.5 s are left"
    assert "█" in rows["running"] and "▁" in rows["running"]
    assert "7/100" in rows["interrupted"] and "its process is gone" in rows["interrupted"]
    assert "NaN." in rows["failed"] and "validation accuracy 71.50" in rows["done"] and "█▁" in rows["done"]


def test_a_folder_alone_tells_names_too(folders: tuple[Path, Path]) -> None:
    results, runs = folders
    (runs / "cache").mkdir()
    lines = Watched(results, runs, lambda: of_folder(runs), lambda: None).look()
    assert {line.state.key for line in lines} == set(KEYS[:5])
    assert {line.state.key: line.name for line in lines}[KEYS[1]] == "m n cb seed 2"
    assert {line.state.key: line.name for line in lines}[KEYS[2]] == "m n cb seed 4", "from its record"
    assert of_folder(runs / "nowhere") == {}


def test_what_has_ended_is_read_once_and_the_queue_now_and_then(
    folders: tuple[Path, Path], monkeypatch: MonkeyPatch
) -> None:
    results, runs = folders
    read: list[str] = []
    get = Store.get
    monkeypatch.setattr(Store, "get", lambda self, key, **kw: read.append(key) or get(self, key, **kw))
    clock, asked = [0.0], []
    trials = {key: Named(key) for key in KEYS}
    watched = Watched(results, runs, lambda: trials, lambda: asked.append(1), lambda: clock[0])
    watched.look()
    before = len(read)
    for second in (10.0, 20.0, 29.0, 31.0, 40.0):
        clock[0] = second
        watched.look()
    assert KEYS[2] not in read[before:] and KEYS[4] not in read[before:]
    assert KEYS[5] in read[before:], "a missing trial may get its record any time"
    assert len(asked) == 2
    Store(results / "records").put(done(KEYS[5]))
    assert {line.state.key: line.state.status for line in watched.look()}[KEYS[5]] == "done"


def test_trials_of_a_search_are_named_by_their_settings(tmp_path: Path) -> None:
    settings = [Setting(i, {"method.length": str(4 + i)}, [KEYS[i]]) for i in range(2)]
    settings.append(Setting(2, {"method.length": "9"}, [], "too long"))
    Search(
        "offline/search-cb", "offline/search-cb", ["seed=1"], {}, Sampler(), [], "maximize", settings=settings
    ).write(tmp_path / "results")
    found = of_search("offline/search-cb", tmp_path / "results")
    lines = Watched(tmp_path / "results", tmp_path / "runs", lambda: found, lambda: None).look()
    assert sorted(line.name for line in lines) == ["setting 1 length=4", "setting 2 length=5"]
    assert of_search("another", tmp_path / "results") == {}


def test_more_trials_than_rows_are_counted() -> None:
    lines = [Line(State(key, "missing"), key, (), "", 0.0) for key in KEYS]
    text = shown(lines, rows=2)
    assert "6 missing" in text[0] and text[-1] == "(4 more)" and len(text) == 5
    line = Line(State(KEYS[0], "failed", reason="[bold]a reason[/bold] [/nothing]"), "a [red]name[/red]", (), "", 0.0)
    plain = "\n".join(shown([line]))
    assert "a [red]name[/red]" in plain and "[bold]a reason[/bold] [/nothing]" in plain, "text stays text"


def test_sparkline() -> None:
    assert sparkline([]) == ""
    assert sparkline([3.0]) == LEVELS[0] and sparkline([2.0] * 5) == LEVELS[0] * 5
    assert sparkline(list(range(8))) == LEVELS and sparkline(list(range(8, 0, -1))) == LEVELS[::-1]
    assert sparkline([0.0, 0.0, 7.0, 7.0], width=2) == LEVELS[0] + LEVELS[-1], "means of equal stretches"
    long = sparkline([1 / (1 + step) for step in range(1000)], width=10)
    assert len(long) == 10 and list(long) == sorted(long, reverse=True)
    assert sparkline([0.0, 1.0], levels=watch.PLAIN_LEVELS) == "_#"


def test_a_live_view_ends_with_its_experiment(folders: tuple[Path, Path], monkeypatch: MonkeyPatch) -> None:
    results, runs = folders
    trials = {key: Named(key) for key in (KEYS[2], KEYS[5])}
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=20)

    def end(seconds: float) -> None:
        Store(results / "records").put(done(KEYS[5]))

    monkeypatch.setattr(watch.time, "sleep", end)
    watch.live(Watched(results, runs, lambda: trials, lambda: None), console, "x", True, 2.0, LEVELS)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "1 missing" in text and "2 done" in text

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupt)
    watch.live(Watched(results, runs, lambda: trials, lambda: None), console, "x", False, 2.0, LEVELS)


def test_the_command(cli: Cli, folders: tuple[Path, Path], monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")  # a narrow terminal has no room for names
    results, runs = folders
    one = cli("watch", "--once", "--results", str(results), "--runs", str(runs))
    assert one.code == 0 and "5 trials" in " ".join(one.out.split()) and "m n cb seed 2" in one.out
    other = cli("watch", str(runs), "--results", str(results))
    assert other.out.replace(str(runs), "") == one.out.replace(str(runs), "")
    experiment = cli("watch", "experiment=offline/cb", "method=p_tuning_v2", "seed=1,2")
    assert experiment.code == 0 and "2 trials: 2 missing" in experiment.out
    assert "offline/search-cb: 0 trials: nothing yet" in cli("watch", "experiment=offline/search-cb").out
    wrong = cli("watch", "experiment=offline/nope")
    assert wrong.code == 2 and "there is no such file" in wrong.err
    for every in ("0", "-1", "nan", "inf"):
        refused = cli("watch", "--every", every)
        assert refused.code == 2 and "must be a number above 0" in refused.err
    assert cli("watch", "seed=1").code == 2 and cli("watch", "a", "b").code == 2


def test_nothing_heavy_is_loaded(folders: tuple[Path, Path]) -> None:
    results, runs = folders
    code = (
        "import sys; from repro.cli.main import main; main(['watch', '--once', '--results', sys.argv[1], '--runs', "
        "sys.argv[2]]); print(sorted({'torch', 'transformers', 'numpy', 'hydra', 'optuna'} & set(sys.modules)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(results), str(runs)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"
