"""Numbers of parameters that the papers print or imply, from conf/model alone: no weights."""

import pytest
import torch

from repro.methods.base import Context
from repro.methods.parts.backbone_weights import FineTuning
from repro.methods.parts.input_prompt import PromptTuning
from repro.methods.registry import build as build_method
from tests.models.loaded import CONF, facts, spec_of


def counts(model: str, method, outputs: int | None = None) -> dict[str, int]:
    """Built on the meta device, and checked against the tensors that are there."""
    spec = spec_of(facts(model))
    labels, trials = ("true", "false"), [torch.Generator(), torch.Generator()]
    with torch.device("meta"):
        table = torch.empty(spec.vocabulary, spec.width)
        method.build(Context(spec, table, lambda text: [1, 2], labels, outputs, trials))
    said = method.parameter_counts()
    assert len(trials) * said["trained"] == sum(tensor.numel() for tensor in method.parameters.values())
    assert len(trials) * said["stored"] == sum(tensor.numel() for tensor in method.export().values())
    assert said["stored"] == said["prompt"] + said["head"]
    return said


@pytest.mark.parametrize(("length", "numbers"), [(5, 20_480), (100, 409_600)])
@pytest.mark.parametrize("initialisation", ["uniform", "sampled_vocabulary", "class_label"])
def test_prompt_tuning_of_t5_xxl(length, numbers, initialisation):
    """Lester et al., section 1 and table 4."""
    said = counts("t5-xxl-lm-adapt", PromptTuning(length, initialisation=initialisation))
    assert said == {"trained": numbers, "stored": numbers, "prompt": numbers, "head": 0}


@pytest.mark.parametrize(("length", "trained", "stored"), [(5, 25_744_896, 245_760), (10, 25_750_016, 491_520)])
def test_prefix_tuning_of_gpt2_medium(length, trained, stored):
    """papers/liliang2021 section (a): 0.1 % counts what is stored."""
    said = counts("gpt2-medium", build_method("prefix_tuning", length=length, hidden=512))
    assert said == {"trained": trained, "stored": stored, "prompt": stored, "head": 0}
    assert stored / 354_823_168 < 0.0015


def test_prefix_tuning_with_the_papers_width_of_its_embedding():
    """P' of k = 512 columns: fewer are trained, and what is stored is the same."""
    said = counts("gpt2-medium", build_method("prefix_tuning", length=5, hidden=512, embedding_width=512))
    assert said["trained"] == 5 * 512 + 512 * 512 + 512 + 513 * 49_152
    assert said["stored"] == 245_760


@pytest.mark.parametrize(("length", "trained"), [(100, 61_823_328), (200, 62_130_528)])
def test_prefix_tuning_of_bart_large(length, trained):
    """Three MLPs (encoder, decoder, cross) with k = 800; the authors count 62.1M in issue 17."""
    said = counts("bart-large", build_method("prefix_tuning", length=length, hidden=800))
    assert said["trained"] == trained
    assert said["stored"] == 73_728 * length


@pytest.mark.parametrize(
    ("model", "length", "layers", "numbers"),
    [
        *(("bert-large-cased", length, "all", length * 49_152) for length in (8, 128, 224)),
        ("bert-large-cased", 8, "last:1", 8 * 2 * 1024),
        ("deberta-xlarge", 8, "all", 8 * 2 * 48 * 1024),
    ],
)
def test_p_tuning_v2_with_a_linear_head(model, length, layers, numbers):
    """psl x 49,152 of BERT-large (Liu et al., the 0.1 to 3 % of table 1)."""
    said = counts(model, build_method("p_tuning_v2", length=length, layers=layers), outputs=2)
    assert said == {"trained": numbers + 2_050, "stored": numbers + 2_050, "prompt": numbers, "head": 2_050}


def test_p_tuning_v2_with_its_mlp():
    """25.8M at psl 20, folded to 0.98M."""
    said = counts(
        "bert-large-cased", build_method("p_tuning_v2", length=20, reparameterisation="mlp", hidden=512), outputs=2
    )
    assert said["trained"] - said["head"] == 25_760_256
    assert said["prompt"] == 983_040


def test_grouped_heads_make_prefixes_smaller():
    """A prefix has key/value heads, not query heads: Qwen3-0.6B has 8 of 128 beside a width of 1024."""
    said = counts("qwen3-0.6b-base", build_method("prefix_tuning", length=10, reparameterisation="none"))
    assert said["stored"] == 10 * 2 * 28 * 8 * 128


def test_chosen_sites_alone_are_counted():
    one = counts("bart-large", build_method("prefix_tuning", length=10, reparameterisation="none", sites=["cross"]))
    assert one["stored"] == one["trained"] == 10 * 2 * 12 * 1024


def test_fine_tuning_counts_its_head():
    assert counts("bert-large-cased", FineTuning(), outputs=3)["trained"] == 3 * 1025
    assert counts("gpt2-medium", FineTuning())["trained"] == 0


def test_specs_of_every_model():
    paths = sorted(CONF.glob("*.yaml"))
    assert len(paths) >= 39
    for path in paths:
        model = facts(path.stem)
        spec = spec_of(model)
        wanted = {"encoder": ["encoder"], "decoder": ["decoder"], "encoder_decoder": ["encoder", "decoder", "cross"]}
        assert list(spec.sites) == wanted[spec.kind]
        assert all(layers >= 2 for layers in spec.sites.values())
        assert model["heads"] % spec.heads == 0
        assert spec.kv_width(next(iter(spec.sites))) == 2 * model["layers"] * spec.heads * model["head_dim"]
