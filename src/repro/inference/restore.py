"""Finished trials loaded again: record, tensors, method and task, and the one backbone that several trials share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.schema import TaskConfig, TrialConfig
from repro.errors import ConfigError, StoreError
from repro.methods.base import Method
from repro.store.record import Record
from repro.store.run_folder import trusted_file
from repro.store.store import Store
from repro.tasks.base import Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from repro.models.backbone import Backbone
    from repro.models.interface import ModelAdapter

FILE = "prompt.safetensors"
_OF_THE_BACKBONE = "backbone."
"""Start of the names of tensors that belong to the backbone itself."""


@dataclass(frozen=True)
class Finished:
    """A trial whose record is in the store and whose prompt is on disk."""

    record: Record
    folder: Path

    @cached_property
    def config(self) -> TrialConfig:
        """Its config; `paths` are not in a record."""
        return TrialConfig.from_dict(self.record.config)

    @property
    def name(self) -> str:
        """For messages."""
        config = self.config
        return f"{self.record.key} ({config.method.name} {config.model.name} {config.task.name})"

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of the method and its head, [1, ...] each; a reparameterisation is folded away."""
        return {name: tensor for name, tensor in self._load().items() if not name.startswith(_OF_THE_BACKBONE)}

    def backbone_tensors(self) -> dict[str, Tensor]:
        """Tuned weights of the backbone, by their names in it."""
        tensors = self._load().items()
        return {n.removeprefix(_OF_THE_BACKBONE): t for n, t in tensors if n.startswith(_OF_THE_BACKBONE)}

    def _load(self) -> dict[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = trusted_file(self.record, self.folder, FILE)
        try:
            return load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"{self.folder / FILE} cannot be read ({error}). Run the trial again with rerun=true."
            ) from error


def find(name: str, results: Path, runs: Path) -> Finished:
    """A finished trial by its run key (or the first digits of it), or by its folder below runs/.

    Raises:
        StoreError: no such record, several, one that is damaged, or no prompt on disk that is the record's.
    """
    path = Path(name)
    key = path.name if path.is_dir() else name
    records = list(Store(results / "records").records(prefix=key))
    if len(records) != 1:
        count = "no record" if not records else f"{len(records)} records"
        raise StoreError(
            f"{name}: {count} with this key in {results / 'records'}. Give a whole run key of 16 hex digits (the "
            "report and every trial's last line print them), or name the results folder with --results."
        )
    folder = path if path.is_dir() else runs / records[0].key
    trusted_file(records[0], folder, FILE)
    return Finished(records[0], folder)


SHARED = ("model.location", "model.source", "model.name", "trainer.dtype")
"""Values of the config in which prompts in one batch must agree."""


def refuse_others(trials: Sequence[Finished], keys: Sequence[str]) -> None:
    """All trials must agree in these values of the config.

    Raises:
        ConfigError: two that differ, with their values.
    """
    for key in keys:
        names = {repr(attrgetter(key)(trial.config)): trial.name for trial in reversed(trials)}
        if len(names) > 1:
            (b, second), (a, first) = list(names.items())[-2:]
            raise ConfigError(f"{key} is {a} in {first} and {b} in {second}: they must be the same. Choose others.")


def refuse_tuned(trials: Sequence[Finished]) -> None:
    """Trials that tuned the backbone cannot share it.

    Raises:
        ConfigError: one that did.
    """
    for trial in trials:
        if trial.backbone_tensors():
            raise ConfigError(
                f"{trial.name}: this method changed the backbone itself, so it cannot share it with other prompts. "
                "Choose trials of a method that leaves it frozen."
            )


def task_of(trial: Finished, data_root: Path | None = None) -> Task:
    """The trial's task. It reads files only when examples are asked for.

    Args:
        data_root: where its data lies; records do not say.
    """
    from repro.trials.build import build_task

    def placed(task: TaskConfig) -> TaskConfig:
        folder = Path(task.data_dir) if data_root is None else data_root / task.data_dir
        if not folder.exists() and Path(task.data_dir).exists():  # data of one's own, beside the working folder
            folder = Path(task.data_dir)
        return replace(task, data_dir=str(folder))

    task = placed(trial.config.task)
    if labels := trial.record.provenance.get("labels"):  # the data they were read from may have changed since
        options = {name: value for name, value in task.options.items() if name != "labels_from"}
        task = replace(task, labels=list(labels), options=options)
    parts = {name: placed(part) for name, part in task.parts.items()}
    return build_task(replace(trial.config, task=replace(task, parts=parts)))


def backbone_of(trial: Finished, device: torch.device) -> Backbone:
    """The frozen model of a trial, without dropout."""
    from repro.models.loading import LoadOptions, load_backbone

    quiet = LoadOptions.of(replace(trial.config.trainer, backbone_dropout=None, attention_dropout=None))
    model = trial.config.model
    if model.weights is None and model.source != "random":
        # Loading compares the two: a prompt is of no use to other weights under the same name.
        known = trial.record.provenance.get("weights")
        model = replace(model, weights=known.get("sha256") if known else None)
    return load_backbone(model, quiet, device, task_of(trial).format)[0]


def adapter_of(trial: Finished, backbone: Backbone, task: Task) -> ModelAdapter:
    """The backbone in its role for the trial's task."""
    from repro.trials.prepared import adapted

    return adapted(backbone, task, trial.config.task)


def method_of(trial: Finished, backbone: Backbone, task: Task) -> Method:
    """The trial's method with its trained tensors."""
    from repro.trials.build import build_method
    from repro.trials.tensors import build_tensors

    method = build_method(replace(trial.config, method=trial.config.method.without_fitting()))
    build_tensors(method, backbone, task, [trial.record.seed])
    method.restore({name: tensor.to(backbone.device) for name, tensor in trial.tensors().items()})
    return method
