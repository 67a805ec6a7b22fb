"""The stored results stay what they were: keys, scores and statistics of every committed record.

`golden/records.json` was written from the records themselves; a change of code or of the store's layout may move a
record to another key, and then changes `key` here and nothing else.
"""

import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = json.loads((Path(__file__).parent / "golden" / "records.json").read_text(encoding="utf-8"))


def digest(record):
    """A hash of all that the statistics of a record rest on."""
    kept = {
        "m": record["metrics"],
        "s": record["statistics"],
        "curve": record["curve"],
        "subsets": record.get("subsets"),
        "clusters": record.get("clusters"),
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def test_every_stored_record_has_its_golden_scores_and_statistics():
    stored = {
        (root, path.parent.name): json.loads(path.read_text(encoding="utf-8"))
        for root in ("results", "results/mini")
        for path in (ROOT / root / "records").glob("*/record.json")
    }
    assert {(row["results"], row["key"]) for row in GOLDEN} == set(stored)
    for row in GOLDEN:
        record = stored[row["results"], row["key"]]
        config = record["config"]
        named = [config[group]["name"] for group in ("method", "model", "task")]
        assert [*named, config["experiment_name"], record["seed"]] == row["trial"]
        for field in ("status", "metrics", "selection", "parameters"):
            assert record[field] == row[field], (row["key"], field)
        assert digest(record) == row["digest"], row["key"]
