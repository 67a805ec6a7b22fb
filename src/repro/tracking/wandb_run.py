"""Weights & Biases: one run a trial, with the run key as id, so that a continued trial continues its run.

Offline, wandb writes a folder `wandb/offline-run-*` that `wandb sync` uploads later. No host name, git state, source
code or console output is handed over.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.store.record import Record
from repro.tracking.artifacts import Shown
from repro.tracking.journal import Journal
from repro.tracking.queued import summary

_INIT_SECONDS = 20.0
"""Online, a server that does not answer is given up after that; wandb's own 90 s would also hold up the exit."""


class WandbRun:
    """A run of wandb.

    Args:
        project: wandb's project.
        group: the runs to show together, such as an experiment's name.
        tags: words to filter by.
        mode: offline | online | disabled
        key: the run key: id and name of the run.
        config: the resolved config of the trial.
        folder: where wandb keeps its files; made if it is missing.
    """

    name = "wandb"

    def __init__(
        self,
        project: str,
        group: str | None,
        tags: Sequence[str],
        mode: str,
        key: str,
        config: Mapping[str, Any],
        folder: str | Path,
    ) -> None:
        self._settings: dict[str, Any] = {"project": project, "group": group, "mode": mode, "id": key, "name": key}
        self._settings["tags"] = list(dict.fromkeys(tags))
        self._config, self._folder, self._offline = dict(config), Path(folder), mode == "offline"
        self._journal = Journal(self._folder)
        self._before: list[Path] = []
        self._continued = False
        self._run: Any = None

    def open(self) -> None:
        """Begin the run; without a network only files are written."""
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        self._before = sorted((self._folder / "wandb").glob(f"offline-run-*-{self._settings['id']}"))
        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            host="hidden",
            init_timeout=_INIT_SECONDS,
        )
        # Trials of a gang run in one process, each with a run of its own.
        self._run = wandb.init(
            **self._settings,
            config=self._config,
            dir=str(self._folder),
            resume="allow" if self._settings["mode"] == "online" else None,
            reinit="create_new",
            settings=settings,
        )

    def row(self, values: dict[str, Any], step: int) -> None:
        """Values of one step. Online, wandb itself leaves out rows before the last step it has."""
        if self._offline:
            self._repeat(step)
            self._journal.add(values, step)
        self._run.log(values, step=step)

    def close(self, record: Record | None, shown: Shown) -> None:
        """Summary, tables and figures; then wandb writes what is left."""
        import wandb

        if self._offline:
            self._repeat(None)
        media: dict[str, Any] = {
            f"tables/{name}": wandb.Table(columns=list(table.head), data=[list(line) for line in table.lines])
            for name, table in shown.tables.items()
        }
        if shown.figures:
            from PIL import Image

            for name, png in shown.figures.items():
                media[f"figures/{name}"] = wandb.Image(Image.open(io.BytesIO(png)))
        if media:
            self._run.log(media)
        self._run.summary.update(summary(record))
        self._run.finish(exit_code=0 if record is not None and record.status != "failed" else 1)
        self._journal.close(remove=record is not None)

    def _repeat(self, step: int | None) -> None:
        """Once: the rows of earlier processes, whose folders are then of no more use."""
        if self._continued:
            return
        self._continued = True
        rows = self._journal.earlier(step)
        for values, at in rows:
            self._run.log(values, step=at)
        for folder in self._before if rows else ():
            shutil.rmtree(folder, ignore_errors=True)
