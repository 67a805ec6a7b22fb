"""Where a task's rows come from, read so that every fault names its place, the reason and the fix.

A row comes from a local file (lines or jsonl, in the format in which the authors publish the data) or from a data set
of the hub. `Source` knows where; `Splits` reads each split once, refuses a wrong size, keeps what the trial may use and
remembers a hash of the content. Every fault is a `DataError` with the file and the 1-based line.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import json
import reprlib
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repro.errors import ConfigError, DataError
from repro.tasks.base import SPLITS, Example, SplitFacts
from repro.tasks.microworld import writing
from repro.tasks.subsets import Selection

Located = tuple[str, Any]
"""Where a value stands (`folder/file:line`, or the row of a hub split), and the value."""


def require_one_of(what: str, value: object, allowed: Iterable[object]) -> None:
    """Refuse a config value outside the allowed ones.

    Raises:
        ConfigError: `value` is not in `allowed`.
    """
    choices = list(allowed)
    if value not in choices:
        raise ConfigError(f"{what} is {reprlib.repr(value)}: it must be one of {choices}.")


# Lines and values --------------------------------------------------------------------------------------------------


def try_format(what: str, text: str, fields: Sequence[str]) -> None:
    """Try a format string on empty fields.

    Raises:
        ConfigError: it uses a field that is not there, or is no format string; the sentence begins with `what`.
    """
    try:
        text.format(**dict.fromkeys(fields, ""))
    except (LookupError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{what} {text!r} ({type(error).__name__}: {error}): it may use the fields {list(fields)}, each in braces."
        ) from error


MOST_TIMES = 100
"""Text shrinks to a third or a tenth of its size; a bomb to a thousandth."""
LEAST_UNPACKED = 2**24


def file_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if its name ends in .gz.

    Raises:
        DataError: the file cannot be read or unpacked, or unpacks to far more than text does.
    """
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        most = max(LEAST_UNPACKED, MOST_TIMES * path.stat().st_size)
        with gzip.open(path) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise DataError(
                f"{path} unpacks to more than {most:,} bytes, {MOST_TIMES} times its own size: no data set does. Get "
                "the file again, or unpack it and name the unpacked file."
            )
        return data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is no whole gzip file ({error}): get the file again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def read_lines(path: Path) -> list[tuple[str, str]]:
    """Lines of a UTF-8 file without their ends, each with its place `path:line` (1-based).

    Only `\\n` and `\\r\\n` end a line: other Unicode line breaks occur inside real texts.

    Raises:
        DataError: the file cannot be read, is empty, or a line is not UTF-8.
    """
    data = file_bytes(path)
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"{path} is empty: get the file again.")
    pieces = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if not pieces[-1]:
        pieces.pop()
    located = [(f"{path}:{number}", piece.removesuffix(b"\r")) for number, piece in enumerate(pieces, 1)]
    for where, piece in located:
        if b"\r" in piece:
            raise DataError(
                f"{where} holds a carriage return: only line feeds end a line. Convert the file (tr '\\r' '\\n')."
            )
    return [(where, _decoded(piece, where)) for where, piece in located]


def _decoded(piece: bytes, where: str) -> str:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where} is not UTF-8 (byte {error.start + 1} of the line is 0x{piece[error.start]:02x}): "
            "convert the file to UTF-8."
        ) from error


def read_jsonl(path: Path) -> list[tuple[str, dict[str, object]]]:
    """One JSON object a line, each with its place; blank lines are skipped.

    Raises:
        DataError: as `read_lines`; a line that is not JSON, or not an object.
    """
    return [(where, _json_object(line, where)) for where, line in read_lines(path) if line.strip()]


def _json_object(line: str, where: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}): mend the line or get the file again.") from error
    if not isinstance(row, dict):
        raise DataError(f"{where} holds {reprlib.repr(row)}: a JSON object {{...}} is needed.")
    return row


def read_json(path: Path) -> object:
    """The value of a whole JSON file.

    Raises:
        DataError: the file cannot be read, or is not JSON.
    """
    try:
        return json.loads(file_bytes(path).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}): get the file again.") from error


def text_field(row: Mapping[str, object], name: str, where: str) -> str:
    """The string in a field of a row.

    Raises:
        DataError: the field is missing, is no string, or holds half a surrogate pair (JSON allows one, UTF-8 does not).
    """
    if name not in row:
        raise DataError(f"{where} lacks the field {name!r}: it has {reprlib.repr(sorted(row))}.")
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"{where}: the field {name!r} is {reprlib.repr(value)}, a string is needed.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: the field {name!r} holds half a surrogate pair: mend the escape.") from error
    return value


def content_hash(rows: Iterable[object]) -> str:
    """sha256 (hex) of rows in order, each as canonical JSON: equal content, equal hash, whatever the file's layout."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n")
    return digest.hexdigest()


# Where the rows are --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """A local folder, or a data set of the hub.

    Attributes:
        task: the task's name, for messages.
        kind: `local` or `hub`. `microworld` becomes `local` in a folder of this machine's cache, where the data set
            that the last part of `data_dir` names is written when first asked for.
        data_dir: the local folder.
        files: the file of each split in it.
        obtain: a sentence saying where the local files can be had.
        hub_id: with `hub_config` and `hub_revision`, what `datasets.load_dataset` is asked for.
    """

    task: str
    kind: str
    data_dir: str
    files: Mapping[str, str]
    obtain: str
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    generated: bool = False
    """Whether the files are written here when first asked for."""

    def __post_init__(self) -> None:
        """Raises ConfigError: an unknown kind, a data set that the small world has not, or the hub without an id."""
        require_one_of("task.source", self.kind, ("local", "hub", "microworld"))
        if self.kind == "microworld":
            object.__setattr__(self, "kind", "local")
            object.__setattr__(self, "data_dir", str(writing.folder(Path(self.data_dir).name)))
            object.__setattr__(self, "generated", True)
        if self.kind == "hub" and not self.hub_id:
            raise ConfigError(
                f"task.source is hub, but the task {self.task} has no task.hub_id: set it, or source=local."
            )

    def place(self, split: str) -> str:
        """The file of a split, or its name on the hub, for messages."""
        if self.kind == "local":
            return str(Path(self.data_dir) / self.files[split])
        parts = [part for part in (self.hub_config, self.hub_revision) if part]
        return f"{self.hub_id} ({', '.join([*parts, split])})"

    def file(self, split: str, *, or_folder: bool = False) -> Path:
        """The local file of a split; with `or_folder` it may be a folder of files.

        Raises:
            DataError: the folder or the file is missing; says which config key names it and where to get the data.
        """
        folder = Path(self.data_dir)
        if self.generated:
            writing.ensure(folder)
        hint = f"set task.data_dir (or paths.data_root) to the folder that holds {self.files[split]}; {self.obtain}"
        if not folder.is_dir():
            raise DataError(f"the data folder {folder} of the task {self.task} does not exist: {hint}")
        path = folder / self.files[split]
        if not (path.is_file() or (or_folder and path.is_dir())):
            raise DataError(f"the file {path} ({self.task}, {split}) does not exist: {hint}")
        return path

    def hub_rows(self, split: str) -> list[tuple[str, dict[str, object]]]:
        """The rows of a hub split, each with its place; class ids become names where the data set knows them, -1 None.

        Raises:
            DataError: it cannot be loaded (no network, unknown id, no such split), with the library's reason.
        """
        try:
            import datasets

            table = datasets.load_dataset(str(self.hub_id), self.hub_config, revision=self.hub_revision, split=split)
        except Exception as error:  # the library raises a dozen kinds, from ConnectionError to RuntimeError
            reason = (str(error).strip().splitlines() or [""])[0]
            raise DataError(
                f"the hub data set {self.place(split)} cannot be loaded ({type(error).__name__}: {reason}): check "
                "task.hub_id and the network, or use local files with task.source=local and task.data_dir."
            ) from error
        names = {column: _class_names(feature) for column, feature in table.features.items()}
        return [
            (
                f"{self.place(split)} row {number}",
                {column: _named(value, names[column]) for column, value in row.items()},
            )
            for number, row in enumerate(table, 1)
        ]


def _class_names(feature: Any) -> list[str] | None:
    """Names of a ClassLabel column, or of a list of ClassLabels; None for any other column."""
    return getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)


def _named(value: object, names: list[str] | None) -> object:
    if names is None:
        return value
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


# Splits --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """A whole split as read.

    Attributes:
        rows: its rows as plain JSON values (what is counted and hashed), before grouping.
        examples: its examples, in file order.
        deviations: differences from the paper's reading of this very split.
    expected: the number of rows that this split must have, where another than `task.rows` says applies.
    """

    rows: Sequence[object]
    examples: Sequence[Example]
    deviations: tuple[str, ...] = ()
    expected: int | None = None


@dataclass(frozen=True)
class Sizes:
    """By how many rows a split has, which edition of the data set it belongs to.

    Attributes:
        rows: {split: rows of the set that the paper used}.
        editions: {split: {rows: sentence for the record}}: other sets that are taken all the same.
        lookalikes: {split: {rows: what has so many}}: sets under the same name that would give other numbers.
    """

    rows: Mapping[str, int]
    editions: Mapping[str, Mapping[int, str]]
    lookalikes: Mapping[str, Mapping[int, str]]


class Splits:
    """The splits of one task: each read at its first use, checked, cut to the limit and fingerprinted."""

    def __init__(
        self,
        source: Source,
        load: Callable[[str], Loaded],
        *,
        sizes: Sizes,
        check_rows: bool,
        selection: Selection,
    ) -> None:
        """Nothing is read here.

        Args:
            source: where the rows are, for messages.
            load: reads a whole split.
            sizes: the number of rows that each original split has, and other editions.
            check_rows: refuse a split of another size (off: it becomes a deviation).
            selection: which examples are kept.
        """
        self._source = source
        self._load = load
        self._sizes = sizes
        self._check_rows = check_rows
        self._selection = selection
        self._examples: dict[str, tuple[Example, ...]] = {}
        self._fingerprint: dict[str, SplitFacts] = {}
        self._deviations: dict[str, list[str]] = {}

    def examples(self, split: str) -> tuple[Example, ...]:
        """The kept examples of a split, in file order.

        Raises:
            ConfigError: no such split.
            DataError: as the task's reader; or the split has no row, or another number of rows than the original.
        """
        require_one_of("a split", split, SPLITS)
        if split not in self._examples:
            loaded = self._load(split)
            deviations = [*loaded.deviations, *self._size_deviations(split, len(loaded.rows), loaded.expected)]
            kept = self._selection.positions(split, len(loaded.examples))
            left_out = self._selection.deviation(split, len(kept), len(loaded.examples))
            deviations += [left_out] if left_out else []
            self._fingerprint[split] = {"rows": len(loaded.rows), "sha256": content_hash(loaded.rows)}
            self._deviations[split] = deviations
            self._examples[split] = tuple(loaded.examples[position] for position in kept)
        return self._examples[split]

    def _size_deviations(self, split: str, found: int, expected: int | None) -> list[str]:
        place, sizes = self._source.place(split), self._sizes
        if not found:
            raise DataError(f"{place} has no row: get the file again.")
        original = sizes.rows.get(split) if expected is None else expected
        if original is None or found == original:
            return []
        if expected is None and found in sizes.editions.get(split, {}):
            return [sizes.editions[split][found]]
        if self._check_rows:
            known = sizes.lookalikes.get(split, {}).get(found)
            raise DataError(
                f"{place} has {found} rows, the original {split} split of {self._source.task} has {original}: "
                + (f"{known} " if known else "")
                + f"{self._source.obtain} To use it as it is, set task.check_rows=false."
            )
        expected = original
        return [f"{split}: {found} rows, the original has {expected}."]

    def fingerprint(self) -> dict[str, SplitFacts]:
        """`{split: {"rows": n, "sha256": content hash}}` of every split read so far, before the limit."""
        return {split: facts.copy() for split, facts in self._fingerprint.items()}

    def deviations(self) -> tuple[str, ...]:
        """Differences from the original splits, of those read so far."""
        return tuple(sentence for split in SPLITS for sentence in self._deviations.get(split, []))
