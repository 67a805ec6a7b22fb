"""`repro sweep`: run what is missing of a paper or of some exhibits, one process, then the votes of ensembles."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.errors import ReproError
from repro.masking import masked_text
from repro.sweeps import grids, plan
from repro.sweeps.experiments import Experiment
from repro.sweeps.trials import Composer


def run(chosen: Sequence[Experiment], given: Mapping[str, str], models: Sequence[str]) -> int:
    """Run the trials that have no record; a trial that fails does not stop the others. The exit code.

    A model whose weights cannot be loaded is tried once: without a network each try waits for minutes.

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
                print(f"repro: {error}", file=sys.stderr)
                continue
            for number, trial in enumerate(todo, 1):
                words = grids.arguments(trial)
                name = " ".join(words)
                if name in seen:
                    continue
                seen.add(name)
                print(f"{experiment.name} {number}/{len(todo)}: {masked_text(name)}", flush=True)
                worst = max(worst, _trial(composer, trial, words, lost))
        for grid in experiment.grids:
            if "vote" in grid:
                worst = max(worst, _votes(composer, grids.product(grid, trials.given), models))
    for where, count in lost.items():
        print(f"repro: {count} more trials of {where} were left out: its weights cannot be loaded.", file=sys.stderr)
    return worst


def _trial(composer: Composer, trial: grids.Overrides, words: Sequence[str], lost: dict[str, int]) -> int:
    """Run one trial; its exit code.

    Args:
        lost: {location of a model whose weights could not be loaded: trials left out since}; added to here.
    """
    from repro.report.summary import trial_summary
    from repro.runner import run as run_trial

    try:
        plain = composer.plain(trial)
        location = plain["model"]["location"]
        if location in lost:
            lost[location] += 1
            return 0
        choices = {key: value for key, value in trial.items() if key in ("method", "model", "task", "experiment")}
        kept = [word for word in words if not word.startswith(("paths.", "task.data_dir="))]
        outcome = run_trial(plain, choices, ["repro", "run", *kept])
    except ReproError as error:
        print(f"repro: {error}", file=sys.stderr)
        if str(error).startswith("model.location="):
            lost[location] = 0
        return error.exit_code
    if outcome.record is None:
        print(f"trial {outcome.folder.name}: another process runs it, stepped aside (trainer.if_running=skip)")
    else:
        print(trial_summary(outcome.record, outcome.from_store), flush=True)
    return 0


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
            print(f"repro: {error}", file=sys.stderr)
    return worst


def _vote(members: Sequence[Mapping[str, Any]]) -> None:
    from repro.config import run_key
    from repro.prompts.ensembling import ensemble, shown
    from repro.prompts.opening import find
    from repro.runner import pick_device
    from repro.store.store import Store

    paths = members[0]["paths"]
    results, runs = Path(paths["results_root"]), Path(paths["runs_root"])
    keys = [run_key(dict(plain)) for plain in members]
    store = Store(results / "records")
    if any((record := store.get(key)) is None or record.status == "failed" for key in keys):
        print(f"no vote of {', '.join(keys)}: not all of them have a score")
        return
    if any(
        record.config["method"].get("members") == keys
        for record in store.query(None, **{"config.method.name": "prompt_ensemble"})
    ):
        return
    trials = [find(key, results, runs) for key in keys]
    device = pick_device(members[0]["trainer"]["device"])
    record = ensemble(trials, Path(paths["data_root"]), 32, device, ["repro", "ensemble", *keys])
    store.put(record)
    print(shown(record))


def main(arguments: Sequence[str]) -> int:
    """Run what is missing of a paper's exhibits; `repro plan` says before what that is."""
    options = plan.parser("sweep", main.__doc__ or "").parse_intermixed_args(arguments)
    return run(*plan.asked(options))
