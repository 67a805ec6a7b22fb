"""What jobs ask for: `conf/hydra/launcher/slurm.yaml`, a site's own file over it, the command line over both."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from repro.config.conversion import from_plain
from repro.config.rules import check_values
from repro.config.task_rules import refuse
from repro.errors import ConfigError
from repro.methods.fields import setting
from repro.sweeps.composing import parsed

PREFIX = "hydra.launcher."
_TIME = re.compile(r"\d+|\d+:\d\d(:\d\d)?|\d+-\d+(:\d\d){0,2}")
"""Forms of a time limit that sbatch takes: minutes, minutes:seconds, hours:..., days-hours..."""
_MEMORY = re.compile(r"\d+[KMGT]?")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of `conf/hydra/launcher/slurm.yaml`, which says what each means."""

    site: str | None = None
    wait: bool = False
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str = "240"
    gpus: int = setting(1, at_least=0)
    gpu_type: str | None = None
    cpus: int = setting(4, at_least=1)
    mem: str | None = "16G"
    trials_per_job: int = setting(8, at_least=1)
    array_limit: int = setting(1000, at_least=1)
    throttle: int | None = setting(None, at_least=1)
    signal_seconds: int = setting(120, at_least=1)
    max_requeues: int = setting(100, at_least=0)
    poll_seconds: float = setting(10.0, above=0)
    python: str | None = None
    setup: list[str] = setting(factory=list)
    srun: bool = True
    extra: dict[str, object] = setting(factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, object], where: str = "the command line") -> Settings:
        """Settings from plain values.

        Args:
            where: the other place beside `slurm.yaml` where a wrong value may stand.

        Raises:
            ConfigError: a key that does not exist, or a value that is not allowed.
        """
        texts = {name: str(values[name]) for name in ("time", "mem") if values.get(name) is not None}
        try:
            made = from_plain(cls, {**values, **texts}, {}, PREFIX)
            check_values(made, PREFIX)
            made._check()
        except ConfigError as error:
            raise ConfigError(f"{error} (Given by conf/hydra/launcher/slurm.yaml or {where}.)") from error
        return made

    def _check(self) -> None:
        if not _TIME.fullmatch(self.time) or not self.time.strip("0:-"):
            fix = f"Set {PREFIX}time=4:00:00 or 1-12:00:00, say."
            refuse(f"{PREFIX}time", self.time, "must be minutes (240) or one of Slurm's forms", fix)
        if self.mem is not None and not _MEMORY.fullmatch(self.mem):
            refuse(f"{PREFIX}mem", self.mem, "must be a size such as 16G, or null for the cluster's default", "Set it.")
        if self.gpu_type is not None and not self.gpus:
            fix = f"Set {PREFIX}gpus, or leave the type out."
            refuse(f"{PREFIX}gpu_type", self.gpu_type, f"{PREFIX}gpus=0 asks for no GPU", fix)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values, for the next submission of the same trials."""
        return asdict(self)

    def summary(self) -> str:
        """What is asked for, in a line."""
        gpu = f"{self.gpus} x {self.gpu_type or 'GPU'}" if self.gpus else "no GPU"
        limit = f"{self.time} min" if self.time.isdigit() else self.time
        words = [f"partition {self.partition}" if self.partition else "", limit, gpu, f"{self.cpus} cores"]
        return ", ".join(word for word in [*words, self.mem or "", f"{self.trials_per_job} trials a job"] if word)


def read(values: Mapping[str, object], from_command_line: Collection[str] = ()) -> Settings:
    """Settings with those of the site's file, except where the command line gave a value.

    Args:
        values: the launcher's values, those of the command line included.
        from_command_line: names of those that the command line gave.
    """
    ours = {key: value for key, value in values.items() if key != "_target_"}
    path = _site_file(ours.get("site"))
    if path is None:
        return Settings.of(ours)
    site = _site(path)
    merged = ours | {key: value for key, value in site.items() if key not in from_command_line}
    extras = [source.get("extra") for source in (site, ours)]
    if isinstance(extras[0], dict) and isinstance(extras[1], dict):
        merged["extra"] = extras[0] | extras[1]
    return Settings.of(merged, str(path))


def from_words(words: Sequence[str], base: Mapping[str, object] | None = None) -> Settings:
    """Settings from `hydra.launcher.key=value` words.

    Args:
        base: settings of an earlier submission, which the words change; None: those of the site.
    """
    values = dict(Settings().to_dict() if base is None else base)
    for word in words:
        key, _, text = word.lstrip("+").removeprefix(PREFIX).partition("=")
        name, _, inner = key.partition(".")
        before, value = values.get(name), parsed(text)
        values[name] = {**(before if isinstance(before, dict) else {}), inner: value} if inner else value
    return read(values, names_in(words)) if base is None else Settings.of(values)


def names_in(overrides: Sequence[str]) -> set[str]:
    """The launcher's keys among Hydra's overrides."""
    words = [word.lstrip("+~") for word in overrides]
    return {re.split(r"[.=]", word.removeprefix(PREFIX))[0] for word in words if word.startswith(PREFIX)}


def _site_file(named: object) -> Path | None:
    """The site's file; None where there is none and none was named."""
    if named:
        path = Path(str(named)).expanduser()
        if not path.is_file():
            raise ConfigError(f"{PREFIX}site={named}: there is no such file. Write it, or leave the key out.")
        return path
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
    path = home / "repro" / "slurm.yaml"
    return path if path.is_file() else None


def _site(path: Path) -> dict[str, object]:
    import yaml

    try:  # values are read as Hydra reads them: YAML 1.1 takes 4:00:00 for the sexagesimal number 14400
        texts = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: this site file cannot be read: {error}") from error
    if not isinstance(texts, dict):
        raise ConfigError(f"{path}: a site file has `key: value` lines, the keys of conf/hydra/launcher/slurm.yaml.")
    if "site" in texts:
        raise ConfigError(f"{path}: a site file cannot name another one. Remove its key `site`.")
    return {key: parsed(text) if isinstance(text, str) else text for key, text in texts.items()}
