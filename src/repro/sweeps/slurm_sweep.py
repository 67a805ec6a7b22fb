"""`repro sweep --launcher slurm` and `--resume`: an exhibit's trials, or those that were submitted before, as jobs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from repro.errors import ConfigError, ReproError
from repro.sweeps.executors.slurm import submission, submit
from repro.sweeps.executors.slurm.chunks import Chunk
from repro.sweeps.executors.slurm.settings import PREFIX, Settings, of_words
from repro.sweeps.executors.slurm.submission import Submission
from repro.sweeps.experiments import Experiment
from repro.trials.spec import TrialSpec


def launch(
    chosen: Sequence[Experiment], given: Mapping[str, str], models: Sequence[str], words: Sequence[str], retry: bool
) -> int:
    """Submit what is missing of some exhibits; the exit code.

    Args:
        words: `hydra.launcher.key=value`.
        retry: also what failed for a reason that will come again.

    Raises:
        ConfigError: a trial that cannot run, no Slurm, a refusal of sbatch.
        StoreError: the files of the jobs cannot be written.
        TrialFailed: with `wait`, a trial that has no score in the end.
    """
    settings = of_words(words)
    asked, waiting = trials_of(chosen, given, models)
    done = _submitted(asked, settings, retry, waiting)
    voting = [one.name for one in chosen if any("vote" in grid for grid in one.grids)]
    if voting:
        print(f"the votes of ensembles take no job: `repro sweep {' '.join(voting)}` when the trials are done")
    _wait(done, settings)
    return 0


def trials_of(
    chosen: Sequence[Experiment], given: Mapping[str, str], models: Sequence[str]
) -> tuple[list[TrialSpec], list[str]]:
    """The trials of some exhibits, each once; and those that start from prompts which are not trained yet.

    Raises:
        ConfigError: a trial that cannot run.
    """
    asked: dict[str, TrialSpec] = {}
    waiting: list[str] = []
    for experiment in chosen:
        for trial in experiment.planned(given, models):
            if trial.key is None:
                waiting.append(" ".join(trial.overrides))
            else:
                asked.setdefault(trial.key, trial.spec)
    return list(asked.values()), waiting


def resume(words: Sequence[str], retry: bool, names: Collection[str] = ()) -> int | None:
    """Submit again what was lost of what was submitted beside these run folders, with the settings of then; exit code.

    Args:
        names: only trials of these experiments; empty: all.

    Returns:
        None if no trial of `names` was ever submitted.

    Raises:
        ConfigError: nothing was submitted there; otherwise as `launch`.
    """
    runs = Path(os.environ.get("REPRO_RUNS_ROOT", "runs"))
    found = _by_submission(submission.all_of(runs))
    if names:
        found = [(one, [trial for trial in trials if trial.config.experiment_name in names]) for one, trials in found]
        if not any(trials for _, trials in found):
            return None
    if not found:
        raise ConfigError(
            f"{runs / submission.FOLDER}: nothing was submitted there. Name a paper or an experiment, or set "
            "REPRO_RUNS_ROOT to the folder with the run folders."
        )
    groups: dict[str, tuple[str, Settings, list[TrialSpec]]] = {}
    for one, trials in found:
        settings = _settings(one, words)
        alike = json.dumps([one.folder, one.results, settings.plain()], sort_keys=True)
        groups.setdefault(alike, (one.folder, settings, []))[2].extend(trials)
    sent, before = [], os.getcwd()
    for folder, settings, trials in groups.values():
        os.chdir(folder)
        try:
            if trials:
                sent.append((_submitted(trials, settings, retry, []), settings))
        finally:
            os.chdir(before)
    for done, settings in sent:
        _wait(done, settings)
    return 0


def _by_submission(found: Sequence[Submission]) -> list[tuple[Submission, list[TrialSpec]]]:
    """Every trial once, with the newest submission that holds it; a file that cannot be used is said."""
    seen: set[str] = set()
    kept = []
    for one in reversed(found):
        new = [trial for chunk in _usable(one) for trial in chunk.trials if trial.key not in seen]
        seen |= {trial.key for trial in new}
        if new:
            kept.append((one, new))
    return kept[::-1]


def _usable(one: Submission) -> list[Chunk]:
    found = []
    for path in one.files():
        try:
            found.append(Chunk.read(path))
        except ReproError as error:  # of an older repro, say: the others are resumed
            print(f"repro: {error}", file=sys.stderr)
    return found


def _settings(of: Submission, words: Sequence[str]) -> Settings:
    """Those of a submission, with what the command line changes."""
    names = {field.name for field in fields(Settings)}
    before = {key: value for key, value in of.settings.items() if key in names}
    changed = of_words(words).plain()
    given = {word.lstrip("+").removeprefix(PREFIX).partition("=")[0].partition(".")[0] for word in words}
    return Settings(**(before | {key: value for key, value in changed.items() if key in given}))


def _submitted(asked: Sequence[TrialSpec], settings: Settings, retry: bool, waiting: Sequence[str]) -> submit.Submitted:
    done = submit.submit(asked, settings, retry, waiting)
    print(done.table())
    return done


def _wait(done: submit.Submitted, settings: Settings) -> None:
    if settings.wait:
        submit.wait(done, settings.poll_seconds)
