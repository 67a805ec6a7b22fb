"""Two groups of runs: selection, pairing, and the numbers against the functions of `stats` by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repro.cli.main import main
from repro.errors import ConfigError, ReproError
from repro.metrics.registry import build_metric
from repro.papers import statistics
from repro.report.compare.groups import groups
from repro.report.compare.versus import compare_pair, page, select, total
from repro.store.record import Record
from repro.store.store import Store

Make = Callable[..., Record]
ACCURACY = {"name": "accuracy"}


def runs(make: Make, name: str, right: dict[int, list[int]], task: str = "rte", **fields: Any) -> list[Record]:
    """One record a seed, with per-example right (1) and wrong (0) answers as statistics."""
    change = {"method.name": name, "task.name": task, "task.paper_name": task, "task.metrics": [ACCURACY]}
    change |= fields.pop("change", {})
    return [
        make(
            seed,
            100 * sum(answers) / len(answers),
            change=change,
            statistics={"validation": {"accuracy": [[answer, 1] for answer in answers]}},
            **fields,
        )
        for seed, answers in right.items()
    ]


def sample(seed: int, share: float, n: int = 40) -> list[int]:
    return np.random.default_rng(seed).binomial(1, share, size=n).tolist()


def two(make: Make, **fields: Any) -> list[Any]:
    a = runs(make, "p_tuning_v2", {1: sample(1, 0.8), 2: sample(2, 0.8), 3: sample(3, 0.8)}, **fields)
    b = runs(make, "prompt_tuning", {1: sample(4, 0.6), 2: sample(5, 0.6)}, **fields)
    return groups([*a, *b])


def test_the_accuracy_of_a_record_follows_from_its_statistics() -> None:
    """Statistics as this file writes them are those of the metric."""
    metric = build_metric(ACCURACY)
    assert metric.reduce(np.array([[1, 1], [0, 1], [1, 1], [1, 1]]))["accuracy"] == 75.0


def test_a_duel_is_what_stats_gives(make: Make) -> None:
    found = two(make)
    (a,), (b,) = (select(found, f"method.name={name}").values() for name in ("p_tuning_v2", "prompt_tuning"))
    one = compare_pair(a, b)
    arrays = [
        [np.asarray(record.statistics["validation"]["accuracy"], dtype=float) for record in group.records]
        for group in (a, b)
    ]
    reduce = build_metric(ACCURACY).reduce
    assert one.both == statistics.hierarchical_difference(*arrays, reduce, "accuracy")
    assert one.examples == statistics.hierarchical_difference(*arrays, reduce, "accuracy", fixed_runs=True)
    values = [group.values("validation", "accuracy") for group in (a, b)]
    assert one.seeds == statistics.difference_of_means(*values)
    assert (one.a.n, one.b.n) == (3, 2)
    assert one.examples.difference == pytest.approx(one.seeds.difference) == pytest.approx(one.both.difference)
    # Both sources leave more open than one of them.
    assert one.both.high - one.both.low > one.examples.high - one.examples.low


@pytest.mark.parametrize("beside", [False, True])
def test_a_threshold_chosen_on_the_test_set_has_no_bootstrap_over_it(make: Make, beside: bool) -> None:
    """Its value does not follow from the sums that a bootstrap draws; a metric beside the task's own has one."""
    tuned = {"name": "squad_v2_tuned"}
    rows = {"squad_v2_tuned": [[1, 1, 0, 0.5], [0, 0, 1, 2.0], [-1, -1, 1, 3.0]], "accuracy": [[1, 1], [0, 1], [1, 1]]}
    sides = []
    for name in ("p_tuning_v2", "prompt_tuning"):
        own = (
            {"task.metrics": [ACCURACY], "task.also_metrics": [tuned]}
            if beside
            else {"task.metrics": [tuned, ACCURACY]}
        )
        record = make(1, 100.0, metric="best_f1", change={"method.name": name} | own, statistics={"validation": rows})
        record.metrics["validation"]["accuracy"] = 200 / 3
        sides += groups([record])
    one = compare_pair(*sides, metric="best_f1")
    assert one.both is None and any("best_f1 is chosen on the test set itself" in note for note in one.notes)
    assert compare_pair(*sides, metric="accuracy").both is not None


def test_clusters_of_the_record_are_drawn(make: Make) -> None:
    pairs = [i // 8 for i in range(40)]
    found = two(make, clusters={"validation": pairs})
    a, b = (next(iter(select(found, f"method.name={n}").values())) for n in ("p_tuning_v2", "prompt_tuning"))
    one = compare_pair(a, b)
    assert "5 clusters of 40 examples" in one.notes
    reduce = build_metric(ACCURACY).reduce
    arrays = [[np.asarray(r.statistics["validation"]["accuracy"], float) for r in group.records] for group in (a, b)]
    assert one.both == statistics.hierarchical_difference(*arrays, reduce, "accuracy", clusters=pairs)


def test_other_data_is_not_paired(make: Make) -> None:
    a = runs(make, "p_tuning_v2", {1: sample(1, 0.8)})
    b = runs(make, "prompt_tuning", {1: sample(4, 0.6)}, provenance={"data": {"validation": {"sha256": "other"}}})
    one = compare_pair(
        *(next(iter(select(groups([*a, *b]), f"method.name={n}").values())) for n in ("p_tuning_v2", "prompt_tuning"))
    )
    assert one.examples is None and one.both is None and one.seeds.low is None
    assert "not paired" in " ".join(one.notes) and "one run" in " ".join(one.notes)
    assert "| — | — | — | — |" in page([one], None)


def test_without_statistics_there_is_no_test_set_interval(make: Make) -> None:
    found = two(make)
    for group in found:
        group.records[0].statistics.clear()
    one = compare_pair(
        *(next(iter(select(found, f"method.name={n}").values())) for n in ("p_tuning_v2", "prompt_tuning"))
    )
    assert one.examples is None and "keep no statistics of accuracy" in one.notes[0]


def test_several_tasks_have_an_interquartile_mean_and_a_probability(make: Make) -> None:
    records = []
    for index, task in enumerate(["rte", "cb", "wic"]):
        records += runs(make, "p_tuning_v2", {s: sample(10 * index + s, 0.9) for s in (1, 2, 3)}, task)
        records += runs(make, "prompt_tuning", {s: sample(100 + 10 * index + s, 0.5) for s in (1, 2, 3)}, task)
    found = groups(records)
    a, b = select(found, "method.name=p_tuning_v2"), select(found, "method.name=prompt_tuning")
    pairs = [(a[task], b[task], compare_pair(a[task], b[task])) for task in sorted(a)]
    everything = total(pairs)
    scores = [[x.values("validation", "accuracy") for x in (first, second)] for first, second, _ in pairs]
    assert everything.mean_a == statistics.aggregated([one[0] for one in scores])
    assert everything.improvement == statistics.improvement([one[0] for one in scores], [one[1] for one in scores])
    assert everything.iqm_b.value == statistics.interquartile_mean([one[1] for one in scores])
    assert total(pairs[:2]).improvement is None
    text = page([one for *_, one in pairs], everything)
    assert "Mean over 3 tasks" in text and "Probability that a run of a scores higher: 1.00 [1.00, 1.00]." in text


def test_selection_by_key_and_its_refusals(make: Make) -> None:
    found = two(make)
    key = found[0].records[1].key
    assert select(found, key) == {"rte": found[0]}
    with pytest.raises(ReproError, match="no group of runs with a score fits"):
        select(found, "method.name=lora")
    with pytest.raises(ReproError, match="joined by commas"):
        select(found, "method.name=lora,")
    again = groups(
        [*(r for g in found for r in g.records), *runs(make, "prompt_tuning", {1: [1, 0]}, change={"method.length": 5})]
    )
    with pytest.raises(
        ReproError, match=r"two groups fit on rte; they differ in method.length \((5 or 128|128 or 5)\)"
    ):
        select(again, "method.name=prompt_tuning")
    assert select(again, "method.name=prompt_tuning,method.length=5")
    with pytest.raises(ReproError, match="there is no value bleu; there is accuracy"):
        compare_pair(found[0], found[1], "bleu")


@pytest.mark.parametrize("name", ["os.system", "repro.store.store.Store", "java", "None"])
def test_a_record_cannot_name_other_code(name: str) -> None:
    with pytest.raises(ConfigError, match="must be one of"):
        build_metric({"name": name})


def test_the_command(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "records")
    for group in two(make):
        for record in group.records:
            store.put(record)
    sides = ["method.name=p_tuning_v2", "method.name=prompt_tuning"]
    assert main(["versus", *sides, "--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "| rte | accuracy (validation) |" in out and "(n 3)" in out and "(n 2)" in out
    assert main(["versus", sides[0], "method.name=lora", "--results", str(tmp_path)]) == 2
    assert "no group of runs" in capsys.readouterr().err
