"""docs/methods.md is what the configs say, and its formulas are what the methods count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from repro.cli import methods_page
from repro.config.compose import options

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "methods.md").read_text() == methods_page.page(), (
        "run: repro methods --write docs/methods.md"
    )


@pytest.mark.parametrize("name", options("method"))
def test_every_method_says_what_it_is(name: str) -> None:
    method = methods_page._method(name)
    assert method["equation"] and method["stored_formula"] and method["paper_section"]
    section = methods_page._section(name)
    assert all(f"Deviation: {text}." in section for text in method["deviations"])


@pytest.mark.parametrize("model", ["tiny-bert", "tiny-gpt2", "tiny-t5"])
@pytest.mark.parametrize("name", options("method"))
def test_formulas_are_the_counts(name: str, model: str, altered: Any) -> None:
    """Each expression of the page, computed from the model's facts, against the tensors of the built method."""
    import torch

    from repro.methods.base import Context
    from repro.models.backbone import spec_of
    from repro.trials.run import build_method

    task = {"tiny-bert": "rte", "tiny-gpt2": "e2e", "tiny-t5": "rte"}[model]
    if methods_page.refusal(name, model, task, "any") is not None:
        return
    plain = methods_page._trial(model, task)
    method = methods_page._method(name) | methods_page._fitting(name, "any") | {"hidden": 7, "bottleneck": 5}
    known = {key: value for key, value in method.items() if key in methods_page._method(name) or key == "placement"}
    built = build_method({**plain, "method": known})
    spec = spec_of(plain["model"])
    generators = [torch.Generator().manual_seed(0)]
    built.build(Context(spec, torch.zeros(spec.vocabulary, spec.width), lambda text: [1], (), None, generators))
    stacks = {site: layers for site, layers in spec.sites.items() if site != "cross"}
    letters = {
        "P": known.get("length"),
        "D": spec.width,
        "S": sum(spec.sites.values()),
        "H": spec.heads,
        "Dh": spec.head_dim,
        "B": sum(stacks.values()),
        "E": known.get("embedding_width") or spec.width,
        "k": 7,
        "R": 5,
        "sites": len(spec.sites),
    }
    assert set(letters) == set(methods_page.LETTERS)
    counts = built.parameter_counts()
    stored = eval(method["stored_formula"], {}, letters)
    trained = eval(method["trained_formula"], {}, letters) if method["trained_formula"] else stored
    assert (counts["stored"], counts["trained"]) == (stored, trained)
