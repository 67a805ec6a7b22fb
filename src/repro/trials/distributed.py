"""One trial in several processes, each started by `torchrun` or `accelerate launch` with the same command.

The first process does all that a process alone does: lock, checkpoints, predictions, record. The others compute. What
they do together is `training/together.py`; here they meet, and learn whether there is something to train.
"""

from __future__ import annotations

import torch
import torch.distributed as dist

from repro.errors import ConfigError, ReproError
from repro.training.distributed.process_group import ProcessGroup
from repro.trials.processes import present
from repro.trials.run import OnStep, Outcome, pick_device, run_alone, run_trial, tidy
from repro.trials.spec import TrialSpec


def run_shared(spec: TrialSpec, on_step: OnStep) -> Outcome:
    """`runner.run` in one of several processes. Others than the first return no record.

    Raises:
        ReproError: as `runner.run`; or another process has ended.
    """
    try:
        ranks = ProcessGroup(present().rank, present().count, device_of(spec.config.trainer.device))
        outcome = (_lead if ranks.first else _follow)(spec, on_step, ranks)
        ranks.leave()
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        raise ReproError(
            "another process of this trial has ended, so this one ends too: what was wrong is said there. The same "
            "command goes on from the last checkpoint."
        ) from error
    return outcome


def device_of(name: str) -> torch.device:
    """Where this process computes: a GPU of its own, or the CPU.

    Raises:
        ConfigError: there are fewer GPUs than processes, or the device is neither.
    """
    device, number = pick_device(name), present().on_machine
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"trainer.device={device}: several processes share a trial on CPUs or on CUDA. Set trainer.device=cpu."
        )
    if device.type == "cpu":
        return device
    if number >= torch.cuda.device_count():
        error = ConfigError(
            f"process {number} of this machine has no GPU: there are {torch.cuda.device_count()}. Start one process "
            "for each (torchrun --nproc-per-node), or set trainer.device=cpu."
        )
        error.here_only = True
        raise error
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _lead(spec: TrialSpec, on_step: OnStep, ranks: ProcessGroup) -> Outcome:
    started: list[bool] = []

    def start() -> ProcessGroup:
        started.append(ranks.share(True))
        return ranks

    try:
        return run_alone(spec, on_step, start)
    finally:
        if not started:  # it is stored, or fails before it starts: the others wait for a word
            ranks.share(False)


def _follow(spec: TrialSpec, on_step: OnStep, ranks: ProcessGroup) -> Outcome:
    folder = spec.folder
    try:
        if ranks.share(False):
            run_trial(spec, None, ranks)
    finally:
        tidy(folder)  # on another machine Hydra has made one there
    return Outcome(None, False, folder)


def _lost_another(error: RuntimeError) -> bool:
    """Whether an exchange failed because its other end is gone: gloo has no error type of its own for that."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)
