"""The papers' claims on their own numbers and on ours, and those in miniature (`repro check`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.errors import StoreError
from repro.papers import registry
from repro.papers.claims import FAILS
from repro.report.claims import miniature
from repro.report.claims.claims import ClaimRow, as_data, claim_rows
from repro.report.claims.sections import CLAIMS_HEAD, claim_texts, claims_line
from repro.report.compare.groups import Group, groups
from repro.report.markdown import escaped_table
from repro.store.damage import Damaged
from repro.store.store import Store


@dataclass(frozen=True)
class Checked:
    """Verdicts as text, and whether a claim fails on our runs."""

    text: str
    fails: bool
    damaged: Sequence[Damaged] = ()
    """Records that were left out."""


def of_papers(papers: Sequence[str] | None, results: Path, form: str) -> Checked:
    """The claims of papers (None: of all) with both verdicts.

    Raises:
        DataError: no such paper.
        StoreError: no such folder.
    """
    wanted = list(registry.PAPERS if papers is None else papers)
    for paper in wanted:
        registry.load(paper)  # an unknown name is refused before records are read
    damaged: list[Damaged] = []
    records = _groups(results, damaged)
    rows = [row for paper in wanted for row in claim_rows(paper, records)]
    text = json.dumps([as_data(row) for row in rows], indent=1) + "\n" if form == "json" else table(rows)
    return Checked(text, any(row.ours == FAILS for row in rows), damaged)


def _groups(root: Path, damaged: list[Damaged]) -> list[Group]:
    if not root.is_dir():
        raise StoreError(f"{root}: there is no such folder. Run a trial first, or name the folder with --results.")
    return groups(Store(root / "records").records(damaged.append, statistics=False))


def in_miniature(results: Path, form: str) -> Checked:
    """The claims of the miniature.

    Raises:
        StoreError: none of its trials is there.
    """
    damaged: list[Damaged] = []
    rows = miniature.claim_rows(miniature.Settings(_groups(results, damaged)))
    if not rows:
        raise StoreError(
            f"{results}: no trial of the miniature is there. Run `repro mini --results {results}`, or name the folder "
            "of one that ran with --results."
        )
    if form == "json":
        text = json.dumps([miniature.as_data(row) for row in rows], indent=1)
    else:
        text = f"{escaped_table(miniature.HEAD, map(miniature.texts, rows))}\n{miniature.line(rows)}"
    return Checked(f"{text}\n", any(row.verdict == FAILS for row in rows))


def table(rows: Sequence[ClaimRow]) -> str:
    """The rows as a Markdown table, and a line that counts verdicts: as REPORT.md has them."""
    return f"{escaped_table(CLAIMS_HEAD, map(claim_texts, rows))}\n{claims_line(rows)}\n"
