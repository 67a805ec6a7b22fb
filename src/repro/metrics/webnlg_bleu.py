"""BLEU of WebNLG 2017."""

from __future__ import annotations

from repro.metrics.multi_bleu import MultiBleu
from repro.metrics.registry import register
from repro.metrics.webnlg_text import output_text, reference_text


@register("webnlg_bleu")
class WebnlgBleu(MultiBleu):
    """BLEU in percent against the first three references, on text as evaluation.py writes it (`webnlg_text`).

    An example with fewer references has empty ones for the rest, as the script's files have.

    Deviation: letters of other scripts than Latin are dropped; unidecode, which the script uses, romanises them.

    Args:
        references: how many of an example's references count.
    """

    equals = (
        "WebNLG 2017 evaluation.py and bleu_eval_3ref.sh (multi-bleu.perl -lc, 3 reference files, empty lines kept)"
    )

    golden = (
        "the script's three reference files, line by line, and 58.06 as multi-bleu.perl -lc on the DART authors' BART "
        "output for WebNLG (by hand: that output is not kept here); a written-out oracle"
    )

    def __init__(self, references: int = 3) -> None:
        super().__init__(references)

    def _output(self, text: str) -> str:
        return output_text(text)

    def _reference(self, text: str) -> str:
        return reference_text(text)
