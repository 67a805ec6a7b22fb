"""Rows of the comparison, and the files and the terminal table made of them.

Everything is sorted and nothing depends on the clock or on the order of the input: equal records give equal bytes.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from repro.config import ADDED
from repro.papers import registry
from repro.papers.registry import Reported, canonical_metric
from repro.report.compare import Comparison, Group, compare, describe, groups, lookup
from repro.store.record import STATUSES, Record

MISSING = "—"
"""Printed where there is no number: never a blank, never a zero."""

_SHOWN_VARIABLES = ("method.length", "method.reparameterisation", "method.initialisation")
"""Always part of a method's name in a row; other fields only where two rows differ in them."""
_PARTS = ("method", "model", "task", "trainer")
_NOISE = {
    *("paper_section", "deviations", "paper_name", "licence", "note", "data_dir", "check_rows"),
    *("checkpoint_seconds", "if_running", "evaluation_batch_size", "gradient_checkpointing"),
    *("equation", "stored_formula", "trained_formula", "start_from", "cloze", "verbaliser"),
}
"""Fields that do not change a result."""
_COUNTS = ("trained", "stored", "frozen")

_INTRODUCTION = """\
Values are in percent (NIST and CIDEr as printed). `n` is the number of runs with a score; they differ in the seed only,
and the interval is the 95 % Student-t interval of their mean. A row with **one run** has no interval. **Collapsed**
runs (one constant prediction, or none) are in the mean and counted beside it; failed runs have no score, only a count.

Verdicts: *reproduced*: the interval lies within the band around the paper's value; *close*: it crosses an edge of the
band; *above*, *below*: it lies outside. *Not comparable*: model, method, task, split, metric or a variable differs, or
we used a part of the data; the last column but one shows what the paper has nearby, as context. *Not run*: no score.
"""


@dataclass(frozen=True)
class Row:
    """One score of one group beside the paper's. Numbers in the metric's unit; None where there is none."""

    paper: str
    task: str
    model: str
    method: str
    """With its variables, e.g. `prefix_tuning (length=5)`."""
    metric: str
    split: str
    ours: float | None
    spread: float | None
    n: int
    low: float | None
    high: float | None
    trained: int | None
    """Trained parameters."""
    status: str
    """Counts of done, collapsed and failed runs."""
    theirs: float | None
    source: str
    """Paper, table and edition of `theirs`."""
    difference: float | None
    verdict: str
    reason: str
    context: str
    """The paper's nearest cells when nothing is compared."""
    deviations: tuple[str, ...] = ()


def rows(found: Sequence[Group], cells: Sequence[Reported]) -> list[Row]:
    """All rows, sorted by paper, task, model, method, metric and split.

    Args:
        found: our groups.
        cells: the papers' cells.
    """
    return [row for row, _ in _compared(found, cells)]


def _compared(found: Sequence[Group], cells: Sequence[Reported]) -> list[tuple[Row, Comparison]]:
    names = _method_names(found)
    pairs = []
    for group in found:
        for split, metric in _measures(group):
            comparison = compare(group, cells, split, metric)
            # Splits beside the reported one are shown only where a paper has the number.
            if comparison.reported or split == _measures(group)[0][0]:
                pairs.append((_row(group, names[group.key], split, metric, comparison), comparison))
    order = [*registry.papers(), MISSING]
    return sorted(pairs, key=lambda pair: (order.index(pair[0].paper), _sort_key(pair[0])))


def _sort_key(row: Row) -> list[Any]:
    return [row.task, row.model, _natural(row.method), row.metric, row.split, row.source, repr(row)]


def _natural(text: str) -> list[Any]:
    """Sort key that puts length=20 before length=128."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", text))]


def _measures(group: Group) -> list[tuple[str, str]]:
    """The scores to show: the first one, and those that have a name in some paper. A group that failed shows one."""
    found = group.measures()
    if not found:
        return [(lookup(group.config, "task.report_split") or MISSING, MISSING)]
    return [pair for index, pair in enumerate(found) if index == 0 or canonical_metric(pair[1], group.names["task"])]


def _row(group: Group, method: str, split: str, metric: str, comparison: Comparison) -> Row:
    reported, summary = comparison.reported, comparison.summary
    near = comparison.nearest[0].paper if comparison.nearest else MISSING
    trained = sorted({record.parameters["trained"] for record in group.scored if "trained" in record.parameters})
    return Row(
        paper=reported.paper if reported else group.paper or near,
        task=str(group.names["task_name"]),
        model=str(group.names["model_name"]),
        method=method,
        metric=metric,
        split=split,
        ours=summary.mean if summary else None,
        spread=summary.std if summary else None,
        n=summary.n if summary else 0,
        low=summary.low if summary else None,
        high=summary.high if summary else None,
        trained=trained[0] if trained else None,
        status=_status(group.records),
        theirs=reported.number if reported and comparison.verdict != "not run" else None,
        source=describe(reported) if reported else MISSING,
        difference=comparison.difference,
        verdict=comparison.verdict,
        reason=comparison.reason,
        context=_context(comparison.nearest),
        deviations=tuple(dict.fromkeys(text for record in group.records for text in record.deviations)),
    )


def _status(records: Iterable[Record]) -> str:
    counts = Counter(record.status for record in records)
    return ", ".join(f"{counts[name]} {name}" for name in ("done", "collapsed", "failed") if counts[name])


def _context(nearest: Sequence[Reported]) -> str:
    """`liu2022: bert-large 84.5, roberta-large 88.4 (dev)`."""
    by_paper: dict[str, list[str]] = defaultdict(list)
    for cell in nearest:
        by_paper[cell.paper].append(f"{cell.model} {cell.number:g} ({cell.split})")
    return "; ".join(f"{paper}: {', '.join(texts)}" for paper, texts in by_paper.items())


def _method_names(found: Sequence[Group]) -> dict[str, str]:
    """{group key: method with its variables}: those always shown, and every field in which rows of one place differ."""
    places: dict[tuple[str | None, ...], list[Group]] = defaultdict(list)
    for group in found:
        places[tuple(group.names[name] for name in ("task_name", "model_name", "method"))].append(group)
    names = {}
    for (_, _, method), members in places.items():
        # A record made before a field existed has it at the value that means "as before".
        flat = {g.key: ADDED | dict(_flat({part: g.config.get(part) for part in _PARTS})) for g in members}
        paths = sorted({path for fields in flat.values() for path in fields})
        differing = [path for path in paths if len({repr(fields.get(path)) for fields in flat.values()}) > 1]
        for key, fields in flat.items():
            shown = [path for path in _SHOWN_VARIABLES if fields.get(path) is not None]
            shown += [path for path in differing if path not in shown]
            texts = [f"{path.partition('.')[2]}={fields.get(path)}" for path in shown]
            names[key] = f"{method} ({', '.join(texts)})" if texts else str(method)
    return names


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name not in _NOISE:
                yield from _flat(value, f"{path}.{name}" if path else str(name))
    else:
        yield path, node


# ---- Markdown and CSV


def markdown(table: Sequence[Row]) -> str:
    """The rows as a Markdown table (GitHub flavour)."""
    head = ["paper", "task", "model", "method", "metric", "split", "ours (mean)", "spread (std)", "n", "95 % interval"]
    head += ["trained parameters", "runs", "paper's value", "source", "difference", "verdict", "reason"]
    head += ["nearby in the paper (context, not compared)", "deviations"]
    lines = [head, ["---"] * len(head), *([escape(text) for text in _texts(row)] for row in table)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _texts(row: Row) -> list[str]:
    interval = MISSING if row.low is None or row.high is None else f"[{row.low:.2f}, {row.high:.2f}]"
    trained = MISSING if row.trained is None else f"{row.trained:,}"
    texts = [row.paper, row.task, row.model, row.method, row.metric, row.split, _number(row.ours), _number(row.spread)]
    n = "1 (one run)" if row.n == 1 else str(row.n)
    status = f"**{row.status}**" if "collapsed" in row.status or "failed" in row.status else row.status
    texts += [n, interval, trained, status, _number(row.theirs), row.source]
    texts += [_number(row.difference, sign="+"), row.verdict, row.reason, row.context or MISSING]
    return [*texts, f"{len(row.deviations)} (listed below)" if row.deviations else "none recorded"]


def _number(value: float | None, sign: str = "") -> str:
    # Adding 0.0 turns -0.00 into 0.00.
    return MISSING if value is None else f"{round(value, 2) + 0.0:{sign}.2f}"


def escape(text: str) -> str:
    """Text that stays one cell of a Markdown table and shows no HTML."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.replace("\\", "&#92;").replace("|", "\\|").split())


def comma_separated(table: Sequence[Row]) -> str:
    """The rows as CSV: full numbers, empty where there is none, deviations joined by ` ; `."""
    names = list(Row.__dataclass_fields__)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for row in table:
        values = [getattr(row, name) for name in names]
        values = [" ; ".join(value) if isinstance(value, tuple) else value for value in values]
        writer.writerow([round(value, 6) if isinstance(value, float) else value for value in values])
    return stream.getvalue()


# ---- The report


def write_report(store_root: str | Path, out_dir: str | Path) -> list[Path]:
    """Writes `REPORT.md`, `tables/comparison.csv` and `tables/comparison.md` from the records of a store.

    Args:
        store_root: the folder of the records.
        out_dir: where the three files go.

    Raises:
        StoreError: a damaged record, or a folder that cannot be read or written.
    """
    from repro.store.files import write_atomic
    from repro.store.store import Store

    contents = report_files(Store(store_root).records(), registry.cells())
    for name, text in contents.items():
        write_atomic(Path(out_dir) / name, text)
    return [Path(out_dir) / name for name in contents]


def report_files(records: Iterable[Record], cells: Sequence[Reported]) -> dict[str, str]:
    """{path below the output folder: content} of the three files."""
    found = groups(records)
    compared = _compared(found, cells)
    table = [row for row, _ in compared]
    parts = [f"# Our numbers beside the papers'\n\n{_counts(found)}\n", _INTRODUCTION]
    parts.append(f"## Comparison\n\n{markdown(table)}" if table else "## Comparison\n\nThere are no records yet.\n")
    parts.append(_coverage([comparison for _, comparison in compared], cells))
    names = _method_names(found)
    pages = sorted(
        found, key=lambda g: (g.names["task_name"] or "", g.names["model_name"] or "", _natural(names[g.key]))
    )
    parts += ["## Runs\n", *(_group_page(group, names[group.key]) for group in pages)]
    parts.append(_failures(found))
    return {
        "REPORT.md": "\n".join(parts),
        "tables/comparison.csv": comma_separated(table),
        "tables/comparison.md": markdown(table),
    }


def _counts(found: Sequence[Group]) -> str:
    counts = Counter(record.status for group in found for record in group.records)
    each = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    return f"{sum(counts.values())} records ({each}) in {len(found)} groups."


def _coverage(comparisons: Sequence[Comparison], cells: Sequence[Reported]) -> str:
    """How much of each paper has a comparable run."""
    compared = [c for c in comparisons if c.reported and c.verdict != "not run"]
    met = {cell.id for c in compared for cell in (c.reported, *c.also) if cell is not None}
    lines = [
        "## Coverage\n\n| paper | printed results | with a comparable run | not run |\n| --- | --- | --- | --- |\n"
    ]
    for paper in registry.papers():
        results = [cell for cell in cells if cell.paper == paper and cell.kind == "result"]
        here = sum(cell.id in met for cell in results)
        lines.append(f"| {paper} | {len(results)} | {here} | {len(results) - here} |\n")
    return "".join(lines)


def _group_page(group: Group, method: str) -> str:
    """Seeds, checkpoints, deviations, cost, data and command of one group."""
    first = (group.scored or group.records)[0]
    head = f"### {group.names['task_name']}, {group.names['model_name']}, {method}"
    facts = {
        "seeds": ", ".join(f"{record.seed} ({record.status}, `{record.key}`)" for record in group.records),
        "chosen checkpoint": "; ".join(_chosen(record) for record in group.scored) or MISSING,
        "recipe": lookup(group.config, "recipe.name") or "none (library defaults)",
        "stated by neither paper nor code": ", ".join(lookup(group.config, "recipe.unknown") or ()) or "nothing listed",
        "parameters": _joined(f"{first.parameters[k]:,} {k}" for k in _COUNTS if k in first.parameters),
        "cost": "; ".join(_cost(record) for record in group.records),
        "data": _data(first),
        "device": str(first.provenance.get("device") or MISSING),
        "packages": _joined(f"{k} {v}" for k, v in sorted((first.provenance.get("packages") or {}).items()) if v),
    }
    lines = [escape(head), "", *(f"- {name}: {escape(text)}" for name, text in facts.items())]
    deviations = dict.fromkeys(text for record in group.records for text in record.deviations)
    lines += [f"- deviation: {escape(text)}" for text in deviations] or ["- deviations: none recorded"]
    # An indented block shows any command as it is, and cannot be closed by what is in it.
    lines += ["- command:", "", f"      {_command(first)}", ""]
    return "\n".join(lines)


def _chosen(record: Record) -> str:
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


def _data(record: Record) -> str:
    data = sorted((record.provenance.get("data") or {}).items())
    return _joined(f"{k} {v['rows']:,} rows" for k, v in data if isinstance(v, Mapping) and "rows" in v)


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(texts) or "not recorded"


def _command(record: Record) -> str:
    command = record.provenance.get("command")
    text = command if isinstance(command, str) else shlex.join(command or ())
    return " ".join(text.split()) or "not recorded"


def _failures(found: Sequence[Group]) -> str:
    bad = [(group, record) for group in found for record in group.records if record.status != "done"]
    if not bad:
        return "## Failures\n\nNo run failed or collapsed.\n"
    lines = ["## Failures\n\n| run | task | model | method | seed | status | reason |\n", f"|{' --- |' * 7}\n"]
    for group, record in bad:
        names = (str(group.names[name]) for name in ("task_name", "model_name", "method"))
        texts = (record.key, *names, str(record.seed), record.status, record.reason or "not recorded")
        lines.append(f"| {' | '.join(escape(text) for text in texts)} |\n")
    return "".join(lines)


# ---- The terminal


def print_report(table: Sequence[Row], file: TextIO | None = None) -> None:
    """The rows in a terminal, as wide as it is; one plain line a row where the output is no terminal.

    Args:
        file: where to print; None: standard output.
    """
    stream = file or sys.stdout
    head = ["task", "model, method", "metric", "ours", "runs", "paper", "difference", "verdict"]
    lines = [_terminal(row) for row in table]
    if not stream.isatty():
        widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
        for line in [head, *lines]:
            print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip(), file=stream)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table()
    for name in head:
        shown.add_column(name, overflow="fold")
    for line, row in zip(lines, table, strict=True):
        style = "dim" if row.n < 2 else "yellow" if "collapsed" in row.status or "failed" in row.status else ""
        shown.add_row(*(Text(text, style=style) for text in line))
    Console(file=stream).print(shown)


def _terminal(row: Row) -> list[str]:
    ours = _number(row.ours) + ("" if row.spread is None else f" ± {row.spread:.2f}")
    theirs = MISSING if row.theirs is None else f"{_number(row.theirs)} ({row.source})"
    texts = [row.task, f"{row.model}, {row.method}", f"{row.metric} ({row.split})", ours, row.status, theirs]
    return [*texts, _number(row.difference, sign="+"), row.verdict]
