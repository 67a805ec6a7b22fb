"""A store from elsewhere runs no code: payloads in records, merged and then read by what commands read them with."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from repro.config.schema import TrialConfig
from repro.errors import ReproError
from repro.evaluation.rescoring import rescore
from repro.inference.restore import find
from repro.papers import registry
from repro.report.pages.contents import contents
from repro.report.pages.write import texts
from repro.store.files import write_json_atomic
from repro.store.merging import merge
from repro.store.record import with_checksum
from repro.store.store import Store

ROOT = Path(__file__).parents[2]
BASE = json.loads(min((ROOT / "results" / "records").glob("*/record.json")).read_text())
Payload = Callable[[dict[str, Any], Path], Any]


def set_in(*path: str) -> Callable[[Callable[[Path], Any]], Payload]:
    """A payload that stands at a path of the record."""

    def made(value: Callable[[Path], Any]) -> Payload:
        def put(record: dict[str, Any], mark: Path) -> None:
            node = record
            for name in path[:-1]:
                node = node[name]
            node[path[-1]] = value(mark)

        return put

    return made


def target(mark: Path) -> dict[str, Any]:
    return {"_target_": "os.system", "_args_": [f"touch {mark}"], "command": f"touch {mark}"}


PAYLOADS: dict[str, Payload] = {
    "_target_ as config": set_in("config")(target),
    "_target_ as method": set_in("config", "method")(target),
    "_target_ in a method": lambda record, mark: record["config"]["method"].update(target(mark)),
    "_target_ as task": set_in("config", "task")(target),
    "_target_ as options of a task": set_in("config", "task", "options")(target),
    "_target_ as metric": set_in("config", "task", "metrics")(lambda mark: [target(mark)]),
    "_target_ in a further metric": set_in("config", "task", "also_metrics")(
        lambda mark: [{"name": "accuracy", "options": target(mark)}]
    ),
    "_target_ as optimiser": set_in("config", "trainer", "optimiser")(target),
    "a module as method": set_in("config", "method", "name")(lambda mark: "payload_of_test"),
    "a dotted module as method": set_in("config", "method", "name")(lambda mark: "payload_of_test.run"),
    "a module as task": set_in("config", "task", "name")(lambda mark: "payload_of_test"),
    "a module as metric": set_in("config", "task", "metrics")(lambda mark: [{"name": "payload_of_test"}]),
    "a module as family": set_in("config", "model", "family")(lambda mark: "payload_of_test"),
    "a file as family": set_in("config", "model", "family")(lambda mark: "../../payload_of_test"),
    "a python tag": set_in("config", "method", "init_text")(lambda mark: f"!!python/object/apply:os.system [{mark}]"),
    "an interpolation": set_in("config", "experiment_name")(lambda mark: "${oc.decode:${oc.env:HOME}}"),
    "a format string": set_in("config", "task", "prompt")(lambda mark: "{0.__class__.__mro__[1].__subclasses__}"),
    "a command": set_in("provenance", "command")(lambda mark: ["repro", "x", f"; touch {mark}", f"$(touch {mark})"]),
    "a script in texts": set_in("deviations")(lambda mark: ["<script>fetch('//x')</script>", "=cmd|'/c calc'!A0"]),
    "a path as choice": set_in("choices", "task")(lambda mark: "../../payload_of_test"),
    "a path as file": set_in("files")(lambda mark: {f"../../../{mark.name}": "0" * 64}),
}  # fmt: skip


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_payload_in_a_merged_store_is_not_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "payload_of_test.py").write_text(f"open({str(mark)!r}, 'w').close()\ndef run(*_, **__): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    record = copy.deepcopy(BASE)
    PAYLOADS[name](record, mark)
    record["files"] = record["files"] if name == "a path as file" else {}
    key = record["key"]
    write_json_atomic(tmp_path / "there" / "records" / key / "record.json", with_checksum(record))
    before = {path for path in tmp_path.rglob("*") if "here" not in path.parts}
    merge([tmp_path / "there"], tmp_path / "here")
    runs = tmp_path / "here" / "runs"
    for split in record["metrics"]:
        write_json_atomic(runs / key / f"predictions-{split}.jsonl", {})
    write_json_atomic(runs / key / "prompt.safetensors", {})
    doors: list[Callable[[], object]] = [
        lambda: texts(contents(Store(tmp_path / "here" / "records").records(), registry.cells(), papers=False)),
        lambda: TrialConfig.from_dict(record["config"]),
        lambda: rescore(key, tmp_path / "here", runs, []),
        lambda: find(key, tmp_path / "here", runs).config,
    ]
    for door in doors:
        try:
            door()
        except ReproError as error:
            assert str(error)
    assert not mark.exists() and "payload_of_test" not in sys.modules
    assert {path for path in tmp_path.rglob("*") if "here" not in path.parts} == before


def test_what_lies_beside_records_is_not_taken(tmp_path: Path) -> None:
    """Merging copies records alone, written anew: no links, scripts or searches of the source."""
    folder = tmp_path / "there" / "records" / BASE["key"]
    write_json_atomic(folder / "record.json", with_checksum(BASE))
    (folder / "run.sh").write_text("touch ran")
    (folder / "link").symlink_to("/etc/passwd")
    other = tmp_path / "there" / "records" / "other"
    other.symlink_to(folder)
    merge([tmp_path / "there"], tmp_path / "here")
    assert [path.name for path in (tmp_path / "here").rglob("*") if path.is_file()] == ["record.json"]
    assert not any(path.is_symlink() for path in (tmp_path / "here").rglob("*"))
