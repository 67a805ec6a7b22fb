"""`repro sweep`: run what is missing of a paper or of some exhibits, here or as jobs."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from repro.errors import ConfigError, ModelError, ReproError, print_line, redacted_text
from repro.sweeps import grids
from repro.sweeps.composing import arguments, spec_of
from repro.sweeps.executors.base import Executor, Result
from repro.sweeps.expand import valid_spec
from repro.sweeps.experiments import Experiment
from repro.trials.spec import TrialSpec


@dataclass
class Sweep:
    """Some exhibits, run by one executor. A trial that fails stops no other.

    Args:
        given: overrides of the command line.
        models: see `grids.kept`.
        resume: a trial whose record says `failed` is left out, and is no error.
        retry_failed: it is run again.
        joint_trials: `trainer.joint_trials` of every trial; None: as configured.
    """

    experiments: Sequence[Experiment]
    given: Mapping[str, str]
    models: Sequence[str]
    executor: Executor
    resume: bool = False
    retry_failed: bool = False
    joint_trials: str | None = None
    exit_code: int = 0
    _seen: set[str] = field(default_factory=set)
    _unloadable: Counter[str] = field(default_factory=Counter)
    """{an error of loading a model: trials that ended with it}"""

    def run(self) -> int:
        """Run the trials that have no record; the exit code.

        Raises:
            Interrupted: Ctrl-C or SIGTERM, after a checkpoint; the same command continues.
            ConfigError: a grid that cannot be read.
        """
        for experiment in self.experiments:
            for stage in experiment.trials(self.given, self.models).stages():
                try:
                    trials = stage()
                except ConfigError as error:  # a prompt that the second stage needs is not there
                    self._stage_missing(error)
                    continue
                self._run(experiment.name, self._specs(trials))
        for why, count in self._unloadable.items():
            if count > 1:
                print_line(f"repro: {count - 1} more trials were left out for the same reason: {why}", sys.stderr)
        return self.exit_code

    def _stage_missing(self, error: ConfigError) -> None:
        if self.executor.returns_early:
            print_line(f"{error} The trials that start from such prompts: the same command, when the others are done.")
        else:
            self._fail(error)

    def _fail(self, error: ReproError) -> None:
        self.exit_code = max(self.exit_code, error.exit_code)
        print_line(f"repro: {error}", sys.stderr)

    def _specs(self, trials: Sequence[Mapping[str, str]]) -> list[TrialSpec]:
        """The trials to run, each once in a sweep; one that cannot be composed is reported."""
        more = {} if self.joint_trials is None else {"trainer.joint_trials": self.joint_trials}
        specs = []
        for trial in trials:
            try:
                spec = valid_spec({**trial, **more})
            except ReproError as error:
                self._fail(error)
                continue
            if spec.key in self._seen:
                continue
            self._seen.add(spec.key)
            if self.retry_failed:
                spec = spec.again()
            elif self.resume and not spec.config.rerun and _failed(spec):
                command = redacted_text(" ".join(spec.command[2:]))
                print_line(f"{command}: failed before, left out; --retry-failed runs it again")
                continue
            specs.append(spec)
        return specs

    def _run(self, experiment: str, specs: Sequence[TrialSpec]) -> None:
        ended = 0

        def on_result(spec: TrialSpec, result: Result) -> None:
            nonlocal ended
            ended += 1
            if isinstance(result, ModelError):
                self._unloadable[str(result)] += 1
                if self._unloadable[str(result)] > 1:
                    return
            print_line(f"{experiment} {ended}/{len(specs)}: {redacted_text(' '.join(spec.command[2:]))}")
            self.exit_code = max(self.exit_code, print_result(result))

        self.executor.run(specs, on_result)


def _failed(spec: TrialSpec) -> bool:
    record = spec.store.get(spec.key, statistics=False)
    return record is not None and record.status == "failed"


def print_result(result: Result) -> int:
    """Print what became of a trial; its exit code."""
    if isinstance(result, ReproError):
        print_line(f"repro: {result}", sys.stderr)
        return result.exit_code
    if result.record is None:
        print_line(f"trial {result.folder.name}: another process runs it, stepped aside (trainer.if_running=skip)")
        return 0
    from repro.report.pages.trial_summary import trial_summary

    print_line(trial_summary(result.record, result.from_store))
    return 0


def ensembles(
    experiments: Sequence[Experiment], given: Mapping[str, str], models: Sequence[str]
) -> Iterator[list[TrialSpec]]:
    """The members of each ensemble: trials of a grid with `ensemble: true` that differ in their seed only.

    Raises:
        ConfigError: a grid that cannot be read.
    """
    for experiment in experiments:
        for grid in experiment.grids:
            if not grid.get("ensemble"):
                continue
            cells: dict[str, list[TrialSpec]] = defaultdict(list)
            for trial in grids.product(grid, {"experiment": experiment.name, **given}):
                if grids.kept(trial.get("model", ""), models):
                    cell = " ".join(arguments({key: value for key, value in trial.items() if key != "seed"}))
                    cells[cell].append(spec_of(trial))
            yield from cells.values()
