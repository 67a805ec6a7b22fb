"""Opens finished trials again: record, tensors, method, task; and loads the one backbone that they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from repro.config.schema import TrialConfig
from repro.errors import ConfigError, StoreError
from repro.store.record import Record
from repro.store.store import Store

FILE = "prompt.safetensors"


@dataclass(frozen=True)
class Finished:
    """A trial whose record is in the store and whose prompt is on disk."""

    record: Record
    folder: Path

    @property
    def plain(self) -> dict[str, Any]:
        """Its config; `paths` are not in a record."""
        return self.record.config

    @property
    def name(self) -> str:
        """For messages."""
        config = self.plain
        return f"{self.record.key} ({config['method']['name']} {config['model']['name']} {config['task']['name']})"

    def tensors(self) -> dict[str, Any]:
        """What was trained, [1, ...] each."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(str(self.folder / FILE))
        except (OSError, SafetensorError) as error:
            raise StoreError(
                f"{self.folder / FILE} cannot be read ({error}). Run the trial again with rerun=true."
            ) from error


def find(name: str, results: Path, runs: Path) -> Finished:
    """A finished trial by its run key (or the first digits of it), or by its folder below runs/.

    Raises:
        StoreError: no such record, several, or no prompt on disk.
    """
    given = Path(name)
    key = given.name if given.is_dir() else name
    store = Store(results / "records")
    found = [record for record in store.records() if record.key.startswith(key)]
    if len(found) != 1:
        what = "no record" if not found else f"{len(found)} records"
        raise StoreError(
            f"{name}: {what} with this key in {results / 'records'}. Give a whole run key of 16 hex digits (the report "
            "and every trial's last line print them), or name the results folder with --results."
        )
    record = found[0]
    folder = given if given.is_dir() else runs / record.key
    if not (folder / FILE).is_file():
        raise StoreError(
            f"{name}: its record is there, but not {folder / FILE}, which only the machine that trained it has. Copy "
            "the folder here, name it with --runs, or train again: delete the record and run its command."
        )
    return Finished(record, folder)


def refuse_others(trials: Sequence[Finished], parts: Sequence[str]) -> None:
    """All trials must agree in these parts of the config.

    Raises:
        ConfigError: two that differ, with their values.
    """
    for part in parts:
        seen: dict[str, str] = {}
        for trial in trials:
            node: Any = trial.plain
            for step in part.split("."):
                node = node.get(step) if isinstance(node, Mapping) else None
            seen.setdefault(repr(node), trial.name)
        if len(seen) > 1:
            (a, first), (b, second) = list(seen.items())[:2]
            raise ConfigError(f"{part} is {a} in {first} and {b} in {second}: they must be the same. Choose others.")


def refuse_tuned(trials: Sequence[Finished]) -> None:
    """Trials with weights of the backbone among what they trained cannot share it.

    Raises:
        ConfigError: one that does.
    """
    for trial in trials:
        if any(name.startswith("backbone.") for name in trial.tensors()):
            raise ConfigError(
                f"{trial.name}: this method changed the backbone itself, so it cannot share it with other prompts. "
                "Choose trials of a method that leaves it frozen."
            )


SHARED = ("model.location", "model.source", "model.name", "trainer.dtype")
"""What prompts in one batch must agree in."""


def task_of(trial: Finished, data_root: Path | None = None) -> Any:
    """The trial's task; it reads files only when examples are asked for, and then from its place below `data_root`."""
    from repro.trials.build import build_task

    def placed(task: dict[str, Any]) -> dict[str, Any]:
        return task if data_root is None else task | {"data_dir": str(data_root / task["data_dir"])}

    config = placed(trial.plain["task"])
    parts = {name: placed(part) for name, part in (config.get("parts") or {}).items()}
    return build_task({**trial.plain, "task": {**config, "parts": parts}})


def backbone_of(trial: Finished, device: Any) -> Any:
    """The frozen model of a trial, without dropout."""
    from repro.models.loading import LoadOptions, load_backbone

    config = TrialConfig.from_dict(trial.plain)
    quiet = LoadOptions.of(replace(config.trainer, backbone_dropout=None, attention_dropout=None))
    return load_backbone(config.model, quiet, device, task_of(trial).format)[0]


def method_of(trial: Finished, backbone: Any, task: Any) -> Any:
    """The trial's method with its trained tensors in it."""
    from repro.trials.build import build_method
    from repro.trials.tensors import build_tensors

    config = {name: value for name, value in trial.plain["method"].items() if name != "init_text"}
    method = build_method(TrialConfig.from_dict({**trial.plain, "method": config}))
    build_tensors(method, backbone, task, [trial.record.seed])
    wanted = {name: tensor.to(backbone.device) for name, tensor in trial.tensors().items()}
    method.restore({name: tensor for name, tensor in wanted.items() if not name.startswith("backbone.")})
    return method
