"""How jobs are asked for: `conf/hydra/launcher/slurm.yaml`, a site's own file over it, the command line over both."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from repro.errors import ConfigError

PREFIX = "hydra.launcher."
_TIME = re.compile(r"\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d){0,2}")
"""Forms of a time limit that sbatch takes: minutes, minutes:seconds, hours:..., days-hours..."""
_MEMORY = re.compile(r"\d+[KMGT]?")


@dataclass(frozen=True)
class Settings:
    """The keys of `conf/hydra/launcher/slurm.yaml`, which says what each means."""

    site: str | None = None
    wait: bool = False
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: int | str = 240
    gpus: int = 1
    gpu_type: str | None = None
    cpus: int = 4
    mem: str | None = "16G"
    trials_per_job: int = 8
    array_limit: int = 1000
    throttle: int | None = None
    signal_seconds: int = 120
    max_requeues: int = 100
    poll_seconds: float = 10.0
    python: str | None = None
    setup: list[str] = field(default_factory=list)
    srun: bool = True
    extra: dict[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON keeps them, for the next submission of the same trials."""
        return asdict(self)

    def shown(self) -> str:
        """What is asked for, in a line."""
        gpu = f"{self.gpus} x {self.gpu_type or 'GPU'}" if self.gpus else "no GPU"
        limit = f"{self.time} min" if str(self.time).isdigit() else str(self.time)
        words = [f"partition {self.partition}" if self.partition else "", limit, gpu, f"{self.cpus} cores"]
        return ", ".join(word for word in [*words, self.mem or "", f"{self.trials_per_job} trials a job"] if word)


def read(config: Mapping[str, Any], given: Collection[str] = ()) -> Settings:
    """Settings from a composed `hydra.launcher` and the site's file.

    Args:
        config: the launcher's values, those of the command line included.
        given: names of those that the command line gave: the site's file does not replace them.

    Raises:
        ConfigError: a key that does not exist, or a value that cannot be.
    """
    own = {key: value for key, value in config.items() if key != "_target_"}
    path = _site_file(own.get("site"))
    site = {} if path is None else _site(path)
    merged = own | {key: value for key, value in site.items() if key not in given}
    if isinstance(own.get("extra"), dict) and isinstance(site.get("extra"), dict):
        merged["extra"] = site["extra"] | own["extra"]
    unknown = set(merged) - {one.name for one in fields(Settings)}
    if unknown:
        raise ConfigError(
            f"{PREFIX}{sorted(unknown)[0]}: there is no such key; allowed are "
            f"{', '.join(one.name for one in fields(Settings))}. Options of sbatch go into {PREFIX}extra."
        )
    return _checked(Settings(**merged), str(path) if path is not None else "the command line")


def of_words(words: Sequence[str]) -> Settings:
    """Settings from `hydra.launcher.key=value` words, outside of Hydra's own multirun.

    Raises:
        ConfigError: as `read`.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from repro.config.compose import conf_dir

    config = _parsed((conf_dir() / "hydra" / "launcher" / "slurm.yaml").read_text(encoding="utf-8"))
    given = set()
    for word in words:
        try:
            override = OverridesParser.create().parse_override(word)
            key, value = override.key_or_group.removeprefix(PREFIX), override.value()
        except HydraException as error:
            raise ConfigError(f"{word}: settings of jobs are given as {PREFIX}key=value.") from error
        name, _, inner = key.partition(".")
        if inner:
            config[name] = (config.get(name) or {}) | {inner: value}
        else:
            config[name] = value
        given.add(name)
    return read(config, given)


def given_names(overrides: Sequence[str]) -> set[str]:
    """The launcher's keys among Hydra's overrides."""
    words = [word.lstrip("+~") for word in overrides]
    return {re.split(r"[.=]", word.removeprefix(PREFIX))[0] for word in words if word.startswith(PREFIX)}


def _site_file(named: str | None) -> Path | None:
    """The site's file; None where there is none and none was named.

    Raises:
        ConfigError: one was named and is not there.
    """
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigError(f"{PREFIX}site={named}: there is no such file. Write it, or leave the key out.")
        return path
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    path = home / "repro" / "slurm.yaml"
    return path if path.is_file() else None


def _parsed(text: str) -> Any:
    """YAML, but 4:00:00 stays a text: YAML 1.1 reads it as 14400, to the base of sixty."""
    import yaml  # type: ignore[import-untyped]

    class Loader(yaml.SafeLoader):
        """Without numbers to the base of sixty."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if first not in "0123456789" or ":" not in pattern.pattern]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[0-9]+$"), list("0123456789"))
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[0-9]+\.[0-9]*$"), list("0123456789"))
    return yaml.load(text, Loader)


def _site(path: Path) -> dict[str, Any]:
    import yaml

    try:
        found = _parsed(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: this site file cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: a site file has `key: value` lines, the keys of conf/hydra/launcher/slurm.yaml.")
    unknown = set(found) - {one.name for one in fields(Settings)} | set(found) & {"site", "_target_"}
    if unknown:
        raise ConfigError(
            f"{path}: the key {sorted(map(str, unknown))[0]} does not exist; allowed are "
            f"{', '.join(one.name for one in fields(Settings) if one.name != 'site')}. Options of sbatch go into extra."
        )
    return found


def _checked(settings: Settings, source: str) -> Settings:
    """The same settings.

    Raises:
        ConfigError: a value that cannot be; says where it may be mended.
    """

    def refuse(name: str, why: str) -> None:
        value = getattr(settings, name)
        raise ConfigError(f"{PREFIX}{name}={value}: {why} (Given by conf/hydra/launcher/slurm.yaml or {source}.)")

    whole = {"gpus": 0, "cpus": 1, "trials_per_job": 1, "array_limit": 1, "signal_seconds": 1, "max_requeues": 0}
    for name, least in whole.items():
        value = getattr(settings, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            refuse(name, f"give a whole number, at least {least}.")
    if settings.throttle is not None and (not isinstance(settings.throttle, int) or settings.throttle < 1):
        refuse("throttle", "give a whole number, at least 1, or null.")
    if not isinstance(settings.poll_seconds, int | float) or settings.poll_seconds <= 0:
        refuse("poll_seconds", "give seconds above 0.")
    for name in ("wait", "srun"):
        if not isinstance(getattr(settings, name), bool):
            refuse(name, "give true or false.")
    if not _TIME.fullmatch(str(settings.time)) or str(settings.time).strip("0:-") == "":
        refuse("time", "give minutes (240) or one of Slurm's forms, such as 4:00:00 or 1-12:00:00.")
    if settings.mem is not None and not _MEMORY.fullmatch(str(settings.mem)):
        refuse("mem", "give a size such as 16G or 4000M, or null for the cluster's default.")
    if settings.gpu_type is not None and not settings.gpus:
        refuse("gpu_type", f"{PREFIX}gpus=0 asks for none. Set {PREFIX}gpus, or leave the type out.")
    if not isinstance(settings.setup, list) or not all(isinstance(line, str) for line in settings.setup):
        refuse("setup", "give a list of shell lines.")
    if not isinstance(settings.extra, dict):
        refuse("extra", "give options of sbatch as {name: value}.")
    return settings
