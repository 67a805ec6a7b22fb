"""`torchrun ... -m repro run ...`: one trial in two processes on the CPU, its record, its end, and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from repro.errors import ConfigError, Interrupted, ReproError, ToldElsewhere
from repro.trials import distributed, processes
from repro.trials.processes import Processes, present

pytestmark = pytest.mark.usefixtures("one_thread")
long = pytest.mark.skipif(not os.environ.get("REPRO_LONG_TESTS"), reason="a minute of processes: REPRO_LONG_TESTS=1")

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
)
LONG = ("trainer.steps=30", "trainer.evaluate_every=10", "trainer.checkpoint_seconds=0.05", "trainer.dtype=float64")


class Launched:
    """A launcher with its two processes, in a folder."""

    def __init__(self, launcher: tuple[str, ...], folder: Path, *arguments: str):
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("REPRO_", "RANK"))}
        environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self.folder, self.out, self.err = folder, folder / "out", folder / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            command = [*launcher, "-m", "repro", "run", *arguments]
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err)

    def end(self, seconds: float = 120.0) -> int:
        return self.process.wait(seconds)

    def ranks(self) -> dict[int, int]:
        """{rank: process id}"""
        found = {}
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, IndexError):
                if int(status.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    lines = (status.parent / "environ").read_bytes().split(b"\0")
                    said = dict(line.decode().split("=", 1) for line in lines if b"=" in line)
                    found[int(said["RANK"])] = int(status.parent.name)
        return found

    def wait_for_checkpoint(self, after: int, seconds: float = 120.0) -> int:
        """Until a checkpoint of a later step is there; its step."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for state in self.folder.glob("runs/*/checkpoint/state.json"):
                with contextlib.suppress(OSError, ValueError):
                    step = json.loads(state.read_text())["progress"]["step"]
                    if step > after:
                        return int(step)
            assert self.process.poll() is None, self.err.read_text()
            time.sleep(0.005)
        pytest.fail(f"no checkpoint: {self.err.read_text()}")


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    begun: list[Launched] = []

    def call(*arguments: str, launcher: tuple[str, ...] = TORCHRUN, folder: str = "together") -> Launched:
        (tmp_path / folder).mkdir(exist_ok=True)
        begun.append(Launched(launcher, tmp_path / folder, *arguments))
        return begun[-1]

    yield call
    for one in begun:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(60)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def record_of(folder: Path) -> dict[str, Any]:
    [path] = folder.glob("results/records/*/record.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def weights_apart(ours: Path, theirs: Path) -> float:
    """The largest difference of stored tensors, in parts of each one's largest number."""
    [one], [other] = ours.glob("runs/*/prompt.safetensors"), theirs.glob("runs/*/prompt.safetensors")
    mine, wanted = load_file(one), load_file(other)
    assert list(mine) == list(wanted) and any(name.startswith("backbone.") for name in mine)
    unseen = ("key.bias", "k_proj.bias")  # see tests/training/sharded_worker.py
    return max(
        float((mine[name] - tensor).abs().max() / tensor.abs().max().clamp(min=1e-6))
        for name, tensor in wanted.items()
        if not name.endswith(unseen)
    )


# In two processes -----------------------------------------------------------------------------------------------------


@long
def test_a_generating_trial_has_the_record_of_one_process(launch, cli, data_root, tmp_path, trial_arguments):
    """The last step of an epoch has two examples, the last batch of predictions fewer than the others."""
    words = [
        *trial_arguments(method="fine_tuning"),
        *("model=tiny-gpt2", "task=e2e", "trainer.steps=4", "trainer.batch_size=3", "trainer.microbatches=2"),
        *("task.decoding.beams=2", "task.decoding.batch_size=4", "trainer.backbone_dropout=0.1"),
        "trainer.dtype=float64",
    ]
    together = launch(*words)
    alone = cli("run", *words)
    assert alone.code == 0, alone.err
    assert together.end() == 0, together.err.read_text()
    ours, theirs = record_of(together.folder), record_of(tmp_path)
    assert weights_apart(together.folder, tmp_path) <= 1e-10
    assert ours["provenance"].pop("processes") == 2 and "processes" not in theirs["provenance"]
    for part in ("key", "config", "metrics", "statistics", "parameters", "deviations", "status", "choices"):
        assert ours[part] == theirs[part], part
    for row, wanted in zip(ours["curve"], theirs["curve"], strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=1e-12)
    for name in ("steps", "examples", "tokens", "padded_tokens", "flops"):
        assert ours["cost"][name] == theirs["cost"][name], name
    files = [path.name for path in tmp_path.glob("runs/*/*")]
    assert sorted(path.name for path in together.folder.glob("runs/*/*")) == sorted(files) and len(files) == 4
    for path in tmp_path.glob("runs/*/predictions-*"):
        assert (together.folder / path.relative_to(tmp_path)).read_text() == path.read_text()
    said = together.out.read_text()
    assert said.count("fine_tuning | tiny-gpt2") == 1, "the first process alone speaks"
    assert together.err.read_text().count("epoch 1.3333 ") == 1


def test_when_one_process_is_killed_the_other_ends_and_one_alone_can_go_on(launch, cli, tmp_path, trial_arguments):
    """Started by `accelerate launch`, which says the same in the environment."""
    pytest.importorskip("accelerate")
    words = [*trial_arguments(*LONG, method="fine_tuning")]
    together = launch(*words, launcher=ACCELERATE)
    together.wait_for_checkpoint(after=1)
    ranks = together.ranks()
    assert set(ranks) == {0, 1}
    os.kill(ranks[1], signal.SIGKILL)
    began = time.monotonic()
    assert together.end() != 0
    assert time.monotonic() - began < 30, "the first process must not wait for one that is gone"
    assert not any(alive(pid) for pid in ranks.values())
    assert not list(together.folder.glob("results/records/*")), "nothing is recorded of half a trial"
    finished_by_one(together.folder, tmp_path, words, cli)


def finished_by_one(folder: Path, reference: Path, words: list[str], cli: Callable[..., Any]) -> None:
    """One process goes on from the checkpoint there, and ends as one that began anew."""
    whole = cli("run", *words)
    assert whole.code == 0, whole.err
    last = cli("run", *words, f"paths.runs_root={folder}/runs", f"paths.results_root={folder}/results")
    assert last.code == 0, last.err
    assert weights_apart(folder, reference) <= 1e-9
    ours, theirs = record_of(folder), record_of(reference)
    assert ours["metrics"] == theirs["metrics"] and ours["key"] == theirs["key"]
    assert [row["step"] for row in ours["curve"]] == [row["step"] for row in theirs["curve"]]
    assert ours["cost"]["steps"] == theirs["cost"]["steps"] == 30


@long
@pytest.mark.parametrize("told", ["launcher", "one"])
def test_a_signal_stops_all_after_a_checkpoint(launch, cli, tmp_path, trial_arguments, told):
    words = [*trial_arguments(*LONG, method="fine_tuning")]
    together = launch(*words)
    together.wait_for_checkpoint(after=1)
    if told == "launcher":
        together.process.send_signal(signal.SIGTERM)  # what a scheduler sends: the launcher passes it on
    else:
        os.kill(together.ranks()[1], signal.SIGUSR2)
    assert together.end() != 0
    assert together.err.read_text().count("stopped after a checkpoint; the same command continues it") == 1
    finished_by_one(together.folder, tmp_path, words, cli)


@long
def test_a_stored_trial_returns_and_a_missing_file_is_said_once(launch, trial_arguments, own_data):
    words = trial_arguments(method="fine_tuning")
    first = launch(*words)
    assert first.end() == 0, first.err.read_text()
    record = record_of(first.folder)
    again = launch(*words)
    assert again.end() == 0, again.err.read_text()
    assert "already in the store" in again.out.read_text() and record_of(again.folder) == record

    [file] = own_data.rglob("RTE/train.jsonl")
    file.unlink()
    refused = launch(*words, f"task.data_dir={file.parent}", "seed=2", folder="refused")
    assert refused.end() != 0
    said = refused.err.read_text() + refused.out.read_text()
    assert said.count("repro: ") == 1 and "train.jsonl" in said
    assert "exitcode  : 2" in said and not list(refused.folder.glob("runs/*"))


# What the launcher says, without one ----------------------------------------------------------------------------------


def launched(monkeypatch: pytest.MonkeyPatch, rank: int = 0, count: int = 2, **more: str) -> None:
    said = {"RANK": str(rank), "WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": "1", **more}
    for name, value in said.items():
        monkeypatch.setenv(name, value)


def test_only_a_launcher_makes_several_processes(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert present() == Processes(0, 1, 0)
    monkeypatch.setenv("WORLD_SIZE", "8")  # some schedulers set it in every job
    assert present() == Processes(0, 1, 0)
    launched(monkeypatch, rank=5, count=8, LOCAL_RANK="1")
    assert present() == Processes(5, 8, 1) and not present().first


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report"], "repro report in 2 processes (WORLD_SIZE)"),
        (["sweep", "offline/cb"], "repro sweep in 2 processes (WORLD_SIZE)"),
        (["run", "-m", "seed=1,2"], "-m in 2 processes (WORLD_SIZE)"),
        (["-m", "seed=1,2"], "-m in 2 processes (WORLD_SIZE)"),
    ],
)
def test_other_commands_and_sweeps_are_refused(cli, monkeypatch, arguments, said):
    launched(monkeypatch)
    done = cli(*arguments)
    assert done.code == 2 and done.err.startswith(f"repro: {said}: several processes share one trial")


def test_a_bad_config_is_refused_before_the_processes_meet(cli, monkeypatch, trial_arguments):
    launched(monkeypatch)  # nobody listens at that port: meeting would fail
    done = cli("run", *trial_arguments("trainer.microbatches=0"))
    assert done.code == 2 and "trainer.microbatches=0" in done.err


def test_a_process_without_a_gpu_of_its_own_says_so(monkeypatch):
    launched(monkeypatch, rank=1, LOCAL_RANK="1")
    monkeypatch.setattr(distributed, "pick_device", lambda name: torch.device(name))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="process 1 of this machine has no GPU: there are 1") as refused:
        distributed.device_of("cuda")
    assert refused.value.here_only
    with pytest.raises(ConfigError, match=r"trainer\.device=mps"):
        distributed.device_of("mps")
    assert distributed.device_of("cpu") == torch.device("cpu")


def here_only(text: str) -> ReproError:
    error = ReproError(text)
    error.here_only = True
    return error


@pytest.mark.parametrize(
    ("rank", "error", "waits", "says"),
    [
        (0, ReproError("bad"), False, True),
        (1, here_only("no GPU"), False, True),  # what one process alone knows
        (0, ToldElsewhere(), False, False),
        (1, ReproError("bad"), True, True),  # still alive after the wait: the first did not fail
        (1, ToldElsewhere(), True, False),
        (1, Interrupted("stopped"), True, False),
    ],
)
def test_who_says_what_was_wrong(monkeypatch, capsys, rank, error, waits, says):
    slept: list[float] = []
    monkeypatch.setattr(processes.time, "sleep", slept.append)
    launched(monkeypatch, rank=rank)
    processes.tell(error)
    assert bool(slept) is waits
    assert capsys.readouterr().err == (f"repro: {error}\n" if says else "")
