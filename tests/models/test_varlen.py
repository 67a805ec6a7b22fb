"""The kernel for sequences of unlike lengths: what we give it and do with its result, on a stand-in for torch's.

torch's own needs a GPU. The stand-in computes what torch documents, in a loop over the sequences; a causal mask is
aligned at the last key, as flash attention has it.
"""

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.models.attention import varlen_kernel
from repro.models.encoding.batch import Encoded, collate
from repro.training.fixed_shapes import lay_out_fixed
from repro.training.passes import lay_out
from tests.models.loaded import CPU, adapt, tiny
from tests.parity.tiny_models import prompts, trained_of

LIMITS = {"max_input_length": 32, "max_target_length": 16}
P = 3


def looped(
    query: Tensor, key: Tensor, value: Tensor, begins: Tensor, key_begins: Tensor, most: int, most_keys: int,
    *, scale: float | None = None, window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """`torch.nn.attention.varlen.varlen_attn`."""
    assert begins.dtype == key_begins.dtype == torch.int32
    assert key.shape[0] == key_begins[-1] and query.shape[0] == begins[-1] == len(query)
    assert window_size in ((-1, -1), (-1, 0)) and (enable_gqa or query.shape[1] == key.shape[1])
    made = []
    for index in range(len(begins) - 1):
        asked = query[begins[index] : begins[index + 1]].transpose(0, 1)
        read, said = (one[key_begins[index] : key_begins[index + 1]].transpose(0, 1) for one in (key, value))
        assert asked.shape[1] <= most and read.shape[1] <= most_keys
        allowed = torch.ones(asked.shape[1], read.shape[1], dtype=torch.bool)
        if window_size == (-1, 0):
            allowed = allowed.tril(read.shape[1] - asked.shape[1])
        options: dict[str, Any] = {"attn_mask": allowed, "scale": scale, "enable_gqa": enable_gqa}
        made.append(torch.nn.functional.scaled_dot_product_attention(asked[None], read[None], said[None], **options)[0])
    return torch.cat(made, 1).transpose(0, 1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The kernel is there; how many keys it was called with."""
    seen: list[int] = []

    def kernel(*args: Any, **kwargs: Any) -> Tensor:
        seen.append(len(args[1]))
        return looped(*args, **kwargs)

    monkeypatch.setattr(varlen_kernel, "right", lambda *facts: True)
    monkeypatch.setattr(varlen_kernel, "kernel", kernel)
    yield seen


def examples(kind: str) -> list[Encoded]:
    lengths = (9, 4, 7, 4)
    if kind == "encoder":
        return [Encoded(tuple(range(5, 5 + n)), n, label=n % 2) for n in lengths]
    if kind == "encoder_decoder":
        return [Encoded(tuple(range(5, 5 + n)), n, target_ids=tuple(range(3, 3 + n // 2))) for n in lengths]
    return [Encoded(tuple(range(5, 8 + n)), n, token_labels=(-100,) * n + tuple(range(5 + n, 8 + n))) for n in lengths]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("prompt", ["kv", "before"])
@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "llama", "bart", "t5"])
def test_losses_and_gradients_are_those_of_padded_attention(
    name: str, prompt: str, fixed: bool, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    format = "pair" if name in ("bert", "roberta") else "text_to_text"
    bone = tiny(name, format, packing=True)
    adapter: Any = adapt(bone, format, LIMITS)
    batch = collate(examples(bone.spec.kind), 0, rows=[0, 1, 1, 0])
    injection = prompts(bone.spec, 2, length=P)[prompt]

    def computed() -> tuple[Tensor, list[Tensor]]:
        one = (lay_out_fixed if fixed else lay_out)(adapter, batch, injection, [injection.prompt_length] * 2)
        assert one.fixed == fixed
        total = adapter.losses(one.reading.batch, injection, reading=one.reading).total[:4]
        return total, list(torch.autograd.grad(total.sum(), trained_of(injection)))

    ours, own = computed()
    # T5's stacks have a bias, and its cross-attention reads short targets without keys and values: all are padded.
    assert bool(calls) is (name != "t5")
    calls.clear()
    monkeypatch.setattr(varlen_kernel, "right", lambda *facts: False)
    theirs, other = computed()
    assert not calls
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    for mine, wanted in zip(own, other, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))


def test_prefixes_of_unlike_lengths_are_padded(calls: list[int]) -> None:
    bone = tiny("bert", "pair", packing=True)
    adapter: Any = adapt(bone, "pair", LIMITS)
    injection = prompts(bone.spec, 2, torch.tensor([[1, 1, 1], [1, 1, 0]]).bool(), P)["kv"]
    adapter.losses(collate(examples("encoder"), 0, rows=[0, 1, 1, 0]), injection)
    assert not calls


def test_the_kernel_is_compared_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A causal mask aligned at the first key is what some kernels have: it would hide prefixes."""

    def at_first_key(*args: Any, window_size: tuple[int, int], **kwargs: Any) -> Tensor:
        if window_size == (-1, -1):
            return looped(*args, window_size=window_size, **kwargs)
        query, key, value, begins, key_begins, *_ = args
        key, value = (states.repeat_interleave(query.shape[1] // key.shape[1], 1) for states in (key, value))
        made = []
        for index in range(len(begins) - 1):
            asked = query[begins[index] : begins[index + 1]].transpose(0, 1)
            read, said = (one[key_begins[index] : key_begins[index + 1]].transpose(0, 1) for one in (key, value))
            allowed = torch.ones(asked.shape[1], read.shape[1], dtype=torch.bool).tril()
            made.append(torch.nn.functional.scaled_dot_product_attention(asked, read, said, attn_mask=allowed))
        return torch.cat(made, 1).transpose(0, 1)

    for causal in (False, True):
        for heads in ((2, 2, 64), (4, 2, 16)):
            assert varlen_kernel.difference(CPU, torch.bfloat16, causal, *heads, looped) < varlen_kernel.TOLERANCE
    assert varlen_kernel.difference(CPU, torch.bfloat16, True, 2, 2, 64, at_first_key) > 10 * varlen_kernel.TOLERANCE


def test_the_gradients_are_compared_too() -> None:
    def half(*args: Any, **kwargs: Any) -> Tensor:
        out = looped(*args, **kwargs)
        return out.detach() + (out - out.detach()) / 2

    assert varlen_kernel.difference(CPU, torch.float32, False, 2, 2, 64, half) > 10 * varlen_kernel.TOLERANCE


@pytest.mark.parametrize("works", [True, False])
def test_a_device_whose_kernel_fails_is_told(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> Tensor:
        raise RuntimeError("no kernel image is available\nfor this device")

    def difference(device: Any, dtype: Any, causal: bool, *heads: int) -> float:
        return 0.001 if works else float(broken())

    monkeypatch.setattr(varlen_kernel, "difference", difference)
    varlen_kernel.right.cache_clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        assert varlen_kernel.right(torch.device("cuda", 0), torch.bfloat16, 2, 2, 64) is works
    assert [str(one.message) for one in said] == [
        "variable-length attention cannot be used here (no kernel image is available): it is padded instead"
    ] * (not works)
    assert varlen_kernel.right(CPU, torch.bfloat16, 2, 2, 64) is False
    assert varlen_kernel.right(torch.device("cuda", 0), torch.float32, 2, 2, 64) is False
    varlen_kernel.right.cache_clear()


def test_torch_has_what_is_called() -> None:
    from torch.nn.attention.varlen import varlen_attn

    names = list(inspect.signature(varlen_attn).parameters)
    assert names[:7] == ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]
    assert {"scale", "window_size", "enable_gqa"} <= set(names)
