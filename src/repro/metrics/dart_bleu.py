"""BLEU of DART."""

from __future__ import annotations

from repro.metrics.multi_bleu import MultiBleu
from repro.metrics.registry import register


@register("dart_bleu")
class DartBleu(MultiBleu):
    """BLEU in percent against DART's three reference files, which are tokenised and in lower case.

    Li and Liang lower-case their outputs before they score them (issue 12 of their repository); DART's own script does
    not.

    Args:
        references: how many of an example's references count (padded with empty ones).
        lowercase: whether outputs are put into lower case first, as Li and Liang do.
    """

    equals = (
        "DART evaluation/run_eval_on_dart.sh: multi-bleu.perl with 3 reference files, empty lines kept; "
        "outputs in lower case first (Li and Liang's tolower.py)"
    )

    golden = (
        "48.56 as multi-bleu.perl on the DART authors' BART output (by hand: that output is not kept here); a "
        "written-out oracle"
    )

    def __init__(self, references: int = 3, lowercase: bool = True) -> None:
        super().__init__(references)
        self.lowercase = lowercase

    def _output(self, text: str) -> str:
        return text.lower() if self.lowercase else text
