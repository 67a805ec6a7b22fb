"""Penn Treebank tokens in lower case without punctuation: what the coco scorers (METEOR, ROUGE-L, CIDEr) of E2E see."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

from repro.errors import MetricUnavailable
from repro.metrics import java

# As pycocoevalcap has them. The tokeniser writes brackets in lower case (`-lrb-`), so the brackets here never apply.
PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_MOST_KEPT = 200_000

_seen: dict[str, str] = {}
"""Texts that were tokenised before: a split's references come again at each evaluation, in three metrics."""


def unavailable() -> str | None:
    """Why no text can be tokenised here; None if it can."""
    return java.missing(java.TOKENISER_JAR)


def tokenised(texts: Iterable[str]) -> list[str]:
    """Each text as tokens with single spaces, as the coco scorers' PTBTokenizer writes it. One Java process a call.

    Raises:
        MetricUnavailable: Java or the jar is missing, or Java failed.
    """
    wanted = list(texts)
    new = [text for text in dict.fromkeys(wanted) if text not in _seen]
    found = dict(zip(new, _run(new), strict=True)) if new else {}
    made = [found[text] if text in found else _seen[text] for text in wanted]
    if len(_seen) + len(found) > _MOST_KEPT:
        _seen.clear()
    _seen.update(found)
    return made


def tokenised_pairs(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """Outputs and each one's references, tokenised in one call.

    Raises:
        MetricUnavailable: see `tokenised`.
    """
    every = iter(tokenised([*predictions, *(text for own in references for text in own)]))
    outputs = [next(every) for _ in predictions]
    return outputs, [[next(every) for _ in own] for own in references]


def _run(texts: Sequence[str]) -> list[str]:
    words = ["edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", "-encoding", "UTF-8"]
    lines = [java.one_line(text) for text in texts]
    done = subprocess.run(
        [*java.command(java.TOKENISER_JAR), *words],
        input="".join(f"{line}\n" for line in lines).encode("utf-8", "replace"),
        capture_output=True,
    )
    found = done.stdout.decode("utf-8", "replace").split("\n")
    if done.returncode or len(found) != len(lines) + 1:
        end = done.stderr.decode("utf-8", "replace").strip()[-500:]
        raise MetricUnavailable(
            f"the PTB tokeniser (Java) gave {len(found) - 1} lines for {len(lines)} texts and ended with code "
            f"{done.returncode}: {end}"
        )
    return [" ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION) for line in found[:-1]]
