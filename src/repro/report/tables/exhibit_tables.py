"""An exhibit in the paper's layout as Markdown, LaTeX (booktabs) and CSV: the paper's number, ours, the difference."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from itertools import groupby

from repro.report.markdown import escape, table_text
from repro.report.tables.exhibits import NO_CELL, NOT_RUN, Filled, Place, answering

_PARTS = " / "
_NOTE = (
    "Each place: the paper's number; ours (mean, 95 % interval of the mean over seeds, runs n); the difference. "
    "`not run`: no run of ours agrees with the cell in model, method, task, split, metric and every variable. "
    "†: contradicts the paper's own arithmetic, or no run can give it (REPORT.md lists why)."
)


def files(exhibit: Filled) -> dict[str, str]:
    """{path below the output folder: content} of the three files of an exhibit."""
    stem = f"tables/{exhibit.name}"
    return {f"{stem}.md": markdown(exhibit), f"{stem}.tex": latex(exhibit), f"{stem}.csv": comma_separated(exhibit)}


# ---- Markdown


def markdown(exhibit: Filled) -> str:
    """Title, caption and table, as a file of its own."""
    layout = exhibit.layout
    edition = f" (edition: {layout.edition})" if layout.edition else ""
    parts = [f"# {escape(f'{layout.paper}, {layout.title}{edition}')}", escape(layout.caption)]
    if layout.unprinted:
        parts.append(f"The paper prints no numbers here. {escape(layout.unprinted)}")
    return "\n\n".join([*parts, _NOTE, markdown_table(exhibit)])


def markdown_table(exhibit: Filled) -> str:
    """The grid; where nothing of a column was run its places say so in a word."""
    layout = exhibit.layout
    head = [escape(", ".join(layout.row_fields)), *(escape(column) for column in layout.columns)]
    lines = [[escape(label), *(_markdown_place(place) for place in exhibit.row(label))] for label in layout.rows]
    return table_text(head, lines)


def _markdown_place(place: Place | None) -> str:
    if place is None:
        return NO_CELL
    paper = escape(f"paper {place.paper_text()}" if place.printed else place.paper_text())
    paper += " †" if place.doubtful else ""
    if not place.scores:
        return f"{paper}<br>{NOT_RUN}"
    ours = escape(f"ours {place.ours_text()}")
    # GitHub shows no grey: a single run is set in italics and says so.
    ours = f"*{ours}*" if place.n == 1 else f"**{ours}**"
    return f"{paper}<br>{ours}<br>{place.difference_text()}, {place.verdict}"


# ---- LaTeX

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "—": "---",
    "–": "--",
    "−": r"$-$",
    "→": r"$\to$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it is, on one line."""
    plain = " ".join("".join(_SPECIAL.get(character, character) for character in text).split())
    # In front of a row's first cell stands the end of the row before, and `\\[` and `\\*` mean something else.
    return f"{{{plain[0]}}}{plain[1:]}" if plain[:1] in ("[", "*") else plain


def latex(exhibit: Filled) -> str:
    """A `table` environment for booktabs, graphicx and xcolor; two or three lines (paper, ours, difference) a row.

    A single run is grey; a collapsed one is marked with c.
    """
    layout = exhibit.layout
    body = []
    for label in layout.rows:
        body += [*_latex_rows(label, exhibit.row(label)), r"\addlinespace"]
    caption = latex_escape(f"{layout.title}. {layout.caption}")
    note = (
        r"95\,\% intervals of the mean over $n$ seeds; grey: one run; $^{c}$: collapsed runs included; "
        r"$^{\dagger}$: contradicts the paper's own arithmetic, or no run can give it."
    )
    lines = [
        r"% needs \usepackage{booktabs,graphicx,xcolor}",
        r"\begin{table}[t]",
        r"\centering\small",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{ll{'r' * len(layout.columns)}}}",
        r"\toprule",
        *_latex_head(layout.row_fields, layout.columns),
        r"\midrule",
        *body[:-1],
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\caption{{{caption} {note}}}",
        rf"\label{{tab:{exhibit.name.replace('_', '-')}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_head(row_fields: Sequence[str], columns: Sequence[str]) -> list[str]:
    """One line a part of the column labels; equal neighbours share a \\multicolumn and a \\cmidrule."""
    split = [column.split(_PARTS) for column in columns]
    depth = max((len(parts) for parts in split), default=1)
    padded = [[*parts, *[""] * (depth - len(parts))] for parts in split]
    lines = []
    for level in range(depth):
        texts, rules, place = [], [], 3
        # Columns are neighbours under one head only if all heads above are equal too.
        for (*_, text), found in groupby(padded, key=lambda parts: parts[: level + 1]):
            width = len(list(found))
            shown = latex_escape(text)
            texts.append(shown if width == 1 else rf"\multicolumn{{{width}}}{{c}}{{{shown}}}")
            if width > 1:
                rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
            place += width
        first = latex_escape(", ".join(row_fields)) if level == depth - 1 else ""
        lines.append(" & ".join([first, "", *texts]) + r" \\" + "".join(rules))
    return lines


def _latex_rows(label: str, places: Sequence[Place | None]) -> list[str]:
    lines = [(latex_escape(label), "paper", [_latex_paper(place) for place in places])]
    lines.append(("", "ours", [_latex_ours(place) for place in places]))
    if any(place is not None and place.scores for place in places):
        lines.append(("", "difference", [_latex_difference(place) for place in places]))
    return [" & ".join([first, second, *texts]) + r" \\" for first, second, texts in lines]


def _latex_paper(place: Place | None) -> str:
    text = latex_escape(NO_CELL if place is None else place.paper_text())
    return text + (r"$^{\dagger}$" if place is not None and place.doubtful else "")


def _latex_ours(place: Place | None) -> str:
    if place is None:
        return latex_escape(NO_CELL)
    mark = "$^{c}$" if place.collapsed else ""
    return _grey(latex_escape(place.ours_text()) + mark, place)


def _latex_difference(place: Place | None) -> str:
    return latex_escape(NO_CELL) if place is None else _grey(latex_escape(place.difference_text()), place)


def _grey(text: str, place: Place) -> str:
    return rf"\textcolor{{gray}}{{{text}}}" if place.n < 2 else text


# ---- CSV

_COLUMNS = [
    *("paper", "exhibit", "edition", "row", "column", "cell", "model", "method", "task", "split", "metric"),
    *("paper_value", "paper_std", "paper_n", "precision", "ours", "std", "n", "low", "high", "difference", "band"),
    *("verdict", "collapsed", "settings", "runs", "caveat"),
]


def comma_separated(exhibit: Filled) -> str:
    """One line a place, numbers in the paper's unit; `not run` stands in the verdict, never a zero in a number."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in exhibit.layout.rows:
        for column, place in zip(exhibit.layout.columns, exhibit.row(row), strict=True):
            if place is not None:
                writer.writerow(_csv_row(exhibit, row, column, place))
    return stream.getvalue()


def _csv_row(exhibit: Filled, row: str, column: str, place: Place) -> dict[str, object]:
    cell, layout = place.cell, exhibit.layout
    found = place.scores[0].comparison if place.scores else None
    summary = found.summary if found else None

    def scaled(value: float | None) -> float | None:
        return None if value is None else round(value / cell.scale, 6)

    values: dict[str, object] = {"paper": layout.paper, "exhibit": layout.key, "edition": layout.edition, "row": row}
    values |= {"column": column, "cell": cell.id, "model": cell.model, "method": cell.method, "task": cell.task}
    values |= {"split": cell.split, "metric": cell.metric, "paper_value": cell.value if place.printed else None}
    values |= {"paper_std": cell.std, "paper_n": cell.n_runs, "precision": cell.precision, "n": place.n}
    if summary is not None and found is not None:
        values |= {"ours": scaled(summary.mean), "std": scaled(summary.std), "low": scaled(summary.low)}
        values |= {"high": scaled(summary.high), "difference": scaled(found.difference), "band": scaled(found.band)}
    values |= {"verdict": place.verdict, "collapsed": place.collapsed, "caveat": cell.caveat}
    values |= {"settings": place.settings if place.scores else 0}
    values["runs"] = " ".join(record.key for record in answering(place))
    return values
