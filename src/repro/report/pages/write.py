"""All files of a report, from a store: REPORT.md, index.html, tables and figures."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repro.papers import registry
from repro.papers.registry import Reported
from repro.report.figures.plotting import drawn
from repro.report.pages import comparison_table
from repro.report.pages import searches as search_pages
from repro.report.pages.contents import Contents, contents
from repro.report.pages.html_report import page
from repro.report.pages.markdown_report import document
from repro.report.tables import exhibit_tables, own_tables
from repro.store.damage import Damaged
from repro.store.files import write_atomic
from repro.store.record import Record
from repro.store.searches import journal
from repro.store.store import Store

_ESCAPE = "backslashreplace"
"""Bytes of file names that are no text are shown as escapes."""


@dataclass(frozen=True)
class Written:
    """The contents of a report and the files they were written to."""

    contents: Contents
    paths: tuple[Path, ...]


def write_report(store_root: str | Path, out_dir: str | Path, papers: bool = True) -> Written:
    """Writes `REPORT.md`, `index.html`, `tables/` and `figures/` from the records of a store.

    Equal records give equal bytes, with the same matplotlib. Files that are there already with the same content are
    not written again.

    Args:
        store_root: the folder of the records; the files of searches stand beside it.
        out_dir: where the files go.
        papers: as for `contents`.

    A damaged record or search is left out and named on top.

    Raises:
        StoreError: a folder that cannot be read or written.
    """
    with _uncollected():
        return _write(Path(store_root), Path(out_dir), papers)


def _write(store_root: Path, out_dir: Path, papers: bool) -> Written:
    damaged: list[Damaged] = []
    searches = journal.all_of(store_root.parent, damaged.append)
    records = list(Store(store_root).records(damaged.append, statistics=False))
    report = contents(records, registry.cells(), searches, papers, damaged)
    folder = out_dir / "figures"
    drawings = {figure.name: drawn(figure, folder) for figure in report.figures}
    files: dict[str, bytes] = {name: text.encode(errors=_ESCAPE) for name, text in texts(report).items()}
    for name, (png, svg) in drawings.items():
        files |= {f"figures/{name}.png": png, f"figures/{name}.svg": svg.encode(errors=_ESCAPE)}
    files["index.html"] = page(report, {name: svg for name, (_, svg) in drawings.items()}).encode(errors=_ESCAPE)
    for name, content in files.items():
        path = out_dir / name
        if not path.is_file() or path.read_bytes() != content:
            write_atomic(path, content)
    return Written(report, tuple(out_dir / name for name in files))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the cycle collector: a store of ten thousand records makes millions of objects and no cycles to free."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            # Puts them among the old objects, which are seldom visited; the next collection would visit each of them.
            gc.freeze()
            gc.unfreeze()
            gc.enable()


def report_files(records: Iterable[Record], cells: Sequence[Reported]) -> dict[str, str]:
    """{path below the output folder: content} of the files that are text: all but the figures and the page."""
    return texts(contents(records, cells))


def texts(report: Contents) -> dict[str, str]:
    """As `report_files`, of contents that are there already."""
    files = {"REPORT.md": document(report)}
    if report.papers:
        files["tables/comparison.csv"] = comparison_table.comma_separated(report.rows)
        files["tables/comparison.md"] = comparison_table.markdown(report.rows)
    for exhibit in report.exhibits:
        files |= exhibit_tables.files(exhibit)
    for table in report.own:
        files |= own_tables.files(table)
    return files | search_pages.files(report.searches)
