"""The papers' tables and figures as grids of cells: `exhibits/<paper>.yaml` says where each registry cell stands.

Format of a layout file (nothing in it is a number of a paper; those stay in `reported/`):

    paper: lester2021
    labels: {method: {fine_tuning: model tuning}, ...}   # field: {value: how it is shown}; equal labels share a row
    exhibits:
      table1:                              # the key: figureN or tableN as numbered in the paper (the edition read)
        title: ...                         # one line
        caption: ...                       # what is shown and what a reader must know, in our words
        at: [Table 1]                      # the `at` of its cells; a cell "A = B" stands at A and at B
        at: {acl: [...], v1: [...]}        # or one list an edition; the first edition is shown unless another is asked
        kinds: [result]                    # optional: only cells of these kinds
        rows: [task]                       # fields whose values name a row: a field of Reported, or one of its `vars`
        columns: [method, metric]
        labels: {task: {...}}              # optional: over those of the file
        row_order: [a, b]                  # optional: row labels (parts joined by ` / `) in the paper's order;
        column_order: [...]                #   default: the order of the registry

An exhibit of which the paper prints no number has, instead of `at`, `rows` and `columns` as fields:

        unprinted: why there are no numbers, and what the text says of the figure
        rows: [{label: P = 1, set: {length: 1}}, {label: P = 100, set: {length: 100}, cell: "lester2021/F1.{size}"}]
        columns: [{label: Small, set: {size: small}}]
        of: {model: "t5-{size}-lm-adapt", method: ..., task: ..., vars: {prompt_length: "{length}"}}

`of` describes the cell that would stand there, with `{name}` taken from the row's and the column's `set` (whose values
may hold names too); `cell` is the id of a registry cell that is known to be the same configuration (the default setting
of another figure).

`exhibit(paper, key)` gives the grid: `rows`, `columns` (labels, in order) and `cells[row, column]`, each a `Reported`.
Cells of an unprinted exhibit have the kind `unprinted` and no number: the report fills in ours, never theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache

from repro.errors import DataError
from repro.papers import registry
from repro.papers.registry import Reported, Yaml

UNPRINTED = "unprinted"
"""Kind of a cell that a figure shows and no edition prints as a number."""

_SEPARATOR = " / "
_FIELDS = {f.name for f in fields(Reported)}
_REQUIRED = ("title", "caption", "rows", "columns")
_KNOWN = {*_REQUIRED, "at", "kinds", "labels", "row_order", "column_order", "unprinted", "of"}


@dataclass(frozen=True)
class Exhibit:
    """One table or figure as a grid."""

    paper: str
    key: str
    title: str
    caption: str
    edition: str | None
    """Which edition's numbers these are, where editions differ."""
    editions: tuple[str, ...]
    """All that there are; empty where the paper has one."""
    unprinted: str | None
    """Why there are no numbers; None for an exhibit with numbers."""
    row_fields: tuple[str, ...]
    """What the parts of a row's label are."""
    column_fields: tuple[str, ...]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[tuple[str, str], Reported]
    """{(row, column): cell}; a place without a cell is empty in the paper too."""


def keys(paper: str) -> tuple[str, ...]:
    """Keys of a paper's exhibits, in the paper's order.

    Raises:
        DataError: an unknown paper.
    """
    return tuple(_layouts(paper)["exhibits"])


@cache
def exhibit(paper: str, key: str, edition: str | None = None) -> Exhibit:
    """One exhibit.

    Args:
        paper: key of the paper.
        key: of the exhibit, e.g. `figure1`.
        edition: for papers whose editions differ (`acl`, `v1`); None: the first one of the layout.

    Raises:
        DataError: an unknown exhibit or edition, or a layout that puts two cells in one place or leaves one out.
    """
    layouts = _layouts(paper)
    if key not in layouts["exhibits"]:
        raise DataError(f"{paper} has no exhibit {key!r}: it has {', '.join(layouts['exhibits'])}.")
    layout = layouts["exhibits"][key]
    where = f"{paper}.yaml, exhibit {key}"
    unknown = sorted(set(layout) - _KNOWN)
    missing = [name for name in _REQUIRED if name not in layout]
    if unknown or missing:
        raise DataError(
            f"{where}: unknown {', '.join(unknown) or 'nothing'}, missing {', '.join(missing) or 'nothing'}."
        )
    if "unprinted" in layout:
        return _unprinted(paper, key, layout)
    return _printed(paper, key, layout, layouts.get("labels") or {}, edition, where)


def members(paper: str, key: str) -> tuple[str, ...]:
    """Ids of the registry cells that an exhibit shows, over all its editions."""
    first = exhibit(paper, key)
    shown = [first, *(exhibit(paper, key, edition) for edition in first.editions[1:])]
    found = [cell.id for one in shown for cell in one.cells.values() if cell.kind != UNPRINTED]
    return tuple(dict.fromkeys(found))


@cache
def _layouts(paper: str) -> Yaml:
    return registry.data_file("exhibits", paper, "exhibits", dict)


# ---- exhibits with numbers


def _printed(paper: str, key: str, layout: Yaml, labels: Yaml, edition: str | None, where: str) -> Exhibit:
    editions = tuple(layout["at"]) if isinstance(layout["at"], dict) else ()
    if edition is not None and edition not in editions:
        raise DataError(f"{where}: there is no edition {edition!r}; there is {', '.join(editions) or 'only one'}.")
    edition = edition or (editions[0] if editions else None)
    places = set(layout["at"][edition] if editions else layout["at"])
    found = [cell for cell in registry.load(paper).cells if places & set(cell.at.split(" = "))]
    if "kinds" in layout:
        found = [cell for cell in found if cell.kind in layout["kinds"]]
    names = [*layout["rows"], *layout["columns"]]
    shown = {name: {**labels.get(name, {}), **(layout.get("labels") or {}).get(name, {})} for name in names}
    grid: dict[tuple[str, str], Reported] = {}
    for cell in found:
        place = (_label(cell, layout["rows"], shown), _label(cell, layout["columns"], shown))
        if place in grid:
            raise DataError(f"{where}: {cell.id} and {grid[place].id} stand in one place, {place}.")
        grid[place] = cell
    rows = _ordered((row for row, _ in grid), layout.get("row_order"), f"{where}: row_order")
    columns = _ordered((column for _, column in grid), layout.get("column_order"), f"{where}: column_order")
    head = (paper, key, layout["title"], layout["caption"], edition, editions, None)
    return Exhibit(*head, tuple(layout["rows"]), tuple(layout["columns"]), rows, columns, grid)


def _label(cell: Reported, names: Sequence[str], labels: Mapping[str, Mapping[object, str]]) -> str:
    """The values of the named fields as shown, joined; a field that the cell lacks is left out."""
    values = [(name, vars(cell)[name] if name in _FIELDS else cell.vars.get(name)) for name in names]
    texts = [str(labels[name].get(value, value)) for name, value in values if value is not None]
    return _SEPARATOR.join(text for text in texts if text)


def _ordered(found: Iterable[str], order: Sequence[object] | None, where: str) -> tuple[str, ...]:
    distinct = list(dict.fromkeys(found))
    if order is None:
        return tuple(distinct)
    wanted = [str(label) for label in order]
    if sorted(wanted) != sorted(distinct):
        raise DataError(f"{where}: it must list just the labels that occur, {distinct}, not {wanted}.")
    return tuple(wanted)


# ---- exhibits without numbers


def _unprinted(paper: str, key: str, layout: Yaml) -> Exhibit:
    grid = {}
    for row in layout["rows"]:
        for column in layout["columns"]:
            names = {**row["set"], **column["set"]}
            known = row.get("cell") or column.get("cell")
            place = (str(row["label"]), str(column["label"]))
            grid[place] = (
                registry.cell(known.format(**names)) if known else _described(paper, key, place, layout, names)
            )
    head = (paper, key, layout["title"], layout["caption"], None, (), layout["unprinted"])
    fields_of, labels = (
        [tuple(dict.fromkeys(name for entry in layout[axis] for name in entry["set"])) for axis in ("rows", "columns")],
        [tuple(str(entry["label"]) for entry in layout[axis]) for axis in ("rows", "columns")],
    )
    return Exhibit(*head, fields_of[0], fields_of[1], labels[0], labels[1], grid)


def _described(paper: str, key: str, place: tuple[str, str], layout: Yaml, names: Mapping[str, object]) -> Reported:
    """The cell that would stand at a place, without a number."""
    described: Yaml = {name: _filled(value, names) for name, value in layout["of"].items()}
    variables = {name: value for name, value in described.get("vars", {}).items() if value is not None}
    return Reported(
        paper=paper,
        id=f"{paper}/{key}.{'.'.join(place)}",
        at=layout["title"].partition(":")[0],
        kind=UNPRINTED,
        value="not printed",
        **{**described, "vars": variables},
    )


def _filled(value: object, names: Mapping[str, object]) -> object:
    """A template with its `{name}` replaced; a text that is one name alone keeps the type of its value."""
    if isinstance(value, Mapping):
        return {key: _filled(inner, names) for key, inner in value.items()}
    if not isinstance(value, str):
        return value
    if value.startswith("{") and value.endswith("}") and value[1:-1] in names:
        return _filled(names[value[1:-1]], names)
    return value.format(**names)
