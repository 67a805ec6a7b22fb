"""Claims on the papers' own numbers: what was worked out by hand, and what fails is said to fail."""

from __future__ import annotations

import re

import pytest

from repro.errors import DataError
from repro.papers import claims as module
from repro.papers import exhibits, registry
from repro.papers.claims import FAILS, HOLDS, NOT_PRINTED, claims, editions, evaluate, on_paper, printed

EVERY = [(paper, claim.id) for paper in registry.PAPERS for claim in claims(paper)]

# Worked out by hand from the tables; everything else in the files holds or has no printed numbers.
FAIL_ON_THEIR_OWN_NUMBERS = {
    "lester2021": {"C2b", "C9e", "C12", "C12c"},
    "liliang2021": {"C3b", "C5b", "C7b"},
    "liu2022": {"C1", "C4", "C7b", "C8b", "C9", "C12", "C12b"},
    "liu2021_v1": set(),
}
WITHOUT_NUMBERS = {
    "lester2021": {"C5", "C5b", "C5c", "C5d", "C6", "C6b", "C7", "C7b", "C7c", "C8", "C8b", "C13"},
    "liliang2021": {"C11", "C11b", "C12", "C12b", "C13", "C14"},
    "liu2022": set(),
    "liu2021_v1": set(),
}


def claim_of(paper: str, name: str) -> module.Claim:
    return next(claim for claim in claims(paper) if claim.id == name)


def why(paper: str, name: str, edition: str | None = None) -> str:
    return on_paper(claim_of(paper, name))[edition][1]


@pytest.mark.parametrize(("paper", "name"), EVERY)
def test_verdicts_on_the_papers_own_numbers(paper: str, name: str) -> None:
    verdicts = {edition: verdict for edition, (verdict, _) in on_paper(claim_of(paper, name)).items()}
    if name in WITHOUT_NUMBERS[paper]:
        assert set(verdicts.values()) == {NOT_PRINTED}
    elif (paper, name) == ("liliang2021", "C3b"):
        assert verdicts == {"acl": FAILS, "v1": HOLDS}
    else:
        assert set(verdicts.values()) == {FAILS if name in FAIL_ON_THEIR_OWN_NUMBERS[paper] else HOLDS}


def test_all_claims_of_the_notes_are_there() -> None:
    numbers = {paper: {int(re.sub(r"\D", "", claim.id)) for claim in claims(paper)} for paper in registry.PAPERS}
    assert numbers["lester2021"] == set(range(1, 14))
    assert numbers["liliang2021"] == set(range(1, 16))
    assert numbers["liu2022"] | numbers["liu2021_v1"] == set(range(1, 16))


@pytest.mark.parametrize(
    ("paper", "name", "edition", "told"),
    [
        ("lester2021", "C1", None, "below model tuning: -0.1. below multi-task: 0.1"),
        ("lester2021", "C2", None, "small 4.3, base 10, large 5.5, xl 2.8, xxl -0.1"),
        ("lester2021", "C4", None, "Small less GPT-3 XL: -1.5. Large less GPT-3 175B: 2.6"),
        ("lester2021", "C9b", None, "better on: 4."),
        ("lester2021", "C9d", None, "gain: 12.5"),
        ("lester2021", "C9e", None, "not for duorc; drop"),
        ("lester2021", "C10", None, "acc 3.2, f1 3.1"),
        ("lester2021", "C11b", None, "gain: 0.8"),
        ("lester2021", "C12", None, "cells that agree of 30: 29. not for small, 20"),
        ("liliang2021", "C1", "acl", "gain: 1.5"),
        ("liliang2021", "C1", "v1", "gain: 1.5"),
        ("liliang2021", "C3b", "acl", "mean gain: 4.27"),
        ("liliang2021", "C3b", "v1", "mean gain: 4.1"),
        ("liliang2021", "C4b", "acl", "gain: 18.6"),
        ("liliang2021", "C4b", "v1", "gain: 17.9"),
        ("liliang2021", "C7", "acl", "E2E 1.8, WebNLG / all 0.8, DART -0.3"),
        ("liliang2021", "C9", "acl", "smallest gain: 0.21"),
        ("liliang2021", "C10b", "v1", "1 1.8, 10 2.5, 20 3"),
        ("liu2022", "C1", None, "comparisons of 24 that hold: 22. not for roberta-large, wsc; glm-xlarge, copa"),
        ("liu2022", "C2", None, "bert-large 1.56, roberta-large -0.44, glm-xlarge -0.99, glm-xxlarge -0.96"),
        ("liu2022", "C3", None, "bert-large 7.9, roberta-large 2.9"),
        ("liu2022", "C4", None, "bert-large 13.59, roberta-large 24.56, glm-xlarge 7.6, glm-xxlarge 2.14"),
        ("liu2022", "C7", None, "largest gap: 2.8"),
        ("liu2022", "C7b", None, "bert-large 9, roberta-large 4.4"),
        ("liu2022", "C8", None, "cells of 18 that rise: 14"),
        ("liu2022", "C9", None, "comparisons of 10 that hold: 9. not for boolq, 8"),
        ("liu2022", "C10", None, "below all layers: 2. below Table 2: 2.3"),
        ("liu2022", "C11", None, "RTE: 0.5. RTE spread: 1.19. CoNLL04: 0.89. CoNLL04 spread: 0.77. BoolQ: -0.01"),
        ("liu2022", "C11", None, "CoNLL12: -1.56. CoNLL12 spread: 0.36"),
        ("liu2022", "C12", None, "best on RTE: embedding 24, mlp 8. best on BoolQ: embedding 80, mlp 16"),
        ("liu2022", "C12b", None, "best on CoNLL04: embedding 160, mlp 32. best on CoNLL12: embedding 88"),
        ("liu2022", "C13", None, "sst-2 0.5, rte 1.8, boolq 0.2, cb 1.8"),
        ("liu2022", "C14", None, "percent at 8: 0.12. percent at 224: 3.29"),
        ("liu2021_v1", "C15", None, "bert-base 2.2, bert-large 2.1, gpt2-base 7.4, gpt2-medium 12.5"),
    ],
)
def test_the_numbers_that_were_worked_out_by_hand(paper: str, name: str, edition: str | None, told: str) -> None:
    assert told in why(paper, name, edition)


def test_a_verdict_follows_the_numbers_and_is_nowhere_typed() -> None:
    """With other numbers the same claim has the other verdict."""
    claim = claim_of("lester2021", "C3")
    by_size = {
        f"lester2021/F1.prompt_tuning.{size}": i for i, size in enumerate(["small", "base", "large", "xl", "xxl"])
    }
    assert evaluate(claim, lambda cell, wanted: float(by_size[cell.id])).truth.true[0]
    assert evaluate(claim, lambda cell, wanted: -float(by_size[cell.id])).truth.false[0]


def test_quoted_constants_are_not_asked_of_the_source() -> None:
    asked: list[str] = []

    def source(cell: registry.Reported, wanted: str) -> float | None:
        asked.append(cell.id)
        return printed(cell, wanted)

    outcome = evaluate(claim_of("lester2021", "C4"), source)
    assert set(asked) == {"lester2021/F1.prompt_tuning.small", "lester2021/F1.prompt_tuning.large"}
    assert [cell.id for cell in outcome.used] == sorted(set(asked), reverse=True)


def test_a_spread_is_a_field_of_its_own() -> None:
    wanted: set[str] = set()
    evaluate(claim_of("lester2021", "C3b"), lambda cell, name: wanted.add(name) or printed(cell, name))
    assert wanted == {"std"}


def test_editions_read_their_own_cells() -> None:
    assert editions("liliang2021") == ("acl", "v1") and editions("lester2021") == (None,)
    cells = {
        edition: {cell.id for cell in evaluate(claim_of("liliang2021", "C1"), printed, edition).used}
        for edition in ("acl", "v1")
    }
    assert all(name.startswith("liliang2021/acl-") for name in cells["acl"])
    assert all(name.startswith("liliang2021/v1-") for name in cells["v1"])


@pytest.mark.parametrize(("paper", "name"), EVERY)
def test_a_claim_is_told_in_full(paper: str, name: str) -> None:
    claim = claim_of(paper, name)
    assert claim.sentence.endswith(".") and claim.source
    # A threshold that the paper does not print is ours, and said so.
    threshold = re.search(r"(?<![\w.'])(?:[<>]=? -?\d)", claim.holds or "")
    if threshold and not re.search(r"[<>]=? ?0(?![.\d])", claim.holds or ""):
        assert claim.reading or "0.1 %" in claim.sentence or "62.2" in claim.sentence, claim.id


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"holds": "nothing[1] > 0"}, "no family 'nothing'"),
        ({"holds": "pt[tiny] > 0"}, "there is no cell 'lester2021/F1.prompt_tuning.tiny'"),
        ({"holds": "length[3, XL] > 0"}, "no cell at"),
        ({"holds": "width[tiny] > 0"}, "no value for"),
    ],
)
def test_a_claim_about_what_is_not_there_is_refused(change: dict, message: str) -> None:
    claim = module.Claim("lester2021", "X", "Says.", "nowhere", **change)
    with pytest.raises(DataError, match=message):
        evaluate(claim, printed)


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "X", "sentence": "s", "source": "t"},
        {"id": "X", "sentence": "s", "source": "t", "holds": "1 > 0", "unmeasured": "why"},
        {"id": "X", "sentence": "s", "holds": "1 > 0"},
        {"id": "X", "sentence": "s", "source": "t", "holds": "1 > 0", "verdict": "holds"},
    ],
)
def test_a_broken_entry_is_refused(entry: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_file", lambda paper: {"claims": [entry]})
    with pytest.raises(DataError, match="claims of lester2021, X"):
        claims.__wrapped__("lester2021")


def test_an_unknown_paper_is_refused() -> None:
    with pytest.raises(DataError, match="the papers are"):
        claims("lester2020")


def test_claims_name_cells_that_exhibits_show() -> None:
    """Every cell that a claim reads stands in some exhibit, so that the report can show it."""
    for paper in registry.PAPERS:
        shown = {c.id for key in exhibits.keys(paper) for c in exhibits.exhibit(paper, key).cells.values()}
        shown |= {name for key in exhibits.keys(paper) for name in exhibits.members(paper, key)}
        for claim in claims(paper):
            if claim.holds is not None:
                for edition in editions(paper):
                    assert {cell.id for cell in evaluate(claim, printed, edition).used} <= shown
