"""`repro mini` with everything done already: report, claims, comparison, exit codes; and the page's tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest import MonkeyPatch

from repro.config.schema import TrialConfig
from repro.store.store import Store
from repro.sweeps.expand import Planned
from repro.sweeps.miniature import command, planning
from repro.trials.run import run
from repro.trials.spec import TrialSpec, trial_spec
from tests.sweeps.conftest import Cli


@pytest.fixture
def done(quick: Callable[..., dict[str, Any]], cli: Cli, monkeypatch: MonkeyPatch, tmp_path: Path) -> list[TrialSpec]:
    """Two trials with records under results/, which the miniature is said to consist of; no reference."""
    plains = [quick(f"seed={seed}") | {"experiment_name": "mini/some"} for seed in (1, 2)]
    specs = [trial_spec(TrialConfig.from_dict(plain)) for plain in plains]
    for spec in specs:
        run(spec)
    trials = [Planned(spec, ("method=p_tuning_v2",)) for spec in specs]
    monkeypatch.setattr(planning, "planned", lambda names, given: trials)
    monkeypatch.setattr(command, "reference_folder", lambda: tmp_path / "nothing")
    return specs


@pytest.mark.smoke
@pytest.mark.usefixtures("one_thread")
def test_nothing_to_run_still_reports(done: list[TrialSpec], cli: Cli, tmp_path: Path) -> None:
    called = cli("mini", "--results", "results")
    assert called.code == 0, called.err
    assert "2 trials, 2 of them done, 0 to run" in called.out and "there is no reference to compare with" in called.out
    assert "claims in miniature: 0 holds" in called.out and "M1 " not in called.out, "not run: counted only"
    assert "results/REPORT.md" in called.out and (tmp_path / "results" / "index.html").is_file()
    again = cli("check", "mini", "--results", "results")
    assert again.code == 0 and "| M1 |" in again.out
    assert '"verdict": "not run"' in cli("check", "mini", "--results", "results", "--format", "json").out


@pytest.mark.smoke
@pytest.mark.usefixtures("one_thread")
def test_a_reference_that_agrees_and_one_that_has_more(
    done: list[TrialSpec], cli: Cli, tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    shutil.copytree(tmp_path / "results", tmp_path / "reference")
    called = cli("mini", "--results", "results", "--reference", "reference")
    assert called.code == 0 and "1 equal." in called.out
    assert "Every score is equal." in (tmp_path / "results" / "REFERENCE.md").read_text()
    Store(tmp_path / "results" / "records").delete(done[1].key)
    monkeypatch.setattr(
        command.Processes, "run", lambda self, specs, on_result: None
    )  # as if it had ended without a record
    less = cli("mini", "--results", "results", "--reference", "reference")
    assert less.code == 2 and "1 missing." in less.out


@pytest.mark.smoke
@pytest.mark.usefixtures("one_thread")
def test_the_tables_of_a_page(done: list[TrialSpec], cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# A\n<!-- from records: some -->\n<!-- end -->\n")
    assert cli("mini", "--results", "results", "--page", "page.md").code == 0
    text = (tmp_path / "page.md").read_text()
    assert text.startswith("# A\n<!-- from records: some -->\n|") and "rte" in text and "tiny-bert" in text
    missing = cli("mini", "--results", "results", "--page", "nowhere.md")
    assert missing.code == 2 and "nowhere.md" in missing.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mini", "--results", "empty", "--page", "x.md"), "no records there"),
        (("check", "mini", "--results", "empty"), "there is no such folder"),
        (("check", "mini", "--results", "."), "no trial of the miniature"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], said: str, cli: Cli) -> None:
    called = cli(*words)
    assert called.code == 2 and said in called.err
