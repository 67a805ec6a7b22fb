"""A config folder names no code, beyond what tests/cli/test_no_code.py tries at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from repro.config.compose import compose, refuse_other_places, trial_config
from repro.config.folder import check_folder
from repro.config.plugins import VARIABLE
from repro.errors import ConfigError
from repro.metrics.registry import build_metric

REFUSED = {
    "a package below hydra": "# @package hydra.callbacks\nx: {y: 1}\n",
    "a package that a default sets": "defaults:\n  - /task/rte@hydra.job_logging\n",
    "a group of Hydra's": "defaults:\n  - override /hydra/callbacks: x\n",
    "made from text": "hydra: {launcher: {x: '${oc.decode:${y}}'}}\n",
    "a resolver that is put together": "x: '${oc.${y}:{a: 1}}'\n",
    "variables of the job": "hydra: {job: {env_set: {REPRO_PLUGINS: x.py}}}\n",
    "shell lines": "hydra: {launcher: {setup: [touch it-ran]}}\n",
    "a grid over Hydra's values": "hydra: {sweeper: {grids: [{+hydra.callbacks.x: 1}]}}\n",
    "a target inside of ours": "hydra: {launcher: {x: {_target_: hydra_plugins.repro_joint.JointLauncher}}}\n",
    "other code of our module": "hydra: {sweeper: {_target_: hydra_plugins.repro_sweeps.Path}}\n",
}


@pytest.mark.parametrize("door", REFUSED)
def test_what_a_file_may_not_say(door: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.yaml").write_text(REFUSED[door])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "experiment").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"mine\.yaml: .* names code"):
        check_folder(tmp_path / "own")


def test_what_it_may_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    path = tmp_path / "hydra" / "launcher" / "mine.yaml"
    path.write_text("_target_: hydra_plugins.repro_slurm.SlurmLauncher\npartition: ${oc.env:PARTITION,gpu}\n")
    (tmp_path / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/sweeper: grids\n  - override /task: rte\n"
        "hydra: {sweeper: {grids: [{method.length: '2,4'}]}}\n"
    )
    check_folder(tmp_path)
    path.write_text("_target_: my_module.Launcher\n")
    with pytest.raises(ConfigError, match="names code"):
        check_folder(tmp_path)
    monkeypatch.setenv(VARIABLE, "my_module")
    check_folder(tmp_path)


@pytest.mark.parametrize("word", ["--config-path=x", "-cp", "-cnx", "--config-n=x", "hydra.searchpath=[x]", "--conf"])
def test_configs_are_read_from_the_checked_folder_only(word: str) -> None:
    if word == "--conf":
        word = "--config-d"
    with pytest.raises(ConfigError, match="--config-dir FOLDER only"):
        refuse_other_places(["task=rte", word])
    refuse_other_places(["--cfg", "job", "-c", "task=rte"])


def test_the_home_folder_is_expanded_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REPRO_RESULTS_ROOT", "~/res")
    words = ["method=p_tuning_v2", "model=tiny-bert", "task=rte", "task.data_dir='~/x'", "paths.runs_root='~/a%b'"]
    node = compose([*words, "paths.cache_root='~/c'"], hydra=True)
    config = trial_config(node)
    assert config.task.data_dir == f"{tmp_path}/x" and config.paths.results_root == f"{tmp_path}/res"
    assert config.paths.cache_root == f"{tmp_path}/c" and config.paths.runs_root == f"{tmp_path}/a%b"
    assert node.hydra.sweep.dir == f"{tmp_path}/a%b"


def test_a_typo_in_a_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean accuracy"):
        build_metric({"name": "acuracy"})
