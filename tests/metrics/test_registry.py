"""Metrics by registered name: built-in ones, one of somebody else's, and what is refused."""

import pytest

from repro.errors import ConfigError
from repro.metrics.base import MeanMetric, Metric
from repro.metrics.registry import build_metric, metric, metric_class, names, register


@pytest.mark.parametrize("name", names())
def test_a_built_in_metric_stands_in_the_module_of_its_name(name: str) -> None:
    kind = metric_class(name)
    if kind.__module__.startswith("repro."):
        assert kind.__module__ == f"repro.metrics.{name}"
        assert len(kind.__doc__ or "") > 40


def test_a_metric_is_built_from_its_name_and_options() -> None:
    assert metric("f1_macro", classes=3).reduce is not None
    built = build_metric({"name": "meteor", "text": "webnlg", "references": 3})
    assert (built.name, built.references) == ("meteor", 3)  # type: ignore[attr-defined]


def test_a_metric_of_somebody_else() -> None:
    @register("words")
    class Words(MeanMetric[str, str]):
        """Words of an output."""

        name, equals, outputs, factor = "words", "len(text.split())", ("words",), 1.0

        def score(self, prediction: str, references: object) -> list[float]:
            return [len(prediction.split()), 1]

    assert build_metric({"name": "words"}).score_split(["a b", "c"], [["x"], ["y"]])[0] == {"words": 1.5}
    with pytest.raises(ConfigError, match="metric=accuracy is registered by repro"):
        metric("accuracy")

        @register("accuracy")
        class Other(Metric[int, int]):
            pass


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"name": "e2e_blue"}, "metric=e2e_blue: must be one of accuracy"),
        ({"name": "java"}, "metric=java: must be one of"),  # a module that registers none
        ({"name": "e2e_bleu", "size": 3}, "takes the options none; unknown: size"),
        ({"name": "meteor", "text": "words"}, "allowed are ptb, webnlg, as_is"),
        ({"path": "chrf"}, "give its name"),
    ],
)
def test_what_is_refused(config: dict[str, object], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        build_metric(config)
