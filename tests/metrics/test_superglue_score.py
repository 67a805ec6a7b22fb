"""SuperGLUE's score on the paper's own cells, ReCoRD's rule, and which values a task's score is the mean of."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from repro.metrics.accuracy import Accuracy
from repro.metrics.base import averaged_values, main_values, task_score
from repro.metrics.e2e_bleu import E2EBleu
from repro.metrics.f1_macro import MacroF1
from repro.metrics.record import RecordF1Em
from repro.metrics.registry import build_metric
from repro.metrics.squad import SquadEmF1
from repro.metrics.superglue import SUPERGLUE
from repro.papers import registry

CONF = Path(__file__).resolve().parents[2] / "conf" / "task"


def superglue_score(values: dict[str, dict[str, float]]) -> float:
    """The values of a task are averaged first, then the eight tasks."""
    return sum(task_score(names, values[task]) for task, names in SUPERGLUE.items()) / len(SUPERGLUE)


@pytest.mark.parametrize(
    ("row", "exactly", "printed"), [("average", 90.49, 90.5), ("best", 91.06, 91.0), ("majority", 91.33, 91.3)]
)
def test_the_score_of_table_3_follows_from_its_cells(row: str, exactly: float, printed: float) -> None:
    """Lester et al. print the score too: it differs from the mean of their printed cells by rounding only."""
    values: dict[str, dict[str, float]] = {}
    for cell in registry.cells(paper="lester2021", at="Table 3", kind="result"):
        if cell.id.endswith(row) and cell.task in SUPERGLUE:
            values.setdefault(str(cell.task), {})[str(cell.our_metric)] = cell.number
    assert superglue_score(values) == pytest.approx(exactly, abs=0.005)
    assert abs(superglue_score(values) - printed) < 0.1
    (own,) = registry.cells(id=f"lester2021/T3.superglue_avg.score.{row}")
    assert own.number == printed


@pytest.mark.parametrize("task", SUPERGLUE)
def test_every_task_has_the_metrics_whose_mean_is_its_score(task: str) -> None:
    metrics = [build_metric(metric) for metric in OmegaConf.load(CONF / f"{task}.yaml").metrics]
    assert main_values(metrics) == SUPERGLUE[task]
    assert averaged_values(metrics) == (SUPERGLUE[task] if len(SUPERGLUE[task]) > 1 else ())


def test_only_metrics_that_say_so_are_averaged() -> None:
    assert averaged_values([Accuracy(), MacroF1(classes=3)]) == ("accuracy", "f1_macro")
    assert averaged_values([Accuracy(), E2EBleu()]) == () == averaged_values([Accuracy()])
    assert averaged_values([SquadEmF1()]) == () and main_values([SquadEmF1()]) == ("f1",)
    assert task_score(["a", "b"], {"a": 1.0, "b": 2.0, "c": 9.0}) == 1.5
    with pytest.raises(ValueError, match="nothing to average"):
        task_score([], {})


TEXTS = st.text("ab The.'", max_size=8)


@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), min_size=1, max_size=6))
def test_record_is_squads_rule(rows: list[tuple[str, list[str]]]) -> None:
    record, squad = RecordF1Em(), SquadEmF1()
    found = record.reduce(np.array([record.score(said, golds) for said, golds in rows]))
    assert found == squad.reduce(np.array([squad.score(said, golds) for said, golds in rows]))
    assert tuple(found) == record.outputs


def test_record_takes_the_best_of_several_answers() -> None:
    assert RecordF1Em().score("the Bank of Ann", ["Lee", "Bank Ann"]) == [pytest.approx(0.8), 0.0, 1.0]
    assert RecordF1Em().score("a Lee!", ["Ann", "lee"]) == [1.0, 1.0, 1.0]
