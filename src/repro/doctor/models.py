"""Which models have their weights here: packages, folders, and the hub's cache, looked at without a library of the hub.

A cached hub model lies in `models--<owner>--<name>` with the folders `refs` (a file a revision, which names a commit)
and `snapshots/<commit>` (its files).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.config.compose import config_file, options
from repro.doctor.findings import CONVERSION, DOWNLOAD, EXTRA, FILES, READY, Finding

GGUF_NEEDS = ("gguf", "accelerate")
"""Packages that read a GGUF file (the extra `offline-models`)."""


def models(names: list[str] | None = None) -> list[Finding]:
    """A finding for every model of conf/model, or for those named."""
    return [look(_facts(name)) for name in (names or options("model"))]


def _facts(name: str) -> dict[str, Any]:
    import yaml

    return dict(yaml.safe_load(config_file("model", name).read_text(encoding="utf-8")))


def look(model: Mapping[str, Any]) -> Finding:
    """Whether the weights of a model are there, by the config's source."""
    name, source, location = model["name"], model["source"], model["location"]
    if source == "random":
        return Finding("model", name, READY, "random weights: for tests")
    if source == "package":
        return _packaged(name, location)
    if source == "folder":
        return _folder(name, Path(location).expanduser())
    return _hub(name, location, model.get("revision") or "main", model.get("licence") or "")


def _packaged(name: str, location: str) -> Finding:
    package, _, inner = location.partition(":")
    found = importlib.util.find_spec(package)
    places = list(found.submodule_search_locations or []) if found else []
    path = next((Path(place) / inner for place in places if (Path(place) / inner).exists()), None)
    if path is None:
        return Finding("model", name, DOWNLOAD, f"the Python package {package}", "make offline-models")
    lacking = [needed for needed in GGUF_NEEDS if path.suffix == ".gguf" and importlib.util.find_spec(needed) is None]
    if lacking:
        return Finding("model", name, EXTRA, f"{', '.join(lacking)} for GGUF", "pip install 'repro[offline-models]'")
    return Finding("model", name, READY, f"package {package}")


def _folder(name: str, folder: Path) -> Finding:
    if not (folder / "config.json").is_file():
        return Finding("model", name, FILES, f"{folder}/config.json", "set model.location to the checkpoint's folder")
    return _weights(name, folder, str(folder))


def _weights(name: str, folder: Path, source: str) -> Finding:
    """What the files of a checkpoint are: only safetensors are read."""
    if any(path.exists() for path in folder.glob("*.safetensors")):
        return Finding("model", name, READY, str(folder))
    if any(path.exists() for path in folder.glob("pytorch_model*.bin")):
        return Finding("model", name, CONVERSION, "its weights are pickled", converting(name, source))
    return Finding("model", name, DOWNLOAD, f"{folder} holds no weights", f"hf download {source}")


def converting(name: str, source: str) -> str:
    """The command that makes safetensors of pickled weights, and what to set then."""
    target = f"checkpoints/{name}"
    return (
        f"python scripts/convert_checkpoint.py {source} {target}, then model={name} model.source=folder "
        f"model.location={target}"
    )


PICKLED = ("t5-", "bart-", "deberta-", "glm-")
"""Beginnings of names of models that their authors published without safetensors."""


def _hub(name: str, location: str, revision: str, licence: str) -> Finding:
    folder = cached(location, revision)
    if folder is not None:
        return _weights(name, folder, location)
    if name.startswith(PICKLED):
        return Finding("model", name, DOWNLOAD, f"{location}, published as a pickle", converting(name, location))
    fix = f"hf download {location} --revision {revision}"
    if "llama" in licence:
        fix += " (accept the licence on its page first, and log in: hf auth login)"
    return Finding("model", name, DOWNLOAD, f"{location} is not in the hub cache", fix)


def cache_folder() -> Path:
    """Where the hub's library keeps what it downloads, by the same environment variables."""
    own = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(own or Path(home) / "hub").expanduser()


def cached(location: str, revision: str) -> Path | None:
    """The snapshot of a hub model that the cache holds; None if it has none of this revision."""
    root = cache_folder() / f"models--{location.replace('/', '--')}"
    named = root / "refs" / revision
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else revision
    folder = root / "snapshots" / commit
    return folder if (folder / "config.json").exists() else None
