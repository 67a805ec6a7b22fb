"""`repro watch`: a live view of a sweep or a search in the terminal, from files alone: records and progress files."""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ConfigError
from repro.store import progress
from repro.store.damage import Damaged, damage_text
from repro.store.searches import journal
from repro.sweeps import experiments, grids, status
from repro.sweeps.executors.slurm.arrays import all_arrays, trial_name
from repro.sweeps.executors.slurm.queue import Queue, queue
from repro.sweeps.executors.slurm.states import FINISHED, State, States
from repro.sweeps.listing import Named

if TYPE_CHECKING:
    from rich.console import Console, ConsoleRenderable, Group

LEVELS, PLAIN_LEVELS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
CURVE = 24
"""Characters of a loss curve."""
RECENT = 200
"""Of a folder the newest so many run folders are looked at."""
ROWS = 40
"""Trials of a frame where there is no terminal whose height counts."""
QUEUE_SECONDS = 30.0
"""The queue is asked at most so often: a scheduler is not there to be looked at."""
_KEY = re.compile(r"[0-9a-f]{16}")
_STYLES = {
    "running": "bold",
    "failed": "red",
    "damaged": "red",
    "collapsed": "yellow",
    "done": "green",
    "interrupted": "yellow",
}
_ORDER = ("damaged", "running", "failed", "interrupted", "queued", "submitted", "missing", "collapsed", "done")


@dataclass(frozen=True)
class Line:
    """A trial in a frame."""

    state: State
    name: str
    losses: tuple[float, ...]
    score: str
    written: float
    """When something was last heard of it, seconds since 1970; 0: never."""


@dataclass
class Watched:
    """The trials that are looked at; what has ended is looked up once."""

    results: Path
    runs: Path
    trials: Callable[[], Mapping[str, Named]]
    """{run key: trial}, asked for anew at each look: a search and a folder grow."""
    ask: Callable[[], Queue | None] = queue
    clock: Callable[[], float] = time.monotonic
    damaged: list[Damaged] = field(default_factory=list)
    """Files of job arrays that the last look left out."""
    _ended: dict[str, Line] = field(default_factory=dict)
    _queue: Queue | None = None
    _asked: float | None = None

    def look(self) -> list[Line]:
        """Every trial as it is now, running ones first, then by when they were last heard of."""
        trials = self.trials()
        names = status.names(trials)
        if self._asked is None or self.clock() - self._asked >= QUEUE_SECONDS:
            self._queue, self._asked = self.ask(), self.clock()
        self.damaged = []
        states = States(self.results, self.runs, self._queue, all_arrays(self.runs, self.damaged.append))
        lines = {key: self._ended.get(key) or self._line(states, key, names[key]) for key in trials}
        self._ended |= {key: line for key, line in lines.items() if line.state.status in FINISHED}
        return sorted(lines.values(), key=lambda line: (_ORDER.index(line.state.status), -line.written, line.name))

    def _line(self, states: States, key: str, name: str) -> Line:
        state, running = states.of(key), progress.read(self.runs / key)
        unnamed = name == key
        if state.status in FINISHED or (state.status == "failed" and running is None):
            store = states.store(key)
            record = store.get(key, statistics=False)
            if record is not None:
                curve = tuple(row["train_loss"] for row in record.curve if row.get("train_loss") is not None)
                known = trial_name(record.config) if unnamed else name
                return Line(state, known, curve, state.score or "", store.path(key).stat().st_mtime)
        if running is None:
            return Line(state, name, (), "", 0.0)
        losses = tuple(value for value in running.losses if value is not None)
        known = (running.name or name) if unnamed else name
        return Line(state, known, losses, running.score or "", running.written)


def sparkline(values: Sequence[float], width: int = CURVE, levels: str = LEVELS) -> str:
    """A curve of one line: means of equal stretches, from the least value (lowest) to the greatest (highest)."""
    count = min(width, len(values))
    means = []
    for index in range(count):
        part = values[index * len(values) // count : (index + 1) * len(values) // count]
        means.append(sum(part) / len(part))
    low, high = min(means, default=0.0), max(means, default=0.0)
    span = high - low
    return "".join(levels[round((value - low) / span * (len(levels) - 1)) if span else 0] for value in means)


def frame(lines: Sequence[Line], title: str, rows: int, levels: str = LEVELS, damaged: Sequence[Damaged] = ()) -> Group:
    """What is shown: counts, then the trials as a table (rich)."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    states = [line.state for line in lines]
    left = [state.left for state in states if state.left is not None]
    longest = f"; what runs has {status.duration(max(left))} left at most" if left else ""
    table = Table(box=None, pad_edge=False)
    for name in ("status", "trial", "step", "loss", "curve", "validation", "left"):
        table.add_column(name, no_wrap=name != "trial", overflow="fold" if name == "trial" else "ellipsis")
    for line in lines[:rows]:
        state = line.state
        remark = state.reason if state.status in ("damaged", "failed", "interrupted", "queued") else line.score
        curve = sparkline(line.losses, levels=levels)
        cells = [line.name, *status.numbers(state), curve, remark or "", status.duration(state.left)]
        table.add_row(Text(state.status, style=_STYLES.get(state.status, "dim")), *map(Text, cells))
    counts = status.counted(states) or "nothing yet"
    parts: list[ConsoleRenderable] = [Text(damage_text(damaged), style="red")] if damaged else []
    parts += [Text(f"{title}: {len(lines)} trials: {counts}{longest}"), table]
    if len(lines) > rows:
        parts.append(Text(f"({len(lines) - rows} more)", style="dim"))
    return Group(*parts)


def of_folder(runs: Path) -> dict[str, Named]:
    """The trials of a folder of runs: what was submitted, and its newest run folders."""
    trials = {key: trial for key, trial in status.trials(runs, None, {}, lambda error: None).items() if trial.words}
    try:
        with os.scandir(runs) as entries:
            folders = [(entry.stat().st_mtime, entry.name) for entry in entries if _KEY.fullmatch(entry.name)]
    except FileNotFoundError:
        folders = []
    for _, key in sorted(folders, reverse=True)[:RECENT]:
        trials.setdefault(key, Named(key))
    return trials


def of_search(name: str, results: Path) -> dict[str, Named]:
    """The trials that the searches of an experiment have proposed so far."""
    trials: dict[str, Named] = {}
    for search in journal.all_of(results, lambda error: None):
        for setting in search.settings if search.experiment == name else []:
            words = [f"{key}={value}" for key, value in setting.values.items()]
            trials |= {key: Named(f"setting {setting.number + 1}", (*search.fixed, *words)) for key in setting.keys}
    return trials


def _chosen(
    what: Sequence[str], results: Path, runs: Path
) -> tuple[str, Path, Callable[[], Mapping[str, Named]], bool]:
    """What to call it, the run folders, its trials, and whether all of them are known beforehand.

    Raises:
        ConfigError: words that name neither an experiment nor a folder.
    """
    names, overrides = grids.names_and_overrides(what)
    if len(names) > 1 or (overrides and not names):
        raise ConfigError("name one experiment (`repro watch experiment=offline/cb`), a folder of runs, or nothing.")
    if not names:
        return str(runs), runs, lambda: of_folder(runs), False
    name = names[0]
    if experiments.is_search(name):
        return name, runs, lambda: of_search(name, results), False
    if name not in experiments.names() and Path(name).is_dir():
        return name, Path(name), lambda: of_folder(Path(name)), False
    known = status.trials(runs, name, overrides)
    return name, runs, lambda: known, True


def watch(what: Sequence[str], results: Path, runs: Path, every: float | None) -> None:
    """A live view of an experiment's trials, of a search's, or of all in a folder of runs; Ctrl-C ends it.

    Args:
        what: an experiment and overrides that narrow it, or a folder of runs, or nothing.
        every: seconds between two looks; None: one frame (also where the output is no terminal).

    Raises:
        ConfigError: words that name neither an experiment nor a folder, or no number of seconds.
    """
    if every is not None and not 0 < every < math.inf:
        raise ConfigError(f"--every {every}: give seconds above 0.")
    about, folder, trials, complete = _chosen(what, results, runs)
    watched = Watched(results, folder, trials)
    from rich.console import Console

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else shutil.get_terminal_size((140, 24)).columns)
    levels = LEVELS if (sys.stdout.encoding or "").lower().startswith("utf") else PLAIN_LEVELS
    if every is None or not terminal:
        lines = watched.look()
        console.print(frame(lines, about, ROWS, levels, watched.damaged))
        return
    live(watched, console, about, complete, max(every, 0.2), levels)


def live(watched: Watched, console: Console, about: str, complete: bool, every: float, levels: str) -> None:
    """Frames until Ctrl-C, or until every trial of an experiment has ended."""
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as view:
        try:
            while True:
                lines = watched.look()
                shown = frame(lines, about, max(console.height - 5, 3), levels, watched.damaged)
                view.update(shown, refresh=True)
                if complete and all(line.state.status in (*FINISHED, "failed", "damaged") for line in lines):
                    return
                time.sleep(every)
        except KeyboardInterrupt:
            return
