"""Checkpoints: tensors in safetensors, the rest in JSON, never one without the other."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol, TypedDict

from torch import Tensor

from repro.errors import StoreError, explained
from repro.store.checkpoints import NEWEST, State, named_files, newest, put_state, state_text
from repro.store.files import sha256_file, write_atomic

log = logging.getLogger(__name__)


CurveRow = dict[str, object]
"""step, epoch, train_loss (None: no step since the last), learning_rate, and {split: {metric: value}}."""


class Best(TypedDict):
    """The evaluation whose tensors are kept."""

    step: int
    epoch: float
    value: float


@dataclass
class Progress:
    """Everything of a running trial that is not a tensor."""

    step: int = 0
    """Updates done."""
    evaluated_step: int = 0
    """The last step after which the trial was evaluated."""
    best: Best | None = None
    """The best evaluation so far."""
    curve: list[CurveRow] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    """Training losses since the last evaluation."""
    tokens: int = 0
    padded_tokens: int = 0
    train_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    """Incidents that a reader of the record should know of, such as a damaged checkpoint."""
    origin: dict[str, str] = field(default_factory=dict)
    """{what: SHA-256} of the data and weights that it is trained on."""

    @classmethod
    def of(cls, saved: Mapping[str, object]) -> Progress:
        """The inverse of `asdict`.

        Raises:
            TypeError: a field that there is not.
        """
        return cls(**dict(saved))  # type: ignore[arg-type]


class CheckpointStore(Protocol):
    """Keeps a trial's states: `Checkpoints`, or that of several processes."""

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None: ...

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None: ...

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None: ...

    def load_best(self, step: int) -> dict[str, Tensor]: ...


class Checkpoints:
    """The folder `<run>/checkpoint`, of one process: the newest state and the one before; what is older is pruned."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._whole: State | None = None
        """The newest state that is known to be whole on disk."""
        self._looked = False
        self._hashes: dict[str, str] = {}
        """Of the tensor files that we wrote, or found whole."""

    def save(self, progress: Progress, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors, then the state that names them; the present state becomes the one before.

        A crash at any moment leaves both states whole, or the new one and one of them.

        Raises:
            StoreError: the disk; the states are as they were.
        """
        before, name = self._present(), self._free_name(progress.step)
        self.save_tensors(name, tensors)
        best = None if progress.best is None else best_name(progress.best["step"])
        if best is not None and best not in self._hashes:
            with explained(self.folder / best, "read"):
                self._hashes[best] = sha256_file(self.folder / best)
        text = state_text(asdict(progress), name, best, self._hashes)
        put_state(self.folder, text, before)
        used = {key: self._hashes[key] for key in (name, best) if key is not None}
        self._whole = State(NEWEST, asdict(progress), name, best, used)
        self._prune()

    def save_best(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Keep the trained tensors of the best evaluation so far; `Progress.best` names the step."""
        self.save_tensors(best_name(step), tensors)

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """One safetensors file, atomically."""
        from safetensors.torch import save

        content = save({key: t.detach().cpu().contiguous() for key, t in tensors.items()})
        write_atomic(self.folder / name, content)
        self._hashes[name] = hashlib.sha256(content).hexdigest()

    def load(self) -> tuple[Progress, dict[str, Tensor]] | None:
        """The newest checkpoint that is whole, or None when there is none. A damaged newer one is said and noted.

        Raises:
            StoreError: there are checkpoints, and none is whole (a damaged disk, a hand in the folder).
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state, wrong = newest(self.folder)
            if state is None and wrong:
                raise self._damaged("; ".join(wrong))
            self._whole, self._looked = state, True
            if state is None:
                return None
            self._hashes |= state.hashes
            progress, tensors = Progress.of(state.progress), load_file(self.folder / state.tensors)
        except (SafetensorError, TypeError, OSError) as error:
            raise self._damaged(str(error)) from error
        for text in wrong:
            note = f"the newest checkpoint was damaged ({text}): went on from the one before, of step {progress.step}"
            log.warning("%s: %s", self.folder, note)
            progress.notes.append(note)
        return progress, tensors

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            f"the checkpoint in {self.folder} is damaged ({why}), and there is no whole one before it. Delete that "
            "folder to start the trial anew."
        )

    def load_best(self, step: int) -> dict[str, Tensor]:
        """Tensors of the best evaluation.

        Raises:
            StoreError: the file is missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        name = best_name(step)
        try:
            if name in self._hashes and sha256_file(self.folder / name) != self._hashes[name]:
                raise ValueError("its checksum does not match")
            return load_file(self.folder / name)
        except (SafetensorError, OSError, ValueError) as error:
            raise StoreError(
                f"{self.folder / name}, the tensors of the best evaluation, is damaged ({error}). Run the same command "
                "again: it goes on from the checkpoint before, if that is whole."
            ) from error

    def _present(self) -> State | None:
        if not self._looked:
            self._whole, self._looked = newest(self.folder)[0], True
        return self._whole

    def _free_name(self, step: int) -> str:
        """A file name of its own for each state: before and after an evaluation the step is the same, and one flipped
        bit must not spoil both."""
        taken = named_files(self.folder)
        names = (f"step-{step}{again}.safetensors" for again in ("", *(f"-{n}" for n in range(2, 6))))
        return next(name for name in names if name not in taken)

    def _prune(self) -> None:
        """Drop tensors that no state names, and what killed writers left: only this process writes here."""
        kept = named_files(self.folder)
        for pattern in ("step-*.safetensors", "best-*.safetensors", ".*.tmp"):
            for path in self.folder.glob(pattern):
                if path.name not in kept:
                    path.unlink(missing_ok=True)


def best_name(step: int) -> str:
    """The file of the best evaluation's tensors."""
    return f"best-{step}.safetensors"
