"""docs/microworld.md is what the world and its tasks give."""

from pathlib import Path

from scripts.docs.microworld_page import page

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "microworld.md").read_text(encoding="utf-8") == page()


def test_readers_that_cannot_read_stay_far_below() -> None:
    """The first number of a row is that of a constant answer, the last that of words without order."""
    rows = [line for line in page().splitlines() if line.startswith("| `mini_")]
    found = {row.split("`")[1]: [cell.strip() for cell in row.split("|")[3:6]] for row in rows}
    assert len(found) == 11
    for task, cells in found.items():
        limit = {"mini_ner": 80.0}.get(task, 65.0)
        assert all(float(cell) < limit for cell in cells if cell != "-"), (task, cells)
