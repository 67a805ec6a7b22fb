"""`repro mini`: run what is missing of the miniature, write the report, judge claims, compare with the reference."""

from __future__ import annotations

import argparse
import os
import shutil
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from repro.errors import ConfigError, StoreError, explained
from repro.report.claims import miniature
from repro.report.claims.claims import NOT_RUN
from repro.report.pages.write import Written, write_report
from repro.store.files import write_atomic
from repro.store.store import Store
from repro.sweeps.executors.process_pool import Crew
from repro.sweeps.executors.time_left import minutes
from repro.sweeps.expand import Planned
from repro.sweeps.miniature import comparison, planning
from repro.sweeps.miniature.display import display
from repro.sweeps.miniature.page import filled, parts

DEFAULT = "my-mini"
"""Results of a run that names no folder; git ignores it."""
WORKERS = 2
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


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    made = argparse.ArgumentParser(
        prog="repro mini",
        description="The three papers in miniature: trains prompts on the small models and tasks that come with the "
        "project, writes the report, judges the claims and compares with the committed reference.",
    )
    made.add_argument("--short", action="store_true", help="one seed of one task of each family, as CI runs it")
    made.add_argument("--results", type=Path, default=Path(DEFAULT), help=f"folder for the results ({DEFAULT})")
    made.add_argument("--runs", type=Path, default=None, help="folder for checkpoints (runs/<name of the results>)")
    made.add_argument("--reference", type=Path, default=None, help="results to compare with (results/mini)")
    made.add_argument("--page", type=Path, default=None, help="only fill this page's tables from the results")
    made.add_argument("--workers", type=int, default=WORKERS, help=f"processes of one thread each ({WORKERS})")
    return made


def main(arguments: Sequence[str]) -> int:
    """Everything, or what is still missing. The exit code: 0, or 2 if a trial has no result."""
    options = parser().parse_args(arguments)
    if options.workers < 1:
        raise ConfigError(f"--workers={options.workers}: at least one process must do the work.")
    results = options.results
    if options.page is not None:
        return _fill(options.page, results)
    runs = options.runs or Path(os.environ.get("REPRO_RUNS_ROOT", "runs")) / results.resolve().name
    reference = options.reference or reference_folder()
    names = planning.chosen(options.short)
    given = {"paths.results_root": str(results), "paths.runs_root": str(runs)} | _GIVEN
    trials = planning.planned(names, given)
    failures = _run(trials, names, results, runs, reference, options.workers)
    print("writing the report ...", flush=True)
    written = write_report(results / "records", results, papers=False)
    _print_claims(written)
    lost = _compare(trials, results, reference)
    for name, why in failures.items():
        print(f"failed: {name}: {why}")
    print(f"\nThe report is {results / 'REPORT.md'}, and {results / 'index.html'} is the same for a browser.")
    return FAILED if failures or lost else 0


def _fill(page: Path, results: Path) -> int:
    if not Store(results / "records").has_records():
        raise StoreError(f"{results}: no records there. Run `repro mini --results {results}` first.")
    with explained(page, "read"):
        text = page.read_text(encoding="utf-8")
    write_atomic(page, filled(text, parts(results)).encode())
    print(f"wrote {page}")
    return 0


def _run(
    trials: Sequence[Planned], names: Sequence[str], results: Path, runs: Path, reference: Path, workers: int
) -> dict[str, str]:
    """Run what has no record; {name: why} of what failed."""
    jobs = planning.to_run(trials, results, reference if reference.resolve() != results.resolve() else None)
    print(f"{', '.join(names)}: {len(trials)} trials, {len(trials) - len(jobs)} of them done, {len(jobs)} to run")
    if not jobs:
        return {}
    began = time.monotonic()
    crew = Crew(jobs, workers, runs / "logs")
    with display(len(jobs)) as shown:
        crew.run(shown)
    print(f"{len(jobs)} trials in {minutes(time.monotonic() - began)}")
    return crew.failures


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
