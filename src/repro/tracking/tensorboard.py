"""TensorBoard: the event files of a trial, in its run folder. `tensorboard --logdir runs` shows all of them.

Written by the library `tensorboard` itself, without TensorFlow or torch, so that a report can be tracked as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.store.record import Record
from repro.tracking.artifacts import Shown, Table
from repro.tracking.queued import flattened, summary

FOLDER = "tensorboard"


class TensorboardEvents:
    """Event files in a folder; those of an earlier process of the same trial stay, and are continued.

    Args:
        about: what is said of the run beside its config: project, group, tags.
        config: the resolved config of the trial.
        key: the run key.
        folder: the trial's run folder.
    """

    name = "tensorboard"

    def __init__(self, about: Mapping[str, Any], config: Mapping[str, Any], key: str, folder: str | Path) -> None:
        self._about, self._config, self._key = dict(about), dict(config), key
        self._folder = Path(folder) / FOLDER
        self._writer: Any = None
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
            settings = {name: _scalar(value) for name, value in flattened(self._config).items()}
            self._add(hparams_pb(settings, trial_id=self._key, start_time_secs=0), 0)
            about = [[name, _text(value)] for name, value in {"run key": self._key, **self._about}.items()]
            self._add(_text_summary("about", Table(("what", "value"), about)), 0)
            config = [[name, str(value)] for name, value in sorted(settings.items())]
            self._add(_text_summary("config", Table(("setting", "value"), config)), 0)

    def row(self, values: dict[str, Any], step: int) -> None:
        """Values of one step; what is no number is left out."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        if self._continues:
            self._continues = False
            # TensorBoard forgets what an earlier process wrote from this step on. A row without a loss comes second in
            # its step, so the first one of that step, written before, stays.
            self._forget_from(step if "train/loss" in values else step + 1)
        numbers = {name: float(value) for name, value in values.items() if isinstance(value, int | float)}
        self._add(Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]), step)
        self._last = max(self._last, step)

    def close(self, record: Record | None, shown: Shown) -> None:
        """The record's values as scalars (`result/test/accuracy`), tables as text, figures as images."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        facts = summary(record)
        scalars = {name: float(value) for name, value in facts.items() if isinstance(value, int | float)}
        finite = {name: value for name, value in scalars.items() if math.isfinite(value)}
        self._add(
            Summary(value=[Summary.Value(tag=name, simple_value=v) for name, v in finite.items()]),
            self._last,
        )
        said = [[name, str(value)] for name, value in facts.items()]
        self._add(_text_summary("summary", Table(("what", "value"), said)), self._last)
        for name, table in shown.tables.items():
            self._add(_text_summary(f"tables/{name}", table), self._last)
        for name, png in shown.figures.items():
            image = Summary.Image(encoded_image_string=png)
            self._add(Summary(value=[Summary.Value(tag=f"figures/{name}", image=image)]), self._last)
        self._writer.flush()
        self._writer.close()

    def _add(self, content: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=content))

    def _forget_from(self, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        start = SessionLog(status=SessionLog.SessionStatus.START)
        self._writer.add_event(Event(wall_time=time.time(), step=step, session_log=start))


def _scalar(value: Any) -> float | bool | str:
    return value if isinstance(value, bool | str) else float(value) if isinstance(value, int | float) else _text(value)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _text_summary(name: str, table: Table) -> Any:
    """A table as TensorBoard shows text: Markdown."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(name, table.markdown())
