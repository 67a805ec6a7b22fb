"""docs/methods.md is what the configs say, and its formulas are what the methods count."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from repro.cli import methods_page
from repro.config.compose import compose, options, trial_config

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "methods.md").read_text() == methods_page.page(), (
        "run: repro methods --write docs/methods.md"
    )


@pytest.mark.parametrize("name", options("method"))
def test_every_method_says_what_it_is(name):
    config = methods_page.settings(name)
    assert config.equation and config.stored_formula and config.paper_section
    section = methods_page.section(name)
    assert all(f"Deviation: {text}." in section for text in config.deviations)


@pytest.mark.parametrize("model", ["tiny-bert", "tiny-gpt2", "tiny-t5"])
@pytest.mark.parametrize("name", options("method"))
def test_formulas_are_the_counts(name, model):
    """Each expression of the page, computed from the model's facts, against the tensors of the built method."""
    import torch

    from repro.methods.base import Context
    from repro.models.backbone import spec_of

    task = {"tiny-bert": "rte", "tiny-gpt2": "e2e", "tiny-t5": "rte"}[model]
    if methods_page.refusal(name, model, task, "any") is not None:
        return
    config = methods_page.fitting(methods_page.settings(name), "any")
    small = {"hidden": 7, "bottleneck": 5}
    config = replace(config, **{key: value for key, value in small.items() if key in asdict(config)})
    known, built = asdict(config), config.build()
    spec = spec_of(trial_config(compose([f"model={model}"])).model)
    generators = [torch.Generator().manual_seed(0)]
    built.build(Context(spec, torch.zeros(spec.vocabulary, spec.width), lambda text: [1], (), None, generators))
    letters = {
        "P": known.get("length"),
        "D": spec.width,
        "S": sum(spec.sites.values()),
        "H": spec.heads,
        "Dh": spec.head_dim,
        "B": sum(layers for site, layers in spec.sites.items() if site != "cross"),
        "E": known.get("embedding_width") or spec.width,
        "k": 7,
        "R": 5,
        "sites": len(spec.sites),
    }
    assert set(letters) == set(methods_page.LETTERS)
    counts = built.parameter_counts()
    stored = eval(config.stored_formula, {}, letters)
    trained = eval(config.trained_formula, {}, letters) if config.trained_formula else stored
    assert (counts["stored"], counts["trained"]) == (stored, trained)
