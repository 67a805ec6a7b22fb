"""The GLM port against its formulas (hub notes, section 3.1), and the two official sizes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.methods.base import KeyValue
from repro.models.encoding.batch import Encoded, collate
from repro.models.families.family import family
from tests.models import loaded
from tests.models.loaded import CPU, adapt, build, facts, load_backbone
from tests.parity.tiny_models import close, prompts, trained_of

TASK = {"max_input_length": 64, "max_target_length": 8, "labels": ["a", "b"]}


def tiny(attention: str = "sdpa") -> Any:
    bone = loaded.tiny("glm", attention=attention)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, tensor in sorted(bone.model.named_parameters()):
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
    return bone


def norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / ((centred**2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def naive(
    w: dict[str, Tensor],
    ids: list[int],
    context: int,
    places: Any,
    heads: int,
    prefix: KeyValue | None = None,
    front: Tensor | None = None,
) -> Tensor:
    """One sequence [T] to hidden states [T, D], every step of the table written out; `places` are two lists.

    A prompt `front` [P, D] stands before the words; `context` and `places` count its rows.
    """
    x = w["word_embeddings.weight"][ids]
    x = x if front is None else torch.cat([front, x])
    x = x + w["transformer.position_embeddings.weight"][places[0]]
    x = x + w["transformer.block_position_embeddings.weight"][places[1]]
    size = x.shape[1] // heads
    layers = 1 + max(int(n.split(".")[2]) for n in w if n.startswith("transformer.layers."))
    for layer in range(layers):
        at = f"transformer.layers.{layer}"
        h = norm(x, w, f"{at}.input_layernorm")
        q, k, v = (h @ w[f"{at}.attention.query_key_value.weight"].T + w[f"{at}.attention.query_key_value.bias"]).chunk(
            3, 1
        )
        out = []
        for head in range(heads):
            mine = slice(head * size, (head + 1) * size)
            rows = []
            for i in range(len(x)):
                seen = [j for j in range(len(x)) if j < context or j <= i]
                keys, values = k[seen][:, mine], v[seen][:, mine]
                if prefix is not None:
                    keys = torch.cat([prefix.keys[0, layer, head], keys])
                    values = torch.cat([prefix.values[0, layer, head], values])
                score = keys @ q[i, mine] / math.sqrt(size)
                share = score.exp() / score.exp().sum()
                rows.append(share @ values)
            out.append(torch.stack(rows))
        x = x + torch.cat(out, 1) @ w[f"{at}.attention.dense.weight"].T + w[f"{at}.attention.dense.bias"]
        h = norm(x, w, f"{at}.post_attention_layernorm")
        h = h @ w[f"{at}.mlp.dense_h_to_4h.weight"].T + w[f"{at}.mlp.dense_h_to_4h.bias"]
        h = 0.5 * h * (1 + (math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)).tanh())
        x = x + h @ w[f"{at}.mlp.dense_4h_to_h.weight"].T + w[f"{at}.mlp.dense_4h_to_h.bias"]
    return norm(x, w, "transformer.final_layernorm")


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_context_and_answer_written_out(attention: str) -> None:
    """A context of five, then an answer whose places are the mask's in the context and 1, 2, 3 in the block."""
    bone = tiny(attention)
    ids = [9, 30, 31, 8, 40, 50, 51, 52]
    places = [[0, 1, 2, 3, 4, 3, 3, 3], [0, 0, 0, 0, 0, 1, 2, 3]]
    given = {"position_ids": torch.tensor([places]), "context_length": torch.tensor([5])}
    ours = bone.model(torch.tensor([ids]), **given).last_hidden_state[0]
    w = dict(bone.model.named_parameters())
    theirs = naive(w, ids, 5, places, bone.spec.heads)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    leaf = bone.model.word_embeddings.weight.requires_grad_()
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2), dtype=ours.dtype)
    again = (bone.model(torch.tensor([ids]), **given).last_hidden_state[0] * weights).sum()
    got = torch.autograd.grad(again, leaf)[0]
    wanted = torch.autograd.grad((naive(w, ids, 5, places, bone.spec.heads) * weights).sum(), leaf)[0]
    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("prompt", "attention"), [("kv", "sdpa"), ("kv", "eager"), ("before", "sdpa")])
def test_a_prompt_written_out(prompt: str, attention: str) -> None:
    """A prefix shifts the positions; [P; X] has the positions 0, 1, ... of one sequence, in a padded batch too."""
    bone = tiny(attention)
    rows = [[9, 30, 31, 8, 40], [7, 20, 21]]
    batch = collate([Encoded(tuple(row), len(row)) for row in rows], 0)
    injection = replace(prompts(bone.spec, length=3)[prompt], head=None)
    leaves = trained_of(injection)
    ours = adapt(bone, "tagging", TASK).hidden(batch, injection)
    w = dict(bone.model.named_parameters())
    total: Any = 0
    for i, row in enumerate(rows):
        size = len(row)
        if prompt == "kv":
            places = [list(range(3, 3 + size)), [0] * size]
            theirs = naive(w, row, size, places, bone.spec.heads, injection.kv["encoder"])
        else:
            places = [list(range(3 + size)), [0] * (3 + size)]
            theirs = naive(w, row, 3 + size, places, bone.spec.heads, front=leaves[0][0])[3:]
        close(ours[i, :size], theirs)
        total = total + theirs.square().sum()
    wanted = torch.autograd.grad(total, leaves)
    got = torch.autograd.grad(ours[batch.mask.bool()].square().sum(), leaves)
    for a, b in zip(got, wanted, strict=True):
        close(a, b, 1e-9)


def test_logits_are_the_token_table() -> None:
    bone = loaded.tiny("glm", "cloze")
    states = torch.randn(4, bone.spec.width, dtype=torch.float64)
    assert bone.lm_head is not None
    torch.testing.assert_close(bone.lm_head(states), states @ bone.model.word_embeddings.weight.T)


@pytest.mark.parametrize(("name", "numbers"), [("glm-2b", 1_920_122_880), ("glm-10b", 9_880_682_496)])
def test_official_sizes(name: str, numbers: int) -> None:
    with torch.device("meta"):
        model = build(facts(name), family("glm"), torch.float32, {})
    assert sum(parameter.numel() for parameter in model.parameters()) == numbers == facts(name)["parameters"]
    with torch.device("meta"):
        whole = build(facts(name), family("glm"), torch.float32, {}, "AutoModelForMaskedLM")
    assert sum(parameter.numel() for parameter in whole.parameters()) == numbers


def test_weights_from_a_folder(tmp_path: Path) -> None:
    """The checkpoint's own names in a safetensors file, beside a config.json and a tokenizer."""
    from safetensors.torch import save_file

    from repro.models.untrained.random_model import byte_tokenizer

    bone = tiny()
    named = {name: tensor.detach().float().contiguous() for name, tensor in bone.model.state_dict().items()}
    assert "transformer.layers.0.attention.query_key_value.weight" in named and "word_embeddings.weight" in named
    save_file(named, tmp_path / "model.safetensors", metadata={"format": "pt"})
    shapes = bone.model.config.to_dict()
    kept = ("vocab_size", "hidden_size", "num_layers", "num_attention_heads", "max_sequence_length")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "glm_blocklm"} | {k: shapes[k] for k in kept}))
    byte_tokenizer("encoder").save_pretrained(tmp_path)
    where = facts("tiny-glm") | {"source": "folder", "location": str(tmp_path)}
    for format in ("pair", "cloze"):
        loaded, said = load_backbone(where, {"dtype": "float64", "attention": "sdpa"}, CPU, format)
        assert len(said) == 1 and "the paper does not say" in said[0]
        ids = torch.tensor([[9, 30, 31]])
        ours, theirs = (model(ids).last_hidden_state for model in (loaded.model, bone.model))
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
