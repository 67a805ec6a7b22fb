"""Cluster numbers against grouping by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from repro.tasks.base import Example
from repro.tasks.clusters import cluster_numbers


def examples(clusters: list[str | None]) -> list[Example]:
    return [Example(str(i), {}, ("x",), cluster=cluster) for i, cluster in enumerate(clusters)]


@given(st.lists(st.sampled_from(["a", "b", "e1", None]), max_size=12))
def test_two_examples_share_a_number_just_when_they_share_a_cluster(clusters: list[str | None]) -> None:
    numbers = cluster_numbers(examples(clusters))
    shared = len({c for c in clusters if c is not None}) + clusters.count(None) < len(clusters)
    assert bool(numbers) == shared
    for i, a in enumerate(numbers):
        for j, b in enumerate(numbers):
            assert (a == b) == (i == j or (clusters[i] is not None and clusters[i] == clusters[j]))
    assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))


def test_a_trial_keeps_the_clusters_of_its_reported_split(
    cli: Callable[..., Any],
    trial_arguments: Callable[..., list[str]],
    data_root: Path,
    tmp_path: Path,
    one_thread: None,
) -> None:
    """BoolQ with two questions a passage; `repro versus` reads the clusters back."""
    shutil.copytree(data_root / "superglue" / "BoolQ", tmp_path / "data" / "superglue" / "BoolQ")
    rows = [{"question": f"q {i}", "passage": f"p {i // 2}", "label": i % 2 == 0, "idx": i} for i in range(4)]
    (tmp_path / "data" / "superglue" / "BoolQ" / "val.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    words = [word for word in trial_arguments() if not word.startswith(("task=", "paths.data_root="))]
    done = cli("run", *words, "task=boolq", f"paths.data_root={tmp_path / 'data'}", "task.check_rows=false")
    assert done.code == 0, done.err
    [path] = (tmp_path / "results" / "records").glob("*/record.json")
    record = json.loads(path.read_text())
    assert record["clusters"] == {"validation": [0, 0, 1, 1]}
    again = cli("versus", record["key"], record["key"])
    assert again.code == 0, again.err
    assert "2 clusters of 4 examples" in again.out
