"""Weights & Biases: one run a trial, with the run key as id, so that a continued trial continues its run.

Offline, wandb writes a folder `wandb/offline-run-*` that `wandb sync` uploads later. No host name, git state, source
code or console output is handed over.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from repro.store.record import Record
from repro.tracking.backend import Exhibits, Values, summary
from repro.tracking.journal import Journal

if TYPE_CHECKING:
    import wandb

_INIT_SECONDS = 20.0
"""Online, a server that does not answer is given up after that; wandb's own 90 s would also delay the exit."""


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
        mode: Literal["offline", "online", "disabled"],
        key: str,
        config: Values,
        folder: Path,
    ) -> None:
        self._project, self._group, self._tags, self._mode = project, group, list(dict.fromkeys(tags)), mode
        self._key, self._config, self._folder = key, dict(config), folder
        self._journal = Journal(folder)
        self._older_folders: list[Path] = []
        self._repeated = mode != "offline"
        self._run: wandb.Run

    def open(self) -> None:
        """Begin the run; without a network only files are written."""
        import wandb

        self._folder.mkdir(parents=True, exist_ok=True)
        self._older_folders = sorted((self._folder / "wandb").glob(f"offline-run-*-{self._key}"))
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
        # Trials that train jointly share a process, each with a run of its own.
        self._run = wandb.init(
            project=self._project,
            group=self._group,
            tags=self._tags,
            mode=self._mode,
            id=self._key,
            name=self._key,
            config=self._config,
            dir=str(self._folder),
            resume="allow" if self._mode == "online" else None,
            reinit="create_new",
            settings=settings,
        )

    def row(self, values: Values, step: int) -> None:
        """Values of one step. Online, wandb itself leaves out rows before the last step it has."""
        self._repeat(step)
        if self._mode == "offline":
            self._journal.add(values, step)
        self._run.log(dict(values), step=step)

    def show(self, exhibits: Exhibits) -> None:
        """Tables and figures as wandb's media."""
        import wandb

        media: dict[str, object] = {
            f"tables/{name}": wandb.Table(columns=list(table.head), data=[list(line) for line in table.lines])
            for name, table in exhibits.tables.items()
        }
        self._run.log(media | {f"figures/{name}": wandb.Image(str(path)) for name, path in exhibits.figures.items()})

    def close(self, record: Record | None) -> None:
        """The record's summary; then wandb writes what is left."""
        self._repeat(None)
        self._run.summary.update(summary(record))
        self._run.finish(exit_code=0 if record is not None and record.status != "failed" else 1)
        self._journal.close(remove=record is not None)

    def _repeat(self, step: int | None) -> None:
        """Once, offline: log the rows of earlier processes, and remove their folders."""
        if self._repeated:
            return
        self._repeated = True
        rows = self._journal.earlier(step)
        for values, at in rows:
            self._run.log(dict(values), step=at)
        for folder in self._older_folders if rows else ():
            shutil.rmtree(folder, ignore_errors=True)
