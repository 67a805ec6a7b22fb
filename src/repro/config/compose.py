"""Finds `conf/` (in a checkout or in the wheel), registers the schema, and turns Hydra's errors into sentences."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro.config.plugins import config_folder
from repro.config.schema import TrialConfig
from repro.errors import ConfigError, ReproError, StoreError, explained
from repro.methods.registry import method, names
from repro.methods.schema import MethodConfig

if TYPE_CHECKING:
    from omegaconf import DictConfig


def conf_dir() -> Path:
    """The config tree: beside `src/` in a checkout, inside the package when installed from a wheel."""
    package = Path(__file__).resolve().parents[1]
    for candidate in (package.parents[1] / "conf", package / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise ConfigError(f"no config tree beside {package}: the installation is damaged, reinstall repro.")


def register() -> None:
    """Schema nodes into Hydra's store, and the resolvers that name a trial's folder. May be called again."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from repro.config.rules import checked_key

    def key(_root_: DictConfig) -> str:
        return checked_key(trial_config(_root_))

    def sweep_folder(_root_: DictConfig) -> str:
        try:
            return key(_root_)
        except ConfigError:  # raised here it would end the sweep; the trial says it again and the others still run
            return "."

    store = ConfigStore.instance()
    if "schema.yaml" not in store.repo:  # making nodes of all classes is a sixth of what composing a config takes
        for name in names():
            store.store(group="method", name=f"{name}_schema", node=method(name).schema)
        store.store(name="schema", node=TrialConfig)
    OmegaConf.register_new_resolver("user_path", lambda text: str(Path(text).expanduser()), replace=True)
    # `_root_` is the whole config: the key is the trial's, whichever node asks for it.
    OmegaConf.register_new_resolver("run_key", key, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, replace=True)


def conf_dirs() -> list[Path]:
    """The config tree, then the user's own folder (`--config-dir`)."""
    own = config_folder()
    return [conf_dir(), *([own] if own else [])]


def options(group: str) -> list[str]:
    """Names of the files of a config group."""
    folders = [root / group for root in conf_dirs()]
    return sorted({path.relative_to(f).with_suffix("").as_posix() for f in folders for path in f.rglob("*.yaml")})


def config_file(group: str, name: str) -> Path:
    """The file of a group's value; the first place that it could have, if there is none."""
    paths = [root / group / f"{name}.yaml" for root in conf_dirs()]
    return next((path for path in paths if path.is_file()), paths[0])


def chosen(choices: Mapping[str, str | None], folders: Sequence[str] = ()) -> dict[str, str]:
    """Which file of each group was taken, without those that were looked for and are not there (recipes).

    Args:
        folders: config folders of the user's own (`--config-dir`).
    """
    roots = [conf_dir(), *map(Path, folders)]
    return {
        group: name
        for group, name in choices.items()
        if name is not None and any((root / group.partition("@")[0] / f"{name}.yaml").is_file() for root in roots)
    }


def trial_config(composed: DictConfig) -> TrialConfig:
    """The typed config of a trial, from what Hydra composed: interpolations resolved, the start's hash beside it.

    Raises:
        ConfigError: an unknown key, a value of the wrong type, a start that cannot be read.
    """
    from omegaconf import OmegaConf

    # Hydra's own node names the run folder by the key of this very config: resolving it here would not end.
    trial = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
    plain = OmegaConf.to_container(trial, resolve=True, throw_on_missing=True, enum_to_str=True)
    assert isinstance(plain, dict)
    config = TrialConfig.from_dict({str(key): value for key, value in plain.items()})
    _expand_homes(config)
    note_start(config.method)
    return config


def _expand_homes(config: TrialConfig) -> None:
    """`~` in every folder that a config names."""
    paths = config.paths
    for name, value in vars(paths).items():
        if isinstance(value, str):
            setattr(paths, name, str(Path(value).expanduser()) if value.startswith("~") else value)
    for task in (config.task, *config.task.parts.values()):
        if task.data_dir.startswith("~"):
            task.data_dir = str(Path(task.data_dir).expanduser())


def explain(error: BaseException) -> ReproError | None:
    """A sentence for an error of Hydra, OmegaConf, YAML or the file system; None if it is another and not ours."""
    from hydra.errors import HydraException, OverrideParseException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    chain: list[BaseException] = [error]
    while (chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 10:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)  # type: ignore[arg-type]
    for link in chain:
        if isinstance(link, ReproError):
            return link
    if isinstance(error, YAMLError):
        return ConfigError(f"a config file is not YAML: {_one_line(str(error))}. Mend it there.")
    if isinstance(error, OSError) and error.filename is not None:  # the folder that Hydra makes for a trial
        try:
            with explained(error.filename, "make"):
                raise error
        except StoreError as known:
            return known
    if "Config group override must be a string" in str(error):  # a plain ValueError: `model=3`
        return ConfigError(f"a config group takes the name of a file, such as model=tiny-bert ({error}).")
    for link in chain:
        if isinstance(link, OverrideParseException):
            return ConfigError(_quoting(link.override))
    if not any(isinstance(link, HydraException | OmegaConfBaseException) for link in chain):
        return None
    return ConfigError(_sentence("\n".join(str(link) for link in chain), str(error)))


def _quoting(override: str) -> str:
    """What to do about a value that Hydra's grammar cannot read: characters such as = ( [ { # ~ , need quotes."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override!r} is no override. Write key=value (`repro run --help` lists groups and keys)."
    inner = value.strip("'\"").replace("\\", "\\\\").replace("'", "\\'")
    quoted = f"{key}='{inner}'"
    whole = f'"{quoted}"' if '"' not in quoted and "$" not in quoted else shlex.quote(quoted)
    return f"{override}: this value cannot be read as it stands. Quote it twice, for the shell and for Hydra: {whole}"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _sentence(text: str, first: str) -> str:
    """Hydra's message, or a clearer one where we know the fix.

    Args:
        text: the messages of all errors in the chain.
        first: the outermost message.
    """
    missing = re.search(r"Could not find '([^']+)'", text)
    if missing:
        return _no_such_file(missing.group(1), text)
    key = re.search(r"full_key: (\S+)", text)
    file = re.search(r"In '([^']+)'", first)
    where = f" (in {file.group(1)}.yaml)" if file else ""
    unknown = re.search(r"Key '([^']+)' (?:is )?not in (?:struct|'(\w+)')", text)
    if unknown:
        overridden = re.search(r"Could not override '([^']+)'", text)
        name = overridden.group(1) if overridden else key.group(1) if key else unknown.group(1)
        return (
            f"{name}{where}: this key does not exist (no '{unknown.group(1)}' in {unknown.group(2) or 'the config'}). "
            "`repro run --cfg job` prints the keys that do; correct the name."
        )
    wrong = re.search(
        r"(Value '(?!\$).*?' of type .*? could not be converted to \w+|\w+ is not a ListConfig|"
        r"Cannot assign \w+ to [^\n]+)",
        text,
    )
    if wrong:
        said = wrong.group(1).replace("ListConfig", "list")
        return f"{key.group(1) if key else 'a key'}{where}: {said}. Give a value of that type."
    if "is not Optional" in text and key:
        return f"{key.group(1)}{where}: null is not allowed there. Give a value, or leave the key out for its default."
    detail = re.search(r"(.+)\n\s+full_key: (\S+)", text)
    said = f"{detail.group(2)}{where}: {detail.group(1)}" if detail else _one_line(first)
    return f"{said} (`repro run --help` lists groups and keys.)"


def _no_such_file(path: str, text: str) -> str:
    """`path` is group/name; groups of ours are one level deep, their files may be deeper."""
    group, _, name = path.partition("/")
    allowed = re.findall(r"^\t([\w./-]+)$", text, re.MULTILINE)  # Hydra lists folders of the user's own too
    if group != "hydra" and (conf_dir() / group).is_dir():
        allowed = sorted({*(name for name in allowed if not name.endswith("_schema")), *options(group)})
    else:
        group, _, name = path.rpartition("/")
    return f"{group}={name}: there is no such file; allowed are {', '.join(allowed) or 'none'}. Choose one of these."


def compose(overrides: list[str], hydra: bool = False) -> DictConfig:
    """A config beside `hydra.main` (plan, tests, the trials of a sweep): the same files, schema and resolver.

    Args:
        hydra: with Hydra's own node, which knows the chosen files.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register()
    # Hydra knows one application at a time, and a sweeper's is under way.
    known = GlobalHydra.instance()
    running, known.hydra = known.hydra, None
    try:
        with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
            own = [f"hydra.searchpath=[file://{folder}]"] if (folder := config_folder()) else []
            return hydra_compose("config", overrides=[*overrides, *own], return_hydra_config=hydra)
    finally:
        known.hydra = running


def refuse_other_places(words: Sequence[str]) -> None:
    """Configs come from our tree and from one checked folder (`--config-dir`).

    Raises:
        ConfigError: a flag or an override that makes Hydra read elsewhere.
    """
    for word in words:
        flag = word.startswith(("--con", "-cd", "-cp", "-cn"))
        if flag or word.lstrip("+~").startswith("hydra.searchpath"):
            raise ConfigError(f"{word}: configs of your own are read from --config-dir FOLDER only. Give that.")


def note_given(config: TrialConfig, overrides: Sequence[str]) -> None:
    """Mark the recipe's sources of values that an experiment or the command line replaced: they tell of the recipe's.

    Args:
        config: its `recipe.sources` change, which are no part of the key.
        overrides: as on the command line; with `recipe.sources` among them the sources are the overrides' own.
    """
    given = {key.lstrip("+"): value for key, _, value in (text.partition("=") for text in overrides)}
    sources = config.recipe.sources
    for key in [] if "recipe.sources" in given else given.keys() & sources.keys():
        sources[key] = f"given as {given[key]}; source of the recipe's value: {sources[key]}"


def note_start(method: MethodConfig) -> None:
    """Put the hash of `start_from` beside it.

    Raises:
        ConfigError: the file is not there, or is another than `start_sha256` says.
    """
    if not method.start_from:
        return
    path = Path(method.start_from).expanduser()
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ConfigError(
            f"method.start_from={path}: this file cannot be read ({error.strerror}). Give the prompt.safetensors of a "
            "finished trial, or one that `repro import` wrote."
        ) from error
    if method.start_sha256 not in (None, digest):
        raise ConfigError(
            f"method.start_sha256={method.start_sha256}: the file {path} has {digest}. Leave start_sha256 out, or "
            "give the file it belongs to."
        )
    method.start_sha256 = digest
