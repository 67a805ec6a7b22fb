"""Every result of the registry is produced by an experiment, or listed with the reason why not, never both."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from repro.papers import registry
from repro.sweeps import coverage, experiments

ROOT = Path(__file__).resolve().parents[2]


@cache
def produced(paper: str) -> dict[str, set[str]]:
    return coverage.of(experiments.names(paper))


@pytest.mark.parametrize("paper", registry.PAPERS)
def test_every_result_is_produced_or_listed(paper: str) -> None:
    found = produced(paper)
    cells = registry.cells(paper=paper, kind="result")
    listed = {cell.id for cell in cells if any(reason.holds(cell) for reason in coverage.reasons())}
    missing = sorted({cell.id for cell in cells} - set(found) - listed)
    assert not missing, f"neither produced nor in papers/not_reproducible.yaml: {missing[:20]} ({len(missing)} in all)"
    both = sorted(listed & set(found))
    assert not both, f"produced and yet listed as not reproducible: {both[:20]}"


@pytest.mark.parametrize("paper", registry.PAPERS)
def test_most_results_are_produced(paper: str) -> None:
    """What is listed must stay the exception (but for P-tuning v1, whose cells need models that are not here)."""
    cells = registry.cells(paper=paper, kind="result")
    share = len([cell for cell in cells if cell.id in produced(paper)]) / len(cells)
    assert share > (0.15 if paper == "liu2021_v1" else 0.9)


FIRST_STAGES = ("mpt_ner", "mpt_srl", "mpt_qa")
"""MPT-2's: of their search only the length is run (see conf/experiment/liu2022/table3.yaml)."""


@pytest.mark.parametrize("name", [name for paper in registry.PAPERS for name in experiments.names(paper)])
def test_every_trial_has_a_recipe_and_what_nobody_published_is_searched(name: str) -> None:
    for trial in experiments.load(name).planned(points=False):
        said, recipe = " ".join(trial.words), trial.spec.config.recipe
        assert recipe.name and recipe.sources, f"no recipe, so values of ours: {said}"
        if recipe.search and trial.spec.config.task.name not in FIRST_STAGES:
            assert trial.search, f"a guess where the recipe has a search: {said}"


def test_a_prompt_that_another_starts_from_has_its_length() -> None:
    planned = experiments.load("liu2022/table3").planned(points=False)
    lengths = {trial.key: trial.spec.config.to_dict()["method"].get("length") for trial in planned}
    waiting = [trial for trial in planned if trial.waits_for]
    lasting = [(trial.waits_for, trial.spec.config.to_dict()["method"]["length"]) for trial in waiting]
    assert waiting and all(lengths[first] == length for first, length in lasting)


def test_an_exhibit_produces_its_own_table() -> None:
    """Cells that only this exhibit's variables give: prompts in some layers, a length, a vote, the best of five."""
    liu, lester = produced("liu2022"), produced("lester2021")
    assert all(liu[cell.id] == {"liu2022/figure3"} for cell in registry.cells(paper="liu2022", at="Figure 3")
               if cell.vars["prompt_layers"] != "1-24")  # fmt: skip
    votes = registry.cells(paper="lester2021", method="prompt_ensemble", kind="result")
    assert votes and all(lester[cell.id] == {"lester2021/table3"} for cell in votes)


def test_reasons_name_cells_that_exist() -> None:
    cells = registry.cells()
    for reason in coverage.reasons():
        for pattern in reason.cells:
            assert any(coverage.Reason((pattern,), "").holds(cell) for cell in cells), f"{pattern} names no cell"


def test_the_page_is_what_the_command_writes() -> None:
    page = (ROOT / "docs" / "not-reproducible.md").read_text(encoding="utf-8")
    assert page == coverage.page(), "run `repro plan --not-reproducible --write docs/not-reproducible.md`"
