"""The registry of reported numbers: nothing lost, everything checked, and the papers' own arithmetic holds."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path

import pytest
import yaml

from repro.errors import DataError
from repro.papers import registry
from repro.papers.registry import (
    canonical_metric,
    canonical_split,
    cells,
    load,
    parse_paper,
    rounding,
    split_key,
)

HEADER = {"paper": "p", "title": "t", "authors": "a", "venue": "v", "arxiv": "1", "read": "r"}
CELL = {"id": "p/1", "at": "Table 1", "kind": "result", "metric": "accuracy", "value": 50.0}


def cell_by_id(name: str) -> registry.Reported:
    return next(cell for cell in cells() if cell.id == name)


@pytest.mark.parametrize(
    ("paper", "count"), [("lester2021", 317), ("liliang2021", 368), ("liu2022", 376), ("liu2021_v1", 210)]
)
def test_every_cell_is_there(paper: str, count: int) -> None:
    assert len({cell.id for cell in load(paper).cells}) == len(load(paper).cells) == count
    assert all(cell.id.startswith(f"{paper}/") for cell in load(paper).cells)
    assert load(paper).key == paper
    assert re.fullmatch(r"\d{4}\.\d{5}", load(paper).arxiv)


@pytest.mark.parametrize("paper", registry.PAPERS)
def test_no_field_of_the_yaml_is_lost(paper: str) -> None:
    path = Path(registry.__file__).parent / "reported" / f"{paper}.yaml"
    raw = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    for written, read in zip(raw["cells"], load(paper).cells, strict=True):
        for name, value in written.items():
            kept = getattr(read, name)
            if name == "value" and isinstance(value, str) and read.kind != "statement":
                value = float(value)
            assert (kept or None) == (value or None), (read.id, name)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(DataError, match="unknown keys colour"):
        parse_paper({**HEADER, "cells": [{**CELL, "colour": "green"}]}, "x.yaml")


# ---- the papers' own arithmetic


def test_liliang_cells_that_name_the_other_edition_agree_with_it() -> None:
    checked = 0
    for cell in cells(paper="liliang2021", kind="result"):
        if match := re.search(r"the other (?:version )?has ([\d.]+)", cell.caveat or ""):
            other = {"acl": "v1", "v1": "acl"}[cell.edition]
            twin = cell_by_id(cell.id.replace(f"/{cell.edition}-", f"/{other}-"))
            assert twin.value == float(match[1]), cell.id
            checked += 1
    assert checked == 50


def test_headline_cells() -> None:
    """Numbers that secondary texts get wrong (see the caveats): model, method and edition as printed."""
    assert cell_by_id("liu2022/t3.roberta-large.squad-11.pt-2.em").value == 88.5
    assert cell_by_id("lester2021/T4.xxl.p100.trainable_parameters").value == 409600
    (acl,) = cells(id="liliang2021/acl-gpt2-medium-prefix-0.1%-e2e-test-bleu")
    (v1,) = cells(id="liliang2021/v1-gpt2-medium-prefix-0.1%-e2e-test-bleu")
    assert (acl.value, v1.value) == (70.3, 69.7)


# ---- names and units


SPLITS = {
    "train": "train",
    "validation": "validation",
    "dev": "validation",
    "SQuAD v1.1 validation": "validation",
    "MRQA 2019 OOD dev": "test",
    "GLUE mrpc validation": "test",
    "GLUE qqp validation": "test",
    "GLUE validation": "validation",
    "SuperGLUE dev": "validation",
    "SuperGLUE validation": "validation",
    "SuperGLUE validation (dev)": "validation",
    "test": "test",
    "test-all": "test",
    "test-seen": None,
    "test-unseen": None,
    "unstated": None,
    "unstated (validation file of FewGLUE in the code)": None,
    "n/a": None,
    "subset seed 22, size 100": None,
    None: None,
}


def test_every_split_that_occurs_is_decided() -> None:
    assert {cell.split for cell in cells()} == set(SPLITS)
    for name, ours in SPLITS.items():
        assert canonical_split(name) == ours
    assert split_key("test-unseen") == split_key("test_unseen") == "test_unseen"
    assert canonical_split("dev (best epoch)") == "validation"
    assert canonical_split("held-out") is None


@pytest.mark.parametrize(
    ("name", "task", "ours"),
    [
        ("accuracy", "rte", "accuracy"),
        ("f1", "cb", "f1_macro"),
        ("f1_macro", "cb", "f1_macro"),
        ("f1", "multirc", "f1a"),
        ("f1", "squad_v1", "f1"),
        ("em", "squad_v1", "exact_match"),
        ("exact_match", "record", "exact_match"),
        ("span_f1", "conll04", "span_f1"),
        ("rougeL", "xsum", "rougeL"),
        ("rouge_l", "xsum", "rougeL"),
        ("task_score", "boolq", "accuracy"),
        ("task_score", "cb", "task_score"),
        ("task_score", "squad_v1", None),
        ("f1_difference", "squad_v1", None),
        ("average", "superglue_average", "superglue_score"),
        ("loss", "rte", None),
        (None, "rte", None),
    ],
)
def test_metric_names(name: str | None, task: str, ours: str | None) -> None:
    assert canonical_metric(name, task) == ours


def test_metrics_without_a_name_of_ours_are_aggregates_and_differences_only() -> None:
    unnamed = {cell.metric for cell in cells(kind=("result", "author_rerun")) if cell.our_metric is None}
    assert unnamed == {"f1_difference"}


def test_fractions_are_read_as_percent() -> None:
    assert cell_by_id("liliang2021/acl-gpt2-medium-fine-tune-full-webnlg-test-seen-meteor").number == 46.0
    assert cell_by_id("liliang2021/acl-gpt2-medium-fine-tune-full-e2e-test-meteor").number == 46.1
    assert cell_by_id("liliang2021/acl-gpt2-medium-fine-tune-full-e2e-test-cider").number == 2.43
    # After conversion all METEOR values are in one range.
    assert all(20 < cell.number < 60 for cell in cells(metric="meteor"))


def test_rounding_is_half_a_unit_of_the_last_printed_digit() -> None:
    assert rounding(cell_by_id("liliang2021/acl-gpt2-medium-fine-tune-full-e2e-test-bleu")) == 0.05
    assert rounding(cell_by_id("liliang2021/acl-gpt2-medium-fine-tune-full-e2e-test-cider")) == 0.005
    # Printed .30, which yaml reads as 0.3; in percent the last digit is worth one point.
    assert rounding(cell_by_id("liliang2021/both-gpt2-medium-fine-tune-full-webnlg-test-unseen-meteor")) == 0.5
    # Read off a plot: the reading error.
    assert rounding(cell_by_id("lester2021/F1.prompt_tuning.small")) == 0.1


def test_a_text_has_no_number() -> None:
    with pytest.raises(DataError, match="text"):
        _ = cell_by_id("liu2022/text.3").number
    assert cell_by_id("lester2021/T4.xxl.p1.percent_trainable").number == pytest.approx(4e-5)


# ---- filters and schema


def test_filters() -> None:
    assert {cell.paper for cell in cells(paper="liu2022")} == {"liu2022"}
    found = cells(model="bert-large", task="rte", method="p_tuning_v2", at="Table 2")
    assert [cell.value for cell in found] == [78.3]
    assert {cell.kind for cell in cells(kind=("cost", "dataset"))} == {"cost", "dataset"}
    with pytest.raises(DataError, match="colour"):
        cells(colour="green")


def test_unknown_paper() -> None:
    with pytest.raises(DataError, match="lester2021"):
        load("lester2020")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "rumour"}, "rumour"),
        ({"value": "about 50"}, "must be a number"),
        ({"value": True}, "must be a number"),
        ({"value": float("nan")}, "must be a number"),
        ({"value": None}, "lacks value"),
        ({"metric": None}, "lacks metric"),
        ({"std": "small"}, "std must be a number"),
        ({"precision": "roughly"}, "roughly"),
        ({"id": "q/1"}, "must start with p/"),
        ({"vars": [1]}, "vars"),
    ],
)
def test_a_broken_cell_is_refused_by_name(change: dict, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)) as error:
        parse_paper({**HEADER, "cells": [{**copy.deepcopy(CELL), **change}]}, "x.yaml")
    assert "x.yaml, cell 1" in str(error.value)


def test_a_repeated_id_and_a_broken_header_are_refused() -> None:
    with pytest.raises(DataError, match="used twice"):
        parse_paper({**HEADER, "cells": [CELL, dict(CELL)]}, "x.yaml")
    with pytest.raises(DataError, match="lacks title"):
        parse_paper({"paper": "p", "authors": "", "venue": "", "arxiv": "", "read": "", "cells": []}, "x.yaml")
    with pytest.raises(DataError, match="list of cells"):
        parse_paper({**HEADER, "cells": {}}, "x.yaml")


SHARED = Path(__file__).resolve().parents[3] / "shared" / "papers"
"""The folder of source notes beside a checkout, where there is one."""


@pytest.mark.parametrize("paper", registry.PAPERS)
def test_no_cell_of_the_source_notes_is_lost(paper: str) -> None:
    source = next((folder / f"{paper}.yaml" for folder in _shared() if (folder / f"{paper}.yaml").is_file()), None)
    if source is None:
        pytest.skip("the folder of source notes is not here (shared/papers beside the checkout, or REPRO_DATA_ROOT)")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    ours = Path(registry.__file__).parent / "reported" / f"{paper}.yaml"
    written, kept = (yaml.load(path.read_text(encoding="utf-8"), Loader=loader) for path in (source, ours))
    by_id = {cell["id"]: cell for cell in kept["cells"]}
    assert len(written["cells"]) == len(by_id)
    for cell in written["cells"]:
        assert {name: value for name, value in by_id[cell["id"]].items() if name != "usable"} == cell


def _shared() -> list[Path]:
    data_root = os.environ.get("REPRO_DATA_ROOT")
    return [SHARED, *([Path(data_root).parent / "papers"] if data_root else [])]
