"""SuperGLUE's score on the paper's own cells, ReCoRD's rule, and which values a task's score is the mean of."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from repro.metrics.accuracy import Accuracy
from repro.metrics.base import averaged_values, main_values, task_score
from repro.metrics.bleu import E2EBleu
from repro.metrics.macro_f1 import MacroF1
from repro.metrics.record import RecordF1Em
from repro.metrics.squad import SquadEmF1
from repro.metrics.superglue import SUPERGLUE, superglue_score
from repro.papers import registry

CONF = Path(__file__).resolve().parents[2] / "conf" / "task"


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


def test_a_mean_over_fewer_is_not_superglues_score() -> None:
    values = {task: dict.fromkeys(names, 50.0) for task, names in SUPERGLUE.items()}
    assert superglue_score(values | {"sst2": {"accuracy": 99.0}}) == 50.0
    del values["record"]["exact_match"], values["cb"]
    with pytest.raises(ValueError, match=r"cb\.accuracy, cb\.f1_macro, record\.exact_match missing"):
        superglue_score(values)


@pytest.mark.parametrize("task", SUPERGLUE)
def test_every_task_has_the_metrics_whose_mean_is_its_score(task: str) -> None:
    metrics = [instantiate(metric) for metric in OmegaConf.load(CONF / f"{task}.yaml").metrics]
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
