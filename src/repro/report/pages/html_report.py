"""`index.html`: the whole report as one page that needs no network, from the templates in `assets/`.

Its policy forbids everything but its own style and its own script, both named by their hashes; all text is escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from string import Template

from repro.errors import visible
from repro.papers import registry
from repro.report.claims import miniature
from repro.report.claims.sections import (
    CLAIMS_HEAD,
    CORRECTIONS_HEAD,
    FINDINGS_HEAD,
    FINDINGS_NOTE,
    claim_texts,
    claims_line,
    correction_lines,
    finding_lines,
)
from repro.report.compare.rows import Row
from repro.report.figures import plotting
from repro.report.figures.panels import Figure
from repro.report.markdown import interval, number
from repro.report.pages.contents import Contents
from repro.report.pages.html_data import PageData
from repro.report.pages.markdown_report import COVERAGE_HEAD, coverage, status_line, title
from repro.report.pages.searches import SearchSummary, facts, head, settings
from repro.report.tables.exhibits import NO_CELL, NOT_RUN, Filled, TableCell
from repro.report.tables.own_tables import OwnTable, trained
from repro.store.damage import Damaged, damage_text

_FOLDER = Path(__file__).with_name("assets")
_FILTERS = ("paper", "method", "model", "task", "verdict")


def page(contents: Contents, drawings: Mapping[str, str]) -> str:
    """The text of `index.html`.

    Args:
        contents: what there is to report.
        drawings: {name of a figure: its SVG}.
    """
    template, style, script = (_read(name) for name in ("template.html", "page.css", "page.js"))
    data = PageData(contents)
    sections = _sections(contents, data, drawings)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(template).substitute(
        policy=policy,
        style=style,
        script=script,
        title=escape(title(contents), quote=False),
        lead=escape(status_line(contents.groups)),
        nav="".join(f'<li><a href="#{key}">{escape(title)}</a></li>' for key, title, _ in sections),
        filters="\n".join(
            f'<label>{name} <select name="{name}"><option value="">all</option></select></label>' for name in _FILTERS
        ),
        sections="\n".join(
            f'<section id="{key}"><h2>{escape(title)}</h2>\n{body}\n</section>' for key, title, body in sections
        ),
        data=data.as_json(),
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _sections(contents: Contents, data: PageData, drawings: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(id, title, HTML) of each section, in order; fills `data` on the way."""
    small = [("damaged", "Damaged files", _damaged(contents.damaged))] if contents.damaged else []
    small += [("miniature", "Claims in miniature", _miniature(contents.miniature))] if contents.miniature else []
    figures = ("figures", "Figures", "\n".join(_figure(figure, drawings[figure.name]) for figure in contents.figures))
    check = ("checklist", "Reproducibility checklist", _checklist(contents))
    if not contents.papers:
        return [*small, figures, ("own", "Our own runs", _own(contents.own, data)), check]
    covered = _escaped_table(COVERAGE_HEAD, coverage(contents.scores, contents.cells), "Coverage")
    corrections = _escaped_table(CORRECTIONS_HEAD, correction_lines(), "Corrections")
    findings = _paragraph(FINDINGS_NOTE) + _escaped_table(FINDINGS_HEAD, finding_lines(), "Contradictions")
    return [
        *small,
        ("claims", "Claims", _claims(contents)),
        check,
        ("exhibits", "The papers' tables and figures", _exhibits(contents.exhibits, data)),
        ("own", "Our own runs", _own(contents.own, data)),
        ("searches", "Searches", _searches(contents.searches)),
        figures,
        ("coverage", "Coverage", covered),
        ("corrections", "Corrections to widely quoted numbers", corrections),
        ("contradictions", "Numbers that contradict their own paper", findings),
    ]


def _damaged(damaged: Sequence[Damaged]) -> str:
    first, *lines = damage_text(damaged).split("\n")
    return _paragraph(first) + "<ul>" + "".join(f"<li>{escape(line.strip())}</li>" for line in lines) + "</ul>"


def escape(text: str, quote: bool = True) -> str:
    """Text as HTML shows it."""
    return html.escape(visible(text), quote)


def _paragraph(text: str) -> str:
    return f'<p class="quiet">{escape(text)}</p>'


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], label: str) -> str:
    """A plain table of escaped texts."""
    top = "".join(f'<th scope="col">{text}</th>' for text in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{text}</td>' for text in line)}</tr>" for line in lines)
    return _scroll(f'<table class="prose"><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>', label)


def _escaped_table(head: Sequence[str], lines: Iterable[Sequence[str]], label: str) -> str:
    return _table([escape(text) for text in head], ([escape(text) for text in line] for line in lines), label)


def _folded(name: str, title: str, count: str, inner: str, unfolded: bool) -> str:
    """A part of the page that opens and closes below its title."""
    return (
        f'<details class="exhibit" id="{escape(name)}"{" open" if unfolded else ""}><summary><h3>{escape(title)}</h3> '
        f'<span class="count">{count}</span></summary>{inner}</details>'
    )


def _scroll(inner: str, label: str) -> str:
    """A wide thing scrolls inside its box, by keyboard too; the page does not."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{inner}</div>'


# ---- claims and checklist


def _miniature(rows: Sequence[miniature.ClaimRow]) -> str:
    lines = []
    for row in rows:
        name, says, of, verdict, why = (escape(text) for text in miniature.texts(row))
        marks = f"{row.verdict.replace(' ', '-')}{' one' if row.one_run else ''}"
        lines.append([name, says, of, f'<span class="{marks}">{verdict}</span>', why])
    return _paragraph(f"{miniature.NOTE} {miniature.line(rows)}") + _table(miniature.HEAD, lines, "Claims in miniature")


def _claims(contents: Contents) -> str:
    lines = []
    for row in contents.claims:
        name, says, source, theirs, ours, why = (escape(text) for text in claim_texts(row))
        marks = f"{row.ours.replace(' ', '-')}{' one' if row.one_run else ''}"
        verdict = f'<span class="{escape(row.on_paper.split(" ")[0])}">{theirs}</span>'
        lines.append([name, says, source, verdict, f'<span class="{marks}">{ours}</span>', why])
    return _paragraph(claims_line(contents.claims)) + _table(CLAIMS_HEAD, lines, "Claims")


def _checklist(contents: Contents) -> str:
    lines = []
    for item in contents.checklist:
        answers = [escape(answer) for answer in item.answers]
        text = answers[0] if len(answers) == 1 else f"<ul>{''.join(f'<li>{answer}</li>' for answer in answers)}</ul>"
        lines.append(f"<dt>{escape(item.name)}</dt><dd>{text}</dd>")
    return f'<dl class="check">\n{chr(10).join(lines)}\n</dl>'


# ---- exhibits


def _exhibits(exhibits: Sequence[Filled], data: PageData) -> str:
    parts = [
        _paragraph(
            "Each place: the paper's number (~: read off a plot), below it ours (mean, 95 % interval, runs n) "
            "and the verdict. Open a place for its source, caveat and runs. Italic: one run. \u2020: contradicts the "
            "paper's own arithmetic, or no run can give it: see the last section."
        )
    ]
    for paper, members in groupby(exhibits, key=lambda exhibit: exhibit.layout.paper):
        loaded = registry.load(paper)
        head = f"<h3>{escape(f'{loaded.authors}: {loaded.title} ({loaded.venue})')}</h3>"
        inner = "\n".join(_exhibit(exhibit, data) for exhibit in members)
        parts.append(f'<div class="paper">{head}\n{inner}</div>')
    return "\n".join(parts)


def _exhibit(exhibit: Filled, data: PageData) -> str:
    layout = exhibit.layout
    edition = f" ({layout.edition})" if len(layout.editions) > 1 else ""
    count = f"{len(exhibit.cells)} places, {exhibit.ran} with a run of ours"
    lines = []
    for row in layout.rows:
        cells = "".join(
            _cell(exhibit, row, column, cell, data)
            for column, cell in zip(layout.columns, exhibit.row(row), strict=True)
        )
        lines.append(f'<tr><th scope="row">{escape(row)}</th>{cells}</tr>')
    body = chr(10).join(lines)
    grid = f'<table class="grid"><thead>{_head(exhibit)}</thead><tbody>\n{body}\n</tbody></table>'
    unprinted = f" The paper prints no numbers here. {layout.unprinted}" if layout.unprinted else ""
    inner = f"<p>{escape(layout.caption + unprinted)}</p>\n{_scroll(grid, layout.title)}"
    return _folded(exhibit.name, layout.title + edition, count, inner, exhibit.ran > 0)


def _head(exhibit: Filled) -> str:
    """One line a part of the column labels; equal neighbours share a head."""
    levels = exhibit.column_heads()
    corner = escape(", ".join(exhibit.layout.row_fields).replace("_", " "))
    first = f'<td rowspan="{len(levels)}">{corner}</td>'
    lines = []
    for heads in levels:
        shown = "".join(
            f'<th scope="col{"group" if width > 1 else ""}" colspan="{width}">{escape(text)}</th>'
            for text, width in heads
        )
        lines.append(f"<tr>{first}{shown}</tr>")
        first = ""
    return "".join(lines)


def _cell(exhibit: Filled, row: str, column: str, cell: TableCell | None, data: PageData) -> str:
    if cell is None:
        return f"<td>{NO_CELL}</td>"
    index = data.exhibit_cell(exhibit, row, column, cell)
    mark = "<sup>\u2020</sup>" if cell.doubtful else ""
    theirs = f'<span class="theirs">{escape(cell.paper_text())}{mark}</span>'
    if not cell.scores:
        return _button("place", index, f'{theirs}<span class="ours">{NOT_RUN}</span>')
    marks = f"place has {cell.verdict.replace(' ', '-')}{' one' if cell.n == 1 else ''}"
    difference = f"{cell.difference_text()}, " if cell.printed else ""
    collapsed = f'<span class="collapsed">{cell.collapsed} collapsed</span>' if cell.collapsed else ""
    ours = f'<span class="ours">{escape(cell.ours_text())}</span>{collapsed}'
    return _button(marks, index, f'{theirs}{ours}<span class="verdict">{escape(difference + cell.verdict)}</span>')


def _button(marks: str, index: int, inner: str) -> str:
    """A cell that opens."""
    return f'<td class="{marks}" data-i="{index}"><button type="button">{inner}</button></td>'


# ---- our own runs


def _own(tables: Sequence[OwnTable], data: PageData) -> str:
    note = "Not settings of a paper (stand-in models, parts of the data), so nothing here is compared with one."
    return "\n".join(
        [_paragraph(note if tables else "There are no records yet."), *(_own_table(t, data) for t in tables)]
    )


def _own_table(table: OwnTable, data: PageData) -> str:
    heads = [*table.head, "trained", "runs", "records"]
    lines = []
    for line in table.lines:
        first = line[0]
        names = "".join(
            f"<td>{escape(text)}</td>" for text in (first.task, first.model, first.method.replace("_", " "))
        )
        cells = "".join(_own_cell(table, table.at(line, column), data) for column in table.columns)
        keys = f"<td>{escape(' '.join(first.keys))}</td>"
        bad = ' class="collapsed"' if "collapsed" in first.status or "failed" in first.status else ""
        lines.append(f"<tr>{names}{cells}<td>{trained(first)}</td><td{bad}>{escape(first.status)}</td>{keys}</tr>")
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = chr(10).join(lines)
    grid = f'<table class="grid own"><thead><tr>{top}</tr></thead><tbody>\n{body}\n</tbody></table>'
    inner = _scroll(grid, table.experiment)
    return _folded(table.name, table.experiment, f"{len(table.lines)} settings", inner, True)


def _own_cell(table: OwnTable, row: Row | None, data: PageData) -> str:
    if row is None:
        return f"<td>{NOT_RUN}</td>"
    index = data.own_cell(table, row)
    shown = NOT_RUN if row.ours is None else number(row.ours)
    more = "" if row.ours is None else f'<span class="verdict">{escape(f"{interval(row)}, n = {row.n}")}</span>'
    marks = f"place{' has' if row.ours is not None else ''}{' one' if row.n == 1 else ''}"
    return _button(marks, index, f'<span class="ours">{shown}</span>{more}')


# ---- searches


def _searches(searches: Sequence[SearchSummary]) -> str:
    note = "Settings are compared by validation, never by a test score; every one that was tried is listed."
    return "\n".join([_paragraph(note if searches else "Nothing was searched."), *map(_search, searches)])


def _search(search: SearchSummary) -> str:
    terms = "".join(f"<dt>{escape(what)}</dt><dd>{escape(text)}</dd>" for what, text in facts(search))
    inner = f'<dl class="check">{terms}</dl>{_escaped_table(head(search), settings(search), search.title)}'
    return _folded(search.name, search.title, f"{len(search.tried)} settings", inner, False)


# ---- figures


def _figure(figure: Figure, svg: str) -> str:
    """The drawing inline, in the colours of the page, with its text alternative below."""
    drawn = svg.replace(plotting.INK, "currentColor")
    stand_in = " Our own runs on stand-in models." if figure.stand_in else ""
    return (
        f'<figure id="figure-{escape(figure.name)}">{_scroll(drawn, figure.title)}'
        f"<figcaption><strong>{escape(figure.title)}.</strong>{stand_in}"
        f"<details><summary>In words, with the numbers</summary>{escape(figure.description)}</details>"
        "</figcaption></figure>"
    )
