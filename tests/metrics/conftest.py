"""What several tests of metrics need: the example of e2e-metrics, and whether Java metrics can run."""

import itertools
import os
from pathlib import Path

import pytest

from repro.metrics import java, meteor_process

DATA_ROOT = Path(os.environ.get("REPRO_DATA_ROOT") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.fixture(scope="session")
def golden_e2e() -> tuple[list[str], list[list[str]]]:
    """Outputs and references of e2e-metrics' example: references in groups between blank lines, one output a line."""
    folder = DATA_ROOT / "golden_e2e"
    if not folder.is_dir():
        pytest.skip(f"no golden_e2e folder under {DATA_ROOT}; set REPRO_DATA_ROOT to the data folder")
    lines = (folder / "devel-conc.txt").read_text(encoding="utf-8").splitlines()
    groups = [list(group) for filled, group in itertools.groupby(lines, key=lambda line: line.strip() != "") if filled]
    outputs = (folder / "baseline-output.txt").read_text(encoding="utf-8").splitlines()
    assert len(groups) == len(outputs) == 10
    return outputs, groups


@pytest.fixture(scope="session")
def with_java() -> None:
    """Skips where METEOR or the tokeniser cannot run."""
    if why := java.missing(java.METEOR_JAR, java.PARAPHRASES, java.TOKENISER_JAR):
        pytest.skip(why)


@pytest.fixture
def without_java(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without Java."""
    monkeypatch.setattr(java, "java", lambda: None)
    meteor_process.shared.cache_clear()  # another test may have one running
