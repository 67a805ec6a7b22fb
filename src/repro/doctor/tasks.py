"""Which tasks have their files: by their names, or (deep) by reading them."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.config.task_files import first_format, parts_of, task_config, task_names
from repro.doctor.assets import of_task, that_gives
from repro.doctor.findings import DOWNLOAD, FILES, READY, WRONG, Finding, worst
from repro.errors import ReproError
from repro.tasks.base import SPLITS, Task
from repro.trials.build import task_in_format


def tasks(data_root: str, deep: bool = False, names: list[str] | None = None) -> list[Finding]:
    """A finding for every task of conf/task, or for those named."""
    return [look(task_config(name, data_root), data_root, deep) for name in (names or task_names())]


def look(config: dict[str, Any], data_root: str, deep: bool = False) -> Finding:
    """What a task's folder holds: every split that training, selection and report need, and the others if there.

    Args:
        config: a resolved task config (a mixture's parts are looked at one by one).
        deep: read what is there: a wrong number of rows or an unreadable line is `wrong files`, another content hash
            is said.
    """
    found = [_look(part, data_root, deep) for part in parts_of(config).values()]
    if not config["parts"]:
        return found[0]
    state = worst([one.state for one in found])
    bad = [one for one in found if not one.ready]
    said = "; ".join(f"{one.name}: {one.detail}" for one in bad)
    return Finding("task", config["name"], state, said or f"all of {', '.join(config['parts'])}", _fixes(bad))


def _fixes(bad: Sequence[Finding]) -> str:
    """What mends all parts: the downloads as one command, then what else is said of any of them, each once."""
    commands = [one.fix.partition(" --only ") for one in bad if one.state == DOWNLOAD]
    names = sorted({name for _, _, names in commands for name in names.split()})
    fetched = [f"{commands[0][0]} --only {' '.join(names)}"] if commands else []
    return "; ".join(dict.fromkeys([*fetched, *(one.fix for one in bad if one.state != DOWNLOAD)]))


def required(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Splits without which no trial of a task runs: one to train on, one to select by, one to report."""
    return tuple(split for split in SPLITS if split in ("train", "validation", config["report_split"]))


def on_this_machine(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with local files as the source, unless the data set is one that is written here."""
    return {**config, "source": "microworld" if config["source"] == "microworld" else "local"}


def _look(config: dict[str, Any], data_root: str, deep: bool) -> Finding:
    made = config["source"] == "microworld"
    task = task_in_format({**config, "source": "microworld" if made else "local"}, first_format(config))
    if made and not deep:
        return Finding(
            "task", config["name"], READY, "written when first used", "", dict.fromkeys(task_splits(task), "there")
        )
    splits: dict[str, str] = {}
    missing: list[str] = []
    bad: list[str] = []
    for split in SPLITS:
        absent = [path for path in task.needed[split] if not _there(path)] if split in task_splits(task) else [""]
        if absent:
            if split in required(config):
                splits[split] = "missing"
                missing += [path for path in absent if path not in missing]
            continue
        splits[split], fault = _read(task, split) if deep else ("there", None)
        bad += [fault] if fault else []
    if bad:
        return Finding("task", config["name"], WRONG, bad[0], "get the file again, or task.check_rows=false", splits)
    if not missing:
        return Finding("task", config["name"], READY, "", "", splits)
    return _lacking(config["name"], missing, data_root, splits, task.obtain)


def task_splits(task: Task) -> tuple[str, ...]:
    """Splits for which a task names a file."""
    return tuple(split for split in SPLITS if task.needed.get(split))


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
    said = " ".join(f"{asset.title}: {asset.get}." for asset in of_task(name) if asset.get) or obtain
    return Finding("task", name, FILES, detail, f"put them there. {said}", splits)
