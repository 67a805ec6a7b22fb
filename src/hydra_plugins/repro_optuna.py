"""`hydra/sweeper: optuna`: a search as a Hydra multirun; every trial of it is an ordinary one, in the store.

Not hydra-optuna-sweeper: its last release asks for optuna below 3, keeps its study in memory or a database, and knows
of no store. Hydra imports every plugin at each start, so nothing heavy is imported above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from hydra_plugins.repro_slurm import plain
from hydra_plugins.repro_sweeps import returns_early, write_config

if TYPE_CHECKING:
    from repro.sweeps.executors.base import OnResult
    from repro.trials.spec import TrialSpec


class LauncherExecutor:
    """Composes and runs trials through one of Hydra's launchers (an `Executor`)."""

    def __init__(self, launcher: Launcher, context: HydraContext, config: DictConfig):
        self._launcher, self._context, self._config = launcher, context, config
        self._words: dict[str, list[str]] = {}
        self.returns_early = returns_early(launcher)
        self.results: list[object] = []

    def compose(self, words: list[str]) -> TrialSpec:
        """The trial that the launcher will compose from these overrides.

        Raises:
            ConfigError: it cannot run.
        """
        from repro.trials.spec import spec_in_sweep

        spec = spec_in_sweep(self._context.config_loader, self._config, words)
        self._words[spec.key] = words
        return spec

    def run(self, specs: Sequence[TrialSpec], on_result: OnResult) -> None:
        """Launch trials that were composed here. The jobs report their results themselves."""
        jobs = self._launcher.launch([self._words[spec.key] for spec in specs], initial_job_idx=len(self.results))
        self.results += [job.return_value for job in jobs]  # asking for it raises what the job raised


class OptunaSweeper(Sweeper):
    """Proposes settings, launches their trials, and reads their validation scores from their records.

    Args:
        params: Hydra's own name for a space, which it extends.
        settings: see `conf/hydra/sweeper/optuna.yaml`.
    """

    def __init__(self, params: Mapping[str, object] | None = None, **settings: object):
        self._settings = plain(settings)
        self._settings["space"] = {**(self._settings.get("space") or {}), **plain(params or {})}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `sweep`."""
        self._config = config
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self._executor = LauncherExecutor(launcher, hydra_context, config)

    def sweep(self, arguments: list[str]) -> list[object]:
        """The search; the results of the trials that it ran.

        Raises:
            ConfigError: a space, a sampler or a config that cannot be searched.
        """
        from repro.store.searches import summary
        from repro.sweeps.search.command_line import SearchSettings, searching

        write_config(self._config)
        settings = SearchSettings.of(self._settings)
        with searching(arguments, settings, self._executor.compose, self._executor) as run:
            ended = run.run()
            print(summary.lines(run.search, run.store, ended))
        return self._executor.results
