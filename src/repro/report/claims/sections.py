"""Tables that REPORT.md and the page share: claims with both verdicts, corrections, contradictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from repro.papers import arithmetic, registry
from repro.papers.corrections import corrections
from repro.papers.rendering import printed
from repro.report.claims.claims import VERDICTS, ClaimRow

CLAIMS_HEAD = ("claim", "says", "source", "on the paper's numbers", "on ours", "why")
CORRECTIONS_HEAD = ("often quoted", "verdict", "what the paper prints", "cells that show it")
FINDINGS_NOTE = (
    "Recomputed from the registry. Errata stay there as printed; a value that its caveat calls wrong is never compared."
)
FINDINGS_HEAD = ("cell", "printed in", "printed", "arithmetic gives", "what", "why")


def claims_line(rows: Sequence[ClaimRow]) -> str:
    """How many claims hold, fail or were not run."""
    ours = Counter(row.ours for row in rows)
    theirs = Counter(verdict for row in rows for verdict in {verdict for verdict, _ in row.paper.values()})
    on_ours = ", ".join(f"{ours[verdict]} {verdict}" for verdict in VERDICTS)
    on_theirs = ", ".join(f"{count} {verdict}" for verdict, count in sorted(theirs.items()))
    return f"{len(rows)} claims. On ours: {on_ours}. On the papers' own numbers: {on_theirs} (editions counted apart)."


def claim_texts(row: ClaimRow) -> list[str]:
    """One line of the table of claims, not escaped."""
    claim = row.claim
    says = claim.sentence + (f" (Our reading: {claim.reading}.)" if claim.reading else "")
    theirs = row.on_paper + (f": {row.why_on_paper}" if row.why_on_paper else "")
    ours = row.ours + (" (one run)" if row.one_run else "")
    return [f"{claim.paper} {claim.id}", says, claim.source, theirs, ours, row.why]


def correction_lines() -> list[list[str]]:
    """Widely quoted numbers that the papers do not have so, not escaped."""
    return [
        [entry.quoted, entry.verdict, entry.printed, ", ".join(cell.id for cell in entry.evidence)]
        for entry in corrections()
    ]


def finding_lines() -> list[list[str]]:
    """Cells that their paper's own arithmetic contradicts, not escaped."""
    lines = []
    for finding in chain.from_iterable(map(arithmetic.findings, registry.PAPERS)):
        number = finding.arithmetic
        value = f"{number:,.0f}" if number >= 1000 else f"{number:.5f}".rstrip("0").rstrip(".")
        kind = f"{finding.kind}: {arithmetic.KINDS[finding.kind]}"
        lines.append([finding.cell.id, finding.cell.at, printed(finding.cell), value, kind, finding.why])
    return lines
