"""Recipes by the cells they cover: which file of `conf/recipe` has the published hyperparameters of a trial.

A recipe `recipe/<paper>/<name>.yaml` is a config file with one more key, which is read here and never composed:

    covers:
      - {method: prompt_tuning, model: [t5-v1_1-*, t5-*-lm-adapt], task: [boolq, rte]}

Each entry covers every combination of its names; `*` and `?` are wildcards. Recipes may start from others (`defaults`).
A cell has at most one recipe of a paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from repro.config.compose import conf_dirs
from repro.errors import ConfigError

GROUP = "recipe"
COVERS = "covers"


class Cell(NamedTuple):
    """What a recipe is looked up by: names of config files."""

    method: str
    model: str
    task: str


@dataclass(frozen=True)
class Recipe:
    """A file of `conf/recipe`.

    Args:
        paper: name of its folder.
        name: path below that folder, without suffix.
        covers: names or patterns of methods, models and tasks; every combination of one entry is covered.
    """

    paper: str
    name: str
    path: Path
    covers: tuple[tuple[tuple[str, ...], ...], ...]

    def has(self, cell: Cell) -> bool:
        """Whether this recipe covers a cell."""
        return any(
            all(
                any(fnmatchcase(name, pattern) for pattern in patterns)
                for name, patterns in zip(cell, entry, strict=True)
            )
            for entry in self.covers
        )


def recipes(folders: Iterable[Path] | None = None) -> list[Recipe]:
    """All recipes of the config folders, by paper and name within a folder.

    Raises:
        ConfigError: a file that is not YAML, or a `covers` that cannot be read.
    """
    found: list[Recipe] = []
    for folder in conf_dirs() if folders is None else folders:
        root = folder / GROUP
        found += (_read(root, path, path.stat().st_mtime_ns) for path in sorted(root.glob("*/**/*.yaml")))
    return found


def recipes_for(cell: Cell, among: Sequence[Recipe] | None = None) -> list[Recipe]:
    """The recipes that cover a cell: at most one of each paper, in the order of `recipes`.

    Raises:
        ConfigError: two recipes of one paper cover it.
    """
    matching = [recipe for recipe in (recipes() if among is None else among) if recipe.has(cell)]
    by_paper: dict[str, Recipe] = {}
    for recipe in matching:
        other = by_paper.setdefault(recipe.paper, recipe)
        if other is not recipe:
            raise ConfigError(
                f"{other.path} and {recipe.path} both cover method={cell.method} model={cell.model} task={cell.task}. "
                "A cell has one recipe of a paper: take it out of one of them."
            )
    return matching


@lru_cache(maxsize=1024)
def _read(root: Path, path: Path, _changed: int) -> Recipe:
    """One file; read again when it has changed."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is ten times as fast, where there is one
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML ({' '.join(str(error).split())}). Correct it there.") from error
    paper, *rest = path.relative_to(root).with_suffix("").parts
    covers = content.get(COVERS, []) if isinstance(content, Mapping) else []
    return Recipe(paper, "/".join(rest), path, tuple(_entry(path, entry) for entry in _listed(covers)))


def _entry(path: Path, entry: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(entry, Mapping) or set(entry) != set(Cell._fields):
        raise ConfigError(
            f"{path}: an entry of `{COVERS}` has the keys method, model and task, each a name or a list of names "
            f"(given: {entry})."
        )
    return tuple(tuple(str(name) for name in _listed(entry[field])) for field in Cell._fields)


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]
