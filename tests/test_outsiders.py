"""A method, a metric, a task, a model and an exhibit from outside the package: the files of docs/extending.md, run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("one_thread")

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
FILES: dict[str, str] = dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)```$", PAGE, re.DOTALL | re.MULTILINE))
TWO_STEPS = (
    "trainer.epochs=null",
    "trainer.steps=2",
    "trainer.evaluate_every=2",
    "trainer.batch_size=2",
    "trainer.device=cpu",
)
CELL = ("method=shared_vector", "model=wide-bert", "task=moods")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page, outside the package."""
    root = tmp_path_factory.mktemp("outside")
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.fixture
def repro(
    start: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """repro(*arguments, cwd=) -> exit code, output, errors: a process of its own with the page's environment."""

    def call(*arguments: str, cwd: Path = folder) -> tuple[int, str, str]:
        outside = ["--config-dir", "conf", "--plugin", "shared_vector.py", "--plugin", "caution.py"]
        done = start(*arguments, *outside, cwd=cwd).end()
        return done.code, done.out, done.err

    yield call


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((folder / "results" / "records").glob("*/record.json"))]


def test_the_page_has_one_file_for_each_thing():
    assert [name for name in FILES if not name.startswith("moods/")] == [
        *("shared_vector.py", "conf/method/shared_vector.yaml", "caution.py", "conf/task/moods.yaml"),
        *("conf/model/wide-bert.yaml", "conf/experiment/own/first.yaml"),
    ]
    assert len(PAGE.split()) <= 500


def test_they_train_are_planned_join_are_reported_and_exported(repro, folder):
    code, out, err = repro("plan", "own/first", *TWO_STEPS)
    assert code == 0, err
    assert "own/first: 2 trials" in out and "trials: 2 in all, 0 done" in out

    code, out, err = repro("run", *CELL, "seed=1", *TWO_STEPS)  # alone
    assert code == 0, err
    [alone] = records(folder)
    assert alone["config"]["method"]["length"] == 3 and alone["parameters"]["prompt"] == 64
    assert set(alone["metrics"]["validation"]) >= {"accuracy", "caution"}

    code, out, err = repro("sweep", "own/first", "--joint", "2", "rerun=true", "seed=3,4", *TWO_STEPS)  # jointly
    assert code == 0, err
    trained = {record["seed"]: record for record in records(folder)}
    assert set(trained) == {1, 3, 4}
    assert [trained[seed]["provenance"].get("joint_trials") for seed in (1, 3, 4)] == [None, 2, 2]
    assert {record["status"] for record in trained.values()} <= {"done", "collapsed"}
    outside = ["--config-dir", "conf", "--plugin", "shared_vector.py", "--plugin", "caution.py"]
    assert all(record["provenance"]["command"][-6:] == outside for record in trained.values()), "it can be run again"

    code, out, err = repro("report")
    assert code == 0, err
    page = (folder / "results" / "REPORT.md").read_text()
    assert "shared_vector" in page and "wide-bert" in page and "moods" in page

    code, out, err = repro("export", alone["key"], "--out", "my-prompt")
    assert code == 0, err
    assert json.loads((folder / "my-prompt" / "prompt.json").read_text())["tensors"]["vector"] == [1, 64]


@pytest.mark.parametrize(
    ("file", "right", "wrong", "named"),
    [
        ("conf/method/shared_vector.yaml", "length:", "lenght:", "lenght"),
        ("conf/task/moods.yaml", "label_column:", "lable_column:", "lable_column"),
        ("conf/task/moods.yaml", "formats:", "fromats:", "fromats"),
        ("conf/task/moods.yaml", "{name: caution}", "{name: caution, treshold: 1}", "treshold"),
        ("conf/task/moods.yaml", "text_classification", "text_clasification", "text_clasification"),
        ("conf/model/wide-bert.yaml", "width:", "widht:", "widht"),
        ("conf/experiment/own/first.yaml", "title:", "titel:", "titel"),
    ],
)
def test_a_misspelt_key_is_an_error_that_names_it(file, right, wrong, named, repro, folder):
    path = folder / file
    text = path.read_text()
    path.write_text(text.replace(right, wrong))
    command = ("plan", "own/first") if "experiment" in file else ("run", *CELL, "seed=7", *TWO_STEPS)
    try:
        code, _, err = repro(*command)
    finally:
        path.write_text(text)
    assert code == 2 and named in err and "Traceback" not in err, err


@pytest.mark.parametrize(
    "option", [("--plugin", "nothing.py"), ("--plugin", "no.such.module"), ("--config-dir", "none")]
)
def test_what_is_not_there_is_said(option, cli):
    done = cli("plan", "offline/cb", *option)
    assert done.code == 2 and option[1] in done.err and done.err.count("\n") == 1
