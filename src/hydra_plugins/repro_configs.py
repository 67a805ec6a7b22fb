"""Lets Hydra find the recipes of a cell, and hides from it what config files say about themselves.

`conf/config.yaml` asks for the config `recipe/<method>/<model>/<task>`. There is no such file: it is made here and
includes the recipes that cover the cell (`repro.config.recipes`). Hydra takes plugins from the namespace package
`hydra_plugins` only, hence the place.
"""

from __future__ import annotations

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from repro.config.compose import conf_dirs, config_file
from repro.config.recipes import COVERS, GROUP, Cell, recipes_for

NOT_COMPOSED = {GROUP: COVERS, "experiment": "title"}
"""By group: the key by which a file describes itself; it is no part of a trial's config."""


class AnnotatedFiles(ConfigSource):
    """Files of the groups whose files describe themselves, without that key; and one config for each covered cell."""

    @staticmethod
    def scheme() -> str:
        """Of the search path's entry."""
        return "annotated"

    def load_config(self, config_path: str) -> ConfigResult:
        """A file, or the recipes of a cell."""
        path = _file(config_path)
        if path is not None:
            text = path.read_text(encoding="utf-8")
            config, header = OmegaConf.load(path), self._get_header_dict(text)  # its errors name the file
            if isinstance(config, DictConfig):
                config.pop(NOT_COMPOSED[_group(config_path)], None)
        else:
            included = _included(config_path)
            if not included:
                raise ConfigLoadError(f"there is no config {config_path}")
            config, header = OmegaConf.create({"defaults": [*included, "_self_"]}), {"package": "_global_"}
        return ConfigResult(config=config, header=header, path=self.full_path(), provider=self.provider)

    def available(self) -> bool:
        """There is always `conf`."""
        return True

    def is_group(self, config_path: str) -> bool:
        """Whether it is a folder of these files."""
        return _group(config_path) in NOT_COMPOSED and any((f / config_path).is_dir() for f in conf_dirs())

    def is_config(self, config_path: str) -> bool:
        """Whether it is one of these files or a covered cell."""
        return _file(config_path) is not None or bool(_included(config_path))

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Names below a group, for Hydra's help and error messages."""
        names: list[str] = []
        for folder in conf_dirs() if self.is_group(config_path) else ():
            for path in sorted((folder / config_path).glob("*")):
                self._list_add_result(names, f"{config_path}/{path.name}", path.name, results_filter)
        return sorted(set(names))


class AnnotatedFirst(SearchPathPlugin):
    """Those files come before all others."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Hydra's call whenever it starts."""
        search_path.prepend(provider="repro", path=f"{AnnotatedFiles.scheme()}://")


def _group(config_path: str) -> str:
    return config_path.partition("/")[0]


def _file(config_path: str) -> Path | None:
    group, _, name = config_path.partition("/")
    if group not in NOT_COMPOSED or not name:
        return None
    path = config_file(group, name.removesuffix(".yaml"))
    return path if path.is_file() else None


def _included(config_path: str) -> list[dict[str, str]]:
    """Entries of a defaults list: the recipes of a cell, each as the choice of its paper's group."""
    group, *names = config_path.removesuffix(".yaml").split("/")
    if group != GROUP or len(names) != len(Cell._fields):
        return []
    return [{f"/{GROUP}/{recipe.paper}@_global_": recipe.name} for recipe in recipes_for(Cell(*names))]
