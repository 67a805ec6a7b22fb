"""Which models have their weights here: packages, folders, and the hub's cache, read without the hub's library.

A cached hub model lies in `models--<owner>--<name>` with the folders `refs` (a file a revision, which names a commit)
and `snapshots/<commit>` (its files).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from repro.config.compose import config_file, options
from repro.config.conversion import from_plain
from repro.config.schema import ModelConfig
from repro.doctor.findings import CONVERSION, DOWNLOAD, EXTRA, FILES, READY, Finding

GGUF_NEEDS = ("gguf", "accelerate")
"""Packages that read a GGUF file (the extra `offline-models`)."""


def models(names: Sequence[str] | None = None) -> list[Finding]:
    """A finding for every model of conf/model, or for those named."""
    return [look(facts(name)) for name in (names or options("model"))]


def facts(name: str) -> ModelConfig:
    """A file of conf/model.

    Raises:
        ConfigError: it does not fit the schema.
    """
    import yaml

    content = yaml.safe_load(config_file("model", name).read_text(encoding="utf-8"))
    return from_plain(ModelConfig, content, {}, "model.")


def look(model: ModelConfig) -> Finding:
    """Whether the weights of a model are there, by the config's source."""
    if model.source == "random":
        return Finding("model", model.name, READY, "random weights: for tests")
    if model.source == "package":
        return _packaged(model.name, model.location)
    if model.source == "folder":
        return _folder(model.name, Path(model.location).expanduser())
    return _hub(model)


def _packaged(name: str, location: str) -> Finding:
    package, _, inner = location.partition(":")
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    path = next((Path(folder) / inner for folder in folders if (Path(folder) / inner).exists()), None)
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


def _hub(model: ModelConfig) -> Finding:
    name, location, revision = model.name, model.location, model.revision or "main"
    folder = cached(location, revision)
    if folder is not None:
        return _weights(name, folder, location)
    if model.pickled:
        return Finding("model", name, DOWNLOAD, f"{location}, published as a pickle", converting(name, location))
    fix = f"hf download {location} --revision {revision}"
    if "llama" in (model.licence or ""):
        fix += " (accept the licence on its page first, and log in: hf auth login)"
    return Finding("model", name, DOWNLOAD, f"{location} is not in the hub cache", fix)


def cache_folder() -> Path:
    """Where the hub's library keeps what it downloads, by the same environment variables."""
    folder = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(folder or Path(home) / "hub").expanduser()


def cached(location: str, revision: str) -> Path | None:
    """The snapshot of a hub model that the cache holds; None if it has none of this revision."""
    root = cache_folder() / f"models--{location.replace('/', '--')}"
    named = root / "refs" / revision
    commit = named.read_text(encoding="utf-8").strip() if named.is_file() else revision
    folder = root / "snapshots" / commit
    return folder if (folder / "config.json").exists() else None
