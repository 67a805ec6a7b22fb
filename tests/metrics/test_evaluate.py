"""The `evaluate` library both ways: its metrics among a task's, and ours as its."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import repro
from repro.errors import ConfigError, MetricUnavailable
from repro.metrics import as_evaluate
from repro.metrics.e2e_bleu import E2EBleu
from repro.metrics.from_evaluate import FromEvaluate

SCRIPT = '''
import datasets
import evaluate


class Share(evaluate.Metric):
    """Share of predictions among their references, and a text."""

    def _info(self):
        text = datasets.Value("string")
        features = datasets.Features({"predictions": text, "references": datasets.Sequence(text)})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references, least=0):
        if "boom" in predictions:
            raise RuntimeError("boom was said")
        hits = [p in own and len(p) >= least for p, own in zip(predictions, references)]
        return {"share": sum(hits) / len(hits), "note": "a text"}
'''


@pytest.fixture
def share(tmp_path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a local metric script."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "share"
    folder.mkdir()
    (folder / "share.py").write_text(SCRIPT)
    monkeypatch.setenv("REPRO_PLUGINS", str(folder / "share.py"))
    return str(folder)


def test_a_local_metric_gives_its_value_in_our_unit_and_no_statistics(share: str) -> None:
    metric = FromEvaluate(share, "share", factor=100.0)
    metric.check()
    assert metric.score_split(["a", "b"], [["a", "x"], ["c"]]) == ({"share_share": 50.0}, None)
    other = FromEvaluate(share, "share", output="long", compute={"least": 2})
    assert other.score_split(["a", "bb"], [["a"], ["bb"]])[0] == {"long": 0.5}
    assert other.outputs == ("long",)


def test_a_value_that_is_none_and_a_metric_that_raises_are_missing(share: str) -> None:
    with pytest.raises(MetricUnavailable, match="no number 'note'; it gives share"):
        FromEvaluate(share, "note").score_split(["a"], [["a"]])
    with pytest.raises(MetricUnavailable, match="RuntimeError: boom was said"):
        FromEvaluate(share, "share").score_split(["boom"], [["a"]])


def test_a_name_without_a_network_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"no_such_metric_anywhere cannot be loaded.*path of a local copy"):
        FromEvaluate("no_such_metric_anywhere", "score").check()


def test_ours_as_theirs_gives_the_same_values() -> None:
    outputs, references = ["a b c d e", "q w e r t"], [["a b c d e", "x"], ["q w e r z"]]
    wanted, _ = E2EBleu().score_split(outputs, references)
    module = as_evaluate.load("e2e_bleu")
    assert module.compute(predictions=outputs, references=references) == pytest.approx(wanted)
    for output, own in zip(outputs, references, strict=True):
        module.add_batch(predictions=[output], references=[own])
    assert module.compute() == pytest.approx(wanted)
    assert "pymteval" in module.description


def test_labels_and_tags_too() -> None:
    found = as_evaluate.load("f1_macro", classes=3).compute(predictions=[0, 1, 2], references=[[0], [1], [1]])
    assert found["f1_macro"] == pytest.approx(100 * (1 + 2 / 3 + 0) / 3)
    tags = as_evaluate.load("span_f1").compute(predictions=[["B-A", "O"]], references=[[["B-A", "O"]]])
    assert tags["span_f1"] == 100.0


@pytest.mark.parametrize(
    ("name", "predictions", "references", "wanted"),
    [
        ("f1", [1, 0], [[1], [1]], {"f1": 200 / 3}),
        ("multirc", [[1, 0], [1]], [[[1, 1]], [[1]]], {"f1a": 80.0, "exact_match": 50.0}),
        ("srl_f1_conll05", [["B-V", "B-A0"]], [[["B-V", "B-A0"]]], {"srl_f1_conll05": 100.0}),
        (
            "squad_v2_tuned",
            [{"text": "", "answer": "an inn", "null_odds": 3.0}, {"text": "", "answer": "a pub", "null_odds": 5.0}],
            [["inn"], [""]],
            {"best_f1": 100.0, "best_f1_threshold": 3.0},
        ),
    ],
)
def test_kinds_of_predictions(name: str, predictions: list, references: list, wanted: dict[str, float]) -> None:
    found = as_evaluate.load(name).compute(predictions=predictions, references=references)
    assert {key: found[key] for key in wanted} == pytest.approx(wanted)


def test_importing_either_side_imports_no_evaluate() -> None:
    program = "import repro.metrics.as_evaluate, repro.metrics.from_evaluate, sys; print('evaluate' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(repro.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
