"""Tables of our runs that match no cell of a paper: stand-in models, parts of the data, settings of our own.

They stand apart from the papers' exhibits, one table per experiment file, so that none of these numbers is ever in a
paper's row. Each line names the keys of its records.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from repro.report.compare.rows import MISSING, Row, natural
from repro.report.markdown import counted, csv_text, escape, file_names, interval, number, table_text
from repro.report.tables.exhibit_tables import latex_escape, latex_table
from repro.report.tables.exhibits import NOT_RUN


@dataclass(frozen=True)
class OwnTable:
    """The rows of one experiment: one line a (task, model, method), one column a (metric, split)."""

    experiment: str
    name: str
    """Of its files: `ours-ablation-length` for the experiment `offline/ablation-length`."""
    columns: tuple[tuple[str, str], ...]
    lines: tuple[tuple[Row, ...], ...]
    """Rows of one group each, at least one."""

    @property
    def head(self) -> list[str]:
        """Heads of the names of a line and of its scores."""
        return ["task", "model", "method", *(f"{metric} ({split})" for metric, split in self.columns)]

    def at(self, line: Sequence[Row], column: tuple[str, str]) -> Row | None:
        """The row of a line at a column."""
        return next((row for row in line if (row.metric, row.split) == column), None)


def own_tables(rows: Iterable[Row]) -> list[OwnTable]:
    """The rows that stand beside no paper's number, one table an experiment, sorted."""
    by_experiment: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.theirs is None:
            by_experiment[row.experiment][row.group].append(row)
    tables = []
    experiments = sorted(by_experiment)
    names = file_names("ours", experiments, lambda experiment: experiment.rpartition("/")[2])
    for experiment, name in zip(experiments, names, strict=True):
        lines = sorted(by_experiment[experiment].values(), key=lambda line: _order(line[0]))
        columns = tuple(dict.fromkeys((row.metric, row.split) for line in lines for row in line))
        real = tuple(column for column in columns if column[0] != MISSING) or columns
        tables.append(OwnTable(experiment, name, real, tuple(tuple(line) for line in lines)))
    return tables


def _order(row: Row) -> tuple[object, ...]:
    return row.task, row.model, natural(row.method), row.group


def files(table: OwnTable) -> dict[str, str]:
    """{path below the output folder: content} of the three files of a table."""
    stem = f"tables/{table.name}"
    title = f"# Our own runs: {escape(table.experiment)}\n\nNot a paper's setting: no paper's number stands here.\n\n"
    return {
        f"{stem}.md": title + markdown(table),
        f"{stem}.tex": latex(table),
        f"{stem}.csv": comma_separated(table),
    }


def markdown(table: OwnTable) -> str:
    """One line a setting; each score with interval and n."""
    lines = []
    for line in table.lines:
        texts = [line[0].task, line[0].model, line[0].method]
        cells = [_cell(table.at(line, column)) for column in table.columns]
        last = [trained(line[0]), escape(line[0].status), escape(", ".join(line[0].keys))]
        lines.append([*(escape(text) for text in texts), *cells, *last])
    return table_text([*(escape(text) for text in table.head), "trained parameters", "runs", "records"], lines)


def trained(row: Row) -> str:
    """How many parameters a run trained."""
    return MISSING if row.trained is None else f"{row.trained:,}"


def _cell(row: Row | None) -> str:
    if row is None or row.ours is None:
        return NOT_RUN
    text = f"{number(row.ours)} {interval(row)}, n = {counted(row)}"
    return f"*{escape(text)}*" if row.n == 1 else escape(text)


def latex(table: OwnTable) -> str:
    """A `table` environment for booktabs and xcolor; a single run is grey."""
    body = []
    for line in table.lines:
        first = [latex_escape(text) for text in (line[0].task, line[0].model, line[0].method)]
        cells = [_latex_cell(table.at(line, column)) for column in table.columns]
        body.append(f"% records: {' '.join(line[0].keys)}")
        body.append(" & ".join([*first, *cells, trained(line[0]), latex_escape(line[0].status)]) + r" \\")
    caption = f"Our own runs ({table.experiment}): not a setting of any paper, so no paper's number stands here."
    head = [" & ".join(latex_escape(text) for text in [*table.head, "trained", "runs"]) + r" \\"]
    return latex_table(f"lll{'r' * (len(table.columns) + 1)}l", head, body, latex_escape(caption), table.name)


def _latex_cell(row: Row | None) -> str:
    if row is None or row.ours is None:
        return NOT_RUN
    text = latex_escape(f"{number(row.ours)} {interval(row)}, n = {row.n}")
    return rf"\textcolor{{gray}}{{{text}}}" if row.n == 1 else text


def comma_separated(table: OwnTable) -> str:
    """One line a score."""
    names = ["experiment", "task", "model", "method", "metric", "split", "ours", "spread", "n", "low", "high"]
    names += ["trained", "status", "reason"]
    rows = (row for line in table.lines for row in line)
    return csv_text([*names, "records"], ([*(vars(row)[name] for name in names), " ".join(row.keys)] for row in rows))
