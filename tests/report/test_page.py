"""The page as text: one file, a strict policy, everything escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

from repro.papers import registry
from repro.report.pages.contents import Contents, contents
from repro.report.pages.html_report import page
from repro.store.record import Record

Make = Callable[..., Record]
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&`{{$x}}\u2028"
VOID = {"meta", "link", "input", "br", "img", "path", "use"}


class Page(HTMLParser):
    """Elements, their attributes, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]].append(data)


def made(*records: Record) -> tuple[Contents, str]:
    found = contents(records, registry.cells())
    drawings = {
        figure.name: f'<svg><title>{figure.name}</title><path fill="#1b1b1b"/></svg>' for figure in found.figures
    }
    return found, page(found, drawings)


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_is_one_well_formed_file_that_loads_nothing(make: Make) -> None:
    _, text = made(make(1), make(2, 90.0), make(change={"model.name": "minilm", "model.paper_name": None}))
    found = Page(text)
    assert found.open == []
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    assert not [tag for tag, _ in found.elements if tag in ("iframe", "object", "embed", "base", "img")]
    assert "@import" not in text and "url(http" not in text
    ids = [attributes["id"] for _, attributes in found.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for tag, attributes in found.elements if tag == "a"}
    assert targets <= set(ids) and len(targets) > 5


def test_the_policy_allows_just_the_pages_own_script_and_style(make: Make) -> None:
    _, text = made(make())
    found = Page(text)
    (policy,) = [a["content"] for tag, a in found.elements if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy

    def hashed(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert rules["style-src"] == hashed(style) and rules["script-src"] == hashed(script)


def test_html_in_a_record_stays_text(telling: Callable[..., list[Record]]) -> None:
    _, text = made(*telling(EVIL))
    found = Page(text)
    assert found.open == []
    # No element is there that is not there without these records, and no script but ours.
    plain = {tag for tag, _ in Page(made()[1]).elements}
    assert {tag for tag, _ in found.elements} <= plain
    assert [attributes for tag, attributes in found.elements if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]
    data = data_of(text)
    (group,) = data["groups"]
    assert group["deviations"] == [EVIL] and [run["reason"] for run in group["runs"]] == [None, EVIL, EVIL]
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


def test_every_place_of_every_table_opens_to_its_source_and_its_runs(make: Make) -> None:
    records = [make(seed, 89.0 + seed) for seed in (1, 2)]
    own = make(1, 60.0, change={"model.name": "minilm", "model.paper_name": None})
    found, text = made(*records, own)
    data = data_of(text)
    marked = [int(number) for number in re.findall(r'data-i="(\d+)"', text)]
    assert marked == list(range(len(data["places"])))
    assert len(marked) == sum(len(exhibit.cells) for exhibit in found.exhibits) + 1
    for place, cell in zip(
        data["places"],
        (p.reported for e in found.exhibits for p in [x for r in e.layout.rows for x in e.row(r) if x]),
        strict=False,
    ):
        source = dict(place["source"])
        assert source["cell"] == cell.id and cell.at in source["printed in"]
        assert source.get("caveat") == (cell.caveat or None)
    keys = {run["key"] for group in data["groups"] for run in group["runs"]}
    assert keys == {record.key for record in (*records, own)}
    ran = [place for place in data["places"] if place["groups"]]
    assert {place["verdict"] for place in ran if place["paper"] == "liu2022"} <= {
        "reproduced",
        "close",
        "above",
        "below",
    }
    for group in data["groups"]:
        config = "\n".join(data["parts"][part] for part in group["parts"])
        assert 'method.name: "p_tuning_v2"' in config and "trainer.optimiser.learning_rate: 0.005" in config
        assert all(run["command"].startswith("repro run task=rte seed=") for run in group["runs"])


def test_parts_of_configs_are_kept_once(make: Make) -> None:
    records = [make(1, change={"method.length": length}) for length in range(1, 40)]
    data = data_of(made(*records)[1])
    assert len(data["groups"]) == 39
    assert len(data["parts"]) == 39 + 4  # one method each; model, task, trainer and recipe are shared


def test_every_figure_has_its_words(make: Make) -> None:
    from html import escape

    found, text = made(make())
    for figure in found.figures:
        assert escape(figure.description) in text
    assert text.count("currentColor") >= len(found.figures) and 'fill="#1b1b1b"' not in text
