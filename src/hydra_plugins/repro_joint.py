"""`hydra/launcher: joint`: the trials of a multirun that share a frozen backbone train together, in this process.

Hydra imports every plugin at each start, so nothing heavy is imported above.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class JointLauncher(Launcher):
    """Trains the missing trials (`repro.sweeps.executors.joint`), then lets Hydra's own launcher go
    through the jobs: each finds its result, prints it, and gives the exit code that it would have given alone."""

    def __init__(self) -> None:
        self._jobs = BasicLauncher()
        self._context: Any = None
        self._config: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `launch`."""
        self._context, self._config = hydra_context, config
        self._jobs.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """The results of all jobs, in order.

        Raises:
            Interrupted: asked to stop, after a checkpoint of every trial that was training.
        """
        from hydra.core.utils import setup_globals

        from repro.sweeps.executors import joint
        from repro.trials.spec import composed_spec

        setup_globals()
        specs = []
        for overrides in job_overrides:
            with suppress(Exception):  # what cannot be composed is said by its own job
                config = self._context.config_loader.load_sweep_config(self._config, list(overrides))
                specs.append(composed_spec(config, config.hydra))
        joint.answer_later(specs)
        return self._jobs.launch(job_overrides, initial_job_idx)
