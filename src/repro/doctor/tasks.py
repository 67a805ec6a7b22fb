"""Which tasks have their files: by their names, or (deep) by reading them."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from repro.config.schema import TaskConfig
from repro.config.task_files import task_names, typed_task
from repro.doctor.assets import of_task, that_gives
from repro.doctor.findings import DOWNLOAD, FILES, READY, WRONG, Finding, worst
from repro.errors import ReproError
from repro.tasks.base import SPLITS, Task
from repro.tasks.registry import task_in_format

MADE_HERE = "microworld"
"""The source of data sets that are written on this machine."""


def tasks(data_root: str, deep: bool = False, names: Sequence[str] | None = None) -> list[Finding]:
    """A finding for every task of conf/task, or for those named."""
    return [look(typed_task(name, data_root), data_root, deep) for name in (names or task_names())]


def look(config: TaskConfig, data_root: str, deep: bool = False) -> Finding:
    """What a task's folder holds: every split that training, selection and report need, and the others if there.

    Args:
        config: of a mixture the parts are looked at one by one.
        deep: read what is there: a wrong number of rows or an unreadable line is `wrong files`, other content is noted.
    """
    findings = [_look(part, data_root, deep) for part in parts_of(config)]
    if not config.parts:
        return findings[0]
    bad = [finding for finding in findings if not finding.ready]
    detail = "; ".join(f"{finding.name}: {finding.detail}" for finding in bad)
    state = worst([finding.state for finding in findings])
    return Finding("task", config.name, state, detail or f"all of {', '.join(config.parts)}", _fixes(bad))


def parts_of(config: TaskConfig) -> list[TaskConfig]:
    """The tasks of a mixture; of any other task itself."""
    return list(config.parts.values()) or [config]


def _fixes(bad: Sequence[Finding]) -> str:
    """The fix for all parts: their downloads as one command, then every other fix once."""
    commands = [finding.fix.partition(" --only ") for finding in bad if finding.state == DOWNLOAD]
    names = sorted({name for _, _, names in commands for name in names.split()})
    fetched = [f"{commands[0][0]} --only {' '.join(names)}"] if commands else []
    return "; ".join(dict.fromkeys([*fetched, *(finding.fix for finding in bad if finding.state != DOWNLOAD)]))


def required(config: TaskConfig) -> tuple[str, ...]:
    """Splits without which no trial of a task runs: one to train on, one to select by, one to report."""
    return tuple(split for split in SPLITS if split in ("train", "validation", config.report_split))


def task_here(config: TaskConfig, format: str | None = None) -> Task:
    """The task on local files, unless it is written here; in its own format, or the first that it has."""
    source = config.source if config.source == MADE_HERE else "local"
    first = config.formats[0] if config.format == "auto" else config.format
    return task_in_format(replace(config, source=source), format or first)


def _look(config: TaskConfig, data_root: str, deep: bool) -> Finding:
    task = task_here(config)
    if config.source == MADE_HERE and not deep:
        there = dict.fromkeys(task_splits(task), "there")
        return Finding("task", config.name, READY, "written when first used", "", there)
    splits: dict[str, str] = {}
    missing: list[str] = []
    bad: list[str] = []
    for split in SPLITS:
        absent = missing_files(task, split) if split in task_splits(task) else [""]
        if absent:
            if split in required(config):
                splits[split] = "missing"
                missing += [path for path in absent if path not in missing]
            continue
        splits[split], fault = _read(task, split) if deep else ("there", None)
        bad += [fault] if fault else []
    if bad:
        return Finding("task", config.name, WRONG, bad[0], "get the file again, or task.check_rows=false", splits)
    if not missing:
        return Finding("task", config.name, READY, "", "", splits)
    return _lacking(config.name, missing, data_root, splits, task.obtain)


def task_splits(task: Task) -> tuple[str, ...]:
    """Splits for which a task names a file."""
    return tuple(split for split in SPLITS if task.needed.get(split))


def missing_files(task: Task, split: str) -> list[str]:
    """The files (or patterns of them) of a split that are not there."""
    return [path for path in task.needed[split] if not _there(path)]


def _there(path: str) -> bool:
    return bool(glob.glob(path)) if glob.has_magic(path) else Path(path).exists()


def _read(task: Task, split: str) -> tuple[str, str | None]:
    """Rows, whether the content is the original's, and the fault of a split that cannot be used."""
    try:
        task.examples(split)
    except ReproError as error:
        return "unusable", str(error)
    facts = task.fingerprint()[split]
    stated = task.sha256.get(split)
    same = "" if stated is None else " as the original" if facts["sha256"].startswith(stated) else " of another content"
    return f"{facts['rows']:,} rows{same}", None


def _lacking(name: str, missing: list[str], data_root: str, splits: dict[str, str], obtain: str) -> Finding:
    """What is missing: to be downloaded if every missing file may be, else to be brought."""
    root = Path(data_root)
    places = [Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path for path in missing]
    sources = [that_gives(place) for place in places]
    detail = ", ".join(places)
    names = sorted({asset.name for asset in sources if asset is not None})
    if all(sources):
        fix = f"python scripts/fetch_assets.py --dest {data_root} --only {' '.join(names)}"
        return Finding("task", name, DOWNLOAD, detail, fix, splits)
    sources_text = " ".join(f"{asset.title}: {asset.get}." for asset in of_task(name) if asset.get) or obtain
    return Finding("task", name, FILES, detail, f"put them there. {sources_text}", splits)
