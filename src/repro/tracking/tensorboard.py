"""TensorBoard: the event files of a trial, in its run folder. `tensorboard --logdir runs` shows all of them.

Written by the library `tensorboard` itself, without TensorFlow or torch, so that a report can be tracked as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from repro.store.record import Record
from repro.tracking.backend import Exhibits, Table, Values, flattened, summary

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

FOLDER = "tensorboard"


class TensorboardEvents:
    """Event files in a folder; those of an earlier process of the same trial stay, and are continued.

    Args:
        about: what is shown of the run beside its config: project, group, tags.
        config: the resolved config of the trial.
        key: the run key.
        folder: the trial's run folder.
    """

    name = "tensorboard"

    def __init__(self, about: Values, config: Values, key: str, folder: Path) -> None:
        self._about, self._config, self._key, self._folder = about, config, key, folder / FOLDER
        self._writer: EventFileWriter
        self._continues = False
        self._last = 0

    def open(self) -> None:
        """Make the folder and begin a file."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        self._continues = any(self._folder.glob("events.out.tfevents.*"))
        self._writer = EventFileWriter(str(self._folder))
        if not self._continues:
            settings = {name: _setting(value) for name, value in flattened(self._config).items()}
            self._add(hparams_pb(settings, trial_id=self._key, start_time_secs=0))
            self._table("about", _facts(self._about))
            self._table("config", _facts(settings))

    def row(self, values: Values, step: int) -> None:
        """Values of one step; only numbers are written."""
        if self._continues:
            self._continues = False
            # TensorBoard then ignores what an earlier process wrote from this step on. A row without a loss comes
            # second in its step, so the first one of that step, written before, stays.
            self._restart_at(step if "train/loss" in values else step + 1)
        self._last = max(self._last, step)
        self._scalars(values, step)

    def show(self, exhibits: Exhibits) -> None:
        """Tables as text, figures as images."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        for name, table in exhibits.tables.items():
            self._table(f"tables/{name}", table)
        for name, path in exhibits.figures.items():
            image = Summary.Image(encoded_image_string=path.read_bytes())
            self._add(Summary(value=[Summary.Value(tag=f"figures/{name}", image=image)]))

    def close(self, record: Record | None) -> None:
        """The record's values as scalars (`result/test/accuracy`), and all of its summary as text."""
        facts = summary(record)
        self._scalars({name: v for name, v in facts.items() if not isinstance(v, float) or math.isfinite(v)})
        self._table("summary", _facts(facts))
        self._writer.flush()
        self._writer.close()

    def _scalars(self, values: Values, step: int | None = None) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        self._add(Summary(value=[Summary.Value(tag=name, simple_value=v) for name, v in numbers.items()]), step)

    def _table(self, name: str, table: Table) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._add(text_pb(name, table.markdown()))

    def _add(self, content: Summary, step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        at = self._last if step is None else step
        self._writer.add_event(Event(wall_time=time.time(), step=at, summary=content))

    def _restart_at(self, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.SessionStatus.START)
        self._writer.add_event(Event(wall_time=time.time(), step=step, session_log=start))


def _facts(values: Mapping[str, object]) -> Table:
    return Table(("what", "value"), [[name, str(value)] for name, value in values.items()])


def _setting(value: object) -> float | bool | str:
    """A hyperparameter as TensorBoard takes it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return value if isinstance(value, bool | str) else float(value) if isinstance(value, int | float) else str(value)
