"""`repro check PAPER`: its claims on its own numbers and on ours; `repro check mini`: those in miniature.

Exit code 1 if one fails on ours.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from repro.errors import StoreError
from repro.papers import registry
from repro.papers.claims import FAILS
from repro.report.claims import miniature
from repro.report.claims.claims import ClaimRow, as_data, claim_rows
from repro.report.claims.sections import CLAIMS_HEAD, claim_texts, claims_line
from repro.report.compare.groups import Group, groups
from repro.report.markdown import escape, table_text
from repro.store.store import Store

CLAIM_FAILS = 1
"""Exit code; 2 is bad input, as everywhere."""


def check(arguments: Sequence[str]) -> int:
    """Print the claims of one paper, or of all, with both verdicts."""
    parser = argparse.ArgumentParser(
        prog="repro check",
        description="The papers' claims as predicates, on the papers' own numbers and on ours. "
        "Exit code 1: a claim fails on ours.",
    )
    allowed = ", ".join([*registry.PAPERS, miniature.EXPERIMENTS])
    parser.add_argument("paper", nargs="?", help=f"one of {allowed}; without it: all papers")
    parser.add_argument(
        "--results",
        default=os.environ.get("REPRO_RESULTS_ROOT", "results"),
        help="folder with records/ (default: results)",
    )
    parser.add_argument("--format", choices=("markdown", "json"), default="markdown")
    options = parser.parse_args(arguments)
    if options.paper == miniature.EXPERIMENTS:
        return _in_miniature(Path(options.results), options.format)
    wanted = [options.paper] if options.paper else list(registry.PAPERS)
    for paper in wanted:
        registry.load(paper)  # an unknown name is refused before records are read
    found = _groups(Path(options.results))
    rows = [row for paper in wanted for row in claim_rows(paper, found)]
    text = json.dumps([as_data(row) for row in rows], indent=1) + "\n" if options.format == "json" else table(rows)
    print(text, end="")
    return CLAIM_FAILS if any(row.ours == FAILS for row in rows) else 0


def _groups(root: Path) -> list[Group]:
    if not root.is_dir():
        raise StoreError(f"{root}: there is no such folder. Run a trial first, or name the folder with --results.")
    return groups(Store(root / "records").records(statistics=False))


def _in_miniature(root: Path, form: str) -> int:
    rows = miniature.claim_rows(miniature.Settings(_groups(root)))
    if not rows:
        raise StoreError(
            f"{root}: no trial of the miniature is there. Run `repro mini --results {root}`, or name the folder of one "
            "that ran with --results."
        )
    if form == "json":
        print(json.dumps([miniature.as_data(row) for row in rows], indent=1))
    else:
        lines = ([escape(text) for text in miniature.texts(row)] for row in rows)
        print(f"{table_text(miniature.HEAD, lines)}\n{miniature.line(rows)}")
    return CLAIM_FAILS if any(row.verdict == FAILS for row in rows) else 0


def table(rows: Sequence[ClaimRow]) -> str:
    """The rows as a Markdown table, and a line that counts verdicts: as REPORT.md has them."""
    lines = ([escape(text) for text in claim_texts(row)] for row in rows)
    return f"{table_text(CLAIMS_HEAD, lines)}\n{claims_line(rows)}\n"
