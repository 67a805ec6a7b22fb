"""`repro mini`: run what is missing of the miniature, write the report, judge claims, compare with the reference."""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from repro.errors import ReproError, StoreError, explained
from repro.report.claims import miniature
from repro.report.claims.claims import NOT_RUN
from repro.report.pages.write import Written, write_report
from repro.store.files import write_atomic
from repro.store.store import Store
from repro.sweeps.executors.base import Result
from repro.sweeps.executors.processes import Processes
from repro.sweeps.executors.time_left import minutes
from repro.sweeps.expand import Planned
from repro.sweeps.miniature import comparison, planning
from repro.sweeps.miniature.display import display
from repro.sweeps.miniature.page import filled, parts
from repro.trials.spec import TrialSpec

FAILED = 2
"""Exit code where a trial has no result."""
_GIVEN = {"trainer.threads": "1", "trainer.device": "cpu", "trainer.checkpoint_seconds": "3"}
"""On every machine as where the reference was made: one thread a worker, and no GPU for models of this size. A trial
takes some 20 seconds at most, of which the usual five minutes between checkpoints would save nothing; with these, a run
that is killed every few seconds gets to its end too."""


def reference_folder() -> Path:
    """Where the committed results are: in a checkout, beside `conf`."""
    from repro.config.compose import conf_dir

    return conf_dir().parent / "results" / "mini"


def run(results: Path, runs: Path | None, reference: Path | None, workers: int, short: bool) -> int:
    """Everything, or what is still missing. The exit code: 0, or 2 if a trial has no result.

    Args:
        runs: folder for checkpoints; None: `runs/<name of the results>`.
        reference: results to compare with; None: the committed ones.
        workers: processes of one thread each.
        short: one seed of one task of each family.
    """
    runs = runs or Path(os.environ.get("REPRO_RUNS_ROOT", "runs")).expanduser() / results.resolve().name
    reference = reference or reference_folder()
    names = planning.chosen(short)
    given = {"paths.results_root": str(results), "paths.runs_root": str(runs)} | _GIVEN
    trials = planning.planned(names, given)
    failures = _run(trials, names, results, runs, reference, workers)
    print("writing the report ...", flush=True)
    written = write_report(results / "records", results, papers=False)
    _print_claims(written)
    lost = _compare(trials, results, reference)
    for name, why in failures.items():
        print(f"failed: {name}: {why}")
    print(f"\nThe report is {results / 'REPORT.md'}, and {results / 'index.html'} is the same for a browser.")
    return FAILED if failures or lost else 0


def fill(page: Path, results: Path) -> None:
    """Fill a page's tables from the results.

    Raises:
        StoreError: there are no results, or the page cannot be read.
    """
    if not Store(results / "records").has_records():
        raise StoreError(f"{results}: no records there. Run `repro mini --results {results}` first.")
    with explained(page, "read"):
        text = page.read_text(encoding="utf-8")
    write_atomic(page, filled(text, parts(results)).encode())
    print(f"wrote {page}")


def _run(
    trials: Sequence[Planned], names: Sequence[str], results: Path, runs: Path, reference: Path, workers: int
) -> dict[str, str]:
    """Run what has no record; {name: why} of what failed."""
    jobs = planning.to_run(trials, results, reference if reference.resolve() != results.resolve() else None)
    print(f"{', '.join(names)}: {len(trials)} trials, {len(trials) - len(jobs)} of them done, {len(jobs)} to run")
    if not jobs:
        return {}
    started, failures = time.monotonic(), {}
    names_of = {job.spec.key: job.name for job in jobs}
    seconds = {job.spec.key: job.seconds for job in jobs}
    with display(names_of) as shown:

        def on_result(spec: TrialSpec, result: Result) -> None:
            shown.ended(spec, result)
            if isinstance(result, ReproError):
                failures[names_of[spec.key]] = str(result)

        Processes(workers, runs / "logs", shown, seconds).run([job.spec for job in jobs], on_result)
    print(f"{len(jobs)} trials in {minutes(time.monotonic() - started)}")
    return failures


def _print_claims(written: Written) -> None:
    rows = written.contents.miniature
    print(f"\n{miniature.line(rows)}")
    width = min(shutil.get_terminal_size((120, 20)).columns, 120)
    for row in (row for row in rows if row.verdict != NOT_RUN):
        name, says, _, verdict, why = miniature.texts(row)
        text = f"{name}  {verdict.upper()}: {says}" + (f" {why}." if why else "")
        print(textwrap.fill(text, width, subsequent_indent="     "))


def _compare(trials: Sequence[Planned], results: Path, reference: Path) -> bool:
    """Print and write what differs from the reference; whether a cell that it has is missing."""
    if reference.resolve() == results.resolve():
        return False
    if not (reference / "records").is_dir():
        print(f"\n{reference}: there is no reference to compare with.")
        return False
    keys = {trial.key for trial in trials if trial.key is not None}
    found = comparison.compare(comparison.read(results), comparison.read(reference), keys)
    write_atomic(results / "REFERENCE.md", comparison.document(found).encode())
    print(f"\n{comparison.summary(found)} Which: {results / 'REFERENCE.md'}")
    return any(one.verdict == comparison.MISSING for one in found)
