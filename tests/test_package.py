"""The wheel carries the config tree and the papers' numbers, and works outside a checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = (
        "import sys; from hatchling.builders.wheel import WheelBuilder; "
        "list(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2]))"
    )
    subprocess.run([sys.executable, "-c", build, str(ROOT), str(out)], check=True, capture_output=True, timeout=120)
    (made,) = out.glob("*.whl")
    return made


def test_every_config_file_and_every_paper_is_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert f"repro/conf/{path.relative_to(ROOT / 'conf').as_posix()}" in names
    for path in (ROOT / "src" / "repro" / "papers" / "reported").glob("*.yaml"):
        assert f"repro/papers/reported/{path.name}" in names
    assert not [name for name in names if name.startswith(("tests/", "conf/"))]


def test_the_mini_models_are_in_the_wheel_and_small(wheel):
    """Weights in half precision, tokenizer and the account of the training; all of the wheel under 40 MB."""
    packed = {info.filename: info for info in zipfile.ZipFile(wheel).infolist()}
    models = [path.stem for path in (ROOT / "conf" / "model").glob("mini-*.yaml")]
    assert len(models) >= 10
    for name in models:
        for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "training.json"):
            ours = ROOT / "src" / "repro" / "models" / "mini_weights" / name / file
            assert packed[f"repro/models/mini_weights/{name}/{file}"].file_size == ours.stat().st_size
    assert wheel.stat().st_size < 40e6


def test_the_installed_command_composes_outside_a_checkout(wheel, tmp_path):
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    shown = subprocess.run(
        [sys.executable, "-m", "repro", "run", "--cfg", "job", "task=rte"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    assert "name: rte" in shown.stdout
    where = "import repro.config.compose as c; print(c.conf_dir())"
    told = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip() == str(target / "repro" / "conf")


def test_the_installed_command_takes_a_task_of_the_users_own(wheel, tmp_path):
    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    (tmp_path / "my-conf" / "task").mkdir(parents=True)
    ours = (ROOT / "conf" / "task" / "wnut17.yaml").read_text(encoding="utf-8")
    mine = ours.replace("name: wnut17", "name: mine").replace("${paths.data_root}/wnut17", "my-data")
    (tmp_path / "my-conf" / "task" / "mine.yaml").write_text(mine, encoding="utf-8")
    shown = subprocess.run(
        [sys.executable, "-m", "repro", "run", "--config-dir", "my-conf", "--cfg", "job", "task=mine"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    assert "name: mine" in shown.stdout and "data_dir: my-data" in shown.stdout
