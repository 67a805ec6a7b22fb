"""One config to one record: the module that wires everything. Idempotent: a trial in the store is not run again."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.config.rules import format_of, validate
from repro.config.schema import TrialConfig
from repro.errors import ConfigError, DataError, TrialFailed
from repro.methods.base import Method
from repro.methods.registry import method
from repro.metrics.base import TASK_SCORE, averaged_values
from repro.store.lock import Lock
from repro.store.record import Record
from repro.store.run_folder import finish_tidying, tidy_finished
from repro.tasks.wording import worded
from repro.trials.processes import present
from repro.trials.spec import TrialSpec

Plain = dict[str, Any]
OnStep = Callable[[int, int], object] | None


@dataclass(frozen=True)
class Outcome:
    """What `run` gives back: the record, and whether it was stored before. No record: another process has the trial."""

    record: Record | None
    from_store: bool
    folder: Path


def run(spec: TrialSpec, on_step: OnStep = None) -> Outcome:
    """Make sure that the trial's record is in the store.

    Args:
        on_step: called with (steps done, steps in all) while the trial trains, for whoever shows progress of many.

    Raises:
        ReproError: bad config, data or weights (nothing is written), a failed trial (its record says why), Ctrl-C.
    """
    validate(spec.config)
    if present().count > 1:
        from repro.trials.distributed import run_shared

        return run_shared(spec, on_step)
    return run_alone(spec, on_step)


def run_alone(spec: TrialSpec, on_step: OnStep, start: Callable[[], Any] = lambda: None) -> Outcome:
    """`run` in the only process, or in the first of several.

    Args:
        start: called when the trial is to be run; gives the processes that run it, where there are several.
    """
    folder, lock = spec.folder, Lock(spec.folder / "lock")
    try:
        record = stored(spec)
        if record:
            finish_tidying(lock, folder)
            return Outcome(record, True, folder)
        waits = spec.config.trainer.if_running == "wait"
        if not lock.acquire(wait=waits, on_wait=lambda owner: _say(spec.key, owner)):
            return Outcome(None, False, folder)
        record = stored(spec)  # the process we waited for may have finished it
        if record:
            tidy_finished(folder)
            return Outcome(record, True, folder)
        return Outcome(run_trial(spec, on_step, start()), False, folder)
    finally:
        lock.release()
        tidy(folder)


def stored(spec: TrialSpec) -> Record | None:
    """The trial's record. A failed one is an error again, unless it is to be run anew.

    Raises:
        TrialFailed: the record says that the trial failed.
    """
    record = spec.store.get(spec.key)
    if record is None or (record.status == "failed" and spec.config.rerun):
        return None
    if record.status == "failed":
        raise TrialFailed(f"{spec.name} failed before ({record.reason}) To run it again add rerun=true.")
    _refuse_other_data(record, spec.plain)
    return record


def _refuse_other_data(record: Record, plain: Plain) -> None:
    """A key says nothing of what files hold. Papers' sets state their sizes; a user's own may have grown meanwhile, and
    without `task.check_rows` any file passes for a paper's.

    Files that are no longer there are no objection: the record answers for what it was trained on.

    Raises:
        ConfigError: the files of such a data set hold something else than the record's.
    """
    config = plain["task"]
    own = config["paper_name"] is None and not config["rows"] and not config.get("parts")
    open_to_any = own or not config["check_rows"]
    if not open_to_any or config["source"] != "local" or not config["metrics"]:
        return
    try:
        task = build_task(plain)
        load_examples(plain, task)
    except DataError:
        return
    known = record.provenance.get("data") or {}
    other = [split for split, facts in task.fingerprint().items() if known.get(split, facts) != facts]
    if other:
        raise ConfigError(
            f"trial {record.key} of task.name={config['name']} was made with other data: {', '.join(other)} in "
            f"{config['data_dir']} has changed since. Give the changed data set another task.name, or put the old "
            "files back."
        )


def _say(key: str, owner: Any) -> None:
    print(f"trial {key} is being run by {owner}: waiting for it (trainer.if_running=skip steps aside)", file=sys.stderr)


def tidy(folder: Path) -> None:
    """A trial that wrote nothing leaves no folder behind (Hydra makes one before anything of ours runs)."""
    for empty in (folder, folder.parent):
        with contextlib.suppress(OSError):  # another trial's file came in between, or it is a mount point
            if empty.is_dir() and not any(empty.iterdir()):
                empty.rmdir()


def without_places(plain: Plain) -> Plain:
    """The config as a record keeps it: no folders of this machine, which say nothing about the result."""
    kept = {name: value for name, value in plain.items() if name != "paths"}
    if plain["method"].get("start_from"):
        kept["method"] = plain["method"] | {"start_from": Path(plain["method"]["start_from"]).name}
    root = Path(plain["paths"]["data_root"])

    def moved(task: Plain) -> Plain:
        folder = Path(task["data_dir"])
        inside = folder.relative_to(root) if folder.is_relative_to(root) else Path(folder.name)
        return task | {"data_dir": inside.as_posix()}

    parts = {name: moved(part) for name, part in (plain["task"].get("parts") or {}).items()}
    return kept | {"task": moved(plain["task"]) | ({"parts": parts} if parts else {})}


def _made(config: Plain) -> Any:
    """What `_target_` names. A ReproError of its constructor comes out as it is, not wrapped in one of Hydra's."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    from repro.config.compose import explain

    try:
        return instantiate(config, _convert_="all")
    except InstantiationException as error:
        raise explain(error) or error from error


def build_task(plain: Plain) -> Any:
    """The task in the format that fits the model; reads nothing yet."""
    format = format_of(TrialConfig.from_dict(plain))
    if plain["task"].get("parts"):
        return _of_parts(plain, format)
    # A classification task in the words of a cloze is read as a pair.
    inner = "pair" if format == "cloze" and "pair" in plain["task"]["formats"] else format
    return worded(task_in_format(plain["task"], inner), plain, format)


def task_in_format(task: Plain, format: str) -> Any:
    """The task of a config of conf/task in one of its formats, whatever the model; reads nothing yet."""
    metrics = [*task["metrics"], *(task.get("also_metrics") or ())]
    _, accepted = _class_of(task)
    config = {**task, "format": format, "metrics": metrics}
    made = _made({name: value for name, value in config.items() if name in accepted or name == "_target_"})
    for metric in made.metrics[len(task["metrics"]) :]:
        metric.beside = True  # no part of the task's score
    return made


def _of_parts(plain: Plain, format: str) -> Any:
    """A task of tasks (a mixture, a transfer): every part as it would be alone, but in the whole's format, with its
    switches, source and limits."""
    config = plain["task"]
    whole, accepted = _class_of(config)
    limit_of = getattr(whole, "part_limit", lambda name, options, limit: limit)
    switches = {name: config[name] for name in ("sentinel", "task_name_prefix", "source", "check_rows")}
    parts = {}
    for name, part in config["parts"].items():
        limit = part["limit"]
        if not any(limit[split] for split in ("train", "validation", "test")):  # it has none of its own
            limit = limit_of(name, config["options"], config["limit"])
        parts[name] = build_task({**plain, "task": {**part, **switches, "limit": limit, "format": format}})
    given = {"name": config["name"], "format": format, "parts": parts, "options": config["options"]}
    if "metrics" in accepted:
        given["metrics"] = [_made(metric) for metric in config["metrics"]]
    return whole(**given)


def _class_of(config: Plain) -> tuple[Any, Sequence[str]]:
    """The class of a task, and the arguments it takes."""
    from hydra.utils import get_class

    found = get_class(config["_target_"])
    return found, list(inspect.signature(found.__init__).parameters)  # type: ignore[misc]


def build_method(plain: Plain) -> Method:
    """The method, not yet built: its tensors come when the model is there."""
    kind = method(plain["method"]["name"])
    return kind.build(kind.settings(plain["method"]), plain["task"]["init_words"])


def check_selection(plain: Plain, task: Any) -> str:
    """The value name by which checkpoints are chosen.

    Raises:
        ConfigError: the task has no such value.
    """
    names = [name for metric in task.metrics for name in metric.outputs]
    if averaged_values(task.metrics):
        names.append(TASK_SCORE)
    wanted = plain["trainer"]["selection"]["metric"] or (names[0] if names else "loss")
    if wanted != "loss" and wanted not in names:
        raise ConfigError(
            f"trainer.selection.metric={wanted}: {task.name} has {', '.join(names)}, and loss. Set one of these, or "
            f"null for {names[0]}."
        )
    if why := _missing(task).get(str(wanted)):
        raise ConfigError(
            f"trainer.selection.metric={wanted} cannot be computed on this machine: {why}. Mend that, or select by "
            f"another value: {', '.join([*(name for name in names if name not in _missing(task)), 'loss'])}."
        )
    return str(wanted)


def _missing(task: Any) -> dict[str, str]:
    """{value name: why it cannot be computed here} of a task's metrics (a mixture's: its parts')."""
    from repro.metrics.base import why_unavailable

    found: dict[str, str] = {}
    for prefix, own in {"": task, **{f"{part}.": one for part, one in getattr(task, "parts", {}).items()}}.items():
        for metric in own.metrics:
            if why := why_unavailable(metric):
                found |= {f"{prefix}{name}": why for name in metric.outputs}
    return found


def check_metrics(task: Any) -> None:
    """Say which values will be missing, and refuse a metric that cannot be made, before anything is read or trained.

    Raises:
        ConfigError: of a metric's own `check`, or two metrics with one name.
    """
    for one in (task, *getattr(task, "parts", {}).values()):
        for names in ([m.name for m in one.metrics], [name for m in one.metrics for name in m.outputs]):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ConfigError(
                    f"task.metrics and task.also_metrics of {one.name} give {', '.join(twice)} twice, and a record has "
                    "one place for it: leave one of the metrics out."
                )
        for metric in one.metrics:
            if hasattr(metric, "check"):
                metric.check()
    for name, why in _missing(task).items():
        print(f"repro: {name} will be missing in the record: {why}", file=sys.stderr)


def load_examples(plain: Plain, task: Any) -> dict[str, Sequence[Any]]:
    """Every split that the trial needs, read before the model: a missing file must not cost a model load.

    Raises:
        ConfigError: a split to score whose answers are not public.
    """
    scored = {"trainer.selection.split": plain["trainer"]["selection"]["split"]}
    scored |= {"task.report_split": plain["task"]["report_split"]}
    found = {split: task.examples(split) for split in dict.fromkeys(("train", *scored.values()))}
    for key, split in scored.items():
        if not all(example.references for example in found[split]):
            raise ConfigError(
                f"{key}={split}: the {split} split of {task.name} has no answers, so it cannot be scored. "
                f"Set {key}=validation."
            )
    return found


def pick_device(name: str) -> Any:
    """`auto` is CUDA if torch sees one.

    Raises:
        ConfigError: a device that is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"trainer.device={name}: this machine has no such device. Set trainer.device=auto or cpu."
        ) from error
    return device


def run_trial(spec: TrialSpec, on_step: OnStep = None, ranks: Any = None) -> Record:
    """Read, load, train, score, record."""
    from repro.trials.lifecycle import Attempt

    attempt = Attempt(spec, ranks)
    attempt.read()
    return attempt.alone(on_step)
