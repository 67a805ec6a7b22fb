"""The arithmetic of the papers written out from the weights alone: nothing of ours or of transformers."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Prefixes = Mapping[str, tuple[Tensor | Mapping[int, Tensor], Tensor | Mapping[int, Tensor]]]
"""{site: keys and values [L, H, P, Dh]}, or {layer: [H, P, Dh]} where only some layers have them; for every row."""


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    prefix: tuple[Tensor, Tensor] | None,
    allowed: Tensor,
    scale: float,
    bias: Tensor | None = None,
) -> Tensor:
    """softmax(scale q [Kp; k]' + [0; bias]) [Vp; v], one head after the other.

    Args:
        query: [N, heads, queries, Dh].
        key, value: [N, H, keys, Dh]; query head h reads key/value head h // (heads / H).
        prefix: keys and values [H, P, Dh], seen by every query.
        allowed: [N, queries, keys], True where a query may see a real key.
        bias: [heads, queries, keys], on real keys only.
    """
    group, outputs = query.shape[1] // key.shape[1], []
    for head in range(query.shape[1]):
        shared = head // group
        real = scale * query[:, head] @ key[:, shared].mT
        real = real if bias is None else real + bias[head]
        real = real.masked_fill(~allowed, -math.inf)
        if prefix is None:
            outputs.append(torch.softmax(real, -1) @ value[:, shared])
            continue
        front = scale * query[:, head] @ prefix[0][shared].T
        highest = torch.maximum(front.amax(-1), real.amax(-1)).detach()[..., None]
        front, real = (front - highest).exp(), (real - highest).exp()
        mixed = front @ prefix[1][shared] + real @ value[:, shared]
        outputs.append(mixed / (front.sum(-1) + real.sum(-1))[..., None])
    return torch.stack(outputs, 1)


def heads(x: Tensor, count: int) -> Tensor:
    """[N, T, count x Dh] to [N, count, T, Dh]."""
    return torch.stack(x.chunk(count, -1), 1)


def merge(x: Tensor) -> Tensor:
    """The inverse of `heads`."""
    return torch.cat(x.unbind(1), -1)


def layer_prefix(prefixes: Prefixes, site: str, layer: int) -> tuple[Tensor, Tensor] | None:
    """Keys and values [H, P, Dh] of one layer; None where it has none."""
    keys, values = prefixes.get(site, ({}, {}))
    return None if isinstance(keys, Mapping) and layer not in keys else (keys[layer], values[layer])


def behind(front: Tensor | None, x: Tensor) -> Tensor:
    """[front; x]: a prompt [P, D] in front of every row's embeddings [N, T, D]."""
    return x if front is None else torch.cat([front.expand(len(x), -1, -1), x], 1)


def longer(front: Tensor | None, mask: Tensor, fill: int) -> Tensor:
    """Per-token values [N, T] with `fill` at a prompt's places in front."""
    return mask if front is None else torch.cat([mask.new_full((len(mask), len(front)), fill), mask], 1)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p(label) summed over a row's labels (none where the label is negative): [N]."""
    logp = logits - logits.logsumexp(-1, keepdim=True)
    chosen = logp.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return -(chosen * (labels >= 0)).sum(-1)


def gpt2(model: Any, ids: Tensor, mask: Tensor, prefixes: Prefixes, shift: int, front: Tensor | None = None) -> Tensor:
    """Logits [N, P + T, V] of GPT-2; token t stands at position shift + t, behind P rows `front` if there are any."""
    w = dict(model.named_parameters())

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    x, mask = behind(front, w["transformer.wte.weight"][ids]), longer(front, mask, 1)
    length, count = x.shape[1], model.config.n_head
    allowed = mask[:, None, :].bool() & torch.ones(length, length).tril().bool()
    x = x + w["transformer.wpe.weight"][shift : shift + length]
    for layer in range(model.config.n_layer):
        at = f"transformer.h.{layer}"
        qkv = norm(x, f"{at}.ln_1") @ w[f"{at}.attn.c_attn.weight"] + w[f"{at}.attn.c_attn.bias"]
        q, k, v = (heads(part, count) for part in qkv.chunk(3, -1))
        mixed = merge(attention(q, k, v, layer_prefix(prefixes, "decoder", layer), allowed, q.shape[-1] ** -0.5))
        x = x + mixed @ w[f"{at}.attn.c_proj.weight"] + w[f"{at}.attn.c_proj.bias"]
        inner = norm(x, f"{at}.ln_2") @ w[f"{at}.mlp.c_fc.weight"] + w[f"{at}.mlp.c_fc.bias"]
        x = x + F.gelu(inner, approximate="tanh") @ w[f"{at}.mlp.c_proj.weight"] + w[f"{at}.mlp.c_proj.bias"]
    return norm(x, "transformer.ln_f") @ w["transformer.wte.weight"].T


def bert(
    model: Any,
    ids: Tensor,
    mask: Tensor,
    types: Tensor,
    prefixes: Prefixes,
    shift: int,
    front: Tensor | None = None,
) -> Tensor:
    """Last hidden states [N, P + T, D] of BERT; token t stands at position shift + t, behind P rows `front` if any."""
    w = dict(model.named_parameters())

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    table = {name: w[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")}
    x, mask, types = behind(front, table["word"][ids]), longer(front, mask, 1), longer(front, types, 0)
    length, count = x.shape[1], model.config.num_attention_heads
    allowed = mask[:, None, :].bool().expand(-1, length, -1)
    x = x + table["position"][shift : shift + length] + table["token_type"][types]
    x = norm(x, "embeddings.LayerNorm")
    for layer in range(model.config.num_hidden_layers):
        at = f"encoder.layer.{layer}"
        q, k, v = (heads(linear(x, f"{at}.attention.self.{part}"), count) for part in ("query", "key", "value"))
        mixed = merge(attention(q, k, v, layer_prefix(prefixes, "encoder", layer), allowed, q.shape[-1] ** -0.5))
        x = norm(x + linear(mixed, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = F.gelu(linear(x, f"{at}.intermediate.dense"))
        x = norm(x + linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
    return x


def relative_bucket(distance: int, two_sided: bool) -> int:
    """T5's bucket of `key position - query position`: 32 buckets: exact, then logarithmic up to 128."""
    buckets, offset = 32, 0
    if two_sided:
        buckets, offset = 16, 16 if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return offset + distance
    grown = exact + int(math.log(distance / exact) / math.log(128 / exact) * (buckets - exact))
    return offset + min(grown, buckets - 1)


def t5(
    model: Any, ids: Tensor, mask: Tensor, inputs: Tensor, prefixes: Prefixes, front: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Encoder states [N, P + T, D] and decoder logits [N, U, V] of T5 1.1 (gated GELU, separate head, no scaling).

    `front` [P, D] stands before the encoder's input alone, where self- and cross-attention see it (Lester et al.).
    """
    w, count = dict(model.named_parameters()), model.config.num_heads

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * w[f"{name}.weight"]

    def bias(stack: str, length: int, two_sided: bool) -> Tensor:
        table = w[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        bucket = [[relative_bucket(k - q, two_sided) for k in range(length)] for q in range(length)]
        return table[torch.tensor(bucket)].permute(2, 0, 1)

    def attend(
        x: Tensor, memory: Tensor, at: str, site: str, layer: int, allowed: Tensor, bias: Tensor | None
    ) -> Tensor:
        q, k, v = (heads(y @ w[f"{at}.{name}.weight"].T, count) for y, name in ((x, "q"), (memory, "k"), (memory, "v")))
        return (
            merge(attention(q, k, v, layer_prefix(prefixes, site, layer), allowed, 1.0, bias)) @ w[f"{at}.o.weight"].T
        )

    def feed_forward(x: Tensor, at: str) -> Tensor:
        y, at = norm(x, f"{at}.layer_norm"), f"{at}.DenseReluDense"
        return (F.gelu(y @ w[f"{at}.wi_0.weight"].T, approximate="tanh") * (y @ w[f"{at}.wi_1.weight"].T)) @ w[
            f"{at}.wo.weight"
        ].T

    seen, length = longer(front, mask, 1)[:, None, :].bool(), inputs.shape[1]
    x = behind(front, w["shared.weight"][ids])
    at_bias, everyone = bias("encoder", x.shape[1], True), seen.expand(-1, x.shape[1], -1)
    for layer in range(model.config.num_layers):
        at = f"encoder.block.{layer}.layer"
        y = norm(x, f"{at}.0.layer_norm")
        x = x + attend(y, y, f"{at}.0.SelfAttention", "encoder", layer, everyone, at_bias)
        x = x + feed_forward(x, f"{at}.1")
    memory = norm(x, "encoder.final_layer_norm")
    causal = torch.ones(length, length).tril().bool().expand(len(ids), -1, -1)
    x, at_bias = w["shared.weight"][inputs], bias("decoder", length, False)
    for layer in range(model.config.num_decoder_layers):
        at = f"decoder.block.{layer}.layer"
        y = norm(x, f"{at}.0.layer_norm")
        x = x + attend(y, y, f"{at}.0.SelfAttention", "decoder", layer, causal, at_bias)
        y = norm(x, f"{at}.1.layer_norm")
        x = x + attend(y, memory, f"{at}.1.EncDecAttention", "cross", layer, seen.expand(-1, length, -1), None)
        x = x + feed_forward(x, f"{at}.2")
    return memory, norm(x, "decoder.final_layer_norm") @ w["lm_head.weight"].T
