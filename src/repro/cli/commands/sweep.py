"""Run what is missing of a paper's exhibits; `repro plan` says before what that is."""

from __future__ import annotations

import argparse

from repro.cli import options as shared
from repro.errors import ConfigError


def arguments(parser: argparse.ArgumentParser) -> None:
    """Experiments, and how their trials run."""
    shared.experiments(parser)
    parser.add_argument("--launcher", choices=("slurm",), help="submit the trials as jobs and return (docs/slurm.md)")
    parser.add_argument(
        "--resume", action="store_true", help="what is missing or was lost; alone: of everything that was submitted"
    )
    parser.add_argument("--retry-failed", action="store_true", help="also what failed and would fail again")
    parser.add_argument("--joint", metavar="N", help="trials over one model train jointly: so many, or auto")


def run(options: argparse.Namespace) -> int:
    """Run the trials here, or submit them.

    Raises:
        ConfigError: nothing was named, or no such experiment.
        Interrupted: Ctrl-C or SIGTERM, after a checkpoint.
    """
    from repro.sweeps import plan, slurm_sweep, sweep
    from repro.sweeps.executors.slurm.settings import PREFIX

    settings = [word for word in options.what if word.lstrip("+").startswith(PREFIX)]
    words = [word for word in options.what if word not in settings]
    if options.resume and not words:
        return slurm_sweep.resume(settings, options.retry_failed) or 0
    experiments, overrides, models = plan.selected(words, options.exhibits, options.models)
    if options.launcher == "slurm":
        return slurm_sweep.launch(experiments, overrides, models, settings, options.retry_failed)
    if options.resume:
        code = slurm_sweep.resume(settings, options.retry_failed, [one.name for one in experiments])
        if code is not None:
            return code
    if settings:
        raise ConfigError(f"{settings[0]}: settings of jobs go with --launcher slurm; without it the trials run here.")
    return sweep.run(experiments, overrides, models, options.resume, options.retry_failed, options.joint)
