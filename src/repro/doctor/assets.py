"""The facts about data sets in assets.yaml: where files come from, licence, traps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict

from repro.errors import DataError


@dataclass(frozen=True)
class Download:
    """One file that may be fetched.

    Attributes:
        url, bytes, sha256: of the file as published.
        places: {end of a member's name: where it goes below the data root}; of a file that is no archive, {"": where}.
    """

    url: str
    bytes: int
    sha256: str
    places: Mapping[str, str]

    @property
    def archive(self) -> bool:
        """Whether members are taken out of it."""
        return "" not in self.places


@dataclass(frozen=True)
class Asset:
    """One data set.

    Attributes:
        tasks: files of conf/task that read it.
        licence: as its publisher states it.
        licensed: it may only be had under an agreement, and is never fetched.
        get: a sentence: where a person gets it.
        traps: what misleads.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    licence: str
    licensed: bool
    get: str
    downloads: tuple[Download, ...]
    traps: tuple[str, ...]


@cache
def assets() -> tuple[Asset, ...]:
    """All data sets, in file order."""
    return tuple(read_assets(Path(__file__).with_name("assets.yaml")))


def read_assets(path: Path) -> list[Asset]:
    """The data sets of a file.

    Raises:
        DataError: an entry lacks something.
    """
    import yaml

    return [_asset(name, entry) for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items()]


class _File(TypedDict, total=False):
    url: str
    bytes: int
    sha256: str
    to: str
    unpack: dict[str, str]


class _Entry(TypedDict, total=False):
    """A data set as the file has it."""

    title: str
    tasks: list[str]
    licence: str
    licensed: bool
    get: str
    files: list[_File]
    traps: list[str]


def _asset(name: str, entry: _Entry) -> Asset:
    try:
        downloads = tuple(
            Download(file["url"], int(file["bytes"]), file["sha256"], file.get("unpack") or {"": file["to"]})
            for file in entry.get("files", ())
        )
        licensed = bool(entry.get("licensed", False))
        if licensed and downloads:
            raise DataError(f"assets.yaml: {name} is licensed, and has files that would be fetched. Take one out.")
        tasks, traps = tuple(entry["tasks"]), tuple(entry.get("traps", ()))
        return Asset(name, entry["title"], tasks, entry["licence"], licensed, entry.get("get", ""), downloads, traps)
    except KeyError as error:
        raise DataError(f"assets.yaml: {name} lacks {error}. Add it.") from error


def of_task(task: str) -> list[Asset]:
    """The data sets that a task reads."""
    return [asset for asset in assets() if task in asset.tasks]


def that_gives(place: str) -> Asset | None:
    """The data set whose download puts a file at this place below the data root."""
    for asset in assets():
        if any(place in download.places.values() for download in asset.downloads):
            return asset
    return None
