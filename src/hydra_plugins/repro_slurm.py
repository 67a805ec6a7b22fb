"""`hydra/launcher: slurm`: a multirun's missing trials as job arrays of a Slurm cluster.

Hydra imports every plugin at each start, so nothing heavy is imported above.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class SlurmLauncher(Launcher):
    """Submits the trials that have no record and are in no queue, and returns at once.

    With `wait=true` it stays until they have ended, and fails if one of them has no score. See
    `repro.sweeps.executors.slurm`.
    """

    def __init__(self, **settings: Any):
        self._given = settings
        self._config: Any = None
        self._context: Any = None
        self.returns_at_once = not settings.get("wait")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `launch`."""
        from repro.sweeps.executors.slurm import settings

        self._context, self._config = hydra_context, config
        own = {key: OmegaConf.to_container(v) if OmegaConf.is_config(v) else v for key, v in self._given.items()}
        self._settings = settings.read(own, settings.given_names(config.hydra.overrides.hydra))
        self.returns_at_once = not self._settings.wait

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit; a trial that cannot run is left out and said, and the error raised when the others are submitted.

        Raises:
            ConfigError: a trial that cannot run, no Slurm, a refusal of sbatch.
            StoreError: the files of the jobs cannot be written.
            TrialFailed: with `wait`, a trial that has no score in the end.
        """
        from repro.errors import ConfigError
        from repro.sweeps.executors.slurm import submit

        asked, refused = [], []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            try:
                asked.append(self._asked(list(overrides), number))
            except ConfigError as error:
                print(f"repro: {' '.join(overrides)}: {error}", file=sys.stderr)
                refused.append(error)
        done = submit.submit(asked, self._settings)
        print(done.table())
        if self._settings.wait:
            submit.wait(done, self._settings.poll_seconds)
        if refused:
            raise refused[0]
        return [JobReturn(overrides=list(one), status=JobStatus.COMPLETED) for one in job_overrides]

    def _asked(self, overrides: list[str], number: int) -> Any:
        """One trial, composed as Hydra's own launcher does it.

        Raises:
            ConfigError: it cannot run.
        """
        from repro.trials.spec import spec_in_sweep

        return spec_in_sweep(self._context.config_loader, self._config, overrides)
