"""Checks of a built task before a model is loaded: metrics, the value to select by, scored splits, changed data."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from repro.config.schema import TrialConfig
from repro.errors import ConfigError, DataError, MetricUnavailable, ModelError, ReproError, explained
from repro.evaluation.scoring import scored
from repro.metrics.base import TASK_SCORE, averaged_values
from repro.store.checkpoints import newest
from repro.store.record import Record
from repro.store.run_folder import CHECKPOINT
from repro.tasks.base import Example, Task, every_metric
from repro.trials.build import build_task
from repro.trials.spec import TrialSpec


def check_selection(config: TrialConfig, task: Task) -> str:
    """The value name by which checkpoints are chosen.

    Raises:
        ConfigError: the task has no such value.
    """
    names = [name for metric in every_metric(task) for name in metric.outputs]
    if averaged_values(task.metrics):
        names.append(TASK_SCORE)
    wanted = config.trainer.selection.metric or (names[0] if names else "loss")
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


def _missing(task: Task) -> dict[str, str]:
    """{value name: why it cannot be computed here} of a task's metrics (a mixture's: its parts')."""
    reasons: dict[str, str] = {}
    for prefix, part in {"": task, **{f"{name}.": part for name, part in task.parts.items()}}.items():
        for metric in every_metric(part):
            if why := metric.unavailable():
                reasons |= {f"{prefix}{name}": why for name in metric.outputs}
    return reasons


def check_metrics(task: Task) -> None:
    """Say which values will be missing, and refuse a metric that cannot be made, before anything is read or trained.

    Raises:
        ConfigError: of a metric's own `check`, or two metrics with one name.
    """
    for part in (task, *task.parts.values()):
        metrics = every_metric(part)
        for names in ([metric.name for metric in metrics], [name for metric in metrics for name in metric.outputs]):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ConfigError(
                    f"task.metrics and task.also_metrics of {part.name} give {', '.join(twice)} twice, and a record "
                    "has one place for it: leave one of the metrics out."
                )
        for metric in metrics:
            metric.check()
    for name, why in _missing(task).items():
        print(f"repro: {name} will be missing in the record: {why}", file=sys.stderr)


def load_examples(config: TrialConfig, task: Task) -> dict[str, Sequence[Example]]:
    """Every split that the trial needs, read before the model: a missing file must not cost a model load.

    Raises:
        ConfigError: a split to score whose answers are not public.
    """
    scored = {"trainer.selection.split": config.trainer.selection.split}
    scored |= {"task.report_split": config.task.report_split}
    found = {split: task.examples(split) for split in dict.fromkeys(("train", *scored.values()))}
    for key, split in scored.items():
        if not all(example.references for example in found[split]):
            raise ConfigError(
                f"{key}={split}: the {split} split of {task.name} has no answers, so it cannot be scored. "
                f"Set {key}=validation."
            )
    return found


GOLD_TEXTS = 8
"""Texts that every metric is tried on; classes and tags are few, and tried all."""


def try_metrics(task: Task, split: str, examples: Sequence[Example]) -> None:
    """Score the gold answers as if they had been predicted: what a metric cannot take is known before training.

    Raises:
        ConfigError: a metric cannot score them.
    """
    for name, part in (task.parts or {"": task}).items():
        members = [example for example in examples if not name or example.meta["part"] == name]
        if any(isinstance(example.references[0], str) for example in members):
            members = members[:GOLD_TEXTS]
        golds = [example.references for example in members]
        for metric in every_metric(part) if members else ():
            if metric.costly:
                continue
            metric.check_answers(golds)
            try:
                scored(metric, members, [gold[0] for gold in golds], golds)
            except MetricUnavailable:  # its values will be missing
                continue
            except ReproError:
                raise
            except Exception as error:
                raise ConfigError(
                    f"task.metrics: {metric.name} cannot score the answers of {part.name}, split {split} "
                    f"({type(error).__name__}: {error}). Choose a metric that takes them, or correct its options."
                ) from error


def origin_of(task: Task, weights: str | None = None) -> dict[str, str]:
    """{what: SHA-256} of the data that were read and of the weights, for checkpoints."""
    origin = {f"data ({split})": facts["sha256"] for split, facts in task.fingerprint().items()}
    return origin if weights is None else origin | {"weights": weights}


def refuse_other_origin(spec: TrialSpec, origin: Mapping[str, str]) -> None:
    """A checkpoint goes on with the data and the weights that it was made with; `rerun=true` drops it otherwise.

    Raises:
        ConfigError: they have changed since.
    """
    folder = spec.folder / CHECKPOINT
    with explained(folder, "read"):
        state = newest(folder)[0]
    before = state.progress.get("origin") if state is not None else None
    if not isinstance(before, dict):
        return
    changed = [what for what, digest in origin.items() if before.get(what, digest) != digest]
    if changed and spec.config.rerun:
        with explained(folder, "remove"):
            shutil.rmtree(folder)
    elif changed:
        raise ConfigError(
            f"the checkpoint of trial {spec.key} ({spec.name}) in {folder} was made with other {', '.join(changed)}: "
            "put the old files back, or add rerun=true to start anew."
        )


def refuse_other_weights(record: Record, config: TrialConfig) -> None:
    """A key says nothing of what a folder holds, unless `model.weights` states it.

    Raises:
        ConfigError: the folder of the model holds other weights than those of the record.
    """
    model, known = config.model, (record.provenance.get("weights") or {}).get("sha256")
    if model.source != "folder" or model.weights is not None or known is None:
        return
    from repro.models.weights import checkpoint_hash

    try:
        content = checkpoint_hash(Path(model.location).expanduser())
    except ModelError:  # no longer there: the record answers for what it was trained with
        return
    if content != known:
        raise ConfigError(
            f"trial {record.key} of model.name={model.name} was made with other weights: those in {model.location} "
            "have changed since. Give the changed model another model.name, or put the old files back."
        )


def refuse_other_data(record: Record, config: TrialConfig) -> None:
    """A key says nothing of what files hold. Papers' sets state their sizes; a user's own may have grown meanwhile, and
    without `task.check_rows` any file passes for a paper's.

    Files that are no longer there are no objection: the record answers for what it was trained on.

    Raises:
        ConfigError: the files of such a data set hold something else than the record's.
    """
    settings = config.task
    own = settings.paper_name is None and not settings.rows and not settings.parts
    open_to_any = own or not settings.check_rows
    if not open_to_any or settings.source != "local" or not settings.metrics:
        return
    try:
        task = build_task(config)
        load_examples(config, task)
    except DataError:
        return
    known = record.provenance.get("data") or {}
    other = [split for split, facts in task.fingerprint().items() if known.get(split, facts) != facts]
    if other:
        raise ConfigError(
            f"trial {record.key} of task.name={settings.name} was made with other data: {', '.join(other)} in "
            f"{settings.data_dir} has changed since. Give the changed data set another task.name, or put the old "
            "files back."
        )
