"""Every command of docs/statistics.md, run on the committed records."""

import re
import shlex
from pathlib import Path

import pytest

from repro.cli.main import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line]


@pytest.mark.skipif(not (ROOT / "results" / "records").is_dir(), reason="no records are committed")
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_runs(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("REPRO_RESULTS_ROOT", raising=False)
    program, *arguments = shlex.split(line)
    assert program == "repro"
    code = main(arguments)
    out = capsys.readouterr().out
    # 1 would say that a claim fails on committed runs: an outcome, not an error of the command.
    assert code == 0 or (code == 1 and arguments[0] == "check")
    assert out.startswith(("| ", "## ", "[", "The Power"))


def test_the_page_shows_each_command() -> None:
    assert {shlex.split(line)[1] for line in COMMANDS} == {"check", "versus", "paper"}
