"""docs/provenance.md names a record, files and functions that exist, and numbers that the record has."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "provenance.md").read_text(encoding="utf-8")


def test_the_way_from_a_cell_to_its_data_row() -> None:
    named = re.findall(r"`((?:src|conf|results)/[\w./-]+)`", PAGE)
    assert len(named) >= 8 and all((ROOT / path).is_file() for path in named)
    for function, path in re.findall(r"`([\w.]+)`\s+in\s+`(src/[\w/]+\.py)`", PAGE):
        assert re.search(rf"\bdef {function.rpartition('.')[2]}\(", (ROOT / path).read_text(encoding="utf-8")), function
    (key,) = set(re.findall(r"results/records/(\w+)/", PAGE))
    assert key in (ROOT / "results" / "tables" / "ours-conll04.md").read_text(encoding="utf-8")
    record = json.loads((ROOT / "results" / "records" / key / "record.json").read_text())
    assert f"{record['metrics']['test']['span_f1']:.2f}" in PAGE
    assert record["statistics"]["test"]["span_f1"][1] == [3.0, 3.0, 3.0] and "[3, 3, 3]" in PAGE
