"""Every file of conf/task fits the schema, builds its task and reads the real data (skipped where that is missing)."""

import csv
import json
import os
import re
import subprocess
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import repro
from repro.errors import DataError
from repro.evaluation.scoring import score
from repro.tasks.base import FORMATS, SPLITS, Choice, Pair, Ranking, Tagged, TextToText
from repro.tasks.table_to_text import ATTRIBUTES
from tests.tasks import making

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("REPRO_DATA_ROOT", ROOT.parent / "shared" / "data"))
CONF = ROOT / "conf" / "task"
CLASSIFICATION = ("boolq", "cb", "copa", "mrpc", "multirc", "qqp", "record", "rte", "sst2", "wic", "wsc")
GENERATION = ("dart", "e2e", "webnlg")
OURS = (*CLASSIFICATION, *GENERATION, "conll04", "wnut17")
FORM_TYPES = {"text_to_text": TextToText, "pair": Pair, "choice": Choice, "ranking": Ranking, "tagging": Tagged}
AS_IT_IS: dict[str, dict[str, Any]] = {
    "mrpc": {"options": {"validation_list": {"ids": None}}},
    "qqp": {"check_rows": False},
    "record": {"check_rows": False},
}
"""What the folder of real data lacks: GLUE's list of MRPC's validation rows, most of QQP and of ReCoRD."""


config, built = partial(making.config, data_root=DATA), partial(making.from_conf, data_root=DATA)


@pytest.mark.parametrize("name", OURS)
def test_the_file_fits_the_schema_and_says_what_it_is(name):
    task = config(name)
    assert task.name == name
    first = (CONF / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ") and f"repro run task={name} " in first and len(first) <= 120
    assert set(task.formats) <= set(FORMATS) and task.format == "auto"
    assert task.data_dir.startswith(str(DATA))
    assert set(task.rows) == set(SPLITS)
    assert task.report_split == ("test" if name in ("conll04", "wnut17", *GENERATION) else "validation")


@pytest.mark.parametrize("name", OURS)
def test_every_form_builds_with_true_metrics(name):
    for format in config(name).formats:
        task = built(name, format)
        assert task.format == format and task.name == name
        assert task.labels == tuple(config(name).labels)
        assert task.metrics and all(callable(metric.score) for metric in task.metrics)
        assert task.fingerprint() == {}


def test_metrics_are_those_of_the_papers():
    assert [metric.name for metric in built("cb").metrics] == ["accuracy", "f1_macro"]
    assert built("cb").metrics[1].classes == 3
    for name in ("rte", "boolq", "wic", "copa", "wsc", "sst2"):
        assert [metric.name for metric in built(name).metrics] == ["accuracy"]
    for name in ("mrpc", "qqp"):
        assert [metric.name for metric in built(name).metrics] == ["f1", "accuracy"]
    assert [built(name).metrics[0].outputs for name in ("multirc", "record")] == [
        ("f1a", "exact_match"),
        ("f1", "exact_match"),
    ]


def test_the_transfers_are_named_as_the_paper_names_them():
    from repro.papers import registry

    named = {cell.task for cell in registry.cells(paper="lester2021", at="Table 2")}
    transfers = list(CONF.glob("[mq]*_to_*.yaml"))
    assert {OmegaConf.load(path).paper_name for path in transfers} == named == {path.stem for path in transfers}
    for path in transfers:
        task = OmegaConf.load(path)
        assert task.name == f"{task.options.train}_to_{task.options.test}" and task.report_split == "test"
        assert task.labels == config(task.options.train).labels
        (word, other), *more = task.options["words"].items()
        assert not more
        changed = [label.replace(word, other) for label in config(task.options.train).labels]
        assert changed == config(task.options.test).labels


def test_paper_names_are_those_of_the_reported_numbers():
    reported = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src/repro/papers/reported").glob("*.yaml"))
    for name in OURS:
        paper_name = config(name).paper_name
        assert paper_name is None or re.search(rf"task: {paper_name}\b", reported), name
    assert [name for name in OURS if config(name).paper_name is None] == ["wnut17"]


@pytest.mark.parametrize("name", GENERATION)
def test_table_to_text_decodes_as_the_authors_do(name):
    decoding = config(name).decoding
    assert (decoding.beams, decoding.length_penalty, decoding.max_new_tokens) == (5, 1.0, 100)
    assert list(decoding.bad_words) == ["\n\n", "\n"]


@pytest.mark.parametrize(
    ("name", "domain"), [("xsum", None), ("xsum_news_to_sports", "news_to_sports"), ("xsum_within_news", "within_news")]
)
def test_xsum_reads_and_decodes_as_the_authors_do(name, domain):
    """liliang2021 section (a): 512 and 60 tokens, six beams, penalty 0.8; the official max_length 62 and min_length 11
    count BART's start token."""
    task = config(name)
    assert (task.name, task.paper_name, task.report_split, task.formats) == (name, name, "test", ["text_to_text"])
    assert (task.max_input_length, task.max_target_length) == (512, 60)
    decoding = task.decoding
    assert (decoding.beams, decoding.length_penalty, decoding.batch_size) == (6, 0.8, 10)
    assert (decoding.max_new_tokens + 1, decoding.min_new_tokens + 1) == (62, 11)
    assert task.options.get("domain") == domain and task.options.get("test_sample", 8000) == 8000
    assert built(name).format == "text_to_text"


def test_tasks_import_no_model_library():
    program = "import json, sys, repro.tasks.sentence_pair, repro.tasks.tagging, repro.tasks.table_to_text\n"
    program += "print(json.dumps([name for name in ('torch', 'transformers', 'datasets') if name in sys.modules]))"
    environment = {**os.environ, "PYTHONPATH": str(Path(repro.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(result.stdout) == []


# Real data -----------------------------------------------------------------------------------------------------------


def real(name, format=None, **changes):
    folder = Path(config(name).data_dir)
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set REPRO_DATA_ROOT)")
    return built(name, format, **changes)


SIZES = {
    "rte": (2490, 277, 3000),
    "cb": (250, 56, 250),
    "copa": (400, 100, 500),
    "boolq": (9427, 3270, 3245),
    "multirc": (27243, 4848, 9693),
    "mrpc": (3668, 408, 1725),
    "wic": (5428, 638, 1400),
    "conll04": (922, 231, 288),
    "wnut17": (3394, 1009, 1287),
    "e2e": (42061, 547, 630),
    "webnlg": (18025, 872, 1862),
}


GROUPED = {"e2e": {"validation": 4672, "test": 4693}, "webnlg": {"train": 6940}}
"""Rows of splits whose examples are not rows: an input has several lines, an entry several texts."""


@pytest.mark.real
@pytest.mark.parametrize(("name", "sizes"), SIZES.items())
def test_real_sizes(name, sizes):
    task = real(name, **AS_IT_IS.get(name, {}))
    assert tuple(len(task.examples(split)) for split in SPLITS) == sizes
    rows = dict(zip(SPLITS, sizes, strict=True)) | GROUPED.get(name, {})
    assert {split: facts["rows"] for split, facts in task.fingerprint().items()} == rows
    assert len({facts["sha256"] for facts in task.fingerprint().values()}) == 3


@pytest.mark.real
@pytest.mark.parametrize("name", OURS)
def test_every_real_example_renders_in_every_form(name):
    for format in config(name).formats:
        task = real(name, format, **AS_IT_IS.get(name, {}))
        for example in task.examples("validation"):
            assert isinstance(task.render(example), FORM_TYPES[format])
            assert example.references


@pytest.mark.real
def test_real_majority_classes():
    """Constant predictors of liu2022 section (d): BoolQ 2033 of 3270; WiC is balanced; CB and RTE as counted."""
    for name, counts in (("boolq", [1237, 2033]), ("wic", [319, 319]), ("rte", [146, 131]), ("cb", [23, 28, 5])):
        task = real(name)
        gold = [example.references[0] for example in task.examples("validation")]
        assert [gold.count(label) for label in range(len(task.labels))] == counts


MAJORITY = {
    "boolq": (1, {"accuracy": 62.17}),
    "cb": (1, {"accuracy": 50.0, "f1_macro": 22.22, "task_score": 36.11}),
    "copa": (0, {"accuracy": 55.0}),
    "rte": (0, {"accuracy": 52.71}),
    "wic": (0, {"accuracy": 50.0}),
    "wsc": (0, {"accuracy": 63.46}),
    "multirc": (1, {"f1a": 59.95, "exact_match": 0.84, "task_score": 30.39}),
}
"""Validation scores of one class for every row, as our metrics compute them; of MultiRC the class True."""


@pytest.mark.real
@pytest.mark.parametrize("name", MAJORITY)
def test_real_scores_of_a_constant_prediction(name):
    task, (label, expected) = real(name), MAJORITY[name]
    examples = task.examples("validation")
    assert score(task, examples, [label] * len(examples)).values == pytest.approx(expected, abs=0.005)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "split", "share"),
    [
        ("multirc", "train", 44.1),
        ("multirc", "validation", 42.8),
        ("mrpc", "test", 66.5),
        ("wsc", "train", 100.0),
        ("wsc", "validation", 36.5),
    ],
)
def test_real_shares_of_class_1(name, split, share):
    """Tables 11 and 13 of Lester et al.; MRPC's test split as counted (its other splits need GLUE's list)."""
    golds = [example.references[0] for example in real(name, **AS_IT_IS.get(name, {})).examples(split)]
    assert 100 * sum(golds) / len(golds) == pytest.approx(share, abs=0.05)


@pytest.mark.real
def test_real_multirc_questions_and_passages():
    task = real("multirc")
    for split, passages, questions in (("train", 456, 5131), ("validation", 83, 953)):
        examples = task.examples(split)
        assert len({example.cluster for example in examples}) == passages
        assert len({example.group for example in examples}) == questions


@pytest.mark.real
def test_real_wsc_pronouns_are_found():
    """259 true rows to train on; a model that never names the phrase gets the majority's score."""
    task = real("wsc")
    sizes = {split: len(task.examples(split)) for split in SPLITS}
    assert sizes == {"train": 259, "validation": 104, "test": 146}
    assert {split: facts["rows"] for split, facts in task.fingerprint().items()} == sizes | {"train": 554}
    for split in SPLITS:
        for example in task.examples(split):
            marked = task.render(example).source.split("*")
            assert len(marked) == 3 and marked[1] == example.fields["span2_text"]
    examples = task.examples("validation")
    silent = [task.parse("somebody else", example) for example in examples]
    assert score(task, examples, silent).values["accuracy"] == pytest.approx(100 * 66 / 104)
    named = [task.parse(task.render(example).target, example) for example in examples]
    assert score(task, examples, named).values["accuracy"] == pytest.approx(100 * 38 / 104)
    assert len(real("wsc", "pair").examples("train")) == 554


@pytest.mark.real
def test_real_record_is_fewglues_sample():
    real("record")
    with pytest.raises(DataError, match="FewGLUE"):
        built("record").examples("train")
    text, ranking = (real("record", format, check_rows=False) for format in ("text_to_text", "ranking"))
    assert (len(text.examples("train")), len(ranking.examples("train"))) == (44, 32), "a row an answer, a row a query"
    for example in ranking.examples("validation"):
        rendered = ranking.render(example)
        right = [entity for entity, label in zip(example.fields["entities"], rendered.labels, strict=True) if label]
        assert set(right) == set(example.references), "every gold answer is among the entities"
        assert "@placeholder" not in "".join(str(second) for _, second in rendered.pairs)
        assert ranking.parse([float(label) for label in rendered.labels], example) in example.references
    assert all("@highlight" not in text.render(example).source for example in text.examples("train"))


@pytest.mark.real
def test_real_qqp_is_a_subset():
    real("qqp")
    with pytest.raises(DataError, match=r"has 8999 rows, the original train split of qqp has 363846"):
        built("qqp").examples("train")
    task = real("qqp", check_rows=False)
    assert (len(task.examples("train")), len(task.examples("validation"))) == (8999, 1000)
    examples = task.examples("validation")
    assert score(task, examples, [1] * 1000).values["f1"] == pytest.approx(200 * 377 / 1377)


@pytest.mark.real
def test_real_boolq_passages_are_clusters():
    assert len({example.cluster for example in real("boolq").examples("validation")}) == 2939


@pytest.mark.real
def test_real_conll04_spans():
    task = real("conll04")
    spans = []
    for split in SPLITS:
        tags = [tag for example in task.examples(split) for tag in example.references[0]]
        spans.append(sum(tag.startswith("B-") for tag in tags))
        # No orphan I-: the spans are the B- tags.
        assert all(one[2:] == two[2:] for one, two in pairwise(tags) if two.startswith("I-"))
    assert spans == [3377, 893, 1079]
    assert task.deviations == ()


@pytest.mark.real
def test_real_e2e_references():
    task = real("e2e")
    assert sum(len(example.references) for example in task.examples("validation")) == 4672
    counts = [len(example.references) for example in task.examples("test")]
    assert (sum(counts), min(counts), max(counts)) == (4693, 1, 45)
    shown = [task.render(example) for split in SPLITS for example in task.examples(split)]
    assert all(text == text.strip() != "" and "||" not in text for pair in shown for text in (pair.source, pair.target))


@pytest.mark.real
def test_real_webnlg_counts():
    """hub.yaml: 18,025 of 18,102 texts are good; 2,268 and 4,928 references; 971 and 891 test entries."""
    task = real("webnlg")
    assert [len(example.references) for example in task.examples("train")] == [1] * 18025
    references = {s: sum(len(example.references) for example in task.examples(s)) for s in ("validation", "test")}
    assert references == {"validation": 2268, "test": 4928}
    halves = {name: [e for e in task.examples("test") if e.meta["subset"] == name] for name in ("seen", "unseen")}
    assert {name: len(own) for name, own in halves.items()} == {"seen": 971, "unseen": 891}
    assert [sum(len(example.references) for example in own) for own in halves.values()] == [2495, 2433]
    train = [task.render(example) for example in task.examples("train")]
    assert (train[0].source, train[0].target) == (
        ' | Aarhus_Airport : cityServed : "Aarhus, Denmark"',
        "The Aarhus is the airport of Aarhus, Denmark.",
    )
    bare = [e.id for e in task.examples("test") if not task.render(e).source.startswith(" | ")]
    assert bare == ["test-0"]


def real_dart(**options):
    """DART of 2021, whose training set is not in the folder of real data."""
    return real("dart", options={"files": {"test": "dart-v1.1.1-full-test.xml"}, **options})


@pytest.mark.real
def test_real_dart_counts_and_version():
    task = real_dart()
    assert [len(task.examples(split)) for split in ("validation", "test")] == [2768, 5097]
    whole = real_dart(references=None)
    counts = [sum(len(example.references) for example in whole.examples(s)) for s in ("validation", "test")]
    assert counts == [6980, 12552]
    assert len({task.render(example).source for example in task.examples("test")}) == 4159
    assert any("files of 2021 (5097 entries)" in text for text in task.deviations)
    first = task.render(task.examples("validation")[0])
    assert first.source == (
        "Mars Hill College : joined : 1973 | Mars Hill College : location : Mars Hill, North Carolina"
    )
    assert first.target == "A school from Mars Hill, North Carolina, joined in 1973."


@pytest.mark.real
def test_real_dart_references_are_those_of_the_official_files():
    """Every line of the three reference files of 2021, empty ones included."""
    folder = DATA / "dart" / "references"
    examples = real_dart().examples("test")
    for number in range(3):
        lines = (folder / f"all-delex-reference{number}.lex").read_text(encoding="utf-8").split("\n")[:-1]
        assert [" ".join(line.split()) for line in lines] == [example.references[number] for example in examples]


@pytest.mark.real
def test_real_e2e_tables_survive_the_challenges_format(tmp_path):
    """The authors' inputs written as the challenge's csv would have them come back as they were."""
    original = {theirs: ours for ours, theirs in ATTRIBUTES.items()}
    for split, name in (("validation", "dev.csv"), ("test", "test.csv")):
        task = real("e2e")
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["mr", "ref"])
            for example in task.examples(split):
                pairs = (part.split(" : ", 1) for part in example.fields["source"].split(" | "))
                values = [
                    (
                        original.get(key, key),
                        re.sub(r" ?- ?", "-", value.replace("£ ", "£")) if key == "price" else value,
                    )
                    for key, value in pairs
                ]
                table = ", ".join(f"{key}[{value}]" for key, value in values)
                rows.writerows([table, text] for text in example.references)
        back = built("e2e", data_dir=str(tmp_path), options={"files": {split: name}})
        found, expected = back.examples(split), task.examples(split)
        assert [(e.fields, e.references) for e in found] == [(e.fields, e.references) for e in expected]


@pytest.mark.real
@pytest.mark.parametrize(("size", "dev"), [(50, 15), (500, 150)])
def test_real_low_data_sets_of_e2e(size, dev):
    task = real("e2e", low_data={"size": size, "subset": 4})
    assert [len(task.examples(split)) for split in SPLITS] == [size, dev, 630]
    assert len(real("e2e", fraction=0.1).examples("train")) == 4206


def test_fewglue_files_as_the_docs_say(tmp_path):
    """The block of docs/data.md, on made-up files of FewGLUE's sizes."""
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n# task=rte;.*?\n(.*?)```", page, re.DOTALL)
    given = OmegaConf.to_container(OmegaConf.create(block).task)
    files, rows = given["options"]["files"], given["rows"]
    for split, name in files.items():
        row = json.dumps({"premise": "A.", "hypothesis": "B.", "label": "entailment", "idx": 0})
        (tmp_path / name).write_text(f"{row}\n" * rows[split])
    task = built("rte", data_dir=str(tmp_path), **given)
    assert [len(task.examples(split)) for split in SPLITS] == [32, 32, 277]
    assert given["low_data"]["size"] == 32 and given["report_split"] == "test"


@pytest.mark.real
def test_real_low_data_subset():
    kept = real("e2e", limit={"train": 50, "seed": 1}).examples("train")
    other = real("e2e", limit={"train": 50, "seed": 2}).examples("train")
    assert len(kept) == len(other) == 50
    assert [example.id for example in kept] != [example.id for example in other]
