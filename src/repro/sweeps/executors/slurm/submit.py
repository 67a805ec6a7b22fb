"""Trials as job arrays: only those that nobody has computed and nobody is about to compute.

A task runs `python -m repro run-chunk FOLDER NUMBER`; what it leaves is records.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.config.joint import joint_key
from repro.errors import ConfigError, ReproError, TrialFailed, explained, print_line
from repro.store.damage import Damaged
from repro.store.files import write_atomic
from repro.sweeps.executors.base import OnResult
from repro.sweeps.executors.slurm.arrays import JobArray, SubmittedTrial, all_arrays, name_of, new_array
from repro.sweeps.executors.slurm.queue import ask, largest_array, missing_commands, settled_queue
from repro.sweeps.executors.slurm.settings import PREFIX, Settings, from_words
from repro.sweeps.executors.slurm.states import FINISHED, State, States
from repro.trials.run import Outcome
from repro.trials.spec import TrialSpec


@dataclass
class Slurm:
    """Submits trials, and waits for them if the settings say so.

    Args:
        retry_failed: also trials that failed and would fail again (a trial with rerun=true always is).
    """

    settings: Settings
    retry_failed: bool = False

    @property
    def returns_early(self) -> bool:
        """Without `wait` it returns once the trials are submitted."""
        return not self.settings.wait

    def run(self, specs: Sequence[TrialSpec], on_result: OnResult = lambda spec, result: None) -> None:
        """See `Executor.run`. Prints what was submitted, and why the rest was not.

        Raises:
            ConfigError: no Slurm here, or sbatch refuses what is asked for.
            StoreError: the files of the jobs cannot be written, or an array that is in the queue cannot be read.
            TrialFailed: with `wait`, trials that have no score in the end.
        """
        if not specs:
            print_line("no trial to submit")
            return
        self._submit(specs)
        states = self._wait(specs) if self.settings.wait else _look(specs)
        for spec in specs:
            state = states[spec.key]
            if state.status in FINISHED:
                on_result(spec, Outcome(spec.store.get(spec.key), True, spec.folder))
            elif state.status == "failed":
                on_result(spec, TrialFailed(f"{spec.name}: {state.reason}"))
        unfinished = [state for state in states.values() if state.status not in FINISHED]
        if self.settings.wait and unfinished:
            shown = [
                f"{each.key} {each.status}: {(each.reason or 'no reason known').rstrip('.')}" for each in unfinished
            ]
            more = [f"and {len(shown) - 5} more"] if len(shown) > 5 else []
            raise TrialFailed(
                f"{len(unfinished)} of {len(specs)} trials have no score: {'; '.join([*shown[:5], *more])}. "
                "See `repro status`."
            )

    def _submit(self, specs: Sequence[TrialSpec]) -> None:
        if missing := missing_commands():
            raise _no_slurm(f"{', '.join(missing)}: not on its PATH")
        states = _look(specs)
        todo = [spec for spec in specs if states[spec.key].wanted(self.retry_failed or spec.config.rerun)]
        keys = {spec.key for spec in todo}
        others = Counter(states[spec.key].status for spec in specs if spec.key not in keys)
        again = [spec.again() if states[spec.key].status == "failed" else spec for spec in todo]
        pieces = tasks_of(again, self.settings.trials_per_job)
        limit = min(self.settings.array_limit, largest_array() or self.settings.array_limit)
        sent: list[JobArray] = []
        try:
            for start in range(0, len(pieces), limit):
                sent.append(send(new_array(pieces[start : start + limit], self.settings.to_dict()), self.settings))
        finally:
            if sent or not todo:
                print_line(_table(sent, others))

    def _wait(self, specs: Sequence[TrialSpec]) -> dict[str, State]:
        """Stay until every trial has ended."""
        line = ""
        while True:
            states = _look(specs)
            before, line = line, _counted(Counter(state.status for state in states.values()))
            if line != before:
                print_line(line)
            if not any(state.alive for state in states.values()):
                return states
            time.sleep(self.settings.poll_seconds)


def _look(specs: Sequence[TrialSpec]) -> dict[str, State]:
    """How each trial does, once no job is just ending.

    Raises:
        ConfigError: the queue does not answer.
        Damaged: an array that is in the queue, so which trials wait there is not known.
    """
    queue, paths = settled_queue(), specs[0].config.paths
    if queue is None:
        raise _no_slurm((ask("squeue")[1].splitlines() or ["squeue does not answer"])[-1])
    alive = {name for name, _ in queue}

    def on_damage(error: Damaged) -> None:
        if name_of(error.path.parent) in alive:
            raise error

    runs = Path(paths.runs_root)
    states = States(Path(paths.results_root), runs, queue, all_arrays(runs, on_damage))
    return {spec.key: states.of(spec.key) for spec in specs}


def _no_slurm(why: str) -> ConfigError:
    return ConfigError(
        f"there is no Slurm on this machine that answers ({why}), so nothing can be submitted. Log in where Slurm "
        "runs, or leave the launcher out to run the trials here."
    )


def tasks_of(specs: Sequence[TrialSpec], size: int) -> list[list[TrialSpec]]:
    """Pieces of at most `size` trials. Those that can train jointly, or have the same model, are side by side."""
    groups: dict[str, list[TrialSpec]] = {}
    for spec in specs:
        alone = f"{spec.config.model.name} {spec.config.method.name} {spec.config.task.name}"
        groups.setdefault(joint_key(spec.config) or alone, []).append(spec)
    ordered = [spec for group in groups.values() for spec in group]
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _table(sent: Sequence[JobArray], others: Mapping[str, int]) -> str:
    """What was submitted and how the other trials do, for people."""
    lines = [f"{'job':<10} {'tasks':>6} {'trials':>7}"] if sent else []
    counts = [sum(map(len, array.tasks)) for array in sent]
    lines += [f"{array.job:<10} {len(array.tasks):>6} {count:>7}" for array, count in zip(sent, counts, strict=True)]
    lines.append(f"{sum(counts)} trials submitted" + (f"; found {_counted(others)}" if others else ""))
    if others.get("failed"):
        lines.append("what failed would fail again: `repro status` says why; --retry-failed (rerun=true) tries it")
    if sent:
        lines.append("`repro status` shows how they do, `repro sweep --resume` submits what was lost")
    return "\n".join(lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))


def send(array: JobArray, settings: Settings) -> JobArray:
    """Hand an array to sbatch; the array with its id.

    Raises:
        ConfigError: sbatch refuses; nothing of the array is left.
        StoreError: a file cannot be written.
    """
    array.write()
    path = array.folder / "submission.sh"
    write_atomic(path, script(array, settings))
    output, refusal = ask("sbatch", str(path))
    number = re.search(r"Submitted batch job (\d+)", output or "")
    if number is None:
        shutil.rmtree(array.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other arrays are there
            array.folder.parent.rmdir()
        reasons = re.findall(r"sbatch: error: (.+?)\.?$", refusal, re.MULTILINE) or [refusal or str(output)]
        raise ConfigError(
            f"sbatch refuses the jobs: {'; '.join(dict.fromkeys(reasons))}. Asked for were {settings.summary()}: "
            f"correct that in your site file, or give {PREFIX}partition=... and so on."
        )
    array.job = number.group(1)
    array.write()
    return array


def script(array: JobArray, settings: Settings) -> str:
    """The batch script of an array. Jobs add to their logs, so that a requeued one keeps what it printed before."""
    log = f"{array.folder}/".replace("%", "%%") + "%A_%a_log"
    options: dict[str, object] = {
        "job-name": array.name,
        "array": f"0-{len(array.tasks) - 1}" + (f"%{settings.throttle}" if settings.throttle else ""),
        "output": f"{log}.out",
        "error": f"{log}.err",
        "open-mode": "append",
        "nodes": 1,
        "ntasks-per-node": 1,
        "cpus-per-task": settings.cpus,
        "gres": ":".join(filter(None, ["gpu", settings.gpu_type, str(settings.gpus)])) if settings.gpus else None,
        "requeue": True,  # after a node's failure Slurm itself requeues the job
        "signal": f"{'' if settings.srun else 'B:'}USR2@{settings.signal_seconds}",
        "time": settings.time,
        "mem": settings.mem,
        **{"partition": settings.partition, "account": settings.account, "qos": settings.qos},
        "constraint": settings.constraint,
    }
    lines = [
        f"#SBATCH --{name}{_value(value)}" for name, value in (options | settings.extra).items() if value is not None
    ]
    python = settings.python or shlex.quote(sys.executable)
    command = f'{python} -u -m repro run-chunk {shlex.quote(str(array.folder))} "$SLURM_ARRAY_TASK_ID"'
    # Since 22.05 a step does not inherit the cores from the job. Without srun the command replaces the shell, and so
    # gets the shell's signal.
    start = f"srun --unbuffered --cpus-per-task={settings.cpus}" if settings.srun else "exec"
    return "\n".join(["#!/bin/bash", *lines, "", *settings.setup, f"{start} {command}", ""])


def _value(value: object) -> str:
    return "" if value is True else f"={shlex.quote(str(value))}"


def resume(words: Sequence[str], retry_failed: bool, experiments: Sequence[str], runs: Path) -> bool:
    """Submit again what was lost of what was submitted beside these run folders, with the settings of then.

    Args:
        words: `hydra.launcher.key=value`, which change the settings.
        experiments: only their trials; empty: all.

    Returns:
        Whether any trial of these was ever submitted.
    """
    groups: dict[tuple[str, str, str], tuple[JobArray, list[TrialSpec]]] = {}
    for array, trial in _newest(runs):
        if experiments and trial.experiment not in experiments:
            continue
        try:
            spec = trial.spec()
        except ReproError as error:  # of an older repro, say: the others are resumed
            print_line(f"repro: {error}", sys.stderr)
            continue
        asked = array.directory, array.results, repr(sorted(array.settings.items()))
        groups.setdefault(asked, (array, []))[1].append(spec)
    for array, specs in groups.values():
        with explained(array.directory, "enter"), contextlib.chdir(array.directory):
            Slurm(from_words(words, array.settings), retry_failed).run(specs)
    return bool(groups)


def _newest(runs: Path) -> Iterable[tuple[JobArray, SubmittedTrial]]:
    """Every trial that was submitted, with its last array; arrays that cannot be read are named and left out."""
    arrays = all_arrays(runs, lambda error: print_line(f"repro: {error}", sys.stderr))
    return {trial.key: (array, trial) for array in arrays for trial in array.trials()}.values()
