"""The command line: what each command prints, writes and returns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import repro
from repro.cli.registry import COMMANDS
from repro.papers import registry

pytestmark = pytest.mark.usefixtures("one_thread")


def record_files(folder: Path) -> list[Path]:
    return sorted((folder / "results" / "records").glob("*/record.json"))


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in record_files(folder)]


# Without a trial -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(arguments, cli):
    done = cli(*arguments)
    assert (done.code, done.err) == (0, "")
    for text in ("--cfg job", "--plugin", "--config-dir", "Exit codes: 0", "2 ", "130 "):
        assert text in done.out
    assert all(f"\n  repro {command.name} " in done.out for command in COMMANDS if command.usage)
    assert cli("--version").out == f"{repro.__version__}\n"


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.raw], ids=lambda one: one.name)
def test_every_command_describes_itself(command):
    text = command.parser().format_help()
    assert text.startswith(f"usage: repro {command.name} ") and len(text) > 150


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (("swe",), ["sweep"]),
        (("sweep", "--jo"), ["--joint"]),
        (("store", "v"), ["verify"]),
        (("report", "--pl"), ["--plugin"]),
    ],
)
def test_the_shell_completes(typed, completed, cli):
    script = cli("completion", "bash").out
    words = " ".join(("repro", *typed))
    script += f'\nCOMP_WORDS=({words}); COMP_CWORD={len(typed)}; _repro; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == completed, done.stderr
    assert "compinit" in cli("completion", "zsh").out


def test_an_unknown_command_is_refused(cli, tmp_path):
    done = cli("train", "task=rte")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("repro: train: there is no such command; allowed are run, ") and "--help" in done.err
    assert done.err.count("\n") == 1 and not any(tmp_path.iterdir())


def test_cfg_prints_the_config_and_runs_nothing(cli, tmp_path):
    done = cli("run", "--cfg", "job", "method=p_tuning_v2", "model=tiny-bert", "task=rte", "method.length=7")
    assert done.code == 0 and "length: 7\n" in done.out and "name: tiny-bert\n" in done.out
    assert not any(tmp_path.iterdir())


def test_run_is_the_command_where_none_is_given_and_sys_argv_is_as_before(cli, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x", "y"])
    with_it, without = cli("run", "method.length=0"), cli("method.length=0")
    assert with_it.code == without.code == 2
    assert with_it.err == without.err and "method.length=0" in without.err
    assert sys.argv == ["x", "y"]


# run -----------------------------------------------------------------------------------------------------------------


def test_a_trial_is_run_scored_printed_and_kept_and_then_comes_from_the_store(cli, python, trial_arguments, tmp_path):
    from safetensors.torch import load_file

    arguments = trial_arguments("trainer.steps=30", "trainer.evaluate_every=10")
    done = cli("run", *arguments)
    assert done.code == 0, done.err

    [path] = record_files(tmp_path)
    record = json.loads(path.read_text())
    key = path.parent.name
    assert record["key"] == key
    score = record["metrics"]["validation"]["accuracy"]
    # What is printed: what ran, our score, and the paper's own numbers for this method and task as context.
    assert f"p_tuning_v2 | tiny-bert | rte | seed 1  [{key}, " in done.out
    assert f"validation accuracy {score:.2f} " in done.out
    cells = registry.cells(paper="liu2022", task="rte", method="p_tuning_v2", at="Table 2")
    theirs = {cell.number for cell in cells}
    assert len(theirs) > 2
    assert "not comparable" in done.out and all(f" {number:g}" in done.out for number in theirs)
    counts = record["parameters"]
    assert (
        f"trained {counts['trained']:,} parameters, stored {counts['stored']:,}, frozen {counts['frozen']:,}"
        in done.out
    )
    # Progress goes to standard error, an evaluation a line.
    assert [line.split()[6] for line in done.err.splitlines() if ": epoch " in line] == ["5", "10", "15"]

    # What is written: predictions, the prompt, and no checkpoint.
    folder = tmp_path / "runs" / key
    assert sorted(file.name for file in folder.iterdir()) == ["predictions-validation.jsonl", "prompt.safetensors"]
    lines = [json.loads(line) for line in (folder / "predictions-validation.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"validation-{i}" for i in range(6)]
    assert [line["references"] for line in lines] == [[i % 2] for i in range(6)]
    right = [line["prediction"] == line["references"][0] for line in lines]
    assert score == pytest.approx(100 * sum(right) / len(right))
    tensors = load_file(folder / "prompt.safetensors")
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == {
        "encoder.prefix": [1, 20, 2 * 2 * 4 * 8],
        "head.weight": [1, 2, 32],
        "head.bias": [1, 2],
    }
    assert sum(tensor.numel() for tensor in tensors.values()) == counts["stored"]

    # The second call: the same record from the store, and torch is not even loaded.
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    code = (
        "import sys; from repro.cli.main import main; code = main(sys.argv[1:]);"
        "print(code, sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    again = python("-c", code, "run", *arguments)
    assert again.out.splitlines()[-1] == "0 []", again.err
    assert again.err == ""
    assert f"[{key}, already in the store]" in again.out and f"validation accuracy {score:.2f} " in again.out
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, changed)
    assert sorted(file.name for file in folder.iterdir()) == ["predictions-validation.jsonl", "prompt.safetensors"]


def test_a_multirun_is_an_ordinary_hydra_sweep(start, trial_arguments, tmp_path):
    arguments = trial_arguments("trainer.steps=1", "trainer.evaluate_every=1")[1:]
    done = start("-m", "method=prompt_tuning,p_tuning_v2", "seed=1,2", *arguments).end()
    assert done.code == 0, done.err
    found = records(tmp_path)
    assert sorted((record["config"]["method"]["name"], record["seed"]) for record in found) == [
        ("p_tuning_v2", 1),
        ("p_tuning_v2", 2),
        ("prompt_tuning", 1),
        ("prompt_tuning", 2),
    ]
    # In the order of the sweep, each with its own record and folder.
    heads = [line.split("  [")[0] for line in done.out.splitlines() if line.startswith("p")]
    names = [(method, seed) for method in ("prompt_tuning", "p_tuning_v2") for seed in (1, 2)]
    assert heads == [f"{method} | tiny-bert | rte | seed {seed}" for method, seed in names]
    folders = sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir() and path.name != "cache")
    assert folders == sorted(record["key"] for record in found)
    for record in found:
        assert record["provenance"]["command"][:2] == ["repro", "run"]
        assert f"seed={record['seed']}" in record["provenance"]["command"]
        assert record["choices"]["method"] == record["config"]["method"]["name"]


def test_a_failing_trial_does_not_stop_the_others(cli, trial_arguments, tmp_path):
    rates = "trainer.optimiser.learning_rate=1e30,1e-2"
    done = cli("run", "-m", *trial_arguments("method.length=3,0", rates))
    assert done.code == 2
    found = {record["config"]["trainer"]["optimiser"]["learning_rate"]: record for record in records(tmp_path)}
    assert {rate: record["status"] == "failed" for rate, record in found.items()} == {1e30: True, 1e-2: False}
    assert all(record["config"]["method"]["length"] == 3 for record in found.values())
    said = [line for line in done.err.splitlines() if line.startswith("repro: ")]
    assert len(said) == 3 and "became nan" in said[0] and all("method.length=0: " in line for line in said[1:])
    assert f"[{found[1e-2]['key']}, " in done.out


def test_ctrl_c_ends_the_whole_sweep(start, trial_arguments, tmp_path):
    process = start("-m", "seed=1,2", *trial_arguments("trainer.steps=2000", "trainer.evaluate_every=2"))
    process.wait_for(lambda: process.printed("epoch 1 "))
    os.kill(process.pid, signal.SIGINT)
    done = process.end()
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith("repro: p_tuning_v2 tiny-bert rte seed 1: stopped after a checkpoint")
    assert "seed 2" not in done.err and "Traceback" not in done.err
    assert record_files(tmp_path) == []


@pytest.mark.parametrize("place", ["paths.runs_root", "paths.results_root"])
def test_a_file_where_a_folder_should_be_is_said_in_one_sentence(place, cli, trial_arguments, tmp_path):
    (tmp_path / "taken").write_text("mine")
    done = cli("run", *trial_arguments(f"{place}=taken"))
    assert done.code == 2
    last = done.err.splitlines()[-1]
    assert last.startswith("repro: ") and "taken" in last and "To fix it, " in last
    assert "Traceback" not in done.err and (tmp_path / "taken").read_text() == "mine"
    assert record_files(tmp_path) == []


def test_the_recorded_command_names_no_folder_and_the_choices_no_recipe_that_is_not_there(
    cli, trial_arguments, data_root, tmp_path
):
    data = f"task.data_dir={data_root}/superglue/RTE"
    assert cli("run", *trial_arguments(data, "+paths={}", "paths.runs_root=here")).code == 0
    [record] = records(tmp_path)
    command = record["provenance"]["command"]
    assert command[:5] == ["repro", "run", "method=p_tuning_v2", "model=tiny-bert", "task=rte"]
    assert not [word for word in command if "paths" in word or "data_dir" in word or str(tmp_path) in word]
    assert record["choices"] == {
        **{"method": "p_tuning_v2", "model": "tiny-bert", "task": "rte"},
        **{"paths": "default", "tracker": "none", "trainer": "default"},
    }


# What is printed beside a score --------------------------------------------------------------------------------------


def test_a_comparable_trial_is_printed_beside_the_papers_number(composed):
    from repro.config.run_key import run_key
    from repro.report.pages.trial_summary import trial_summary
    from repro.store.record import Record
    from tests.nested import resolved

    plain = resolved(composed("method=p_tuning_v2", "model=roberta-large", "task=conll04"))
    cell = {"task": "conll04", "model": "roberta-large", "method": "p_tuning_v2", "at": "Table 3"}
    [theirs] = [cell.number for cell in registry.cells(paper="liu2022", **cell)]
    record = Record(run_key(plain), "done", plain, 1, metrics={"test": {"span_f1": theirs - 1.25}})
    record.parameters = {"trained": 1234, "stored": 1000, "frozen": 5_000_000}
    printed = trial_summary(record, from_store=True)
    assert f"[{record.key}, already in the store]" in printed
    assert f"test span_f1 {theirs - 1.25:.2f}   paper {theirs:g} (liu2022, Table 3), difference -1.25: " in printed
    assert "trained 1,234 parameters, stored 1,000, frozen 5,000,000" in printed


# report --------------------------------------------------------------------------------------------------------------


def test_a_report_of_nothing_says_so(cli, tmp_path):
    for arguments in ((), ("--results", "elsewhere")):
        done = cli("report", *arguments)
        assert (done.code, done.out) == (2, "")
        where = arguments[-1] if arguments else "results"
        assert done.err.startswith(f"repro: {where}/records: no records there. Run a trial first")
        assert done.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_a_report_is_written_printed_and_byte_equal_when_repeated(cli, trial_arguments, tmp_path):
    assert cli("run", "-m", *trial_arguments("seed=1,2")).code == 0
    assert cli("run", *trial_arguments("trainer.optimiser.learning_rate=1e30")).code == 2
    kept = {path: path.read_bytes() for path in record_files(tmp_path)}
    assert len(kept) == 3
    names = ["REPORT.md", "index.html", "tables/comparison.csv", "tables/liu2022-table2.tex", "figures/parity.png"]
    written = []
    for _ in range(2):
        done = cli("report")
        assert (done.code, done.err) == (0, "")
        said = [line.removeprefix("wrote ") for line in done.out.splitlines() if line.startswith("wrote ")]
        assert said == ["results/REPORT.md", "results/index.html", "results/tables", "results/figures"]
        assert all((tmp_path / name).exists() for name in said) and "3 records" in done.out
        assert "tiny-bert" in done.out and "not comparable" in done.out
        written.append([(tmp_path / "results" / name).read_bytes() for name in names])
    assert written[0] == written[1]
    page = written[0][0].decode()
    assert "3 records" in page and "1 failed" in page and "became nan" in page
    assert {path: path.read_bytes() for path in record_files(tmp_path)} == kept
    # From another folder, to another folder: the same files.
    done = cli("report", "--results", str(tmp_path / "results"), "--out", "copy")
    assert done.code == 0
    assert [(tmp_path / "copy" / name).read_bytes() for name in names] == written[0]


def test_a_damaged_record_is_named(cli, trial_arguments, tmp_path):
    folder = tmp_path / "results" / "records" / "0123456789abcdef"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{")
    done = cli("report")
    assert done.code == 1 and done.err.startswith("1 damaged file is left out")
    assert "0123456789abcdef/record.json: is damaged" in done.err
