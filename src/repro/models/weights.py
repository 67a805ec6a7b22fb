"""The content of a checkpoint as one hash: equal hash, equal weights, wherever they lie and in whatever files."""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypedDict

from repro.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

THREADS = 4
"""hashlib lets other threads run while it reads a large tensor."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as a checkpoint stores it; a view of the file, not a copy."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: memoryview


def content_hash(tensors: Sequence[StoredTensor]) -> str:
    """SHA-256 (64 hex digits) over every tensor's name, type, shape and bytes, in the order of the names."""

    def line(tensor: StoredTensor) -> str:
        digest = hashlib.sha256(tensor.data).hexdigest()
        return f"{tensor.name} {tensor.dtype} {list(tensor.shape)} {digest}\n"

    with ThreadPoolExecutor(THREADS) as pool:
        lines = pool.map(line, sorted(tensors, key=lambda tensor: tensor.name))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def checkpoint_hash(place: Path, name: str | None = None) -> str:
    """The content hash of a checkpoint's tensors as they are stored, before any cast and whichever head is loaded.

    Args:
        place: a folder with `model.safetensors`, or with the shards that its index names; or a GGUF file.
        name: how the checkpoint is named in an error; None is its path.

    Raises:
        ModelError: no such files, or files that are damaged.
    """
    try:
        if place.suffix == ".gguf":
            return content_hash(list(_gguf(place)))
        return content_hash([tensor for file in _shards(place) for tensor in _safetensors(file)])
    except (OSError, ValueError, KeyError) as error:
        where = name or place
        raise ModelError(f"model.location={where}: its weights cannot be read ({error}). Get it anew.") from error


def _shards(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return [folder / "model.safetensors"]
    files: Mapping[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    return [folder / file for file in sorted(set(files.values()))]


def _mapped(path: Path) -> memoryview:
    """A file's bytes, read where they are looked at."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


class _About(TypedDict):
    """What a safetensors header says of a tensor."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def _safetensors(path: Path) -> Iterator[StoredTensor]:
    """A file is the header's length (8 bytes), the header in JSON, and the tensors' bytes."""
    view = _mapped(path)
    start = 8 + int.from_bytes(view[:8], "little")
    header: Mapping[str, _About] = json.loads(bytes(view[8:start]))
    for name, about in header.items():
        if name != "__metadata__":
            first, end = about["data_offsets"]
            yield StoredTensor(name, about["dtype"], tuple(about["shape"]), view[start + first : start + end])


class _GgufHeader:
    """Reads a GGUF file's header in order. The gguf package's reader takes seconds for a vocabulary that we skip."""

    SIZES: ClassVar[Mapping[int, int]] = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    """Bytes of a value by its type; 8 is a text and 9 an array."""

    def __init__(self, view: memoryview):
        self.view, self.at = view, 0

    def number(self, size: int) -> int:
        """An unsigned integer of so many bytes."""
        self.at += size
        return int.from_bytes(self.view[self.at - size : self.at], "little")

    def text(self) -> str:
        """A length of 8 bytes, and so many characters."""
        size = self.number(8)
        self.at += size
        return bytes(self.view[self.at - size : self.at]).decode()

    def skip(self, kind: int) -> None:
        """Pass a value of the metadata."""
        if kind == 8:
            size = self.number(8)
            self.at += size
        elif kind == 9:
            kind, count = self.number(4), self.number(8)
            for _ in range(count):
                self.skip(kind)
        else:
            self.at += self.SIZES[kind]


def _gguf(path: Path) -> Iterator[StoredTensor]:
    """Tensors as they are quantised."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    header, alignment = _GgufHeader(_mapped(path)), 32
    if bytes(header.view[:4]) != b"GGUF":
        raise ValueError("no GGUF file")
    header.at = 8  # behind the format's version
    tensors, values = header.number(8), header.number(8)
    for _ in range(values):
        name, kind = header.text(), header.number(4)
        if name == "general.alignment":
            alignment = header.number(4)
        else:
            header.skip(kind)
    found = []
    for _ in range(tensors):
        name = header.text()
        shape = tuple(header.number(8) for _ in range(header.number(4)))
        found.append((name, shape, GGMLQuantizationType(header.number(4)), header.number(8)))
    start = -(-header.at // alignment) * alignment
    for name, shape, kind, first in found:
        block, size = GGML_QUANT_SIZES[kind]
        first += start
        yield StoredTensor(name, kind.name, shape, header.view[first : first + math.prod(shape) // block * size])


def module_hash(module: nn.Module) -> str:
    """The content hash of a model in memory: of random weights, which no checkpoint holds."""

    import torch

    def stored(name: str, tensor: Tensor) -> StoredTensor:
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return StoredTensor(name, str(tensor.dtype), tuple(tensor.shape), memoryview(data.data))

    return content_hash([stored(name, tensor) for name, tensor in module.state_dict().items()])
