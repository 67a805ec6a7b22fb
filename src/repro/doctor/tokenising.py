"""How long a trial waits for its token ids: the first time, and when the cache has them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def seconds(overrides: Sequence[str], data_root: str) -> str:
    """Seconds to encode the training split of a task with a model's tokenizer, with an empty cache and again.

    Raises:
        ConfigError: words that are no overrides of `repro run`; the second result differs from the first.
    """
    from repro.config.compose import compose, explain

    try:
        config = compose([*overrides, f"paths.data_root={data_root}"])
    except Exception as error:  # Hydra's errors, as `repro run` says them
        raise explain(error) or error from error
    with tempfile.TemporaryDirectory() as folder:
        config.paths.cache_root = folder
        return _measured(config, Path(folder))


def _measured(composed: DictConfig, folder: Path) -> str:
    import torch

    from repro.config.compose import trial_config
    from repro.models.loading import LoadOptions, load_backbone
    from repro.training.token_cache import token_cache
    from repro.trials.build import build_task
    from repro.trials.prepared import adapted

    config = trial_config(composed)
    task = build_task(config)
    rendered = [task.render(example) for example in task.examples("train")]
    backbone, _ = load_backbone(config.model, LoadOptions.of(config.trainer), torch.device("cpu"), task.format)
    encode = adapted(backbone, task, config.task).encode
    spent, made = [], []
    for _ in range(2):
        started = time.perf_counter()
        cache = token_cache(config, task.format, backbone)
        if cache is None:
            raise ConfigError(f"model={config.model.name}: its tokenizer cannot be described, so nothing is kept.")
        made.append(cache.encoded(rendered, True, encode))
        spent.append(time.perf_counter() - started)
    if made[0] != made[1]:
        raise ConfigError("the token ids read differ from those made: report this.")
    size = sum(path.stat().st_size for path in folder.rglob("*.tokens"))
    return (
        f"{task.name}, {len(rendered):,} training examples, {config.model.name}: first trial {spent[0]:.2f} s, "
        f"next trial {spent[1]:.2f} s, {size / 1e6:.1f} MB"
    )
