"""Sets of triples with their texts, out of the files of WebNLG 2017 and DART: json, xml and rows of the hub.

Every fault is a `DataError` with the file and the line (xml) or the entry (json, hub). A document type declaration in
an xml file is refused, and with it every entity that could be expanded or fetched.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from repro.errors import DataError
from repro.tasks.files import file_bytes, read_json, text_field

TRIPLES_DEVIATIONS = (
    "validation loss is over the first text of each set of triples; the authors take every one.",
    "an empty generation stays empty; the authors write the word Error.",
    "space around a text is dropped, in training and in references.",
)
"""In what both tasks of triples differ from the authors' code."""

Triple = tuple[str, str, str]
"""Subject, property (WebNLG) or relation (DART), object."""


@dataclass(frozen=True)
class Entry:
    """One set of triples and the texts that say it."""

    triples: tuple[Triple, ...]
    texts: tuple[str, ...]
    comments: tuple[str, ...]
    """One a text: WebNLG's verdict on it (`good`, `toFix`), DART's source of it."""
    category: str
    where: str

    def row(self) -> list[object]:
        """As plain JSON values, for the content hash: equal for every format."""
        return [[list(triple) for triple in self.triples], list(self.texts), list(self.comments), self.category]


def read_entries(path: Path) -> list[Entry]:
    """The entries of a file (.json or .xml, packed or not), or of all xml files of a folder, in the order of paths.

    Raises:
        DataError: a file that cannot be read, is of another kind, or is not in the format; says where.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.xml"))
        if not files:
            raise DataError(f"the folder {path} holds no .xml file: give a folder of WebNLG's xml files, or a file.")
        return [entry for file in files for entry in _xml_entries(file)]
    name = path.name.removesuffix(".gz")
    if name.endswith(".xml"):
        return list(_xml_entries(path))
    if not name.endswith(".json"):
        raise DataError(f"{path}: the name must end in .json or .xml, which says the format.")
    data = read_json(path)
    return list(_dart_entries(data, str(path)) if isinstance(data, list) else _webnlg_entries(data, str(path)))


# JSON ----------------------------------------------------------------------------------------------------------------


def _webnlg_entries(data: object, where: str) -> Iterator[Entry]:
    """{"entries": [{"1": {category, modifiedtripleset: [{subject, property, object}], lexicalisations: [...]}}]}"""
    for number, wrapped in enumerate(_listed(data, "entries", where), 1):
        at = f"{where} entry {number}"
        if not isinstance(wrapped, Mapping) or len(wrapped) != 1:
            raise DataError(f'{at} is {reprlib.repr(wrapped)}: one object {{"<number>": entry}} is needed.')
        (entry,) = wrapped.values()
        triples = [
            (text_field(each, "subject", at), text_field(each, "property", at), text_field(each, "object", at))
            for each in _objects(entry, "modifiedtripleset", at)
        ]
        texts = [
            (text_field(each, "lex", at), text_field(each, "comment", at))
            for each in _objects(entry, "lexicalisations", at)
        ]
        yield _entry(triples, texts, text_field(entry, "category", at), at)


def _dart_entries(data: Sequence[object], where: str) -> Iterator[Entry]:
    """[{"tripleset": [[subject, relation, object]], "annotations": [{source, text}]}]"""
    for number, entry in enumerate(data, 1):
        yield dart_entry(entry, f"{where} entry {number}")


def dart_entry(row: object, where: str) -> Entry:
    """An entry of DART's json, or a row of the hub, whose `annotations` are one object of lists.

    Raises:
        DataError: a field that is missing or of another kind.
    """
    triples = []
    for triple in _listed(row, "tripleset", where):
        if not isinstance(triple, Sequence) or len(triple) != 3 or not all(isinstance(part, str) for part in triple):
            raise DataError(f"{where}: {reprlib.repr(triple)} is no triple of three strings.")
        triples.append((_text(triple[0], where), _text(triple[1], where), _text(triple[2], where)))
    annotations = row.get("annotations") if isinstance(row, Mapping) else None
    if isinstance(annotations, Mapping):
        texts = _columns(annotations, ("text", "source"), where)
    else:
        texts = [
            (text_field(each, "text", where), text_field(each, "source", where))
            for each in _objects(row, "annotations", where)
        ]
    return _entry(triples, texts, "", where)


def webnlg_row(row: Mapping[str, object], where: str) -> Entry:
    """A row of the hub's web_nlg: triples as `subject | property | object`, texts as columns.

    Raises:
        DataError: a field that is missing or of another kind.
    """
    sets = _listed(row.get("modified_triple_sets"), "mtriple_set", f"{where}, modified_triple_sets")
    if len(sets) != 1 or not isinstance(sets[0], Sequence) or isinstance(sets[0], str):
        raise DataError(f"{where}: modified_triple_sets holds {reprlib.repr(sets)}, one list of triples is needed.")
    triples = [split_triple(_text(text, where), where) for text in sets[0]]
    lex = row.get("lex")
    if not isinstance(lex, Mapping):
        raise DataError(f"{where}: the field 'lex' is {reprlib.repr(lex)}, an object of lists is needed.")
    return _entry(triples, _columns(lex, ("text", "comment"), where), text_field(row, "category", where), where)


def _columns(table: Mapping[str, object], names: tuple[str, str], where: str) -> list[tuple[str, str]]:
    """Two columns of equal length as pairs."""
    first, second = (_listed(table, name, where) for name in names)
    if len(first) != len(second):
        raise DataError(f"{where}: {len(first)} values of {names[0]!r} and {len(second)} of {names[1]!r}.")
    return [(_text(one, where), _text(other, where)) for one, other in zip(first, second, strict=True)]


def _listed(node: object, name: str, where: str) -> Sequence[object]:
    if not isinstance(node, Mapping) or not isinstance(node.get(name), list | tuple):
        found = node.get(name) if isinstance(node, Mapping) else node
        raise DataError(f"{where}: a list {name!r} is needed, it is {reprlib.repr(found)}.")
    return list(node[name])


def _objects(node: object, name: str, where: str) -> Sequence[Mapping[str, object]]:
    objects: list[Mapping[str, object]] = []
    for item in _listed(node, name, where):
        if not isinstance(item, Mapping):
            raise DataError(f"{where}: {name!r} holds {reprlib.repr(item)}, an object is needed.")
        objects.append(item)
    return objects


def _text(value: object, where: str) -> str:
    return text_field({"text": value}, "text", where)


def _entry(triples: Sequence[Triple], texts: Sequence[tuple[str, str]], category: str, where: str) -> Entry:
    if not triples:
        raise DataError(f"{where} has no triple: a set of at least one is needed.")
    words, comments = tuple(text for text, _ in texts), tuple(comment for _, comment in texts)
    return Entry(tuple(triples), words, comments, category, where)


# XML -----------------------------------------------------------------------------------------------------------------


def _xml_entries(path: Path) -> Iterator[Entry]:
    """benchmark/entries/entry[@category]/{modifiedtripleset/mtriple, lex[@comment]}"""
    root = read_xml(path)
    found = list(root.iter("entry"))
    if root.tag != "benchmark" or not found:
        raise DataError(f"{path} has no entry in <benchmark><entries>: WebNLG's or DART's xml is needed.")
    for element in found:
        at = f"{path}:{element.get(_LINE)}"
        triples = [
            split_triple(triple.text or "", f"{path}:{triple.get(_LINE)}")
            for triple in element.iterfind("modifiedtripleset/mtriple")
        ]
        texts = [("".join(lex.itertext()), lex.get("comment", "")) for lex in element.iterfind("lex")]
        yield _entry(triples, texts, element.get("category", ""), at)


def split_triple(text: str, where: str) -> Triple:
    """The three parts of `subject | property | object`, stripped.

    Raises:
        DataError: other than two bars.
    """
    parts = [part.strip() for part in text.split(" | ")]
    if len(parts) != 3:
        raise DataError(f"{where}: {reprlib.repr(text)} is no triple `subject | property | object`.")
    return parts[0], parts[1], parts[2]


_LINE = "{repro}line"
"""Attribute under which `read_xml` keeps an element's line; a name that no file can write."""


def read_xml(path: Path) -> Element:
    """The root of an xml file, every element with its line; nothing beyond the five predefined entities is expanded.

    Raises:
        DataError: the file cannot be read, is no well-formed xml, or declares a document type.
    """
    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True

    def refuse(*_: object) -> None:
        raise DataError(
            f"{path}:{parser.CurrentLineNumber} declares a document type, by which a file could expand without end or "
            "fetch other files: remove the declaration."
        )

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda tag, attributes: builder.start(
        tag, {**attributes, _LINE: str(parser.CurrentLineNumber)}
    )
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(file_bytes(path), True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise DataError(f"{path}:{error.lineno} is no well-formed xml ({reason}): get the file again.") from error
    except (ValueError, LookupError) as error:  # an encoding that is not there
        raise DataError(f"{path} is no readable xml ({error}): convert it to UTF-8.") from error
    return builder.close()
