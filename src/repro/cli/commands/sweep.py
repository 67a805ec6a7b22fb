"""Run what is missing of a paper's exhibits; `repro plan` says before what that is."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from repro.cli import options as shared
from repro.errors import ConfigError, ReproError, print_line

if TYPE_CHECKING:
    from repro.sweeps.executors.base import Executor
    from repro.trials.spec import TrialSpec


def arguments(parser: argparse.ArgumentParser) -> None:
    shared.experiments(parser)
    parser.add_argument("--launcher", choices=("slurm",), help="submit the trials as jobs and return (docs/slurm.md)")
    parser.add_argument(
        "--resume", action="store_true", help="what is missing or was lost; alone: of everything that was submitted"
    )
    parser.add_argument("--retry-failed", action="store_true", help="also what failed and would fail again")
    parser.add_argument("--joint", metavar="N", help="trials over one model train jointly: so many, or auto")


def run(options: argparse.Namespace) -> int:
    from repro.sweeps import plan, sweep
    from repro.sweeps.executors.slurm.settings import PREFIX

    settings = [word for word in options.what if word.lstrip("+").startswith(PREFIX)]
    words = [word for word in options.what if word not in settings]
    if options.resume and not words:
        if not _resume(options, settings, []):
            raise ConfigError(
                f"{_runs()}: nothing was submitted there. Name a paper or an experiment, or set REPRO_RUNS_ROOT to the "
                "folder with the run folders."
            )
        return 0
    experiments, overrides, models = plan.selected(words, options.exhibits, options.models)
    if options.resume and not options.launcher and _resume(options, settings, [one.name for one in experiments]):
        return 0
    executor = _executor(options, settings)
    made = sweep.Sweep(experiments, overrides, models, executor, options.resume, options.retry_failed, options.joint)
    code = made.run()
    if executor.returns_early:
        for name in [experiment.name for experiment in experiments if experiment.votes]:
            print(f"the votes of ensembles take no job: `repro sweep {name}` when the trials are done")
        return code
    return max([code, *map(_vote, sweep.ensembles(experiments, overrides, models))])


def _runs() -> Path:
    return Path(os.environ.get("REPRO_RUNS_ROOT", "runs")).expanduser()


def _resume(options: argparse.Namespace, settings: Sequence[str], experiments: Sequence[str]) -> bool:
    """Submit again what was lost; whether anything was submitted before."""
    from repro.sweeps.executors.slurm.submit import resume

    return resume(settings, options.retry_failed, experiments, _runs())


def _executor(options: argparse.Namespace, settings: Sequence[str]) -> Executor:
    if options.launcher == "slurm":
        from repro.sweeps.executors.slurm.settings import from_words
        from repro.sweeps.executors.slurm.submit import Slurm

        return Slurm(from_words(settings))
    if settings:
        raise ConfigError(f"{settings[0]}: settings of jobs go with --launcher slurm; without it the trials run here.")
    if options.joint:
        from repro.sweeps.executors.joint import Joint

        return Joint()
    from repro.sweeps.executors.serial import Serial

    return Serial()


def _vote(members: Sequence[TrialSpec]) -> int:
    """Let trials vote, where all of them are done and their vote is not in the store yet; the exit code."""
    from repro.inference.ensemble import ensemble, shown
    from repro.inference.restore import find
    from repro.trials.device import pick_device

    keys, store, config = [spec.key for spec in members], members[0].store, members[0].config
    if any((record := store.get(key)) is None or record.status == "failed" for key in keys):
        print(f"no vote of {', '.join(keys)}: not all of them have a score")
        return 0
    others = store.records(lambda damaged: print_line(f"left out: {damaged}", sys.stderr), statistics=False)
    votes = [record for record in others if record.trial.method.name == "prompt_ensemble"]
    if any(record.config["method"].get("members") == keys for record in votes):
        return 0
    paths = config.paths
    try:
        trials = [find(key, Path(paths.results_root), Path(paths.runs_root)) for key in keys]
        device = pick_device(config.trainer.device)
        record = ensemble(trials, Path(paths.data_root), 32, device, ["repro", "ensemble", *keys])
    except ReproError as error:
        print_line(f"repro: {error}", sys.stderr)
        return error.exit_code
    store.put(record)
    print(shown(record))
    return 0
