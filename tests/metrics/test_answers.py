"""Metrics and the task's labels and gold answers, before anything is trained."""

from __future__ import annotations

import pytest

from repro.errors import ConfigError
from repro.metrics.bertscore import BertScore
from repro.metrics.registry import build_metric


def test_macro_f1_has_the_classes_of_the_labels() -> None:
    labels = ["no", "yes", "maybe"]
    metric = build_metric({"name": "f1_macro"}, labels)
    rows = metric.score_all([0, 1, 2], [[0], [1], [1]])
    wanted = {"f1_macro": pytest.approx(100 * (1 + 2 / 3 + 0) / 3)}
    assert metric.score_split([0, 1, 2], [[0], [1], [1]])[0] == wanted
    assert build_metric({"name": "f1_macro"}).reduce(rows) == wanted  # type: ignore[arg-type]
    for other in (2, 4):
        with pytest.raises(ConfigError, match=rf"classes={other}, and the task has 3 labels \(no, yes, maybe\)"):
            build_metric({"name": "f1_macro", "classes": other}, labels)
    with pytest.raises(ValueError, match="not known"):
        build_metric({"name": "f1_macro"}).score(0, [0])


@pytest.mark.parametrize(
    ("tags", "fix"),
    [("I-X O", "task.options.scheme=IOB2"), ("B-X I-Y", "task.options.scheme=IOB2"), ("S-X O", "Use span_f1")],
)
def test_the_strict_metric_refuses_gold_tags_of_another_scheme(tags: str, fix: str) -> None:
    strict, lenient = build_metric({"name": "strict_span_f1"}), build_metric({"name": "span_f1"})
    with pytest.raises(ConfigError, match=fix):
        strict.check_answers([[["B-X", "I-X"]], [tags.split()]])
    strict.check_answers([[["B-X", "I-X", "O", "B-X"]]])
    lenient.check_answers([[tags.split()]])
    assert lenient.score_split([tags.split()], [[tags.split()]])[0]["span_f1"] == 100.0


def test_bertscore_without_weights_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("repro.metrics.bertscore.packaged", lambda name: True)
    for offline in ("0", "1"):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        assert "hf download nobody/has-it" in str(BertScore("nobody/has-it").unavailable())


def test_a_script_of_evaluate_runs_only_if_the_user_names_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "mine" / "mine.py"
    script.parent.mkdir()
    script.write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w')\n")
    for path in (str(script), str(script.parent), "somebody/metric"):
        metric = build_metric({"name": "from_evaluate", "path": path, "key": "x"})
        with pytest.raises(ConfigError, match="add --plugin"):
            metric.check()
        with pytest.raises(ConfigError, match="add --plugin"):
            metric.score_split(["a"], [["a"]])
    assert not (tmp_path / "it-ran").exists()
