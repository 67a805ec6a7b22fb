"""`REPORT.md`: claims, the checklist, exhibits, coverage, corrections, runs; and the files beside it, as texts."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from repro.papers import registry
from repro.papers.registry import Reported
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
from repro.report.compare.groups import Group
from repro.report.compare.rows import MISSING, Score, natural
from repro.report.markdown import escape, escaped_table, table_text
from repro.report.pages import comparison_table, searches
from repro.report.pages.contents import Contents
from repro.report.tables import exhibit_tables, own_tables
from repro.report.tables.checklist import Item
from repro.report.tables.exhibits import Filled
from repro.store.damage import damage_text
from repro.store.record import STATUSES, Record

COVERAGE_HEAD = ("paper", "printed results", "with a comparable run", "not run")
_FAILURES_HEAD = ("run", "task", "model", "method", "seed", "status", "reason")
_HOW_TO_READ = """\
Values are in percent (NIST and CIDEr as printed). `n` is the number of runs with a score; they differ in the seed only,
and the interval is the 95 % Student-t interval of their mean. A score of **one run** has no interval. **Collapsed**
runs (one constant prediction, or none) are in the mean and counted beside it; failed runs have no score, only a count.

Verdicts: *reproduced*: the interval lies within the tolerance around the paper's value; *close*: it crosses an edge
of the tolerance; *above*, *below*: it lies outside. *Not comparable*: model, method, task, split, metric or a variable
differs, or we used a part of the data. *Not run*: no score of ours. A stand-in model that no paper used is in no
paper's row.
"""


def document(contents: Contents) -> str:
    """The text of `REPORT.md`."""
    groups = contents.groups
    parts = [f"# {title(contents)}\n\n{status_line(groups)}\n"]
    if contents.damaged:
        parts.append(f"## Damaged files\n\n{_damaged(contents)}")
    parts.append(_HOW_TO_READ)
    if contents.miniature:
        parts.append(_miniature(contents.miniature))
    if contents.papers:
        claims = escaped_table(CLAIMS_HEAD, map(claim_texts, contents.claims))
        parts.append(f"## Claims\n\n{claims_line(contents.claims)}\n\n{claims}")
    parts.append(f"## Reproducibility checklist\n\n{_checklist(contents.checklist)}")
    if contents.papers:
        parts.append(f"## Exhibits\n\n{_exhibits(contents.exhibits)}")
        parts.append(f"## Comparison\n\n{comparison_table.markdown(contents.rows)}")
    parts.append(_own(contents))
    parts.append(searches.section(contents.searches))
    parts.append(_figures(contents))
    if contents.papers:
        parts.append("## Coverage\n\n" + table_text(COVERAGE_HEAD, coverage(contents.scores, contents.cells)))
        corrections = escaped_table(CORRECTIONS_HEAD, correction_lines())
        parts.append(f"## Corrections to widely quoted numbers\n\n{corrections}")
        findings = escaped_table(FINDINGS_HEAD, finding_lines())
        parts.append(f"## Numbers that contradict their own paper\n\n{FINDINGS_NOTE}\n\n{findings}")
    pages = sorted(groups, key=lambda g: _page_order(g, contents.names))
    parts += ["## Runs\n", *(_group_page(group, contents.names[group.key]) for group in pages)]
    parts.append(_failures(groups))
    return "\n".join(parts)


def _damaged(contents: Contents) -> str:
    first, *lines = damage_text(contents.damaged).split("\n")
    return "\n".join([first, "", *(f"- {escape(line.strip())}" for line in lines), ""])


def title(contents: Contents) -> str:
    """The title of a report."""
    return "Our numbers beside the papers'" if contents.papers else "The papers in miniature"


def _miniature(rows: Sequence[miniature.ClaimRow]) -> str:
    table = escaped_table(miniature.HEAD, map(miniature.texts, rows))
    return f"## Claims in miniature\n\n{miniature.NOTE} {miniature.line(rows)}\n\n{table}"


def _page_order(group: Group, names: Mapping[str, str]) -> tuple[object, ...]:
    return group.names.task_name, group.names.model_name, natural(names[group.key])


def status_line(groups: Sequence[Group]) -> str:
    """How many records there are, by status."""
    counts = Counter(record.status for group in groups for record in group.records)
    each = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    return f"{sum(counts.values())} records ({each}) in {len(groups)} groups."


def _links(name: str) -> str:
    return ", ".join(f"[{kind}](tables/{name}.{kind})" for kind in ("md", "tex", "csv"))


def _checklist(items: Sequence[Item]) -> str:
    lines = []
    for item in items:
        if len(item.answers) == 1:
            lines.append(f"- **{item.name}.** {escape(item.answers[0])}\n")
        else:
            lines.append(f"- **{item.name}.**\n" + "".join(f"  - {escape(answer)}\n" for answer in item.answers))
    return "".join(lines)


def _exhibits(exhibits: Sequence[Filled]) -> str:
    """What there is of each exhibit, and the grid of those in which something of ours ran."""
    lines = []
    for exhibit in exhibits:
        printed = sum(cell.printed for cell in exhibit.cells.values())
        edition = exhibit.layout.edition or ""
        texts = [exhibit.layout.paper, exhibit.layout.title, edition, str(printed), str(exhibit.ran)]
        lines.append([*(escape(text) for text in texts), _links(exhibit.name)])
    head = ["paper", "exhibit", "edition", "numbers printed", "places with a run of ours", "table"]
    grids = [
        f"\n### {escape(f'{exhibit.layout.paper}, {exhibit.layout.title}')}\n\n{exhibit_tables.markdown_table(exhibit)}"
        for exhibit in exhibits
        if exhibit.ran
    ]
    empty = "" if grids else "\nNo place of an exhibit has a run of ours yet: every cell is `not run`.\n"
    return table_text(head, lines) + empty + "".join(grids)


def _own(contents: Contents) -> str:
    """Runs beside no paper's number."""
    parts = ["## Our own runs\n\nNot settings of a paper, so nothing here is compared with one.\n"]
    if not contents.own:
        return parts[0] + ("\nThere are no records yet.\n" if not contents.groups else "\nThere are none.\n")
    for table in contents.own:
        parts.append(f"### {escape(table.experiment)}\n\n{own_tables.markdown(table)}\n{_links(table.name)}\n")
    parts.append(f"### Why these stand beside no number of a paper\n\n{comparison_table.reasons(contents.rows)}")
    return "\n".join(parts)


def _figures(contents: Contents) -> str:
    lines = [
        f"### {escape(figure.title)}\n\n![{escape(figure.description)}](figures/{figure.name}.png)\n\n"
        f"{escape(figure.description)} ([SVG](figures/{figure.name}.svg))\n"
        for figure in contents.figures
    ]
    return "## Figures\n\n" + "\n".join(lines)


def coverage(scores: Iterable[Score], cells: Sequence[Reported]) -> list[list[str]]:
    """How much of each paper has a comparable run: paper, printed results, how many of them have one, how many not."""
    compared = [score.comparison for score in scores if score.compared]
    met = {cell.id for score in compared for cell in (score.reported, *score.also) if cell is not None}
    lines = []
    for paper in registry.PAPERS:
        results = [cell for cell in cells if cell.paper == paper and cell.kind == "result"]
        here = sum(cell.id in met for cell in results)
        lines.append([paper, str(len(results)), str(here), str(len(results) - here)])
    return lines


def _group_page(group: Group, method: str) -> str:
    """Seeds, checkpoints, deviations, cost, data and command of one group."""
    first = (group.scored or group.records)[0]
    recipe = group.trial.recipe
    head = f"### {group.names.task_name}, {group.names.model_name}, {method}"
    facts = {
        "seeds": ", ".join(f"{record.seed} ({record.status}, `{record.key}`)" for record in group.records),
        "chosen checkpoint": "; ".join(chosen_checkpoint(record) for record in group.scored) or MISSING,
        "recipe": recipe.name or "none (library defaults)",
        "stated by neither paper nor code": ", ".join(recipe.unknown) or "nothing listed",
        "parameters": counts_of(first),
        "cost": "; ".join(_cost(record) for record in group.records),
        "data": data_of(first),
        "device": first.provenance.get("device") or MISSING,
        "packages": packages_of(first),
    }
    lines = [escape(head), "", *(f"- {name}: {escape(text)}" for name, text in facts.items())]
    deviations = dict.fromkeys(text for record in group.records for text in record.deviations)
    lines += [f"- deviation: {escape(text)}" for text in deviations] or ["- deviations: none recorded"]
    # An indented block shows any command as it is, and cannot be closed by what is in it.
    lines += ["- command:", "", f"      {command_of(first)}", ""]
    return "\n".join(lines)


def chosen_checkpoint(record: Record) -> str:
    """Which checkpoint was scored, and by which rule it was chosen."""
    chosen = record.selection
    if not chosen:
        return f"seed {record.seed}: not recorded"
    text = f"seed {record.seed}: epoch {chosen.get('epoch', MISSING)}, step {chosen.get('step', MISSING)}"
    value = chosen.get("value")
    shown = f" = {value:.2f}" if isinstance(value, (int, float)) else ""
    return f"{text} ({chosen.get('rule')} {chosen.get('split')} {chosen.get('metric')}{shown})"


def _cost(record: Record) -> str:
    seconds, steps = record.cost.get("seconds"), record.cost.get("steps")
    shown = [MISSING if value is None else f"{value:,.0f}" for value in (seconds, steps)]
    return f"seed {record.seed}: {shown[0]} seconds, {shown[1]} steps"


def data_of(record: Record) -> str:
    """Rows of each split that a run read."""
    data = sorted(record.provenance.get("data", {}).items())
    return joined(f"{split} {facts['rows']:,} rows" for split, facts in data if "rows" in facts)


def packages_of(record: Record) -> str:
    """Versions of the packages that can change a result."""
    return joined(f"{k} {v}" for k, v in sorted(record.provenance.get("packages", {}).items()) if v)


def counts_of(record: Record) -> str:
    """Trained, stored and frozen parameters."""
    counts = record.parameters
    return joined(f"{counts[name]:,} {name}" for name in ("trained", "stored", "frozen") if name in counts)


def joined(texts: Iterable[str]) -> str:
    """The texts with commas; says so where there are none."""
    return ", ".join(texts) or "not recorded"


def command_of(record: Record) -> str:
    """The command that made a record, on one line."""
    return " ".join(shlex.join(record.provenance.get("command", ())).split()) or "not recorded"


def _failures(groups: Sequence[Group]) -> str:
    bad = [(group, record) for group in groups for record in group.records if record.status != "done"]
    if not bad:
        return "## Failures\n\nNo run failed or collapsed.\n"
    lines = []
    for group, record in bad:
        names = (group.names.task_name, group.names.model_name, str(group.names.method))
        lines.append((record.key, *names, str(record.seed), record.status, record.reason or "not recorded"))
    return "## Failures\n\n" + escaped_table(_FAILURES_HEAD, lines)
