"""`repro sweep`: run what is missing of a paper or of some exhibits, then the votes of ensembles; here, or as jobs."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.errors import ReproError, WeightsUnavailable, print_line, redacted_text
from repro.sweeps import grids
from repro.sweeps.expand import Composer
from repro.sweeps.experiments import Experiment
from repro.trials.spec import TrialSpec


def run(
    chosen: Sequence[Experiment],
    given: Mapping[str, str],
    models: Sequence[str],
    resume: bool = False,
    retry_failed: bool = False,
    joint: str | None = None,
) -> int:
    """Run the trials that have no record; a trial that fails does not stop the others. The exit code.

    A model whose weights cannot be loaded is tried once: without a network each try waits for minutes.

    Args:
        resume: a trial whose record says `failed` is left out, and is no error.
        retry_failed: it is run again.
        joint: how many trials over one model train jointly (`trainer.joint_trials`: a number or `auto`); None: one at a
            time.

    Raises:
        Interrupted: Ctrl-C or SIGTERM, after a checkpoint; the same command continues.
        ConfigError: a grid that cannot be read.
    """
    worst, composer, seen = 0, Composer(), set()
    lost: dict[str, int] = {}
    for experiment in chosen:
        trials = experiment.trials(given, models)
        for stage in trials.stages():
            try:
                todo = stage()
            except ReproError as error:  # a prompt that the second stage needs is not there
                worst = max(worst, error.exit_code)
                print_line(f"repro: {error}", sys.stderr)
                continue
            if joint is not None:
                more = {"trainer.joint_trials": joint} | ({"rerun": "true"} if retry_failed else {})
                fresh = {" ".join(grids.arguments(trial)): trial | more for trial in todo}
                fresh = {name: trial for name, trial in fresh.items() if name not in seen}
                seen |= set(fresh)
                worst = max(worst, _jointly(composer, experiment.name, fresh, resume))
                continue
            for number, trial in enumerate(todo, 1):
                words = grids.arguments(trial)
                name = " ".join(words)
                if name in seen:
                    continue
                seen.add(name)
                print_line(f"{experiment.name} {number}/{len(todo)}: {redacted_text(name)}")
                if retry_failed:
                    trial = trial | {"rerun": "true"}
                worst = max(worst, _trial(composer, trial, words, lost, resume))
        for grid in experiment.grids:
            if "vote" in grid:
                worst = max(worst, _votes(composer, grids.product(grid, trials.given), models))
    for where, count in lost.items():
        print_line(f"repro: {count} more trials of {where} were left out: its weights cannot be loaded.", sys.stderr)
    return worst


def _trial(
    composer: Composer, trial: grids.Overrides, words: Sequence[str], lost: dict[str, int], resume: bool = False
) -> int:
    """Run one trial; its exit code.

    Args:
        lost: {location of a model whose weights could not be loaded: trials left out since}; added to here.
        resume: see `run`.
    """
    from repro.report.pages.trial_summary import trial_summary
    from repro.trials.run import run as run_trial

    try:
        spec = composer.spec(trial)
        location = spec.config.model.location
        if location in lost:
            lost[location] += 1
            return 0
        if resume and not spec.config.rerun and _failed(spec):
            print_line("failed before, left out; --retry-failed runs it again")
            return 0
        outcome = run_trial(spec)
    except ReproError as error:
        print_line(f"repro: {error}", sys.stderr)
        if isinstance(error, WeightsUnavailable):
            lost[location] = 0
        return error.exit_code
    if outcome.record is None:
        print_line(f"trial {outcome.folder.name}: another process runs it, stepped aside (trainer.if_running=skip)")
    else:
        print_line(trial_summary(outcome.record, outcome.from_store))
    return 0


def _failed(spec: TrialSpec) -> bool:
    record = spec.store.get(spec.key, statistics=False)
    return record is not None and record.status == "failed"


def _jointly(composer: Composer, experiment: str, trials: Mapping[str, grids.Overrides], resume: bool) -> int:
    """Run trials by their names, those over one model together; the worst exit code. `resume` as in `run`."""
    from repro.sweeps.executors.joint import Result, run_many, say

    specs, names, worst = list[TrialSpec](), [], 0
    for name, trial in trials.items():
        try:
            spec = composer.spec(trial)
            if resume and not spec.config.rerun and _failed(spec):
                print_line(
                    f"{experiment}: {redacted_text(name)}: failed before, left out; --retry-failed runs it again"
                )
                continue
            specs.append(spec)
            names.append(name)
        except ReproError as error:
            worst = max(worst, error.exit_code)
            print_line(f"{experiment}: {redacted_text(name)}\nrepro: {error}", sys.stderr)
    codes: list[int] = []

    def done(index: int, result: Result) -> None:
        print_line(f"{experiment} {len(codes) + 1}/{len(names)}: {redacted_text(names[index])}")
        codes.append(say(result))

    run_many(specs, done)
    return max(worst, *codes, 0)


def _votes(composer: Composer, trials: Sequence[grids.Overrides], models: Sequence[str]) -> int:
    """Let trials that differ in their seed vote, where all of them are done and the vote is not in the store yet."""
    cells: dict[str, list[Any]] = defaultdict(list)
    for trial in trials:
        if grids.kept(trial.get("model", ""), models):
            cells[" ".join(grids.arguments({k: v for k, v in trial.items() if k != "seed"}))].append(trial)
    worst = 0
    for members in cells.values():
        try:
            _vote([composer.spec(trial) for trial in members])
        except ReproError as error:
            worst = max(worst, error.exit_code)
            print_line(f"repro: {error}", sys.stderr)
    return worst


def _vote(members: Sequence[TrialSpec]) -> None:
    from repro.inference.ensemble import ensemble, shown
    from repro.inference.restore import find
    from repro.trials.run import pick_device

    paths, store = members[0].config.paths, members[0].store
    results, runs = Path(paths.results_root), Path(paths.runs_root)
    keys = [spec.key for spec in members]
    if any((record := store.get(key)) is None or record.status == "failed" for key in keys):
        print_line(f"no vote of {', '.join(keys)}: not all of them have a score")
        return
    if any(
        record.config["method"].get("members") == keys
        for record in store.records(statistics=False)
        if record.trial.method.name == "prompt_ensemble"
    ):
        return
    trials = [find(key, results, runs) for key in keys]
    device = pick_device(members[0].config.trainer.device)
    record = ensemble(trials, Path(paths.data_root), 32, device, ["repro", "ensemble", *keys])
    store.put(record)
    print_line(shown(record))
