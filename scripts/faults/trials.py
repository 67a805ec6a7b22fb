"""Trials to disturb: tiny models on made-up sentence pairs, each a process of its own, and what they must give."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STEM = Path(__file__).with_name("stem.py")
_ROWS = {"train": 16, "val": 8, "test": 4}
_SMALL = (
    *("task=rte", "task.check_rows=false", "task.max_input_length=48", "task.max_target_length=8"),
    *("task.decoding.beams=1", "task.decoding.max_new_tokens=4", "trainer.device=cpu", "trainer.epochs=null"),
    *("trainer.batch_size=4", "trainer.steps=12", "trainer.evaluate_every=3", "trainer.backbone_dropout=0.1"),
    *("trainer.optimiser.learning_rate=1e-2", "trainer.checkpoint_seconds=1e-9"),
)
TRIALS: dict[str, tuple[str, ...]] = {
    "p_tuning_v2 on an encoder, AdamW": ("method=p_tuning_v2", "model=tiny-bert"),
    "prompt tuning on an encoder-decoder, Adafactor": (
        *("method=prompt_tuning", "model=tiny-t5", "trainer.optimiser.name=adafactor"),
    ),
    "fine-tuning of a decoder, AdamW": ("method=fine_tuning", "model=tiny-gpt2"),
    "a sweep of two seeds": ("-m", "method=p_tuning_v2", "model=tiny-bert", "seed=1,2"),
}
"""Arguments of each; a checkpoint after every step, dropout on, the best of four evaluations chosen."""

# What depends on when and where a trial ran, and on nothing else.
_TIMES = ("seconds", "train_seconds", "evaluation_seconds", "peak_memory_bytes")
_CIRCUMSTANCES = ("started", "finished", "notes", "command", "git")


def write_data(root: Path) -> None:
    """Sentence pairs in the format of RTE."""
    folder = root / "superglue" / "RTE"
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in _ROWS.items():
        lines = []
        for row in range(rows):
            colour = ("red", "blue", "green")[row % 3]
            pair = {"premise": f"House {row} is {colour}.", "hypothesis": f"It is {'red' if row % 2 else colour}."}
            label = {} if split == "test" else {"label": ("entailment", "not_entailment")[row % 2]}
            lines.append(json.dumps(pair | label | {"idx": row}) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))


def arguments(trial: str, data: Path, *more: str) -> list[str]:
    """The command line of a trial, without the program."""
    return ["run", *TRIALS[trial], *_SMALL, f"paths.data_root={data}", *more]


def environment(**more: str) -> dict[str, str]:
    """Of every process: offline, one thread, no settings of whoever calls."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REPRO_", "HYDRA_", "WANDB_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    ours = {"PATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    return kept | ours | more


@dataclass
class Ended:
    """How a process ended (a negative code: by that signal), and what it printed."""

    code: int
    out: str


class Stem:
    """A process that has torch loaded and forks for every command: a process like any other, without the imports."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_STEM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(), text=True
        )
        if self._line() != "ready":
            raise RuntimeError("the process that forks the trials did not start")

    def start(self, words: list[str], cwd: Path, **how: Any) -> int:
        """Start `repro WORDS` in a folder. Returns its pid, which is also that of its process group.

        Args:
            how: calls (count changes of files, into the file `calls`), kill_at (die at that change), bound (permissions
                stop it, root's too), largest_file (bytes), cpu_seconds, environment, out (where it prints to).
        """
        cwd.mkdir(parents=True, exist_ok=True)
        self._printed = Path(how.get("out", cwd / "printed"))
        return int(self._ask({"arguments": words, "cwd": str(cwd), "out": str(self._printed), **how}))

    def end(self, pid: int) -> Ended:
        """Wait for the end of the process that was started last."""
        code = int(self._ask({"wait": pid}))
        return Ended(code, self._printed.read_text(errors="replace") if self._printed.is_file() else "")

    def run(self, words: list[str], cwd: Path, **how: Any) -> Ended:
        """Start and wait."""
        return self.end(self.start(words, cwd, **how))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait()

    def _ask(self, request: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@dataclass
class Place:
    """Where faults are injected."""

    root: Path
    stem: Stem
    seed: int

    @property
    def data(self) -> Path:
        return self.root / "data"

    def fresh(self, name: str) -> Path:
        """An empty folder for one injection."""
        folder = self.root / name.replace(" ", "-").replace(",", "")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def undisturbed(self, trial: str) -> tuple[dict[str, Any], int]:
        """What a trial gives that nobody disturbs, and how often it changes files. Run once."""
        folder = trial_folder(self, trial)
        if not (folder / "calls").is_file():
            ended = self.stem.run(arguments(trial, self.data), folder, calls=True)
            if ended.code:
                raise RuntimeError(f"{trial}: the undisturbed run failed: {ended.out}")
        return outcome(folder), int((folder / "calls").read_text())


def trial_folder(place: Place, trial: str) -> Path:
    """Where the undisturbed run of a trial is."""
    return place.root / "undisturbed" / trial.replace(" ", "-").replace(",", "")


@contextlib.contextmanager
def place(root: Path, seed: int) -> Iterator[Place]:
    """Data and the process that forks, for as long as the suite runs."""
    write_data(root / "data")
    stem = Stem()
    try:
        yield Place(root, stem, seed)
    finally:
        stem.close()


def outcome(folder: Path) -> dict[str, Any]:
    """All that a trial leaves which must not depend on what happened on the way: its record and its files, bit for bit.

    Of the record all but times and circumstances; of runs every file's content. A leftover (a lock, a temporary file, a
    checkpoint) is a difference.
    """
    records = sorted((folder / "results" / "records").glob("*/*"))
    found: dict[str, Any] = {"records": [path.relative_to(folder).as_posix() for path in records]}
    for path in records:
        if path.name == "record.json":
            found[path.parent.name] = _lasting(json.loads(path.read_text()))
    for path in sorted((folder / "runs").rglob("*")):
        if path.is_file() and "cache" not in path.parts and path.name != "multirun.yaml":  # Hydra's: names the folder
            found[path.relative_to(folder).as_posix()] = path.read_bytes().hex()
    return found


def _lasting(record: dict[str, Any]) -> dict[str, Any]:
    cost = {name: value for name, value in record["cost"].items() if name not in _TIMES}
    provenance = {name: value for name, value in record["provenance"].items() if name not in _CIRCUMSTANCES}
    kept = {name: value for name, value in record.items() if name != "checksum"}
    return kept | {"cost": cost, "provenance": provenance}


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """The first places at which two outcomes differ; empty: nowhere."""
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    said = []
    for name in wrong[:3]:
        left, right = expected.get(name), found.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            said += [f"{name}.{part}" for part in {**left, **right} if left.get(part) != right.get(part)]
        else:
            said.append(name)
    return ", ".join(said)
