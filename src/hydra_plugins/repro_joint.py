"""`hydra/launcher: joint`: the trials of a multirun that share a frozen backbone train jointly, in this process.

Hydra imports every plugin at each start, so nothing heavy is imported above.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class JointLauncher(Launcher):
    """Trains the missing trials jointly, then lets Hydra's own launcher go through the jobs.

    Each job finds its result (`repro.sweeps.executors.results`), prints it, and ends as it would have ended alone.
    """

    def __init__(self) -> None:
        self._jobs = BasicLauncher()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `launch`."""
        self._context, self._config = hydra_context, config
        self._jobs.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """The results of all jobs, in order.

        Raises:
            Interrupted: asked to stop, after a checkpoint of every trial that was training.
        """
        from repro.sweeps.executors import results
        from repro.sweeps.executors.joint import Joint
        from repro.trials.spec import spec_in_sweep

        setup_globals()
        specs = []
        for words in job_overrides:
            with suppress(Exception):  # what cannot be composed is reported by its own job
                specs.append(spec_in_sweep(self._context.config_loader, self._config, words))
        results.prepare(Joint(), specs)
        launched: Sequence[JobReturn] = self._jobs.launch(job_overrides, initial_job_idx)
        return launched
