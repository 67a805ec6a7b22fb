"""Nothing that is read runs code: each payload would leave a file behind."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from repro.store.files import json_text
from repro.store.record import with_checksum
from tests.pairwise import pairwise

Cli = Callable[..., Any]
RESULTS = Path(__file__).parents[2] / "results"
KEYS = sorted(path.name for path in (RESULTS / "records").iterdir())


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a payload makes."""
    return tmp_path / "it-ran"


def call(mark: Path) -> dict[str, object]:
    """What Hydra's `instantiate` would call."""
    return {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [str(mark)]}]}


def shell(mark: Path) -> dict[str, object]:
    return {"_target_": "os.system", "command": f"touch {mark}"}


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


CONFIGS: dict[str, Callable[[Path], tuple[str, object]]] = {
    "a launcher": lambda mark: ("hydra/launcher/mine.yaml", shell(mark)),
    "a sweeper": lambda mark: ("hydra/sweeper/mine.yaml", shell(mark)),
    "a callback": lambda mark: ("hydra/callbacks/mine.yaml", {"mine": shell(mark)}),
    "a log handler": lambda mark: (
        "hydra/job_logging/mine.yaml",
        {"version": 1, "handlers": {"x": {"()": "os.system", "command": f"touch {mark}"}}},
    ),
    "a log class": lambda mark: ("hydra/job_logging/mine.yaml", {"version": 1, "handlers": {"x": {"class": "os.abc"}}}),
    "a search path": lambda mark: ("experiment/mine.yaml", {"hydra": {"searchpath": [f"file://{mark.parent}"]}}),
    "a task": lambda mark: ("task/mine.yaml", {"kind": "pair", "options": call(mark)}),
    "a metric": lambda mark: ("task/mine.yaml", {"metrics": [{"name": "accuracy", "x": [shell(mark)]}]}),
    "a model": lambda mark: ("model/mine.yaml", shell(mark)),
    "a method": lambda mark: ("method/mine.yaml", {"name": "prompt_tuning", "x": call(mark)}),
}


@pytest.mark.parametrize("door", CONFIGS)
def test_a_config_folder(door: str, mark: Path, tmp_path: Path, cli: Cli) -> None:
    name, content = CONFIGS[door](mark)
    path = tmp_path / "own" / name
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    for words in (("run", "task=rte"), ("plan", "offline/cb"), ("doctor",)):
        done = cli(*words, "--config-dir", str(tmp_path / "own"))
        assert done.code == 2 and path.name in done.err and "names code" in done.err
    assert not mark.exists()


def test_a_tag_of_python_in_yaml(mark: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "own" / "task").mkdir(parents=True)
    path = tmp_path / "own" / "task" / "mine.yaml"
    path.write_text(f"x: !!python/object/apply:os.system ['touch {mark}']\n")
    done = cli("run", "task=mine", "--config-dir", str(tmp_path / "own"))
    assert done.code == 2 and "mine.yaml cannot be read" in done.err and not mark.exists()


PLACES = ("method", "model", "task", "trainer", "task.options", "task.decoding", "task.metrics", "trainer.optimiser")


COMMANDS = ("predict", "ensemble", "neighbours", "metrics", "export")


@pytest.mark.parametrize(("command", "place"), pairwise(COMMANDS, PLACES))
def test_a_record(command: str, place: str, mark: Path, tmp_path: Path, cli: Cli) -> None:
    """With a good checksum: its writer is the attacker."""
    key = KEYS[0]
    data = json.loads((RESULTS / "records" / key / "record.json").read_text(encoding="utf-8"))
    node = data["config"]
    for part in place.split("."):
        node = node[part]
    if isinstance(node, list):
        node.append(shell(mark))
    else:
        node.update(shell(mark))
    path = tmp_path / "results" / "records" / key / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json_text(with_checksum(data)), encoding="utf-8")
    (tmp_path / "runs" / key).mkdir(parents=True)
    (tmp_path / "runs" / key / "prompt.safetensors").write_bytes(pickle.dumps(Runs(mark)))
    (tmp_path / "in.jsonl").write_text(json.dumps({"task": data["config"]["task"]["name"]}) + "\n")
    words = {
        "predict": ("predict", "--prompt", key, "--inputs", "in.jsonl"),
        "ensemble": ("ensemble", key, key),
        "neighbours": ("neighbours", key),
        "metrics": ("metrics", "--score", key),
        "export": ("export", key, "--out", "out"),
    }[command]
    done = cli(*words)
    assert done.code in (1, 2) and "Traceback" not in done.err and not mark.exists()


def test_a_merged_store(mark: Path, tmp_path: Path, cli: Cli) -> None:
    key = KEYS[0]
    shutil.copytree(RESULTS / "records" / key, tmp_path / "theirs" / "records" / key)
    path = tmp_path / "theirs" / "records" / key / "record.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data["config"]["method"].update(shell(mark))
    path.write_text(json_text(with_checksum(data)), encoding="utf-8")
    (tmp_path / "results").mkdir()
    done = cli("store", "merge", "theirs", "--results", "results")
    assert done.code in (0, 1, 2) and not mark.exists()
    cli("report", "--results", "results")
    cli("store", "verify", "--results", "results")
    assert not mark.exists()
