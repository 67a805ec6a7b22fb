"""Token ids from the cache are those that tokenising gives, whatever happened to the files."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repro.config.schema import TrialConfig
from repro.models.encoding.batch import Encoded
from repro.models.encoding.tokenizer_identity import tokenizer_identity
from repro.tasks.base import Choice, Pair
from repro.training import token_cache
from repro.training.token_cache import TokenCache, packed, unpacked
from tests.nested import build_task, run

INTS = st.integers(-(2**40), 2**40)
TUPLES = st.lists(INTS, max_size=6).map(tuple)


def like(name: str) -> Any:
    """Values of a field of `Encoded`, by its type."""
    kind = next(str(field.type) for field in dataclasses.fields(Encoded) if field.name == name)
    if "ndarray" in kind:
        values: Any = st.lists(st.tuples(*[st.integers(-1, 2**20)] * 2), max_size=5).map(
            lambda rows: np.array(rows, dtype=np.int32).reshape(-1, 2)
        )
    else:
        values = TUPLES if "tuple" in kind else st.booleans() if "bool" in kind else INTS
    return st.none() | values if "None" in kind else values


ITEMS = st.builds(Encoded, **{field.name: like(field.name) for field in dataclasses.fields(Encoded)})


def same(one: list[list[Encoded]], two: list[list[Encoded]]) -> bool:
    """Equal in every field; `offsets` does not take part in the equality of `Encoded`."""
    if one != two:
        return False
    pairs = [(a.offsets, b.offsets) for x, y in zip(one, two, strict=True) for a, b in zip(x, y, strict=True)]
    return all(
        (a is None) == (b is None) and (a is None or (a.dtype == b.dtype and np.array_equal(a, b))) for a, b in pairs
    )


@given(st.lists(st.lists(ITEMS, max_size=3), max_size=4))
def test_what_was_packed_comes_out_equal(examples: list[list[Encoded]]) -> None:
    assert same(unpacked(packed(examples)), examples)


def test_a_field_of_a_new_type_is_noticed() -> None:
    item = dataclasses.replace(Encoded((1,), 1), label="entailment")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Encoded\.label holds \['str'\]"):
        packed([[item]])


# The cache -----------------------------------------------------------------------------------------------------------


class Counting:
    """Encodes a pair as its characters, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, rendered: Any, training: bool) -> list[Encoded]:
        self.calls += 1
        firsts = [rendered.first] if isinstance(rendered, Pair) else [first for first, _ in rendered.pairs]
        return [Encoded(tuple(map(ord, first)), len(first) + training, label=rendered.label) for first in firsts]


PAIRS = [Pair(f"text {number}", None, number % 2) for number in range(7)]


def cache(folder: Path, identity: str = "a", most: float = 1e9) -> TokenCache:
    return TokenCache(folder, identity, most)


def test_the_second_time_nothing_is_encoded(tmp_path: Path) -> None:
    encode = Counting()
    made = cache(tmp_path).encoded(PAIRS, True, encode)
    assert encode.calls == 7 and made == [Counting()(pair, True) for pair in PAIRS]
    assert cache(tmp_path).encoded(PAIRS, True, encode) == made
    assert encode.calls == 7


@pytest.mark.parametrize(
    ("identity", "examples", "training"),
    [
        ("b", PAIRS, True),
        ("a", PAIRS, False),
        ("a", PAIRS[:-1], True),
        ("a", PAIRS[::-1], True),
        ("a", [*PAIRS[:-1], Pair("text 6", "", 0)], True),
        ("a", [*PAIRS[:-1], Pair("text 6", None, 1)], True),
        ("a", [*PAIRS[:-1], Pair("text 6", None, 0, (0, 2))], True),
        ("a", [*PAIRS[:-1], Choice((("text 6", None),), 0)], True),
        ("a", [*PAIRS[:-1], Pair("text 6\ud800", None, 0)], True),
    ],
)
def test_whatever_changes_the_ids_is_encoded_anew(
    identity: str, examples: list[Any], training: bool, tmp_path: Path
) -> None:
    cache(tmp_path).encoded(PAIRS, True, Counting())
    encode = Counting()
    found = cache(tmp_path, identity).encoded(examples, training, encode)
    assert encode.calls == len(examples)
    assert found == [Counting()(example, training) for example in examples]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "zeros", "zip", "array", "object"])
def test_a_damaged_file_is_made_anew(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = cache(tmp_path).encoded(PAIRS, True, Counting())
    (path,) = tmp_path.glob("*.tokens")
    whole = path.read_bytes()
    place = whole.index(b"text 3")  # ids are bytes here
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    bad = {"empty": b"", "cut": whole[: len(whole) // 2], "flipped": flipped, "text": b"hello", "zeros": bytes(999)}
    array, anything = io.BytesIO(), io.BytesIO()
    np.save(array, np.arange(3))
    np.savez(anything, examples=np.array([{}], dtype=object))
    hashed = {"zip": b"PK\x03\x04", "array": array.getvalue(), "object": anything.getvalue()}  # with the right hash
    bad |= {name: hashlib.sha256(content).digest() + content for name, content in hashed.items()}
    path.write_bytes(bad[damage])
    encode = Counting()
    assert cache(tmp_path).encoded(PAIRS, True, encode) == made
    assert encode.calls == 7 and "damaged" in caplog.text
    assert cache(tmp_path).encoded(PAIRS, True, encode) == made and encode.calls == 7


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    made = [Counting()(pair, True) for pair in PAIRS]
    whole = packed(made)
    for place in range(0, len(whole), 29):
        bad = bytearray(whole)
        bad[place] ^= 0x10
        path = tmp_path / "x.tokens"
        path.write_bytes(bytes(bad))
        found = token_cache._read(path)
        assert found is None, place
    assert unpacked(whole) == made


def test_the_least_recently_used_files_go_first(tmp_path: Path) -> None:
    splits = [[Pair(f"{split} {row}", None, 0) for row in range(5)] for split in range(4)]
    for number, split in enumerate(splits[:3]):
        cache(tmp_path).encoded(split, True, Counting())
        for path in tmp_path.glob("*.tokens"):
            if path.stat().st_mtime > 1e6:
                os.utime(path, (1000 + number, 1000 + number))
    size = max(path.stat().st_size for path in tmp_path.glob("*.tokens"))
    used = Counting()
    cache(tmp_path).encoded(splits[0], True, used)  # now the newest
    cache(tmp_path, most=2.5 * size).encoded(splits[3], True, Counting())
    kept = []
    for split in splits:
        encode = Counting()
        cache(tmp_path).encoded(split, True, encode)
        kept.append(encode.calls == 0)
    assert used.calls == 0 and kept == [True, False, False, True]


def test_a_folder_that_cannot_be_written_loses_the_cache_not_the_trial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    made = cache(tmp_path / "file").encoded(PAIRS, True, Counting())
    assert made == [Counting()(pair, True) for pair in PAIRS]
    assert "are not kept" in caplog.text


def _encode_often(folder: str) -> bool:
    for _ in range(20):
        for split in range(3):
            pairs = [Pair(f"{split} {row}", None, 0) for row in range(50)]
            found = TokenCache(Path(folder), "a", 3000.0).encoded(pairs, True, Counting())
            if found != [Counting()(pair, True) for pair in pairs]:
                return False
    return True


def test_writers_and_removers_of_the_same_files_do_not_disturb_each_other(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(_encode_often, [str(tmp_path)] * 3)) == [True] * 3


# In a trial ----------------------------------------------------------------------------------------------------------

CELLS = [
    ("tiny-bert", "boolq"),
    ("tiny-roberta", "copa"),
    ("tiny-bert", "conll04"),
    ("tiny-bert", "squad"),
    ("tiny-t5", "cb"),
    ("tiny-gpt2", "e2e"),
]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("model", "task"), CELLS[3:5])
def test_a_trial_ends_the_same_with_and_without(
    model: str, task: str, quick: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trial(name: str, root: str | None) -> dict[str, Any]:
        plain = quick(f"model={model}", f"task={task}", "method=fine_tuning")
        plain["paths"] |= {"results_root": f"{tmp_path}/{name}", "runs_root": f"{tmp_path}/{name}-runs"}
        plain["paths"] |= {"cache_root": root}
        record = run(plain).record
        assert record is not None
        return {"metrics": record.metrics, "statistics": record.statistics, "curve": record.curve, "key": record.key}

    without = trial("without", None)
    root = str(tmp_path / "cache")
    first = trial("first", root)
    assert list((tmp_path / "cache" / "tokens").glob("*.tokens"))

    def refuse(*_: Any) -> bytes:
        raise AssertionError("a split was tokenised again")

    monkeypatch.setattr(token_cache, "packed", refuse)
    second = trial("second", root)
    assert without == first == second


@pytest.mark.parametrize(("model", "task"), CELLS)
@pytest.mark.parametrize("training", [True, False])
def test_every_form_comes_out_of_the_cache_equal(
    model: str, task: str, training: bool, quick: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    import torch

    from tests.models.loaded import adapt, load_backbone

    plain = quick(f"model={model}", f"task={task}", "method=fine_tuning", f"paths.cache_root={tmp_path}")
    built = build_task(plain)
    backbone, _ = load_backbone(plain["model"], plain["trainer"], torch.device("cpu"), built.format)
    adapter = adapt(backbone, built.format, plain["task"])
    rendered = [built.render(example) for example in built.examples("train")]
    plainly = [adapter.encode(one, training) for one in rendered]
    tokens = token_cache.token_cache(TrialConfig.from_dict(plain), built.format, backbone)
    assert tokens is not None
    for _ in range(2):
        assert same(tokens.encoded(rendered, training, adapter.encode), plainly)
    assert same(unpacked(next((tmp_path / "tokens").glob("*.tokens")).read_bytes()), plainly)


def test_a_tokenizer_is_known_by_what_it_does_not_by_what_it_did_last() -> None:
    from repro.models.untrained.random_model import byte_tokenizer

    tokenizer = byte_tokenizer("encoder")
    before = tokenizer_identity(tokenizer)
    tokenizer("a", truncation=True, max_length=2, padding="max_length")
    assert tokenizer_identity(tokenizer) == before == tokenizer_identity(byte_tokenizer("encoder"))
    others = [byte_tokenizer("decoder"), byte_tokenizer("encoder", token_types=True), byte_tokenizer("encoder")]
    others[2].add_tokens(["new"])
    assert len({before, *map(tokenizer_identity, others)}) == 4
    assert tokenizer_identity(object()) is None
