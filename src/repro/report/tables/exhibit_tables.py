"""An exhibit in the paper's layout as Markdown, LaTeX (booktabs) and CSV: the paper's number, ours, the difference."""

from __future__ import annotations

from collections.abc import Sequence

from repro.errors import visible
from repro.report.markdown import csv_text, escape, table_text
from repro.report.tables.exhibits import NO_CELL, NOT_RUN, Filled, TableCell, answering

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
    """The grid."""
    layout = exhibit.layout
    head = [escape(", ".join(layout.row_fields)), *(escape(column) for column in layout.columns)]
    lines = [[escape(label), *(_markdown_cell(cell) for cell in exhibit.row(label))] for label in layout.rows]
    return table_text(head, lines)


def _markdown_cell(cell: TableCell | None) -> str:
    if cell is None:
        return NO_CELL
    paper = escape(f"paper {cell.paper_text()}" if cell.printed else cell.paper_text())
    paper += " †" if cell.doubtful else ""
    if not cell.scores:
        return f"{paper}<br>{NOT_RUN}"
    ours = escape(f"ours {cell.ours_text()}")
    # GitHub shows no grey: a single run is set in italics and says so.
    ours = f"*{ours}*" if cell.n == 1 else f"**{ours}**"
    return f"{paper}<br>{ours}<br>{cell.difference_text()}, {cell.verdict}"


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
    plain = " ".join("".join(_SPECIAL.get(character, character) for character in visible(text)).split())
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
    columns = f"ll{'r' * len(layout.columns)}"
    return latex_table(columns, _latex_head(exhibit), body[:-1], f"{caption} {note}", exhibit.name.replace("_", "-"))


def latex_table(columns: str, head: Sequence[str], body: Sequence[str], caption: str, label: str) -> str:
    """A `table` environment for booktabs, graphicx and xcolor, from lines and a caption that are LaTeX already."""
    lines = [
        r"% needs \usepackage{booktabs,graphicx,xcolor}",
        r"\begin{table}[t]",
        r"\centering\small",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        *head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_head(exhibit: Filled) -> list[str]:
    """One line a part of the column labels; a head over several columns is a \\multicolumn with a \\cmidrule."""
    levels = exhibit.column_heads()
    lines = []
    for level, heads in enumerate(levels, 1):
        texts, rules, at = [], [], 3
        for text, width in heads:
            shown = latex_escape(text)
            texts.append(shown if width == 1 else rf"\multicolumn{{{width}}}{{c}}{{{shown}}}")
            if width > 1:
                rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
            at += width
        first = latex_escape(", ".join(exhibit.layout.row_fields)) if level == len(levels) else ""
        lines.append(" & ".join([first, "", *texts]) + r" \\" + "".join(rules))
    return lines


def _latex_rows(label: str, cells: Sequence[TableCell | None]) -> list[str]:
    lines = [(latex_escape(label), "paper", [_latex_paper(cell) for cell in cells])]
    lines.append(("", "ours", [_latex_ours(cell) for cell in cells]))
    if any(cell is not None and cell.scores for cell in cells):
        lines.append(("", "difference", [_latex_difference(cell) for cell in cells]))
    return [" & ".join([first, second, *texts]) + r" \\" for first, second, texts in lines]


def _latex_paper(cell: TableCell | None) -> str:
    text = latex_escape(NO_CELL if cell is None else cell.paper_text())
    return text + (r"$^{\dagger}$" if cell is not None and cell.doubtful else "")


def _latex_ours(cell: TableCell | None) -> str:
    if cell is None:
        return latex_escape(NO_CELL)
    mark = "$^{c}$" if cell.collapsed else ""
    return _grey(latex_escape(cell.ours_text()) + mark, cell)


def _latex_difference(cell: TableCell | None) -> str:
    return latex_escape(NO_CELL) if cell is None else _grey(latex_escape(cell.difference_text()), cell)


def _grey(text: str, cell: TableCell) -> str:
    return rf"\textcolor{{gray}}{{{text}}}" if cell.n < 2 else text


# ---- CSV

_COLUMNS = [
    *("paper", "exhibit", "edition", "row", "column", "cell", "model", "method", "task", "split", "metric"),
    *("paper_value", "paper_std", "paper_n", "precision", "ours", "std", "n", "low", "high", "difference", "tolerance"),
    *("verdict", "collapsed", "settings", "runs", "caveat"),
]


def comma_separated(exhibit: Filled) -> str:
    """One line per cell, numbers in the paper's unit; `not run` stands in the verdict, never a zero in a number."""
    rows = [
        _csv_row(exhibit, row, column, cell)
        for row in exhibit.layout.rows
        for column, cell in zip(exhibit.layout.columns, exhibit.row(row), strict=True)
        if cell is not None
    ]
    return csv_text(_COLUMNS, ([row.get(name) for name in _COLUMNS] for row in rows))


def _csv_row(exhibit: Filled, row: str, column: str, cell: TableCell) -> dict[str, object]:
    reported, layout = cell.reported, exhibit.layout
    comparison = cell.scores[0].comparison if cell.scores else None

    def scaled(value: float | None) -> float | None:
        return None if value is None else round(value / reported.scale, 6)

    values: dict[str, object] = {
        **{"paper": layout.paper, "exhibit": layout.key, "edition": layout.edition, "row": row, "column": column},
        **{name: vars(reported)[name] for name in ("model", "method", "task", "split", "metric", "precision")},
        **{"cell": reported.id, "paper_std": reported.std, "paper_n": reported.n_runs, "caveat": reported.caveat},
        **{"paper_value": reported.value if cell.printed else None, "n": cell.n, "verdict": cell.verdict},
        **{"collapsed": cell.collapsed, "settings": cell.settings if cell.scores else 0},
        "runs": " ".join(record.key for record in answering(cell)),
    }
    if comparison is not None and (summary := comparison.summary) is not None:
        values |= {name: scaled(vars(summary)[name]) for name in ("std", "low", "high")}
        values |= {"ours": scaled(summary.mean), "difference": scaled(comparison.difference)}
        values |= {"tolerance": scaled(comparison.tolerance)}
    return values
