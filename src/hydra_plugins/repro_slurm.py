"""`hydra/launcher: slurm`: a multirun's missing trials as job arrays of a Slurm cluster.

Hydra imports every plugin at each start, so nothing heavy is imported above.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


def plain(values: Mapping[str, object]) -> dict[str, Any]:
    """A plugin's settings without OmegaConf's containers."""
    pairs = ((str(key), value) for key, value in values.items())
    return {key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in pairs}


class SlurmLauncher(Launcher):
    """Submits the trials that have no record and are in no queue (`repro.sweeps.executors.slurm`).

    It returns at once; with `wait=true` when all trials have ended, and fails if one of them has no score.
    """

    def __init__(self, **settings: object):
        self._values = plain(settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `launch`."""
        from repro.sweeps.executors.slurm import settings
        from repro.sweeps.executors.slurm.submit import Slurm

        self._context, self._config = hydra_context, config
        self.executor = Slurm(settings.read(self._values, settings.names_in(config.hydra.overrides.hydra)))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit; a trial that cannot run is left out, and its error is raised when the others are submitted.

        Raises:
            ConfigError: a trial that cannot run, no Slurm, a refusal of sbatch.
            StoreError: the files of the jobs cannot be written.
            TrialFailed: with `wait`, a trial that has no score in the end.
        """
        from repro.errors import ConfigError, print_line
        from repro.trials.spec import spec_in_sweep

        specs, refused = {}, []
        for words in job_overrides:
            try:
                spec = spec_in_sweep(self._context.config_loader, self._config, words)
                specs[spec.key] = spec
            except ConfigError as error:
                print_line(f"repro: {' '.join(words)}: {error}", sys.stderr)
                refused.append(error)
        self.executor.run(list(specs.values()))
        if refused:
            raise refused[0]
        return [JobReturn(overrides=list(words), status=JobStatus.COMPLETED) for words in job_overrides]
