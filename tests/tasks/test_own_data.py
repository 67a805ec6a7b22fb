"""A data set of the user's own: one yaml in a folder of theirs, as docs/own-data.md shows, from the command line."""

import json
import re

import pytest

from repro.tasks.files import content_hash
from tests.docs.test_docs import files_of

SMALL = ("model=tiny-bert", "method=p_tuning_v2", "method.length=3", "trainer.epochs=1", "trainer.threads=1")


@pytest.fixture
def shop(tmp_path):
    """A folder with the files of the page, and nothing of ours."""
    for name, text in files_of("own-data.md").items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def record(folder):
    (path,) = (folder / "results" / "records").glob("*/record.json")
    return json.loads(path.read_text(encoding="utf-8"))


VALUES = {
    "reviews": {"accuracy", "f1_macro", "task_score"},
    "recipes": {f"{strict}span_{value}" for strict in ("", "strict_") for value in ("f1", "precision", "recall")},
    "manuals": {"f1", "exact_match"},
}


@pytest.mark.parametrize("task", list(VALUES))
def test_a_process_trains_on_it_and_keeps_a_record(shop, start, task):
    done = start("run", "--config-dir", "my-conf", f"task={task}", *SMALL, cwd=shop).end()
    assert done.code == 0, done.err
    kept = record(shop)
    assert kept["choices"]["task"] == task and kept["config"]["task"]["name"] == task
    assert set(kept["metrics"]["validation"]) == VALUES[task]
    rows = {"reviews": (4, 2), "recipes": (2, 1), "manuals": (2, 1)}[task]
    assert tuple(kept["provenance"]["data"][split]["rows"] for split in ("train", "validation")) == rows
    assert str(shop) not in json.dumps(kept), "records hold no folder of this machine"
    again = start("run", "--config-dir", "my-conf", f"task={task}", *SMALL, cwd=shop).end()
    assert again.code == 0 and kept == record(shop)


def test_the_head_has_the_tags_of_the_training_file(shop, start):
    assert start("run", "--config-dir", "my-conf", "task=recipes", *SMALL, cwd=shop).end().code == 0
    config = record(shop)["config"]
    width, layers = config["model"]["width"], config["model"]["layers"]
    assert record(shop)["parameters"]["trained"] == 3 * 2 * layers * width + 5 * (width + 1)  # O and four more


@pytest.mark.parametrize("format", ["csv", "tsv", "jsonl"])
def test_every_format_gives_the_same_record(shop, start, format):
    rows = {"train": [("kettle", "It leaks", "unhappy"), ("lamp", "Bright", "happy")], "dev": [("mug", "Hot", "happy")]}
    for split, own in rows.items():
        columns = ("product", "review", "mood")
        if format == "jsonl":
            text = "".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in own)
        else:
            mark = {"csv": ",", "tsv": "\t"}[format]
            text = "".join(mark.join(row) + "\n" for row in (columns, *own))
        (shop / "reviews" / f"{split}.{format}").write_text(text, encoding="utf-8")
    files = f"task.options.files={{train: train.{format}, validation: dev.{format}}}"
    done = start("run", "--config-dir", "my-conf", "task=reviews", files, *SMALL, cwd=shop).end()
    assert done.code == 0, done.err
    data = record(shop)["provenance"]["data"]
    content = [{"product": product, "review": review, "label": mood} for product, review, mood in rows["train"]]
    assert data["train"] == {"rows": 2, "sha256": content_hash(content)}


@pytest.mark.parametrize(
    ("damage", "arguments", "said"),
    [
        (None, ["task=review"], "task=review: there is no such file; allowed are boolq,.*reviews"),
        (("reviews/train.csv", "mood", "feeling"), ["task=reviews"], r"reviews/train\.csv:2 lacks the column 'mood'"),
        (("reviews/dev.csv", "unhappy", "sad"), ["task=reviews"], r"reviews/dev\.csv:3: the label is 'sad'"),
        (("recipes/train.txt", "milk B-FOOD", "milk"), ["task=recipes"], r"recipes/train\.txt:11 is 'milk'"),
        (("manuals/dev.json", "25", "250"), ["task=manuals"], r"manuals/dev\.json .*starts at 250"),
        (("my-conf/task/reviews.yaml", "columns:", "colums:"), ["task=reviews"], "unknown: colums; missing: columns"),
        (("my-conf/task/reviews.yaml", "labels:", "lables:"), ["task=reviews"], "lables.*this key does not exist"),
    ],
)
def test_faults_are_one_sentence_and_exit_code_2(shop, cli, damage, arguments, said):
    if damage:
        file, old, new = damage
        (shop / file).write_text((shop / file).read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    done = cli("run", "--config-dir", "my-conf", *arguments, *SMALL)
    assert done.code == 2
    assert re.search(said, done.err), done.err
    assert "Traceback" not in done.err and not (shop / "results").exists()


def test_a_folder_that_is_not_there_is_one_sentence(shop, cli):
    done = cli("run", "--config-dir", "my-config", "task=reviews", *SMALL)
    assert done.code == 2 and "my-config: there is no such folder" in done.err


def test_a_metric_added_by_override_leaves_the_recorded_task_alone(composed):
    from repro.config.run_key import run_key
    from tests.nested import resolved

    plain = resolved(composed("task=conll04"))
    assert plain["task"]["metrics"] == [{"name": "span_f1"}]
    more = "task.metrics=[{name: span_f1}, {name: strict_span_f1}]"
    other = resolved(composed("task=conll04", more))
    assert other["task"]["metrics"] == [{"name": "span_f1"}, {"name": "strict_span_f1"}]
    assert run_key(plain) != run_key(other)


def test_a_sweep_finds_the_folder_too(shop, start):
    done = start("run", "--config-dir", "my-conf", "-m", "task=reviews,recipes", "seed=1", *SMALL, cwd=shop).end()
    assert done.code == 0, done.err
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in shop.glob("results/records/*/record.json")]
    assert {one["choices"]["task"] for one in kept} == {"reviews", "recipes"}


def test_changed_data_does_not_get_the_old_record(shop, cli):
    arguments = ("run", "--config-dir", "my-conf", "task=reviews", *SMALL)
    assert cli(*arguments).code == 0
    kept = record(shop)
    train = shop / "reviews" / "train.csv"
    whole = train.read_text(encoding="utf-8")
    train.write_text(whole + "vase,It is blue.,happy\n", encoding="utf-8")
    done = cli(*arguments)
    assert done.code == 2 and re.search(
        r"reviews was made with other data: train in reviews.*another task\.name", done.err
    )
    assert record(shop) == kept
    assert cli(*arguments, "task.name=reviews2").code == 0
    train.write_text(whole, encoding="utf-8")
    assert cli(*arguments).code == 0  # the old files are back
    train.unlink()
    assert cli(*arguments).code == 0  # no file, no objection
