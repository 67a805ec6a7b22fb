"""Provenance says what made a result, and nothing about whose machine it was."""

import getpass
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import repro
from repro.errors import redacted_command
from repro.trials import provenance as module
from repro.trials.provenance import provenance

SOURCE = Path(repro.__file__).parents[1]
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def fresh(code: str, source: Path = SOURCE, **environment: str) -> str:
    """What `code` prints in a process of its own, with the package read from `source`."""
    settings = os.environ | {"PYTHONPATH": str(source)} | environment
    return subprocess.run([sys.executable, "-c", code], env=settings, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def copy(tmp_path) -> Path:
    """The package's top level, copied to a folder that is in no repository."""
    package = tmp_path / "tree" / "src" / "repro"
    package.mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "trials/__init__.py", "trials/provenance.py"):
        (package / name).parent.mkdir(exist_ok=True)
        shutil.copy(SOURCE / "repro" / name, package / name)
    return package


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def git_of(copy: Path, **environment: str) -> dict:
    code = "import json; from repro.trials.provenance import provenance; print(json.dumps(provenance([])['git']))"
    return json.loads(fresh(code, copy.parent, **environment))


def test_what_it_says(monkeypatch):
    import numpy
    import omegaconf

    result = provenance(["repro", "run"])
    assert set(result) == {"git", "packages", "python", "platform", "cpus", "device", "command"}
    assert result["packages"]["numpy"] == numpy.__version__
    assert result["packages"]["omegaconf"] == omegaconf.__version__
    assert result["packages"]["repro"] == repro.__version__
    assert set(result["packages"]) == {*module.PACKAGES, "repro"}
    assert {"torch", "transformers", "tokenizers", "datasets", "sacrebleu", "seqeval", "peft"} < set(result["packages"])
    assert result["python"] == platform.python_version()
    assert platform.machine() in result["platform"]
    assert 1 <= result["cpus"] <= os.cpu_count()
    assert result["command"] == ["repro", "run"]
    assert json.loads(json.dumps(result)) == result
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "no-such-package"))
    assert provenance([])["packages"]["no-such-package"] is None


def test_names_no_person_and_no_machine(monkeypatch):
    monkeypatch.setenv("SOME_VARIABLE", "value-of-a-variable")
    monkeypatch.setenv("HOME", "/somewhere/jane")
    monkeypatch.setenv("LOGNAME", "jane")
    monkeypatch.setattr(socket, "gethostname", lambda: "host-of-jane")
    text = json.dumps(provenance(["/somewhere/jane/bin/repro", "x=/somewhere/jane/data", "y=/scratch/jane/data"]))
    for word in ("value-of-a-variable", "jane", "host-of-jane"):
        assert word not in text
    assert '["repro", "x=~/data", "y=/scratch/<user>/data"]' in text


@needs_git
def test_git_commit_and_dirty_flag_are_of_the_source(copy):
    assert git_of(copy) == {"commit": None, "dirty": None}
    root = copy.parents[1]
    git(root, "init", "-q")
    # Somebody's repository around an installed package says nothing about the package.
    git(root, "commit", "-q", "--allow-empty", "-m", "theirs")
    assert git_of(copy) == {"commit": None, "dirty": None}
    (root / ".gitignore").write_text("__pycache__\n")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "ours")
    commit = git(root, "rev-parse", "HEAD")
    assert git_of(copy) == {"commit": commit, "dirty": False}
    (root / "results").mkdir()
    (root / "results" / "record.json").write_text("{}")
    assert git_of(copy) == {"commit": commit, "dirty": False}
    (copy / "new.py").write_text("")
    assert git_of(copy) == {"commit": commit, "dirty": True}
    (copy / "new.py").unlink()
    (copy / "__init__.py").write_text("changed = True\n__version__ = '0'\n")
    assert git_of(copy) == {"commit": commit, "dirty": True}
    # As inside a git hook of another repository:
    assert git_of(copy, GIT_DIR="/nowhere", GIT_WORK_TREE="/nowhere") == {"commit": commit, "dirty": True}


def test_without_git(copy):
    assert git_of(copy, PATH="/nowhere") == {"commit": None, "dirty": None}


def test_slow_git_is_given_up(monkeypatch, tmp_path):
    slow = tmp_path / "git"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(module, "GIT_SECONDS", 0.1)
    assert provenance([])["git"] == {"commit": None, "dirty": None}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("tracker.api_key=abc", "tracker.api_key=***"),
        ("+wandb.apiKey=abc", "+wandb.apiKey=***"),
        ("WANDB_API_KEY=abc=def", "WANDB_API_KEY=***"),
        ("key=abc", "key=***"),
        ("--token=abc", "--token=***"),
        ("hub.token='a b'", "hub.token=***"),
        ("db.password=a,b", "db.password=***"),
        ("client_secret=abc", "client_secret=***"),
        ("+hub={name: x, token: abc}", "+hub={name: x, token: ***}"),
        ("+hub={'password': 'a b', n: 1}", "+hub={'password': ***, n: 1}"),
        ("header=Authorization: Bearer abc", "header=Authorization: ***"),
        ("url=https://jo:abc@example.org/x", "url=https://***@example.org/x"),
        ("x=hf_abcdefghijklmnopqrstuvwxyz", "x=***"),
        ("task=rte", "task=rte"),
        ("task.decoding.max_new_tokens=16", "task.decoding.max_new_tokens=16"),
        ("method.init_words=[key, token]", "method.init_words=[key, token]"),
        ("trainer.optimiser.learning_rate=0.3", "trainer.optimiser.learning_rate=0.3"),
        ("data=/home/jo/data", "data=~/data"),
        ("data=/Users/jo", "data=~"),
    ],
)
def test_redacted(argument, expected):
    assert redacted_command(["repro", argument]) == ["repro", expected]


def test_redacted_values_of_flags_and_the_program():
    given = ["/opt/x/bin/repro", "--api-key", "abc", "--verbose", "x"]
    assert redacted_command(given) == ["repro", "--api-key", "***", "--verbose", "x"]
    assert given[2] == "abc" and redacted_command([]) == []


def test_user_without_a_name(monkeypatch):
    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert redacted_command(["repro", "x=/scratch/y"]) == ["repro", "x=/scratch/y"]


def test_torch_is_never_loaded_for_it():
    code = (
        "import sys, repro.trials.provenance as p; r = p.provenance([]); "
        "print(r['device'], sorted({'torch', 'numpy', 'transformers', 'omegaconf'} & set(sys.modules)))"
    )
    assert fresh(code).strip() == "None []"


class FakeTorch:
    class cuda:
        @staticmethod
        def is_available():
            return True

        @staticmethod
        def get_device_name():
            return "Accelerator 9000"


@pytest.mark.parametrize(
    ("device", "expected"), [(None, "Accelerator 9000"), ("cuda", "Accelerator 9000"), ("cpu", "cpu")]
)
def test_device_name(monkeypatch, device, expected):
    monkeypatch.setitem(sys.modules, "torch", FakeTorch)
    assert provenance([], device=device)["device"] == expected
