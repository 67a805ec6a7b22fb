"""Train and score one trial, or with -m a sweep. The arguments are Hydra's overrides and flags."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from repro.errors import Interrupted, RedactedLog, ReproError, redacted_text
from repro.trials.processes import present, tell

if TYPE_CHECKING:
    from hydra.conf import HydraConf
    from omegaconf import DictConfig


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs=argparse.REMAINDER)


def run(options: argparse.Namespace) -> int:
    return run_hydra(options.overrides)


def run_hydra(overrides: list[str]) -> int:
    """Hydra's application; its errors come out as ours. Returns the exit code.

    Raises:
        Interrupted: Ctrl-C or SIGTERM, after a checkpoint.
    """
    import hydra

    from repro.config import compose, plugins

    compose.refuse_other_places(overrides)
    compose.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing half a traceback and exiting with 1
    failed: list[ReproError] = []
    stopped: list[Interrupted] = []

    @hydra.main(version_base="1.3", config_path=str(compose.conf_dir()), config_name="config")
    def job(config: DictConfig) -> None:
        try:
            _trial(config)
        except Interrupted as error:  # Hydra would note an Exception and go on to the sweep's next trial
            stopped.append(error)
            raise KeyboardInterrupt from error
        except ReproError as error:  # the other trials of a sweep still run
            failed.append(error)
            tell(error)

    before = sys.argv
    folder = plugins.config_folder()
    sys.argv = ["repro", *overrides, *(["--config-dir", str(folder)] if folder else [])]
    try:
        job()
    except Exception as error:
        known = compose.explain(error)
        if known is None:
            raise
        raise known from error
    except KeyboardInterrupt:
        if stopped:
            raise stopped[0] from None
        raise
    finally:
        sys.argv = before
    return max((error.exit_code for error in failed), default=0)


def _trial(config: DictConfig) -> None:
    """One trial of an invocation: run it and print its scores beside the papers'."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from repro.sweeps.executors import results
    from repro.sweeps.sweep import print_result
    from repro.trials.spec import composed_spec

    for handler in logging.getLogger().handlers:  # Hydra has just set them up
        handler.addFilter(RedactedLog())
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _redact_sweep_file(HydraConfig.get())
    outcome = results.outcome(composed_spec(config, HydraConfig.get()))
    if present().first:
        print_result(outcome)


def _redact_sweep_file(hydra_config: HydraConf) -> None:
    """Hydra writes the whole command of a multirun into the runs folder: redact it there."""
    from repro.store.files import write_atomic

    path = Path(hydra_config.sweep.dir) / "multirun.yaml"
    if path.is_file() and (text := path.read_text()) != (redacted := redacted_text(text)):
        write_atomic(path, redacted)
