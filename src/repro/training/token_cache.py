"""Token ids of a split, kept on disk by content, so that the next trial does not tokenise the same texts again.

The key is a hash of everything that determines the ids: the rendered examples (hence the data, the template and the
limit), the tokenizer, the lengths, and our encoding code. A file that is damaged or missing is written anew. Nothing is
pickled: a file is a SHA-256 and the npz that it is of.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from repro.config.conversion import to_plain
from repro.config.run_key import facts
from repro.config.schema import TrialConfig
from repro.errors import StoreError
from repro.models.backbone import Backbone
from repro.models.encoding.batch import Encoded
from repro.models.encoding.tokenizer_identity import encoding_code, tokenizer_identity
from repro.store.files import write_atomic
from repro.tasks.base import Rendered

log = logging.getLogger(__name__)

VERSION = 1
"""Of the files' layout; part of every key."""

SUFFIX = ".tokens"
_DIGEST = hashlib.sha256().digest_size

Sequences = list[list[Encoded]]
"""The sequences of each example."""
Value = None | bool | int | tuple[int, ...] | NDArray[np.int32]
"""What a field of `Encoded` may hold."""
Numbers = NDArray[np.signedinteger]


class TokenCache:
    """A folder of encoded splits.

    Several processes may share it: a file is written in one step, and one that another process removed is made anew.
    """

    def __init__(self, folder: Path, identity: str, most_bytes: float):
        """
        Args:
            folder: made at the first write.
            identity: what decides the ids besides the examples: tokenizer, lengths, format, code.
            most_bytes: beyond this the files that were not used for longest are removed.
        """
        self.folder, self.identity, self.most_bytes = folder, identity, most_bytes

    def encoded(
        self, rendered: Sequence[Rendered], training: bool, encode: Callable[[Rendered, bool], list[Encoded]]
    ) -> Sequences:
        """The sequences of every rendered example, read or made; equal either way."""
        path = self.folder / f"{self._key(rendered, training)}{SUFFIX}"
        cached = _read(path)
        if cached is not None:
            return cached
        made = [encode(example, training) for example in rendered]
        try:
            write_atomic(path, packed(made))
            self._make_room(path)
        except (StoreError, OSError) as error:  # a full disk is no reason to lose the trial
            log.warning("Token ids are not kept: %s", error)
        return made

    def _key(self, rendered: Sequence[Rendered], training: bool) -> str:
        digest = hashlib.sha256(json.dumps([VERSION, self.identity, training, len(rendered)]).encode())
        for example in rendered:
            values = [getattr(example, field.name) for field in dataclasses.fields(example)]
            # ASCII escapes keep half a surrogate pair apart from every other text.
            digest.update(json.dumps([type(example).__name__, values]).encode() + b"\n")
        return digest.hexdigest()[:32]

    def _make_room(self, kept: Path) -> None:
        """Remove the files that were not used for longest, never the one just written."""
        sizes = {}
        for path in self.folder.glob(f"*{SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                sizes[path] = (status.st_mtime, status.st_size)
        total = sum(size for _, size in sizes.values())
        for path, (_, size) in sorted(sizes.items(), key=lambda item: item[1]):
            if total <= self.most_bytes:
                return
            if path != kept:
                path.unlink(missing_ok=True)
                total -= size


def _read(path: Path) -> Sequences | None:
    """What a file holds; None if it is not there or damaged. Notes that it was used."""
    try:
        examples = unpacked(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile) as error:
        log.warning("The cached token ids %s are damaged (%s): made anew.", path, error)
        return None
    with contextlib.suppress(OSError):
        os.utime(path, (time.time(), time.time()))
    return examples


# The file ------------------------------------------------------------------------------------------------------------
#
# The SHA-256 of what follows, then an npz. Per field of `Encoded`: `<field>.kind` (none, bool, int, tuple or array),
# `<field>.lengths` (-1: None) and `<field>.values` (all numbers one after the other). `examples`: sequences of each
# example.

_FIELDS = tuple(field.name for field in dataclasses.fields(Encoded))


def packed(examples: Sequence[Sequence[Encoded]]) -> bytes:
    """The content of a file.

    Raises:
        TypeError: a field of `Encoded` holds something else than None, a bool, an int, a tuple of ints or an array.
    """
    items = [item for sequences in examples for item in sequences]
    arrays: dict[str, NDArray[np.generic]] = {"examples": _smallest([len(sequences) for sequences in examples])}
    for name in _FIELDS:
        values = [getattr(item, name) for item in items]
        kind = _kind(name, values)
        arrays[f"{name}.kind"] = np.array(kind)
        if kind == "none":
            continue
        flat = [_numbers(value) for value in values]
        arrays[f"{name}.lengths"] = _smallest([-1 if numbers is None else len(numbers) for numbers in flat])
        arrays[f"{name}.values"] = _smallest([number for numbers in flat if numbers is not None for number in numbers])
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return hashlib.sha256(stream.getvalue()).digest() + stream.getvalue()


def _kind(name: str, values: Sequence[Value]) -> str:
    kinds = {type(value) for value in values if value is not None}
    known: dict[type, str] = {bool: "bool", int: "int", tuple: "tuple", np.ndarray: "array"}
    if len(kinds) > 1 or not kinds <= set(known):
        raise TypeError(f"Encoded.{name} holds {sorted(kind.__name__ for kind in kinds)}: the token cache knows one of "
                        f"{sorted(known.values())} a field.")  # fmt: skip
    return known[kinds.pop()] if kinds else "none"


def _numbers(value: Value) -> Sequence[int] | None:
    """A value's numbers; those of an array [T, 2] row by row."""
    if value is None or isinstance(value, tuple):
        return value
    return value.reshape(-1).tolist() if isinstance(value, np.ndarray) else (int(value),)


def _smallest(numbers: Sequence[int]) -> Numbers:
    """The numbers in the smallest type that holds them all."""
    array = np.asarray(numbers, dtype=np.int64)
    low, high = (int(array.min()), int(array.max())) if len(array) else (0, 0)
    fitting = next(
        t for t in (np.int8, np.int16, np.int32, np.int64) if np.iinfo(t).min <= low <= high <= np.iinfo(t).max
    )
    return array.astype(fitting)


def unpacked(data: bytes) -> Sequences:
    """The examples of a file's content.

    Raises:
        ValueError, LookupError: it is no such file, or damaged.
    """
    if hashlib.sha256(data[_DIGEST:]).digest() != data[:_DIGEST]:
        raise ValueError("its content is not that of its hash")
    with np.load(io.BytesIO(data[_DIGEST:]), allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    counts = arrays["examples"].tolist()
    columns = [_column(arrays, name, sum(counts)) for name in _FIELDS]
    items = [Encoded(*values) for values in zip(*columns, strict=True)]
    ends = np.cumsum([0, *counts]).tolist()
    return [items[start:end] for start, end in pairwise(ends)]


def _column(arrays: Mapping[str, Numbers], name: str, count: int) -> list[Value]:
    """A field's value of every sequence."""
    kind = str(arrays[f"{name}.kind"])
    if kind == "none":
        return [None] * count
    lengths, flat = arrays[f"{name}.lengths"].tolist(), arrays[f"{name}.values"]
    if len(lengths) != count or sum(max(length, 0) for length in lengths) != len(flat):
        raise ValueError(f"{name}: {len(lengths)} lengths and {len(flat)} values for {count} sequences")
    numbers = flat.tolist()
    values: list[Value] = []
    start = 0
    for length in lengths:
        piece = numbers[start : start + max(length, 0)]
        start += max(length, 0)
        values.append(None if length < 0 else _value(piece, kind))
    return values


def _value(piece: list[int], kind: str) -> Value:
    if kind == "tuple":
        return tuple(piece)
    if kind == "array":
        return np.array(piece, dtype=np.int32).reshape(-1, 2)
    (number,) = piece
    return bool(number) if kind == "bool" else number


def token_cache(config: TrialConfig, format: str, backbone: Backbone) -> TokenCache | None:
    """Where the trial keeps token ids; None where the config says nowhere, or the tokenizer cannot be described."""
    folder, tokenizer = config.paths.cache_root, tokenizer_identity(backbone.tokenizer)
    if folder is None or tokenizer is None:
        return None
    about = [encoding_code(), tokenizer, backbone.family.name, format]
    known, task = facts(type(config.task)), to_plain(config.task)
    settings = {name: value for name, value in task.items() if known[name].changes_tokens}
    identity = json.dumps([about, settings], sort_keys=True)
    return TokenCache(Path(folder) / "tokens", identity, config.paths.cache_gigabytes * 1e9)
