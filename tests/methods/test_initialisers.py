"""Starting values follow the papers, and trial k's depend on its own generator alone."""

import math

import pytest
import torch
from torch import Tensor

from repro.methods.base import Context, ModelSpec
from repro.methods.parts.backbone_weights import FineTuning
from repro.methods.parts.initialisers import class_labels, sampled_vocabulary
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method

D, V = 64, 300
SPEC = ModelSpec("encoder_decoder", D, 4, 8, V, {"encoder": 2, "decoder": 3, "cross": 3})
ENCODER = ModelSpec("encoder", D, 4, 8, V, {"encoder": 2})
TABLE = torch.arange(V).float()[:, None] + torch.arange(D)[None] / 1000
"""Row i holds i in its integer part, so that a row says which token it came from."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def context(seeds=(0,), labels=("ab", "c"), outputs=None, spec=SPEC) -> Context:
    """A tokenizer of characters: 'a' is token 97."""
    return Context(spec, TABLE, lambda text: [ord(c) for c in text], labels, outputs, [generator(s) for s in seeds])


def token_ids(rows: Tensor) -> list[int]:
    return rows[:, 0].round().long().tolist()


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (0.0, 0.5)], ids=["paper", "code"])
def test_uniform_fills_its_range(low, high):
    method = PromptTuning(500, initialisation="uniform", uniform_low=low, uniform_high=high)
    method.build(context())
    prompt = method.parameters["prompt"]
    assert prompt.shape == (1, 500, D)
    assert low <= prompt.min() < low + 0.001
    assert high - 0.001 < prompt.max() < high
    assert abs(prompt.mean() - (low + high) / 2) < 0.005
    assert abs(prompt.std() - (high - low) / math.sqrt(12)) < 0.002


def test_normal_has_its_deviation():
    """P-Tuning v2's PT baseline starts at N(0, 0.02^2), whatever the embeddings are."""
    method = PromptTuning(500, initialisation="normal")
    method.build(context())
    prompt = method.parameters["prompt"]
    assert abs(float(prompt.detach().std()) - 0.02) < 1e-3 and abs(float(prompt.detach().mean())) < 1e-3


def test_sampled_vocabulary_takes_distinct_rows_of_the_first_so_many():
    for seed in range(20):
        rows = sampled_vocabulary(generator(seed), 40, TABLE, population=50)
        ids = token_ids(rows)
        assert torch.equal(rows, TABLE[ids])
        assert len(set(ids)) == 40
        assert max(ids) < 50
    everything = sampled_vocabulary(generator(), V, TABLE, population=5000)
    assert sorted(token_ids(everything)) == list(range(V))


def test_sampled_vocabulary_reaches_the_special_tokens_and_every_other():
    """In Lester et al.'s code the first rows are candidates too: padding, end of sequence, unknown."""
    seen = {token for seed in range(60) for token in token_ids(sampled_vocabulary(generator(seed), 10, TABLE, 50))}
    assert seen == set(range(50))


def test_sampled_vocabulary_repeats_only_when_it_must():
    ids = token_ids(sampled_vocabulary(generator(), 30, TABLE, population=20))
    assert len(ids) == 30
    assert set(ids[:20]) == set(range(20))
    assert set(ids[20:]) <= set(range(20))


def test_sampled_rows_are_copies():
    method = PromptTuning(4, initialisation="sampled_vocabulary")
    method.build(context())
    with torch.no_grad():
        method.parameters["prompt"].zero_()
    assert torch.equal(TABLE[:, 0], torch.arange(V).float())


def test_class_labels_are_means_of_their_sub_tokens_then_sampled_words():
    method = PromptTuning(6, initialisation="class_label", vocabulary_size=50)
    method.build(context(labels=("abd", "c")))
    prompt = method.parameters["prompt"][0]
    torch.testing.assert_close(prompt[0], (TABLE[97] + TABLE[98] + TABLE[100]) / 3)
    torch.testing.assert_close(prompt[1], TABLE[99])
    rest = token_ids(prompt[2:])
    assert torch.equal(prompt[2:], TABLE[rest])
    assert len(set(rest)) == 4
    assert max(rest) < 50


def test_labels_beyond_the_prompt_are_dropped():
    rows = class_labels(generator(), 2, TABLE, [[5], [6], [7]], population=50)
    assert token_ids(rows) == [5, 6]


def test_words_take_the_place_of_labels_that_are_free_text():
    method = PromptTuning(3, initialisation="class_label", init_words=("x", "yz"))
    method.build(context(labels=("ab", "c")))
    torch.testing.assert_close(
        method.parameters["prompt"][0, :2], torch.stack([TABLE[120], (TABLE[121] + TABLE[122]) / 2])
    )


def test_without_labels_the_whole_prompt_is_sampled():
    method = PromptTuning(5, initialisation="class_label", vocabulary_size=50)
    method.build(context(labels=()))
    assert len(set(token_ids(method.parameters["prompt"][0]))) == 5


def test_p_tuning_v2_starts_as_from_pretrained_leaves_new_modules():
    """N(0, 0.02^2) and zero biases, in both variants (papers/liu2022 section (a))."""
    direct = build_method("p_tuning_v2", length=200)
    direct.build(context())
    assert set(direct.parameters) == {"encoder.prefix", "decoder.prefix", "cross.prefix"}
    assert all(abs(tensor.std() - 0.02) < 1e-3 for tensor in direct.parameters.values())
    mlp = build_method("p_tuning_v2", length=200, reparameterisation="mlp", hidden=96)
    mlp.build(context())
    for site in SPEC.sites:
        part = {name: mlp.parameters[f"{site}.{name}"] for name in ("embedding", "w1", "b1", "w2", "b2")}
        assert all(abs(part[name].std() - 0.02) < 1e-3 for name in ("embedding", "w1", "w2"))
        assert not part["b1"].any()
        assert not part["b2"].any()


def test_prefix_tuning_starts_as_torch_makes_its_modules():
    """`init_weights` is never called in the official code: Embedding N(0, 1), Linear U(-1/sqrt(in), 1/sqrt(in))."""
    method = build_method("prefix_tuning", length=100, hidden=96)
    method.build(context())
    for site in SPEC.sites:
        assert abs(method.parameters[f"{site}.embedding"].std() - 1) < 0.05
        for layer, inputs in (("1", D), ("2", 96)):
            bound = 1 / math.sqrt(inputs)
            for kind in "wb":
                drawn = method.parameters[f"{site}.{kind}{layer}"]
                assert 0.9 * bound < drawn.max() < bound
                assert -bound <= drawn.min() < -0.9 * bound
        default = torch.nn.Linear(D, 4096)
        assert abs(method.parameters[f"{site}.w1"].std() / default.weight.std() - 1) < 0.05
    shallow = build_method("prefix_tuning", length=100, reparameterisation="none")
    shallow.build(context())
    assert abs(shallow.parameters["cross.prefix"].std() - 1) < 0.05


def test_prefix_tuning_starts_uniform_where_the_paper_says_so():
    """Appendix A.5: U(0, 1), of P' or of the prefix itself; the MLP's layers start as they do in the code."""
    for kind, name in (("mlp", "cross.embedding"), ("none", "cross.prefix")):
        method = build_method(
            "prefix_tuning", length=200, reparameterisation=kind, hidden=96, init_distribution="uniform"
        )
        method.build(context())
        drawn = method.parameters[name]
        assert 0 <= drawn.min() < 0.001 and 0.999 < drawn.max() < 1
        assert abs(drawn.mean() - 0.5) < 0.01 and abs(drawn.std() - 1 / math.sqrt(12)) < 0.01
        if kind == "mlp":
            assert -1 / math.sqrt(D) <= method.parameters["cross.w1"].min() < -0.9 / math.sqrt(D)


def test_a_head_is_drawn_as_bert_draws_new_modules():
    for method in (
        FineTuning(),
        PromptTuning(2, initialisation="uniform"),
        build_method("p_tuning_v2", length=2),
        build_method("prefix_tuning", length=2, hidden=4),
    ):
        method.build(context(seeds=(0, 1), outputs=50, spec=ENCODER))
        weight, bias = method.parameters["head.weight"], method.parameters["head.bias"]
        assert weight.shape == (2, 50, D)
        assert bias.shape == (2, 50)
        assert abs(weight.std() - 0.02) < 1e-3
        assert not bias.any()
        assert not torch.equal(weight[0], weight[1])
        method.build(context(outputs=None))
        assert not any(name.startswith("head") for name in method.parameters)


METHODS = {
    "uniform": lambda: PromptTuning(4, initialisation="uniform"),
    "sampled_vocabulary": lambda: PromptTuning(4, initialisation="sampled_vocabulary"),
    "class_label": lambda: PromptTuning(4, initialisation="class_label"),
    "prefix-mlp": lambda: build_method("prefix_tuning", length=4, hidden=8),
    "prefix-none": lambda: build_method("prefix_tuning", length=4, reparameterisation="none"),
    "v2-embedding": lambda: build_method("p_tuning_v2", length=4),
    "v2-mlp": lambda: build_method("p_tuning_v2", length=4, reparameterisation="mlp", hidden=8),
    "fine_tuning": FineTuning,
}


@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_three_trials_are_three_separate_builds(make):
    together = make()
    together.build(context(seeds=(3, 1, 2), outputs=5))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for trial, seed in enumerate((3, 1, 2)):
        alone = make()
        alone.build(context(seeds=(seed,), outputs=5))
        assert alone.parameters.keys() == together.parameters.keys() != set()
        for name, tensor in alone.parameters.items():
            assert tensor.shape[0] == 1
            assert tensor.requires_grad
            assert tensor.is_leaf
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor[0], together.parameters[name][trial])
    assert torch.equal(torch.get_rng_state(), before)
    assert any(not torch.equal(tensor[0], tensor[1]) for tensor in together.parameters.values())
