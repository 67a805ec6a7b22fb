"""Trials as job arrays: only those that nobody has computed and nobody is about to compute.

submitit writes the batch scripts and hands them to sbatch; its own way to run Python (a pickled function, a pickled
result) is not used. A task runs `python -m repro run-chunk FOLDER NUMBER`, and what it leaves is records.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.config.joint import joint_key
from repro.errors import ConfigError, ReproError, StoreError, TrialFailed, print_line
from repro.sweeps.executors.base import OnResult
from repro.sweeps.executors.slurm.arrays import JobArray, all_arrays, new_array
from repro.sweeps.executors.slurm.queue import largest_array, settled_queue
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
            StoreError: the files of the jobs cannot be written.
            TrialFailed: with `wait`, trials that have no score in the end.
        """
        if not specs:
            print_line("no trial to submit")
            return
        self._submit(specs)
        states = self._wait(specs) if self.settings.wait else self._look(specs)
        for spec in specs:
            state = states[spec.key]
            if state.status in FINISHED:
                on_result(spec, Outcome(spec.store.get(spec.key), True, spec.folder))
            elif state.status == "failed":
                on_result(spec, TrialFailed(f"{spec.name}: {state.reason}"))
        unfinished = [state for state in states.values() if state.status not in FINISHED]
        if self.settings.wait and unfinished:
            shown = [f"{one.key} {one.status}: {(one.reason or 'no reason known').rstrip('.')}" for one in unfinished]
            more = [f"and {len(shown) - 5} more"] if len(shown) > 5 else []
            raise TrialFailed(
                f"{len(unfinished)} of {len(specs)} trials have no score: {'; '.join([*shown[:5], *more])}. "
                "See `repro status`."
            )

    def _submit(self, specs: Sequence[TrialSpec]) -> None:
        _require_slurm()
        states = self._look(specs)
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

    def _look(self, specs: Sequence[TrialSpec]) -> dict[str, State]:
        """How each trial does, once no job is just ending.

        Raises:
            ConfigError: the queue does not answer.
        """
        queue, paths = settled_queue(), specs[0].config.paths
        if queue is None:
            raise ConfigError("squeue does not answer, so what is queued already is not known. Try again when it does.")
        runs = Path(paths.runs_root)
        states = States(Path(paths.results_root), runs, queue, all_arrays(runs))
        return {spec.key: states.of(spec.key) for spec in specs}

    def _wait(self, specs: Sequence[TrialSpec]) -> dict[str, State]:
        """Stay until every trial has ended."""
        line = ""
        while True:
            states = self._look(specs)
            counts = Counter(state.status for state in states.values())
            before, line = line, _counted(counts)
            if line != before:
                print_line(line)
            if not any(state.alive for state in states.values()):
                return states
            time.sleep(self.settings.poll_seconds)


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


def _require_slurm() -> None:
    missing = [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)}: not on this machine's PATH, so nothing can be submitted. Log in where Slurm's "
            "commands are, or leave the launcher out to run the trials here."
        )


def send(array: JobArray, settings: Settings) -> JobArray:
    """Hand an array to sbatch.

    Raises:
        ConfigError: sbatch refuses; nothing of the array is left.
        StoreError: a file cannot be written.
    """
    try:
        from submitit.core.utils import FailedJobError, FailedSubmissionError
        from submitit.slurm.slurm import SlurmExecutor
    except ImportError as error:
        raise ConfigError("submitit is not installed: pip install 'repro[slurm]'.") from error

    array.write()
    python = settings.python or shlex.quote(sys.executable)
    command = f'{python} -u -m repro run-chunk {shlex.quote(str(array.folder))} "$SLURM_ARRAY_TASK_ID"'
    try:
        executor = SlurmExecutor(array.folder)
        executor.update_parameters(**options(array.name, settings))
        executor.parameters["map_count"] = len(array.tasks)
        with contextlib.redirect_stderr(io.StringIO()):  # it repeats there what its error says
            # Its public way to run a command would pickle it, and the job would unpickle it.
            job = executor._submit_command(command if settings.srun else f"exec {command}")
    except (FailedJobError, FailedSubmissionError, RuntimeError) as error:
        shutil.rmtree(array.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other arrays are there
            array.folder.parent.rmdir()
        output = re.findall(r"sbatch: error: (.+?)\.?$", str(error), re.MULTILINE) or [str(error)]
        raise ConfigError(
            f"sbatch refuses the jobs: {'; '.join(dict.fromkeys(output))}. Asked for were {settings.summary()}: "
            f"correct that in your site file, or give {PREFIX}partition=... and so on."
        ) from error
    except OSError as error:
        raise StoreError(f"cannot write the batch script in {array.folder}: {error}") from error
    return array.submitted_as(str(job.job_id))


def options(name: str, settings: Settings) -> dict[str, object]:
    """The settings as submitit's parameters."""
    gpus = ":".join(filter(None, ["gpu", settings.gpu_type, str(settings.gpus)]))
    more: dict[str, object] = {"requeue": True}  # after a node's failure Slurm itself requeues the job
    if settings.mem is not None:
        more["mem"] = settings.mem
    if not settings.srun:  # the shell is replaced by the command, which then gets the shell's signal
        more["signal"] = f"B:USR2@{settings.signal_seconds}"
    same = ("partition", "account", "qos", "constraint", "time")
    parameters: dict[str, object] = {key: value for key, value in settings.to_dict().items() if key in same} | {
        "job_name": name,
        "gres": gpus if settings.gpus else None,
        "cpus_per_task": settings.cpus,
        "signal_delay_s": settings.signal_seconds,
        "array_parallelism": settings.throttle or 1_000_000,
        "setup": settings.setup or None,
        "use_srun": settings.srun,
        "wckey": None,
        "additional_parameters": more | settings.extra,
    }
    if settings.srun and settings.cpus > 1:  # since 22.05 a step does not inherit this from the job
        parameters["srun_args"] = [f"--cpus-per-task={settings.cpus}"]
    return parameters


def resume(words: Sequence[str], retry_failed: bool, experiments: Sequence[str], runs: Path) -> bool:
    """Submit again what was lost of what was submitted beside these run folders, with the settings of then.

    Args:
        words: `hydra.launcher.key=value`, which change the settings.
        experiments: only their trials; empty: all.

    Returns:
        Whether any trial of these was ever submitted.
    """
    newest = {trial.key: (array, trial) for array in all_arrays(runs) for trial in array.trials()}
    groups: dict[tuple[str, str, str], tuple[JobArray, list[TrialSpec]]] = {}
    for array, trial in newest.values():
        if experiments and trial.experiment not in experiments:
            continue
        try:
            spec = TrialSpec.from_dict(trial.data)
        except ReproError as error:  # of an older repro, say: the others are resumed
            print_line(f"repro: {error}", sys.stderr)
            continue
        asked = array.directory, array.results, repr(sorted(array.settings.items()))
        groups.setdefault(asked, (array, []))[1].append(spec)
    for array, specs in groups.values():
        with contextlib.chdir(array.directory):
            Slurm(from_words(words, array.settings), retry_failed).run(specs)
    return bool(groups)
