"""Commands that read many records go on beside a damaged one, name it first, and end with exit code 1."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
RESULTS = Path(__file__).parents[2] / "results"
SIDES = ("method.name=p_tuning_v2", "method.name=prompt_tuning")


@pytest.fixture
def store(tmp_path: Path) -> tuple[Path, str]:
    """Results with the records of CB on MiniLM, one of them with a changed digit, and its key."""
    for path in (RESULTS / "records").glob("*/record.json"):
        text = path.read_text(encoding="utf-8")
        if '"name": "cb"' in text and '"name": "minilm"' in text:
            shutil.copytree(path.parent, tmp_path / "results" / "records" / path.parent.name)
    damaged = sorted((tmp_path / "results" / "records").iterdir())[0] / "record.json"
    text = damaged.read_text(encoding="utf-8")
    changed = re.sub(r'("accuracy": \d)(\d)', lambda match: f"{match[1]}{(int(match[2]) + 1) % 10}", text, count=1)
    assert changed != text
    damaged.write_text(changed, encoding="utf-8")
    return tmp_path / "results", damaged.parent.name


@pytest.mark.parametrize("words", [("report",), ("check", "liu2022"), ("versus", *SIDES, "--metric", "accuracy")])
def test_a_damaged_record_blocks_nothing(words: tuple[str, ...], store: tuple[Path, str], cli: Cli) -> None:
    results, key = store
    done = cli(*words, "--results", str(results))
    assert done.code == 1 and done.out
    first, second = done.err.splitlines()[:2]
    assert first.startswith("1 damaged file is left out") and key in second and "checksum" in second
    if words[0] == "report":
        for name in ("REPORT.md", "index.html"):
            text = (results / name).read_text(encoding="utf-8")
            assert key in text and text.index("Damaged files") < text.index("Reproducibility checklist")
            assert text.count(key) <= 2, "it is named as damaged, and no value of it is shown"


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "--inputs", "x", "--batch-size", "0"),
        ("predict", "--inputs", "x", "--batch-size", "-3"),
        ("predict", "--inputs", "x", "--batch-size", "many"),
        ("ensemble", "a", "--batch-size", "0"),
        ("neighbours", "a", "--top", "0"),
        ("watch", "--every", "nan"),
        ("plan", "offline/cb", "--tflops", "inf"),
        ("params", "method=lora", "--budget", "0"),
        ("mini", "--workers", "-1"),
    ],
)
def test_a_number_that_makes_no_sense_is_refused(words: tuple[str, ...], cli: Cli) -> None:
    done = cli(*words)
    assert done.code == 2 and f"argument {words[-2]}: {words[-1]}: must be" in done.err


@pytest.mark.parametrize("value", ["a=b", "a(b", "{x", "a,[b", "#1", "it's"])
def test_a_value_that_hydra_cannot_read_is_answered_with_its_quotes(value: str, cli: Cli) -> None:
    """What is printed can be typed: Hydra then reads the value as it was meant."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    word = f"model.location={value}"
    done = cli("run", "task=rte", word)
    if done.err.startswith(f"repro: {word}: this value cannot be read"):
        (quoted,) = shlex.split(done.err.rpartition("Hydra: ")[2])
        [override] = OverridesParser.create().parse_overrides([quoted])
        assert override.value() == value or str(override.value()) == value
        assert done.code == 2 and "mismatched" not in done.err
    else:
        assert "mismatched" not in done.err and "token recognition" not in done.err
