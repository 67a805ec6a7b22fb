"""Records whose every text is hostile to HTML, Markdown, LaTeX and CSV: the report's files stay what they are."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from repro.errors import visible
from repro.papers import registry
from repro.report.compare.versus import versus
from repro.report.markdown import csv_text, file_names
from repro.report.pages.contents import contents
from repro.report.pages.trial_summary import trial_summary
from repro.report.pages.write import texts, write_report
from repro.store.record import Record
from repro.store.store import Store

markdown_it = pytest.importorskip("markdown_it")

HTML = "</td></table><script>window.ran=1</script><img src=x onerror='window.ran=2'>"
MARKDOWN = (
    "| a | b |\n\n# head\n[l](javascript:alert(1)) ![p](http://evil.example/p.png) `code` **b** --- <http://evil>"
)
LATEX = r"[2ex] \input{/etc/passwd} \\ & $x^2_i$ 100% #1 ~ {open \end{table} \write18{rm}"
HOSTILE = f"*{HTML} {MARKDOWN} {LATEX}\r\n\t\u2028"
OPENERS = (HTML, MARKDOWN, LATEX, HOSTILE, "[2ex]", "* star", "=cmd()", "../../../evil", "a" * 400, "\u202eevil")


@pytest.fixture(params=range(len(OPENERS)))
def hostile(
    request: pytest.FixtureRequest, make: Callable[..., Record], telling: Callable[..., list[Record]]
) -> list[Record]:
    return [*telling(OPENERS[request.param]), make(1, 89.0)]


def rendered(text: str) -> str:
    """HTML of Markdown with tables, raw HTML let through: what the most careless viewer shows."""
    return markdown_it.MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def shape(html: str) -> list[tuple[int, int]]:
    """(rows, columns) of each table; every row of a table has the same number of cells."""
    found = []
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
        widths = {len(re.findall(r"<t[hd][ >]", row)) for row in rows}
        assert len(widths) == 1
        found.append((len(rows), widths.pop()))
    return found


def test_markdown_keeps_its_tables_and_shows_no_html_no_link_and_no_picture_of_a_record(
    hostile: list[Record], make: Callable[..., Record], telling: Callable[..., list[Record]]
) -> None:
    cells = registry.cells()
    ours, plain = texts(contents(hostile, cells)), texts(contents([*telling("t"), make(1, 89.0)], cells))
    left, right = rendered(ours["REPORT.md"]), rendered(plain["REPORT.md"])
    assert shape(left) == shape(right) and len(shape(left)) > 5
    assert set(re.findall(r"<(\w+)", left)) <= set(re.findall(r"<(\w+)", right)) | {"strong", "code", "em"}
    for address in re.findall(r"(?:href|src)=\"([^\"]*)\"", left):
        assert re.fullmatch(r"(figures|tables)/[\w.-]+", address) or address in right, address
    assert len(re.findall(r"<h[1-6]", left)) == len(re.findall(r"<h[1-6]", right))
    for name, text in ours.items():
        if name.endswith(".md"):
            assert "<script" not in rendered(text) and "<img" not in rendered(text).replace('<img src="figures/', "")


SAFE = r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}|\\[&%$#_{}]|\$\\?\w*-?\$"


def test_latex_rows_keep_their_cells_and_hold_no_command_of_a_record(hostile: list[Record]) -> None:
    found = texts(contents(hostile, registry.cells()))
    own = [name for name in found if name.startswith("tables/ours-") and name.endswith(".tex")]
    assert len(own) == 1
    text = found[own[0]]
    for command in (r"\input", r"\write", r"\end{table} ", "\\\\ &"):
        assert command not in text
    body = text.partition("\\midrule\n")[2].partition("\\bottomrule")[0].splitlines()
    assert len(body) == 2 and re.fullmatch(r"% records: [0-9a-f ]+", body.pop(0))
    for row in body:
        assert row.endswith(r" \\") and row[0] not in "[*"
        left = re.sub(SAFE, "", row.removesuffix(r" \\"))
        left = re.sub(r"\\textcolor\{gray\}", "", left)
        assert "\\" not in left and not set("%$#_^~") & set(left), left
        assert left.count(" & ") == text.partition("\\toprule\n")[2].partition("\n")[0].count(" & ")
    braces = re.sub(r"\\[{}]", "", text)
    assert braces.count("{") == braces.count("}")
    assert text.count("\\begin{") == text.count("\\end{") == 2


def test_csv_reads_back_as_it_was(hostile: list[Record]) -> None:
    found = texts(contents(hostile, registry.cells()))
    (name,) = [name for name in found if name.startswith("tables/ours-") and name.endswith(".csv")]
    rows = list(csv.DictReader(io.StringIO(found[name], newline="")))
    assert len(rows) == 1
    assert all(
        row["task"].removeprefix("'") == visible(hostile[0].config["task"]["name"]) and None not in row for row in rows
    )


def test_every_file_stays_below_the_folder(hostile: list[Record], tmp_path: Path) -> None:
    store = Store(tmp_path / "results" / "records")
    hostile[0].deviations.append("caf\udce9")  # a byte of a file's name that is no text
    for record in hostile:
        store.put(record)
    written = write_report(store.root, tmp_path / "results")
    inside = {path for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == inside
    assert all(path.resolve().is_relative_to(tmp_path / "results") for path in written.paths)
    assert all(re.fullmatch(r"[\w.-]+", path.name) and len(path.name) < 255 for path in written.paths)


def test_names_are_not_files(make: Callable[..., Record]) -> None:
    """Own tables of `one/cb` and `two/cb`, or of names without Latin letters, are files and places of their own."""
    names = ["one/cb", "two/cb", "实验/甲", "实验/乙", "offline/cb-x"]
    change = {"task.name": "mine", "task.paper_name": None, "model.paper_name": None}
    records = [
        make(1, 50.0, change=change | {"experiment_name": name, "method.length": 3 + number})
        for number, name in enumerate(names)
    ]
    own = contents(records, registry.cells()).own
    assert [table.experiment for table in own] == sorted(names)
    assert len({table.name for table in own}) == len(names) and all(re.fullmatch(r"[a-z0-9-]+", t.name) for t in own)
    assert {table.experiment: table.name for table in own}["offline/cb-x"] == "ours-cb-x"
    found = texts(contents(records, registry.cells()))
    assert len([name for name in found if name.startswith("tables/ours-") and name.endswith(".csv")]) == len(names)


@pytest.mark.parametrize("start", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1+1"])
def test_no_cell_of_a_csv_is_a_formula(start: str) -> None:
    head, row = csv.reader(io.StringIO(csv_text([start, "b", "c"], [[start, -1.5, "–"]])))
    assert row == [f"'{start}", "-1.5", "–"] and head[0] == f"'{start}"


def test_equal_titles_are_files_of_their_own() -> None:
    assert len(set(file_names("search", ["cb", "cb", "cb", "CB", "甲"], str))) == 5


def test_a_task_of_versus_stays_one_cell_and_is_seen(make: Callable[..., Record], tmp_path: Path) -> None:
    for length in (5, 6):
        change = {"task.name": "a|b\u202e", "task.paper_name": None, "method.length": length}
        Store(tmp_path / "records").put(make(1, 50.0, change=change))
    assert "| a\\|b&lt;U+202E&gt; |" in versus("method.length=5", "method.length=6", tmp_path)


@pytest.mark.parametrize("character", ["\u202e", "\u200b", "\x1b", "\ufeff", "\u2066", "\x07", "\x9b"])
def test_what_is_not_seen_is_written_out(character: str, make: Callable[..., Record]) -> None:
    """A right-to-left mark would turn `exe.txt` around, an escape character would command the terminal."""
    record = make(1, 50.0, change={"task.name": f"a{character}b", "task.paper_name": None, "model.paper_name": None})
    told = f"a<U+{ord(character):04X}>b"
    for name, text in texts(contents([record], registry.cells())).items():
        assert character not in text, name
    assert told in trial_summary(record, False)
