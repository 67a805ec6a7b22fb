"""`hydra/sweeper: grids`: Hydra's multirun over several grids, prompts that start from others' in a second stage.

Hydra takes plugins from the namespace package `hydra_plugins` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.repro_slurm import SlurmLauncher, plain


def returns_early(launcher: Launcher) -> bool:
    """Whether a launcher returns before its trials have ended."""
    return isinstance(launcher, SlurmLauncher) and launcher.executor.returns_early


def write_config(config: DictConfig) -> None:
    """Keep the sweep's config, as Hydra's own sweeper does."""
    folder = Path(config.hydra.sweep.dir)
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "multirun.yaml")


class GridSweeper(Sweeper):
    """Runs every trial of every grid through the chosen launcher.

    Args:
        grids: see `repro.sweeps.grids`; the command line's overrides replace a grid's own values.
        models: words that a model's name must have one of; empty: all.
        max_batch_size: trials a launch; null: a stage at once.
        params: Hydra's own way to give one product; taken as one more grid.
    """

    def __init__(
        self,
        grids: Sequence[Mapping[str, object]],
        models: Sequence[str] = (),
        max_batch_size: int | None = None,
        params: Mapping[str, object] | None = None,
    ):
        self._grids = [plain(grid) for grid in [*grids, *([params] if params else [])]]
        self._models, self._size = [str(word) for word in models], max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before `sweep`."""
        self._config = config
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[object]:
        """Launch the trials, those that others start from first; the results in order.

        Raises:
            ConfigError: a grid that cannot be read.
        """
        from repro.errors import ConfigError
        from repro.sweeps import composing, grids
        from repro.sweeps.expand import Trials

        write_config(self._config)
        results: list[object] = []
        for stage in Trials(self._grids, grids.of_command_line(arguments), self._models).stages():
            try:
                words = [composing.arguments(trial) for trial in stage()]
            except ConfigError as error:  # a prompt to start from is not there
                if not (results and returns_early(self._launcher)):
                    raise
                print(f"{error} The trials that start from such prompts: the same command, when the others are done.")
                break
            size = self._size or max(len(words), 1)
            for start in range(0, len(words), size):
                jobs = self._launcher.launch(words[start : start + size], initial_job_idx=len(results))
                results += [job.return_value for job in jobs]  # asking for it raises what the job raised
        return results
