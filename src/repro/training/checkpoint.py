"""What a killed trial continues from: tensors in safetensors, the rest in json, never one without the other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from repro.errors import StoreError
from repro.store.files import sha256_file, write_atomic, write_json_atomic


@dataclass
class Progress:
    """Everything of a running trial that is not a tensor."""

    step: int = 0
    """Updates done."""
    evaluated_step: int = 0
    """The last step after which the trial was evaluated."""
    best: dict[str, Any] | None = None
    """step, epoch and value of the best evaluation so far."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """Training losses since the last evaluation."""
    tokens: int = 0
    padded_tokens: int = 0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0


class Checkpoints:
    """The folder `<run>/checkpoint`: `state.json` names the tensor files it belongs to; older ones are pruned."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._state = folder / "state.json"

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors first, then the state that names them: a crash in between leaves the older pair valid."""
        name = f"step-{progress.step}.safetensors"
        self.save_tensors(name, tensors)
        state = {"progress": asdict(progress), "tensors": name, "sha256": sha256_file(self.folder / name)}
        write_json_atomic(self._state, state)
        self._prune("step-*.safetensors", keep=name)

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the trained tensors of the best evaluation so far; `Progress.best` names the step."""
        self.save_tensors(f"best-{step}.safetensors", tensors)

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """One safetensors file, atomically."""
        from safetensors.torch import save

        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomic(self.folder / name, save({key: t.detach().cpu().contiguous() for key, t in tensors.items()}))

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """The last checkpoint, or None when there is none.

        Raises:
            StoreError: the files do not belong together (a damaged disk, a hand in the folder).
        """
        if not self._state.exists():
            return None
        from safetensors.torch import load_file

        try:
            state = json.loads(self._state.read_text())
            path = self.folder / state["tensors"]
            if sha256_file(path) != state["sha256"]:
                raise ValueError("its checksum does not match")
            return Progress(**state["progress"]), load_file(path)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> StoreError:
        return StoreError(
            f"the checkpoint in {self.folder} is damaged ({error}). Delete that folder to start the trial anew."
        )

    def load_best(self, step: int) -> dict[str, Tensor]:
        """Tensors of the best evaluation.

        Raises:
            StoreError: the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.folder / f"best-{step}.safetensors")
        except (SafetensorError, OSError) as error:
            raise self._damaged(error) from error

    def prune_best(self, keep_step: int) -> None:
        """Drop best tensors of other steps: called once the state that names `keep_step` is on disk."""
        self._prune("best-*.safetensors", keep=f"best-{keep_step}.safetensors")

    def _prune(self, pattern: str, keep: str) -> None:
        for path in self.folder.glob(pattern):
            if path.name != keep:
                path.unlink(missing_ok=True)
