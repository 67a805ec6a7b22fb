"""Text as WebNLG 2017's evaluation.py writes it into the files that BLEU, METEOR and TER read."""

from __future__ import annotations

import re
import unicodedata

_NON_WORD = re.compile(r"(\W)")

_FOLDED = {
    **{"Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe", "ß": "ss", "ẞ": "SS", "Ø": "O", "ø": "o", "Þ": "Th", "þ": "th"},
    **{"Ð": "D", "ð": "d", "Đ": "D", "đ": "d", "Ħ": "H", "ħ": "h", "ı": "i", "ĸ": "k", "Ł": "L", "ł": "l"},
    **{"Ŋ": "NG", "ŋ": "ng", "Ŧ": "T", "ŧ": "t", "ŉ": "'n", "ə": "@", "×": "x", "÷": "/", "¡": "!", "¿": "?"},
    **{"¢": "C/", "£": "PS", "¤": "$?", "¥": "Y=", "€": "EUR", "¦": "|", "§": "SS", "¨": '"', "©": "(c)"},
    **{"®": "(r)", "™": "(tm)", "«": "<<", "»": ">>", "‹": "<", "›": ">", "¬": "!", "¯": "-", "°": "deg"},
    **{"±": "+-", "´": "'", "µ": "u", "¶": "P", "·": "*", "¸": ",", "¼": " 1/4", "½": " 1/2", "¾": " 3/4"},
    **{"‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "--", "―": "--", "−": "-", "‖": "||", "‗": "_", "→": "-"},
    **{"‘": "'", "’": "'", "‚": ",", "‛": "'", "“": '"', "”": '"', "„": ",,", "‟": '"', "′": "'", "″": "''"},
    **{"†": "+", "‡": "++", "•": "*", "‰": "%0", "‽": "!?", "⁃": "--"},
}
"""What unidecode makes of letters and signs that have no decomposition of their own, or another one."""


def ascii_folded(text: str) -> str:
    """ASCII for a text: letters lose their accents, signs of `_FOLDED` become what stands there, others are dropped.

    Equal to unidecode 1.4.0 for every character of WebNLG 2017, Latin-1 and Latin Extended-A.

    Deviation: unidecode also romanises other scripts (Greek, Cyrillic, Chinese); here their letters are dropped.
    """
    pieces = []
    for character in text:
        if character.isascii():
            pieces.append(character)
        elif character in _FOLDED:
            pieces.append(_FOLDED[character])
        else:
            pieces += [part for part in unicodedata.normalize("NFKD", character) if part.isascii()]
    return "".join(pieces)


def output_text(text: str) -> str:
    """A system's output: ASCII, lower case, split at every character that is no letter, digit or underscore."""
    return _split(ascii_folded(ascii_folded(text.strip()).lower()))


def reference_text(text: str) -> str:
    """A reference: split first, then lower case and ASCII (evaluation.py's order; it differs for ½, say)."""
    return ascii_folded(_split(text).lower())


def _split(text: str) -> str:
    return " ".join(" ".join(_NON_WORD.split(text)).split())
