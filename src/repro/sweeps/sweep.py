"""`repro sweep`: run what is missing of a paper or of some exhibits, then the votes of ensembles; here, or as jobs."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.errors import ReproError, print_line, redacted_text
from repro.sweeps import grids
from repro.sweeps.expand import Composer
from repro.sweeps.experiments import Experiment


def run(
    chosen: Sequence[Experiment],
    given: Mapping[str, str],
    models: Sequence[str],
    resume: bool = False,
    retry_failed: bool = False,
    gang: str | None = None,
) -> int:
    """Run the trials that have no record; a trial that fails does not stop the others. The exit code.

    A model whose weights cannot be loaded is tried once: without a network each try waits for minutes.

    Args:
        resume: a trial whose record says `failed` is left out, and is no error.
        retry_failed: it is run again.
        gang: `trainer.joint_trials` of every trial, a number or `auto`; None: one trial at a time.

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
            if gang is not None:
                more = {"trainer.joint_trials": gang} | ({"rerun": "true"} if retry_failed else {})
                fresh = {" ".join(grids.arguments(trial)): trial | more for trial in todo}
                fresh = {name: trial for name, trial in fresh.items() if name not in seen}
                seen |= set(fresh)
                worst = max(worst, _gangs(composer, experiment.name, fresh, resume))
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
        plain = composer.plain(trial)
        location = plain["model"]["location"]
        if location in lost:
            lost[location] += 1
            return 0
        if resume and not plain["rerun"] and _failed(plain):
            print_line("failed before, left out; --retry-failed runs it again")
            return 0
        outcome = run_trial(plain, *_for_the_record(trial, words))
    except ReproError as error:
        print_line(f"repro: {error}", sys.stderr)
        if str(error).startswith("model.location="):
            lost[location] = 0
        return error.exit_code
    if outcome.record is None:
        print_line(f"trial {outcome.folder.name}: another process runs it, stepped aside (trainer.if_running=skip)")
    else:
        print_line(trial_summary(outcome.record, outcome.from_store))
    return 0


def _failed(plain: Mapping[str, Any]) -> bool:
    from repro.config.schema import run_key
    from repro.store.store import Store

    record = Store(Path(plain["paths"]["results_root"]) / "records").get(run_key(dict(plain)), statistics=False)
    return record is not None and record.status == "failed"


def _for_the_record(trial: grids.Overrides, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Choices of groups, and the command that runs the trial."""
    choices = {key: value for key, value in trial.items() if key in ("method", "model", "task", "experiment")}
    return choices, ["repro", "run", *(word for word in words if not word.startswith(("paths.", "task.data_dir=")))]


def _gangs(composer: Composer, experiment: str, trials: Mapping[str, grids.Overrides], resume: bool) -> int:
    """Run trials by their names, those over one model together; the worst exit code. `resume` as in `run`."""
    from repro.sweeps.executors import joint

    jobs, names, worst = [], [], 0
    for name, trial in trials.items():
        try:
            plain = composer.plain(trial)
            if resume and not plain["rerun"] and _failed(plain):
                print_line(
                    f"{experiment}: {redacted_text(name)}: failed before, left out; --retry-failed runs it again"
                )
                continue
            words = [
                word for word in grids.arguments(trial) if not word.startswith(("trainer.joint_trials=", "rerun="))
            ]
            jobs.append(joint.Job(plain, *_for_the_record(trial, words)))
            names.append(name)
        except ReproError as error:
            worst = max(worst, error.exit_code)
            print_line(f"{experiment}: {redacted_text(name)}\nrepro: {error}", sys.stderr)
    codes: list[int] = []

    def done(index: int, result: joint.Result) -> None:
        print_line(f"{experiment} {len(codes) + 1}/{len(names)}: {redacted_text(names[index])}")
        codes.append(joint.say(result))

    joint.run_many(jobs, done)
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
            _vote([composer.plain(trial) for trial in members])
        except ReproError as error:
            worst = max(worst, error.exit_code)
            print_line(f"repro: {error}", sys.stderr)
    return worst


def _vote(members: Sequence[Mapping[str, Any]]) -> None:
    from repro.config.schema import run_key
    from repro.inference.ensemble import ensemble, shown
    from repro.inference.restore import find
    from repro.store.store import Store
    from repro.trials.run import pick_device

    paths = members[0]["paths"]
    results, runs = Path(paths["results_root"]), Path(paths["runs_root"])
    keys = [run_key(dict(plain)) for plain in members]
    store = Store(results / "records")
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
    device = pick_device(members[0]["trainer"]["device"])
    record = ensemble(trials, Path(paths["data_root"]), 32, device, ["repro", "ensemble", *keys])
    store.put(record)
    print_line(shown(record))
