"""`hydra/sweeper: optuna`: a search as a Hydra multirun; every trial of it is an ordinary one, in the store.

Not hydra-optuna-sweeper: its last release asks for optuna below 3, keeps its study in memory or a database, and knows
of no store. Hydra imports every plugin at each start, so nothing heavy is imported above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """Proposes settings, launches their trials, and reads what they came to from their records.

    Args: see `conf/hydra/sweeper/optuna.yaml`; `params` is Hydra's own name for a space and taken as one more.
    """

    def __init__(
        self,
        n_trials: int,
        space: Mapping[str, Any],
        sampler: Mapping[str, Any],
        batch: int = 1,
        seeds: Sequence[int] = (),
        name: str | None = None,
        direction: str | None = None,
        params: Mapping[str, Any] | None = None,
    ):
        self._budget, self._batch, self._name, self._direction = int(n_trials), int(batch), name, direction
        self._texts = {str(key): value for key, value in {**(space or {}), **(params or {})}.items()}
        self._sampler, self._seeds = dict(sampler), [int(seed) for seed in seeds or ()]
        self._context: Any = None
        self._launcher: Any = None
        self._config: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `sweep`."""
        self._context, self._config = hydra_context, config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """The search; the results of the trials that it ran.

        Raises:
            ConfigError: a space, a sampler or a config that cannot be searched.
        """
        from repro.store.searches import summary
        from repro.sweeps.search.command_line import searching

        folder = Path(self._config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, folder / "multirun.yaml")
        results: list[Any] = []

        def launch(words: list[list[str]]) -> None:
            done = self._launcher.launch(words, initial_job_idx=len(results))
            results.extend(job.return_value for job in done)  # asking for it raises what the job raised

        run = searching(
            arguments,
            self._texts,
            {"name": self._name, "direction": self._direction, "seeds": self._seeds},
            self._sampler,
            (self._budget, self._batch),
            self._compose,
            launch,
            not getattr(self._launcher, "returns_at_once", False),
        )
        with run as (search, begun):
            ended = begun.run()
            print(summary.lines(search, begun.store, ended))
        return results

    def _compose(self, words: list[str]) -> Mapping[str, Any]:
        """A trial's config, as the launcher will compose it.

        Raises:
            ConfigError: it cannot run.
        """
        from repro.trials.spec import spec_in_sweep

        return spec_in_sweep(self._context.config_loader, self._config, words).plain
