"""Cluster numbers against grouping by hand."""

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
