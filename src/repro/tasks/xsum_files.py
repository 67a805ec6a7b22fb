"""Articles of XSum with their one-sentence summaries, and which part of the BBC each is from.

Three layouts: the authors' `{train,val,test}.{source,target}`, the original release (`bbc-summary-data/<id>.summary`
and a json with the ids of each split), and rows of the hub. XSum itself is not free to pass on: users bring the files.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from repro.errors import DataError
from repro.tasks.files import read_json, read_lines, text_field

SPLIT_FILE = "XSum-TRAINING-DEV-TEST-SPLIT-90-5-5.json"
SUMMARIES = "bbc-summary-data"
_SPLIT_KEYS = {"train": "train", "validation": "validation", "test": "test"}
_MARKER = re.compile(r"^\[SN\]([A-Z-]+)\[SN\]$", re.MULTILINE)
_PARTS = ("URL", "FIRST-SENTENCE", "RESTBODY")
_BBC = re.compile(r"(?:^|\.)bbc\.(?:co\.uk|com)$")


@dataclass(frozen=True)
class Article:
    """One article: `id` and `url` are None where the layout has none."""

    document: str
    summary: str
    id: str | None
    url: str | None
    where: str

    def row(self) -> list[object]:
        """As plain JSON values, for the content hash."""
        return [self.id, self.document, self.summary]


# The authors' lines --------------------------------------------------------------------------------------------------


def line_articles(sources: Path, targets: Path) -> list[Article]:
    """An article a line of `sources`, its summary on the same line of `targets`.

    Raises:
        DataError: another number of lines, or an empty line (in both files an article has one).
    """
    documents, summaries = read_lines(sources), read_lines(targets)
    if len(documents) != len(summaries):
        raise DataError(f"{sources} has {len(documents)} lines, {targets} has {len(summaries)}: one each is needed.")
    found = []
    for (where, document), (at, summary) in zip(documents, summaries, strict=True):
        for place, text in ((where, document), (at, summary)):
            if not text.strip():
                raise DataError(f"{place} is empty: every line is an article or a summary.")
        found.append(Article(document.strip(), summary.strip(), None, None, where))
    return found


# The original release ------------------------------------------------------------------------------------------------


def original_articles(folder: Path, split_file: Path, split: str) -> list[Article]:
    """The articles of a split, in the order of the split file's ids.

    Raises:
        DataError: an article without a file, or a file without its markers.
    """
    data, key = read_json(split_file), _SPLIT_KEYS[split]
    ids = data.get(key) if isinstance(data, Mapping) else None
    if not isinstance(ids, list) or not all(isinstance(name, str) and name.isalnum() for name in ids):
        raise DataError(
            f'{split_file}: {{"{key}": [ids]}} is needed, ids of letters and digits; it has {reprlib.repr(ids)}.'
        )
    return [summary_file(folder / f"{name}.summary", name) for name in ids]


def summary_file(path: Path, name: str) -> Article:
    """One `.summary` file: sections behind `[SN]URL[SN]`, `[SN]FIRST-SENTENCE[SN]` and `[SN]RESTBODY[SN]`.

    Blank lines are dropped, as in the loader that made the hub's copy.

    Raises:
        DataError: the file is missing, or lacks a section.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist, though the split file names it: unpack the whole archive.")
    text = "\n".join(line for _, line in read_lines(path) if line.strip())
    pieces = _MARKER.split(text)
    sections = {pieces[i]: pieces[i + 1].strip() for i in range(1, len(pieces) - 1, 2)}
    missing = [part for part in _PARTS if not sections.get(part)]
    if missing:
        raise DataError(
            f"{path} has no text behind [SN]{missing[0]}[SN]: it must have {', '.join(_PARTS)}, it has "
            f"{reprlib.repr(sorted(sections))}."
        )
    return Article(sections["RESTBODY"], sections["FIRST-SENTENCE"], name, sections["URL"], str(path))


# The hub -------------------------------------------------------------------------------------------------------------


def hub_articles(rows: Sequence[tuple[str, Mapping[str, object]]]) -> Iterator[Article]:
    """Rows with document, summary and id.

    Raises:
        DataError: a field that is missing or no string.
    """
    for where, row in rows:
        document, summary, name = (text_field(row, field, where) for field in ("document", "summary", "id"))
        yield Article(document.strip(), summary.strip(), name, None, where)


# Topics --------------------------------------------------------------------------------------------------------------


def read_urls(path: Path) -> dict[str, str]:
    """{id: URL} of `XSum-WebArxiveUrls-BBCids.txt`: a URL and an id a line, in either order.

    Raises:
        DataError: a line that is not a URL and an id, or an id twice with different URLs.
    """
    found: dict[str, str] = {}
    for where, line in read_lines(path):
        if not line.strip():
            continue
        parts = sorted(line.split(), key=lambda part: "://" not in part)
        if len(parts) != 2 or "://" not in parts[0] or "://" in parts[1]:
            raise DataError(f"{where} is {reprlib.repr(line)}: a URL and an id are needed.")
        url, name = parts
        if found.setdefault(name, url) != url:
            raise DataError(f"{where}: the id {name} has two URLs, {reprlib.repr(found[name])} and this one.")
    return found


def topic(url: str) -> tuple[str, str]:
    """First part of the path on the BBC's site (`news`, `sport`), and the first word of the second (`uk`, `business`).

    A news page is `/news/<category>-...-<number>`, older ones `/news/<number>`, whose category is "". The address may
    stand inside one of the web archive's.
    """
    inner = url[url.rfind("http") :] if "http" in url else f"http://{url}"
    try:
        parts = urlsplit(inner)
        host = (parts.hostname or "").lower()
    except ValueError:
        return "", ""
    if not _BBC.search(host):
        return "", ""
    path = [part for part in parts.path.lower().split("/") if part]
    word = re.split(r"[^a-z]+", path[1], maxsplit=1)[0] if len(path) > 1 else ""
    return (path[0] if path else ""), word
