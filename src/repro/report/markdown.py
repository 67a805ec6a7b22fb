"""Texts of tables: Markdown (GitHub flavour) and CSV, escaped cells, numbers."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from repro.errors import visible
from repro.report.compare.rows import MISSING, Row

_FORMULA = ("=", "+", "-", "@")


def escape(text: str) -> str:
    """Text that stays one cell of a Markdown table, shows no HTML, and makes no link and no picture."""
    text = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"^\s*(\[[^\]]*\]):", r"\1&#58;", text.replace("](", "]&#40;"))  # `[x]: y` would name an address
    return " ".join(text.replace("\\", "&#92;").replace("|", "\\|").split())


def table_text(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of escaped texts."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (head, ["---"] * len(head), *lines))


def escaped_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table of texts, escaped here."""
    return table_text([escape(text) for text in head], ([escape(text) for text in line] for line in lines))


def csv_text(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """CSV with numbers of up to six digits, empty where there is none. To a spreadsheet no text is a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_cell(name) for name in head])
    for line in lines:
        writer.writerow([_cell(value) for value in line])
    return stream.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str):
        value = visible(value)
        return f"'{value}" if value.lstrip().startswith(_FORMULA) else value
    return round(value, 6) if isinstance(value, float) else value


def file_names(prefix: str, titles: Sequence[str], shown: Callable[[str], str]) -> list[str]:
    """A file name for each title: what `shown` leaves of it in Latin letters and digits, and where that is nothing, or
    the name of another one, a hash of the title; equal titles are numbered."""
    plain = [re.sub(r"[^a-z0-9]+", "-", shown(title).lower()).strip("-")[:100] for title in titles]
    uses: Counter[str] = Counter()
    names: list[str] = []
    for title, text in zip(titles, plain, strict=True):
        if not text or plain.count(text) > 1:
            text = f"{text}-{hashlib.sha256(title.encode()).hexdigest()[:6]}".strip("-")
        name = f"{prefix}-{text}"
        uses[name] += 1
        names.append(name if uses[name] == 1 else f"{name}-{uses[name]}")
    return names


def number(value: float | None, sign: str = "") -> str:
    """Two digits after the point; a dash where there is no number."""
    # Adding 0.0 turns -0.00 into 0.00.
    return MISSING if value is None else f"{round(value, 2) + 0.0:{sign}.2f}"


def interval(row: Row) -> str:
    """`[62.56, 80.30]`; for one run, that it has none."""
    if row.low is None or row.high is None:
        return "(no interval)" if row.n == 1 else MISSING
    return f"[{row.low:.2f}, {row.high:.2f}]"


def status(row: Row) -> str:
    """`2 done, 1 collapsed`, bold where a run collapsed or failed."""
    return f"**{row.status}**" if "collapsed" in row.status or "failed" in row.status else row.status


def counted(row: Row) -> str:
    """n, with a word where it is one."""
    return "1 (one run)" if row.n == 1 else str(row.n)
