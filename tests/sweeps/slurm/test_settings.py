"""Where settings of jobs come from, which wins, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest import MonkeyPatch

from repro.errors import ConfigError
from repro.sweeps.executors.slurm import settings
from repro.sweeps.executors.slurm.arrays import JobArray
from repro.sweeps.executors.slurm.submit import script


@pytest.fixture
def site(tmp_path: Path, monkeypatch: MonkeyPatch) -> Callable[[str], Path]:
    """site(text) -> the site file of this user, with that text."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def write(text: str) -> Path:
        path = tmp_path / "repro" / "slurm.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write


def test_every_key_of_the_file_is_a_setting_with_the_same_default(site: Callable[[str], Path]) -> None:
    assert settings.from_words([]) == settings.Settings()


def test_the_site_wins_over_the_file_and_the_command_line_over_both(
    site: Callable[[str], Path], tmp_path: Path
) -> None:
    site("partition: gpu\ntime: 1-00:00:00\ncpus: 8\nextra: {nice: 100, comment: ours}\n")
    made = settings.from_words(["hydra.launcher.cpus=2", "+hydra.launcher.extra.nice=5"])
    assert (made.partition, made.time, made.cpus) == ("gpu", "1-00:00:00", 2)
    assert made.extra == {"nice": 5, "comment": "ours"}
    other = tmp_path / "other.yaml"
    other.write_text("account: us\n")
    made = settings.from_words([f"hydra.launcher.site={other}"])
    assert (made.partition, made.account) == (None, "us"), "another site file was named"


def test_a_time_is_not_a_number_to_the_base_of_sixty(site: Callable[[str], Path]) -> None:
    site("time: 4:00:00\ncpus: 3\npoll_seconds: 0.5\n")
    made = settings.from_words([])
    assert (made.time, made.cpus, made.poll_seconds) == ("4:00:00", 3, 0.5)
    assert settings.from_words(["hydra.launcher.time=0:30:00"]).time == "0:30:00"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partitions: gpu", "Settings has no such key, only site, wait, partition"),
        ("site: other", "cannot name another one"),
        ("- gpu", "`key: value` lines"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_site_file_that_cannot_be_is_refused_with_its_path(site: Callable[[str], Path], text: str, said: str) -> None:
    path = site(text)
    with pytest.raises(ConfigError) as error:
        settings.from_words([])
    assert str(path) in str(error.value) and said in str(error.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["time=soon"], "1-12:00:00"),
        (["time=0"], "minutes"),
        (["time=0:00:00"], "minutes"),
        (["gpus=-1"], "at least 0"),
        (["gpus=true"], "a whole number"),
        (["cpus=0"], "at least 1"),
        (["cpus=many"], "a whole number"),
        (["throttle=0"], "at least 1"),
        (["poll_seconds=0"], "above 0"),
        (["mem=lots"], "16G"),
        (["setup=module"], "a list"),
        (["extra=5"], "a group of keys"),
        (["wait=perhaps"], "true or false"),
        (["site=/no/such/file"], "no such file"),
        (["partitions=gpu"], "no such key, only site, wait, partition"),
        (["gpu_type=a100", "gpus=0"], "asks for no GPU"),
    ],
)
def test_a_value_that_cannot_be_is_refused(site: Callable[[str], Path], words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings.from_words([f"hydra.launcher.{word}" for word in words])
    assert f"hydra.launcher.{words[0].partition('=')[0]}" in str(error.value) and message in str(error.value)


@pytest.mark.parametrize(
    ("given", "asked", "start"),
    [
        ({"gpus": 2, "gpu_type": "a100"}, {"gres=gpu:a100:2"}, "srun"),
        ({"gpus": 1, "cpus": 4}, {"gres=gpu:1", "cpus-per-task=4"}, "srun --unbuffered --cpus-per-task=4"),
        ({"throttle": 3}, {"array=0-1%3"}, "srun"),
        ({"mem": None, "extra": {"nice": 5, "exclusive": True, "comment": "a b"}},
         {"nice=5", "exclusive", "comment='a b'"}, "srun"),
        # The signal goes to the shell, which the command replaces.
        ({"srun": False, "signal_seconds": 90}, {"requeue", "mem=16G", "signal=B:USR2@90"}, "exec"),
    ],
)  # fmt: skip
def test_what_sbatch_is_asked_for(given: dict[str, Any], asked: set[str], start: str) -> None:
    array = JobArray(Path("/shared/50% of it/slurm/1"), "", "", "", {}, [[], []])
    text = script(array, settings.Settings(**given))
    options = {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert asked <= options and "output='/shared/50%% of it/slurm/1/%A_%a_log.out'" in options, "%% is a % there"
    assert any(option.startswith("gres") for option in options) == (given.get("gpus", 1) > 0)
    assert any(option.startswith("mem") for option in options) == ("mem" not in given)
    assert text.splitlines()[-1].startswith(start) and "run-chunk '/shared/50% of it/slurm/1'" in text
