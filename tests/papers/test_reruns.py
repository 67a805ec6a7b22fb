"""Published re-runs: pairs of cells that measure the same, and the distances that the notes worked out."""

from __future__ import annotations

import pytest

from repro.papers import registry, reruns


def test_spots_distances_from_figure_1() -> None:
    spot = next(group for group in reruns.groups() if group.group.startswith("SPoT"))
    assert spot.distances == (1.3, -0.6, -1.3, -1.1, -1.2)
    for size in ("small", "xl"):
        width, origin = reruns.spread(registry.cell(f"lester2021/F1.prompt_tuning.{size}")) or (0, "")
        assert width == 1.3 and "SPoT" in origin


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("t2.roberta-large.rte.pt-2", 2.9),
        ("t2.bert-large.copa.pt-2", 4.0),
        ("t2.bert-large.boolq.pt-2", 1.5),
        ("t2.bert-large.wsc.pt-2", 0.9),
        ("t3.roberta-large.conll03.pt-2", 1.0),
        ("t3.roberta-large.squad-20.pt-2.em", 0.8),
    ],
)
def test_the_readme_against_the_paper(name: str, width: float) -> None:
    found = reruns.spread(registry.cell(f"liu2022/{name}"))
    assert found is not None and found[0] == width


def test_a_pair_measures_the_same_thing() -> None:
    seen = [printed.id for group in reruns.groups() for printed, _ in group.pairs]
    assert len(seen) == len(set(seen)) == 27
    for group in reruns.groups():
        for printed, again in group.pairs:
            assert (printed.model, printed.method, printed.task, printed.our_metric) == (
                again.model,
                again.method,
                again.task,
                again.our_metric,
            )
            assert printed.kind == "result" and again.kind in ("author_rerun", "other_paper")


def test_every_readme_score_is_used_or_left_out_with_a_reason() -> None:
    used = {again.id for group in reruns.groups() for _, again in group.pairs}
    readme = {cell.id for cell in registry.cells(kind="author_rerun")}
    assert readme - used == {"liu2022/readme.bert-large.conll12"}
    assert reruns.spread(registry.cell("liu2022/t3.bert-large.conll12.pt-2")) is None
