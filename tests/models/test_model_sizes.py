"""`parameters` of every conf/model file equals the model built at those shapes, on the meta device."""

import pytest
import torch

from repro.models.families.family import family
from tests.models.loaded import CONF, build, facts, transformers_config

FACTS = {path.stem: facts(path.stem) for path in CONF.glob("*.yaml")}
COUNTED = sorted(name for name, model in FACTS.items() if model["parameters"])
QWEN = {"qwen2": "Qwen2Config", "qwen3": "Qwen3Config"}
"""Llama-type, with biases on q, k, v (2) or norms on q and k (3): the random models of tests have neither."""


def numbers(model) -> int:
    assert all(parameter.is_meta for parameter in model.parameters())
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", [name for name in COUNTED if not name.startswith("qwen")])
def test_random_models(name):
    facts = FACTS[name]
    with torch.device("meta"):
        model = build(facts, family(facts["family"]), torch.float32, {})
    assert numbers(model) == facts["parameters"]
    if facts["family"] == "t5":  # T5 1.1 has a head of its own; the mini models are tied, as T5 1.0
        assert (model.lm_head.weight is model.shared.weight) == facts["tied_head"] == name.startswith("mini-")


@pytest.mark.parametrize("name", [name for name in COUNTED if name.startswith("qwen")])
def test_qwen(name):
    import transformers

    facts = FACTS[name]
    llama = transformers_config(facts, family(facts["family"]), {})
    same = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "intermediate_size",
        "head_dim",
    )
    kept = {key: getattr(llama, key) for key in (*same, "vocab_size", "tie_word_embeddings")}
    config = getattr(transformers, QWEN[name[:5]])(**kept)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert numbers(model) == facts["parameters"]


def test_every_file_is_counted_or_random():
    assert len(FACTS) >= 39
    assert {name for name, facts in FACTS.items() if not facts["parameters"]} == {
        name for name in FACTS if name.startswith("tiny-")
    }


@pytest.mark.parametrize("name", FACTS)
def test_facts_agree_with_each_other(name):
    facts = FACTS[name]
    assert facts["name"] == name
    assert family(facts["family"]).kind == facts["kind"]
    if facts["family"] not in ("t5", "llama"):  # elsewhere heads fill the width
        assert facts["heads"] * facts["head_dim"] == facts["width"]
    assert (facts["decoder_layers"] is not None) == (facts["kind"] == "encoder_decoder")
    assert facts["family"] != "t5" or facts["tied_head"] is name.startswith("mini-")
    assert facts["family"] not in ("t5",) or facts["max_positions"] is None
