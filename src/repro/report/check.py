"""`repro check PAPER`: its claims on its own numbers and on ours. Exit code 1 if one fails on ours."""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from repro.errors import StoreError
from repro.papers import registry
from repro.papers.claims import FAILS
from repro.report.claims import VERDICTS, ClaimRow, as_data, claim_rows
from repro.report.groups import groups
from repro.store.store import Store

CLAIM_FAILS = 1
"""Exit code; 2 is bad input, as everywhere."""
_HEAD = ("claim", "says", "source", "on the paper's numbers", "on ours", "why")


def check(arguments: Sequence[str]) -> int:
    """Print the claims of one paper, or of all, with both verdicts."""
    parser = argparse.ArgumentParser(
        prog="repro check",
        description="The papers' claims as predicates, on the papers' own numbers and on ours. "
        "Exit code 1: a claim fails on ours.",
    )
    parser.add_argument("paper", nargs="?", help=f"one of {', '.join(registry.PAPERS)}; without it: all")
    parser.add_argument(
        "--results",
        default=os.environ.get("REPRO_RESULTS_ROOT", "results"),
        help="folder with records/ (default: results)",
    )
    parser.add_argument("--format", choices=("markdown", "json"), default="markdown")
    options = parser.parse_args(arguments)
    wanted = [options.paper] if options.paper else list(registry.PAPERS)
    for paper in wanted:
        registry.load(paper)  # an unknown name is refused before records are read
    root = Path(options.results)
    if not root.is_dir():
        raise StoreError(f"{root}: there is no such folder. Run a trial first, or name the folder with --results.")
    found = groups(Store(root / "records").records())
    rows = [row for paper in wanted for row in claim_rows(paper, found)]
    text = json.dumps([as_data(row) for row in rows], indent=1) + "\n" if options.format == "json" else table(rows)
    print(text, end="")
    return CLAIM_FAILS if any(row.ours == FAILS for row in rows) else 0


def table(rows: Sequence[ClaimRow]) -> str:
    """The rows as a Markdown table, and a line that counts verdicts."""
    lines = [_HEAD, ["---"] * len(_HEAD), *(_texts(row) for row in rows)]
    counts = Counter(row.ours for row in rows)
    on_paper = Counter(verdict for row in rows for verdict in {verdict for verdict, _ in row.paper.values()})
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    theirs = ", ".join(f"{count} {verdict}" for verdict, count in sorted(on_paper.items()))
    body = "".join(f"| {' | '.join(_escaped(text) for text in line)} |\n" for line in lines)
    return f"{body}\nOn the papers' own numbers: {theirs} (editions counted apart). On ours: {told}.\n"


def _texts(row: ClaimRow) -> list[str]:
    claim = row.claim
    says = claim.sentence + (f" ({claim.reading})" if claim.reading else "")
    theirs = row.on_paper + (f": {row.why_on_paper}" if row.why_on_paper else "")
    ours = row.ours + (" (one run)" if row.one_run else "")
    return [f"{claim.paper} {claim.id}", says, claim.source, theirs, ours, row.why]


def _escaped(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
