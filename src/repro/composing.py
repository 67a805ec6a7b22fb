"""Finds `conf/` (in a checkout or in the wheel), registers the schema, and turns Hydra's errors into sentences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from repro.errors import ConfigError, ReproError


def conf_dir() -> Path:
    """The config tree: beside `src/` in a checkout, inside the package when installed from a wheel."""
    package = Path(__file__).resolve().parent
    for candidate in (package.parents[1] / "conf", package / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise ConfigError(f"no config tree beside {package}: the installation is damaged, reinstall repro.")


def register() -> None:
    """Schema nodes into Hydra's store, and the `run_key` resolver. May be called again."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from repro.config import METHOD_SCHEMAS, TrialConfig
    from repro.validation import checked_key

    store = ConfigStore.instance()
    store.store(name="schema", node=TrialConfig)
    for name, schema in METHOD_SCHEMAS.items():
        store.store(group="method", name=f"{name}_schema", node=schema)
    # `_root_` is the whole config: the key is the trial's, whichever node asks for it.
    OmegaConf.register_new_resolver("run_key", lambda _root_: checked_key(_root_), replace=True)


def options(group: str) -> list[str]:
    """Names of the files of a config group."""
    folder = conf_dir() / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def explain(error: BaseException) -> ReproError | None:
    """A sentence for an error of Hydra or OmegaConf; None if it is neither theirs nor ours."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    chain: list[BaseException] = [error]
    while (chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 10:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)  # type: ignore[arg-type]
    for link in chain:
        if isinstance(link, ReproError):
            return link
    if not any(isinstance(link, HydraException | OmegaConfBaseException) for link in chain):
        return None
    return ConfigError(_sentence(" ".join(str(link) for link in chain), str(error)))


def _sentence(text: str, first: str) -> str:
    """Hydra's message, or a clearer one where we know the fix."""
    missing = re.search(r"Could not find '([\w-]+)/([^']+)'", text)
    if missing:
        group, name = missing.groups()
        return f"{group}={name}: there is no such file; allowed are {', '.join(options(group))}. Choose one of these."
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        key = unknown.group(1)
        known = re.search(r"Key '([^']+)' (?:is )?not in (?:struct|'(\w+)')", text)
        where = f" (no '{known.group(1)}' in {known.group(2) or 'the config'})" if known else ""
        return (
            f"{key}: this key does not exist{where}. `repro run --cfg job` prints the keys that do; correct the name."
        )
    wrong = re.search(r"(Value '.*?' of type .*? could not be converted to \w+)", text)
    if wrong:
        key = re.search(r"full_key: (\S+)", text)
        return f"{key.group(1) if key else 'a key'}: {wrong.group(1)}. Give a value of that type."
    return re.sub(r"\s+", " ", first).strip() + " (repro run --help lists groups and keys.)"


def compose(overrides: list[str]) -> Any:
    """A config outside of `hydra.main` (plan, tests): the same files, schema and resolver."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir

    register()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        return hydra_compose("config", overrides=overrides)
