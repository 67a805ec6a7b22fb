"""How many trials train jointly: by a number, by tokens, by memory."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from repro.training import admission
from repro.training.admission import TOKENS_A_STEP, Admission
from repro.training.memory import peak_resident

CPU = torch.device("cpu")


def loop(*tokens: float, steps: int = 1, largest: int = 1, new: int = 0) -> Any:
    """A training loop whose trials have these tokens a step; the first `new` have made no step yet."""
    trials = [
        SimpleNamespace(tokens=count, progress=SimpleNamespace(step=int(i >= new))) for i, count in enumerate(tokens)
    ]
    return SimpleNamespace(trials=trials, steps=steps, largest=largest)


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What the process took and what is left; tests change it."""
    figures = {"taken": 1e9, "free": 100e9}
    monkeypatch.setattr(admission, "taken", lambda device: figures["taken"])
    monkeypatch.setattr(admission, "free", lambda device: figures["free"])
    return figures


def test_a_number_is_a_number(memory: dict[str, float]) -> None:
    memory["free"] = 0
    admits = Admission(3, CPU)
    assert admits.room(loop(steps=0)) and admits.room(loop(1e9, 1e9, steps=0))
    assert not admits.room(loop(1, 1, 1))


def test_the_first_trial_steps_alone_before_others_join(memory: dict[str, float]) -> None:
    admits = Admission(None, CPU)
    assert admits.room(loop(steps=0))
    assert not admits.room(loop(10.0, steps=0))
    assert admits.room(loop(10.0, steps=1))


def test_a_step_has_a_maximum_of_tokens(memory: dict[str, float]) -> None:
    admits, most = Admission(None, CPU), TOKENS_A_STEP["cpu"]
    assert admits.room(loop(most / 4, most / 4, most / 4))
    assert not admits.room(loop(most / 4, most / 4, most / 4, most / 4))
    assert not admits.room(loop(most)) and admits.room(loop()), "one is always taken"


def test_another_trial_needs_as_much_free_memory_as_one_took(memory: dict[str, float]) -> None:
    admits = Admission(None, CPU)
    memory |= {"taken": 3e9, "free": 2e9 / 0.7 + 1}  # a member takes 2e9
    assert admits.room(loop(1.0))
    memory["free"] = 2e9 / 0.7 - 1
    assert not admits.room(loop(1.0))
    memory["free"] = 2e9 / 0.7 + 1
    assert not admits.room(loop(1.0, 1.0, new=1)), "one that has not stepped will take as much"
    memory["taken"] = 5e9  # two took 4e9
    assert admits.room(loop(1.0, 1.0, largest=2))


def test_what_the_machine_and_a_container_leave(tmp_path: Path) -> None:
    info = tmp_path / "meminfo"
    info.write_text("MemTotal: 100 kB\nMemFree: 5 kB\nMemAvailable:   40 kB\n")
    assert admission._machine(info) == 40 * 1024
    assert admission._machine(tmp_path / "none") is None
    assert admission._cgroup(tmp_path, tmp_path / "none") is None
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("7\n")
    assert admission._cgroup(tmp_path, tmp_path / "none") is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert admission._cgroup(tmp_path, tmp_path / "none") == 993
    # A job of Slurm's has a group of its own, whose limit is the job's --mem, inside others.
    own = tmp_path / "own"
    own.write_text("4:memory:/elsewhere\n0::/slurm/job_7/step_0\n")
    job = tmp_path / "slurm" / "job_7"
    (job / "step_0").mkdir(parents=True)
    assert admission._cgroup(tmp_path, own) == 993
    for folder, limit, used in ((job, "500", "20"), (job / "step_0", "max", "20")):
        (folder / "memory.max").write_text(limit)
        (folder / "memory.current").write_text(used)
    assert admission._cgroup(tmp_path, own) == 480
    assert admission.free(CPU) > 0 and admission.taken(CPU) > 1e7


def test_a_process_counts_its_own_memory_and_not_that_of_who_started_it() -> None:
    """This one has loaded torch, and `getrusage` of its child would begin with that."""
    code = (
        "from repro.training.memory import peak_resident; before = peak_resident(); held = bytearray(300 * 2**20); "
        "print(before, peak_resident())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before < 100 * 2**20 < peak_resident() and 250 * 2**20 <= after - before < 320 * 2**20
