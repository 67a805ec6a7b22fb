"""`repro doctor` says of every task, model and metric what is there, what is not, and what mends it."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from repro.config.compose import options
from repro.config.task_files import task_names, typed_task
from repro.doctor import fingerprints, metrics, models, tasks
from repro.doctor.assets import assets, of_task
from repro.doctor.findings import CONVERSION, DOWNLOAD, EXTRA, FILES, JAVA, READY, WRONG, Finding, shown, worst
from repro.doctor.tasks import parts_of
from repro.errors import ConfigError
from repro.metrics.meteor import Meteor
from repro.store.store import Store
from repro.tasks.registry import task_in_format

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("REPRO_DATA_ROOT", ROOT.parent / "shared" / "data"))


def state(name: str, root: Path, deep: bool = False) -> Finding:
    (found,) = tasks.tasks(str(root), deep, [name])
    return found


# Configs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", task_names())
def test_a_task_is_what_hydra_composes(name, altered):
    assert altered(f"task={name}")["task"] == asdict(typed_task(name, "data"))


@pytest.mark.parametrize("name", task_names())
def test_every_task_names_its_data_set_metrics_and_hashes(name):
    known = {one.name for one in metrics.metrics()}
    for part in parts_of(typed_task(name, "d")):
        assert {metric["name"] for metric in [*part.metrics, *part.also_metrics]} <= known
        assert set(part.sha256) <= set(part.rows)
        assert all(len(text) == 16 and int(text, 16) >= 0 for text in part.sha256.values())
        assert of_task(part.name), (
            f"no data set of src/repro/doctor/assets.yaml has the task {part.name}: say there where its files come "
            "from, under which licence, and what misleads"
        )


# Tasks ---------------------------------------------------------------------------------------------------------------


def test_with_all_files_every_task_is_ready(data_root):
    found = tasks.tasks(str(data_root))
    assert [one.name for one in found] == options("task")
    assert {one.name: one.state for one in found if not one.ready} == {}
    assert all(one.splits or typed_task(one.name, "d").parts for one in found)


def test_with_none_every_task_says_where_from(tmp_path):
    for one in tasks.tasks(str(tmp_path)):
        if typed_task(one.name, "d").source == "microworld":  # written on this machine
            assert one.ready, one
            continue
        assert one.state in (DOWNLOAD, FILES), one
        assert one.fix and one.detail
        if one.state == DOWNLOAD:
            words = one.fix.split()
            assert set(words[words.index("--only") + 1 :]) <= {asset.name for asset in assets() if asset.downloads}


def test_a_missing_split_is_named_with_its_fix(own_data):
    (own_data / "squad" / "train-v1.1.json").unlink()
    found = state("squad", own_data)
    assert (found.state, found.detail) == (DOWNLOAD, "squad/train-v1.1.json")
    assert found.splits == {"train": "missing", "validation": "there", "test": "there"}
    assert found.fix == f"python scripts/fetch_assets.py --dest {own_data} --only squad_v1"
    (own_data / "conll04" / "test.txt").unlink()
    found = state("conll04", own_data)
    assert (found.state, found.detail) == (FILES, "conll04/test.txt") and "P-tuning-v2" in found.fix
    found = state("mpt_ner", own_data)
    assert found.state == FILES and "conll04: conll04/test.txt" in found.detail
    (own_data / "superglue" / "RTE" / "test.jsonl").unlink()  # nobody needs it
    found = state("rte", own_data)
    assert found.ready and "test" not in found.splits
    shutil.rmtree(own_data / "mrqa")  # licensed: the user's business
    found = state("mrqa_bioasq", own_data)
    assert found.state == FILES and "mrqa/BioASQ.jsonl.gz" in found.detail and "bioasq.org" in found.fix


def test_a_mixture_says_what_mends_all_of_its_parts(tmp_path):
    found = state("mpt_qa", tmp_path)
    assert found.fix == f"python scripts/fetch_assets.py --dest {tmp_path} --only squad_v1 squad_v2"
    found = state("mpt_srl", tmp_path)
    assert "CoNLL-2005" in found.fix and "CoNLL-2012" in found.fix
    found = state("qqp_to_mrpc", tmp_path)
    assert all(found.fix.count(one.fix) == 1 for one in tasks.tasks(str(tmp_path), names=["qqp", "mrpc"]))


def test_deep_counts_and_compares(own_data):
    found = state("rte", own_data, deep=True)  # 8 made-up rows are not 2,490
    assert found.state == WRONG and "has 8 rows, the original train split of rte has 2490" in found.detail
    assert found.splits["train"] == "unusable"
    (own_data / "superglue" / "RTE" / "train.jsonl").write_text("{")
    found = state("rte", own_data, deep=True)
    assert found.state == WRONG and "train.jsonl:1 is not JSON" in found.detail


@pytest.mark.real
def test_everything_of_the_data_folder_is_ready():
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} does not exist (set REPRO_DATA_ROOT)")
    configs = {name: typed_task(name, "d") for name in task_names()}
    whole = [  # the microworld is not in the folder: it is written into the user's cache when it is first asked for
        name for name, one in configs.items() if "train" in one.sha256 and one.source != "microworld"
    ]
    found = {one.name: one for one in tasks.tasks(str(DATA), deep=True, names=[*whole, "squad", "squad_v2"])}
    assert len(whole) >= 8
    for name in whole:
        assert found[name].ready, found[name]
        assert all(said.endswith("rows as the original") for said in found[name].splits.values()), found[name]
    assert not [one for one in found.values() if one.state == WRONG]
    for name in ("squad", "squad_v2"):
        assert found[name].splits["validation"].split()[0] in ("10,570", "11,873")
        assert found[name].splits["train"] == "missing" and found[name].state == DOWNLOAD


# Content hashes ------------------------------------------------------------------------------------------------------


def test_hashes_of_the_configs_are_those_of_the_committed_records():
    checked = 0
    for record in Store(ROOT / "results" / "records").records():
        name = record.config["task"]["name"]
        stated = typed_task(name, "d").sha256
        for split, facts in record.provenance["data"].items():
            if split in stated:
                assert facts["sha256"].startswith(stated[split]), (record.key, split)
                checked += 1
    assert checked or not (ROOT / "results" / "records").is_dir()


def test_another_content_is_a_deviation_with_both_hashes(own_data):
    config = replace(typed_task("rte", str(own_data)), rows={"train": 8, "validation": 6, "test": 4})

    def hash_deviations() -> tuple[str, list[str]]:
        task = task_in_format(config, "pair")
        task.examples("validation")
        said = [text for text in task.deviations if "hash" in text and text.startswith("validation")]
        return task.fingerprint()["validation"]["sha256"][:16], said

    found, [said] = hash_deviations()
    assert found in said and config.sha256["validation"] in said
    config.sha256 = {"validation": found}
    assert hash_deviations() == (found, [])


def test_fingerprints_are_lines_for_conf_task(data_root, capsys):
    import yaml

    for name in ("rte", "mpt_ner"):
        lines = fingerprints.fingerprint(name, str(data_root))
        for part in parts_of(typed_task(name, str(data_root))):
            at = lines.index(f"# {part.name}")
            stated = yaml.safe_load("\n".join(lines[at + 1 : at + 3]))
            assert stated["rows"] == {"train": 8, "validation": 6, "test": 4}
            assert all(isinstance(text, str) and len(text) == 16 for text in stated["sha256"].values())


# Majority ------------------------------------------------------------------------------------------------------------


def test_the_majority_answer_scores_its_share(data_root):
    # Classes 0, 1, 2 in turn: two of the six validation rows each.
    (line,) = fingerprints.majority("cb", str(data_root), check_rows=False)
    assert line.startswith("cb (pair): 6 validation rows, always entailment (2): accuracy 33.33, f1_macro 16.67")
    with pytest.raises(ConfigError, match="free text"):
        fingerprints.majority("e2e", str(data_root), check_rows=False)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("boolq", "3,270 validation rows, always True (2,033): accuracy 62.17"),
        ("squad_v2", "11,873 validation rows, always no answer: f1 50.07, exact_match 50.07"),
        ("wsc", "104 validation rows, always False (66): accuracy 63.46"),
        ("wic", "638 validation rows, always False (319): accuracy 50.00"),
    ],
)
def test_real_majority_scores(name, expected):
    """The numbers of the papers' notes: BoolQ 62.17, WSC 63.46, SQuAD 2.0 50.07 (5,945 of 11,873 without an answer)."""
    if not DATA.is_dir():
        pytest.skip(f"no real data: {DATA} does not exist (set REPRO_DATA_ROOT)")
    (line,) = fingerprints.majority(name, str(DATA))
    assert expected in line


# Models --------------------------------------------------------------------------------------------------------------

HUB = replace(models.facts("roberta-large"), name="m", source="hub", location="someone/m", licence="mit")


def snapshot(home: Path, *files: str, commit: str = "abc", revision: str = "main") -> Path:
    """A hub cache as the hub's own library lays it out: refs/<revision> names a commit, files are links to blobs."""
    root = home / "hub" / "models--someone--m"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / revision).write_text(commit)
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True)
    (root / "blobs").mkdir()
    for file in files:
        (root / "blobs" / file).write_text("x")
        (folder / file).symlink_to(root / "blobs" / file)
    return folder


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ((), DOWNLOAD),
        (("config.json",), DOWNLOAD),
        (("model.safetensors",), DOWNLOAD),
        (("config.json", "model.safetensors"), READY),
        (("config.json", "model-00001-of-00002.safetensors"), READY),
        (("config.json", "pytorch_model.bin"), CONVERSION),
        (("config.json", "pytorch_model.bin", "model.safetensors"), READY),
    ],
)
def test_the_hub_cache_is_looked_at(files, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    assert models.look(HUB).state == DOWNLOAD
    snapshot(tmp_path, *files)
    found = models.look(HUB)
    assert found.state == expected and bool(found.fix) == (expected != READY)
    assert models.look(replace(HUB, revision="other")).state == DOWNLOAD
    if expected != DOWNLOAD:
        assert models.look(replace(HUB, revision="abc")).state == expected, "a commit is a revision too"
    if expected == CONVERSION:
        assert "convert_checkpoint.py someone/m checkpoints/m" in found.fix


def test_a_download_that_was_broken_off_is_not_ready(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = snapshot(tmp_path, "config.json", "model.safetensors")
    assert models.look(HUB).state == READY
    (folder / "model.safetensors").resolve().unlink()  # a link to a blob that never came
    assert models.look(HUB).state == DOWNLOAD


def test_the_cache_is_where_the_hubs_library_has_it(tmp_path, python):
    code = "from huggingface_hub import constants; from repro.doctor.models import cache_folder\n"
    code += "import os; print(os.path.realpath(constants.HF_HUB_CACHE) == os.path.realpath(cache_folder()))"
    for more in ({}, {"HF_HOME": str(tmp_path)}, {"HF_HUB_CACHE": str(tmp_path)}, {"XDG_CACHE_HOME": str(tmp_path)}):
        done = python("-c", code, **more)
        assert done.out.strip() == "True", (more, done.err)


def test_folders_packages_and_random_models(tmp_path, monkeypatch):
    at = replace(HUB, source="folder", location=str(tmp_path))
    assert models.look(at).state == FILES
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("x")
    assert models.look(at).ready
    package = replace(HUB, source="package", location="no_such_package_here:model")
    assert (models.look(package).state, models.look(package).fix) == (DOWNLOAD, "make offline-models")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "__init__.py").write_text("")
    (tmp_path / "packed" / "a.gguf").write_text("x")
    package = replace(package, location="packed:a.gguf")
    monkeypatch.setattr(models, "GGUF_NEEDS", ("no_such_package_here",))
    assert models.look(package).state == EXTRA and "offline-models" in models.look(package).fix
    assert models.look(replace(HUB, source="random")).ready


def test_every_model_has_a_state_and_a_fix(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    found = models.models()
    assert [one.name for one in found] == options("model")
    assert all(one.ready or one.fix for one in found)
    assert {one.name for one in found if one.name.startswith("tiny-")} <= {one.name for one in found if one.ready}


# Metrics -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (None, READY),
        ("there is no `java` on this machine (install a Java runtime)", JAVA),
        ("the package pycocoevalcap is missing (pip install 'repro[generation-metrics]')", EXTRA),
    ],
)
def test_a_metric_says_itself_what_it_lacks(monkeypatch, reason, expected):
    monkeypatch.setattr(Meteor, "unavailable", lambda self: reason)
    found = metrics.look("meteor")
    assert (found.state, found.fix) == (expected, reason or "")


# The command ---------------------------------------------------------------------------------------------------------


def test_exit_codes_and_json(cli, data_root, own_data):
    done = cli("doctor", "--data", str(data_root))
    assert done.code == 0 and done.out.startswith(f"data root: {data_root}") and "tiny-bert" in done.out
    assert "--deep reads the files" in done.out
    assert "--deep" not in cli("doctor", "task=rte", "--data", str(data_root), "--deep").out
    assert (
        cli("doctor", "--data", str(data_root), "--require", "task=rte", "model=tiny-bert", "metric=accuracy").code == 0
    )
    shutil.rmtree(own_data / "superglue" / "RTE")
    done = cli("doctor", "--data", str(own_data), "--require", "task=rte,cb")
    assert done.code == 2 and "task=rte is not ready: needs download" in done.err and "task=cb" not in done.err
    done = cli("doctor", "--data", str(own_data), "--json", "task=rte", "metric=accuracy")
    assert done.code == 0, "only what is required must be ready"
    found = json.loads(done.out)
    assert [(one["kind"], one["name"], one["state"]) for one in found] == [
        ("task", "rte", DOWNLOAD),
        ("metric", "accuracy", READY),
    ]


@pytest.mark.parametrize(
    ("word", "said"), [("rte", "say task=NAME"), ("task=nothing", "allowed are .*rte"), ("metric=x", "accuracy")]
)
def test_unknown_names_are_refused(word, said, cli):
    done = cli("doctor", word)
    assert done.code == 2
    assert re.search(said, done.err), done.err


def test_it_loads_no_heavy_library(python, data_root):
    code = f"""
import sys
from repro.cli.main import main
code = main(["doctor", "--data", {str(data_root)!r}])
heavy = [name for name in ("torch", "transformers", "datasets") if name in sys.modules]
print(code, heavy)
"""
    done = python("-c", code)
    assert done.out.splitlines()[-1] == "0 []", done.err


def test_the_worst_part_decides():
    assert worst([READY, FILES, DOWNLOAD]) == FILES and worst([]) == READY
    text = shown([Finding("task", "a", READY), Finding("task", "b", JAVA, "meteor", "install Java")])
    assert "-> install Java" in text and text.endswith("1 ready, 1 needs Java")
