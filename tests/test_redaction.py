"""No secret reaches a record, a log, a tracker or the terminal; and nothing else is redacted."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import yaml

from repro.errors import REDACTED, ConfigError, RedactedLog, redacted_command, redacted_text, redacted_values
from repro.store.record import Record
from repro.store.store import Store

ROOT = Path(__file__).parents[1]
HUB = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vX7"
WANDB_OLD = "0123456789abcdef0123456789abcdef01234567"
WANDB_NEW = "wandb_v1_" + "Zx9Cv8Bn7Mm6As5Df4Gh3Jk2"
GITHUB = "ghp_" + "q1w2e3r4t5y6u7i8o9p0"
PASSWORD = "correct-horse-battery"
SECRETS = (HUB, WANDB_OLD, WANDB_NEW, GITHUB, PASSWORD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"401 for https://jo:{PASSWORD}@hub.example/x", f"401 for https://{REDACTED}@hub.example/x"),
        (f"no file https:/jo:{PASSWORD}@hub.example/x", f"no file https:/{REDACTED}@hub.example/x"),
        (f"the token {HUB} is not valid", f"the token {REDACTED} is not valid"),
        (f"login: {WANDB_NEW}.", f"login: {REDACTED}."),
        (f"remote {GITHUB} refused", f"remote {REDACTED} refused"),
        (f"password={PASSWORD}", f"password={REDACTED}"),
        (f"password='{PASSWORD} and more'", f"password={REDACTED}"),
        (f"WANDB_API_KEY={WANDB_OLD}", f"WANDB_API_KEY={REDACTED}"),
        (f"wandb.api-key: {WANDB_OLD}, next", f"wandb.api-key: {REDACTED}, next"),
        (f"Authorization: Bearer {WANDB_OLD}", f"Authorization: {REDACTED}"),
        (f'{{"client_secret": "{PASSWORD}"}}', f'{{"client_secret": {REDACTED}}}'),
        (f"DB_PASS={PASSWORD} GITHUB_PAT: x1", f"DB_PASS={REDACTED} GITHUB_PAT: {REDACTED}"),
        (f"?access_token={PASSWORD}&x=1", f"?access_token={REDACTED}&x=1"),
    ],
)
def test_secrets_in_running_text(text, expected):
    assert redacted_text(text) == expected


@pytest.mark.parametrize("name", ["SMTP_PASS", "GITHUB_PAT", "HF_TOKEN", "API_KEY", "DB_PASSWORD"])
@pytest.mark.parametrize("value", ["/Xy7kQ2pL9", "k9fZ", PASSWORD])
def test_values_of_secret_variables_whatever_their_form(name, value, monkeypatch, tmp_path):
    """A value that begins with a slash is none of a path unless the path exists; a short one stands by itself."""
    monkeypatch.setenv(name, value)
    assert redacted_text(f"login with {value}: refused ('{value}')") == f"login with {REDACTED}: refused ('{REDACTED}')"
    assert redacted_text("k9fZebra") == "k9fZebra"
    monkeypatch.setenv(name, str(tmp_path))
    assert redacted_text(f"no file {tmp_path}/x") == f"no file {tmp_path}/x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "max_new_tokens=16",
        "a forward pass: 3 s, tokens_a_pass=4, PATH=/bin, compat=1",
        "the key is 0123456789abcdef",
        "a key of task.options is 'nope'",
        "model.revision=0123456789abcdef0123456789abcdef01234567",
        "{name: from_evaluate, path: chrf, key: score}",
        "the tokenizer: sentencepiece; 3,000 tokens: all of them",
        "hf_transfer, risk-sk-learn-based-things, https://example.org/@jo",
        "see https://github.com/a/b.git for the secretary: Jo",
    ],
)
def test_what_is_no_secret_stays(text):
    assert redacted_text(text) == text


def test_a_secret_of_the_environment_is_known_by_its_value(monkeypatch):
    said = f"server says {WANDB_OLD} is no key"
    assert redacted_text(said) == said, "forty hex digits may be a commit"
    monkeypatch.setenv("WANDB_API_KEY", WANDB_OLD)
    monkeypatch.setenv("DB_PASSWORD", "abc")
    assert redacted_text(said) == f"server says {REDACTED} is no key"
    assert redacted_text("abc of words") == "abc of words", "so short a value is in any text"
    assert redacted_command(["repro", f"+note={WANDB_OLD}"]) == ["repro", f"+note={REDACTED}"]


def test_values_of_configs():
    config = {
        "hub": {"token": "abc", "hub_token": "abc", "max_tokens": 3, "token": "abc"},  # noqa: F601
        "names": [f"x {HUB}", 1.5, None, True],
        "metrics": {"path": "chrf", "key": "score"},
        "password": "",
        "numbers": [[1.0]],
    }
    assert redacted_values(config, skip=("numbers",)) == {
        "hub": {"token": REDACTED, "hub_token": REDACTED, "max_tokens": 3},
        "names": [f"x {REDACTED}", 1.5, None, True],
        "metrics": {"path": "chrf", "key": "score"},
        "password": "",
        "numbers": [[1.0]],
    }
    assert config["names"][0] == f"x {HUB}", "what is given is not changed"


def test_nothing_of_ours_is_taken_for_a_secret(monkeypatch):
    """Every config file, and every committed record, says what it said."""
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        held = yaml.safe_load(path.read_text())
        assert redacted_values(held) == held, path
    for path in sorted((ROOT / "results" / "records").glob("*/record.json")):
        held = json.loads(path.read_text())
        assert redacted_values(held) == held, path


def test_messages_of_our_errors_are_redacted():
    error = ConfigError(f"model.location=https://jo:{PASSWORD}@hub.example/m: no such model")
    assert str(error) == f"model.location=https://{REDACTED}@hub.example/m: no such model"


def test_a_log_is_redacted_with_its_tracebacks():
    lines: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    logger, handler = logging.getLogger("repro.test_redaction"), Kept()
    handler.addFilter(RedactedLog())
    logger.addHandler(handler)
    try:
        try:
            raise ValueError(f"token {HUB}")
        except ValueError:
            logger.exception("login as %s failed at %d%%", HUB, 5)
        logger.warning("100% sure")
    finally:
        logger.removeHandler(handler)
    assert HUB not in "".join(lines)
    assert lines[0].startswith(f"login as {REDACTED} failed at 5%") and f"ValueError: token {REDACTED}" in lines[0]
    assert lines[1] == "100% sure"


def test_an_unexpected_error_prints_no_secret(python):
    code = f"""
import sys
import repro.cli.main as cli
import repro.cli.commands.report as report
def fail(options):
    raise RuntimeError("cannot reach https://jo:{PASSWORD}@hub.example with {HUB}")
report.run = fail
sys.argv = ["repro", "report"]
cli.main()
"""
    done = python("-c", code)
    assert done.code == 1 and "Traceback" in done.err and f"https://{REDACTED}@hub.example with {REDACTED}" in done.err
    assert "RuntimeError: cannot reach" in done.err.splitlines()[-1]
    assert HUB not in done.err.splitlines()[-1] and PASSWORD not in done.err.splitlines()[-1]


def test_the_store_writes_no_secret(tmp_path):
    config = {"task": {"options": {"hub_token": PASSWORD}}, "model": {"location": f"https://jo:{PASSWORD}@hub/x"}}
    record = Record("a", "failed", config, 1, reason=f"401: {HUB}", deviations=[f"password={PASSWORD}"])
    record.provenance = {"command": ["repro", "run", f"x={WANDB_NEW}"]}
    text = Store(tmp_path).put(record).read_text()
    assert not [secret for secret in SECRETS if secret in text] and text.count(REDACTED) == 5


def planted(folder: Path) -> list[str]:
    """Files below a folder that hold a planted secret."""
    return [
        f"{path.relative_to(folder)}: {secret}"
        for path in folder.rglob("*")
        if path.is_file()
        for secret in SECRETS
        if secret.encode() in path.read_bytes()
    ]


def test_a_trial_and_its_report_hold_no_planted_secret(cli, trial_arguments, monkeypatch, tmp_path, one_thread):
    """Planted in the environment, in overrides, in a URL, and in what a failing trial says."""
    monkeypatch.setenv("WANDB_API_KEY", WANDB_OLD)
    monkeypatch.setenv("HF_TOKEN", HUB)
    monkeypatch.setenv("SOME_VARIABLE", "value-of-a-variable")
    given = [
        f"experiment_name='{WANDB_OLD}'",
        f"tracker.project='{HUB}'",
        f"+task.options.hub_token={PASSWORD}",
        f"recipe.deviations=['was {GITHUB}', 'https://jo:{PASSWORD}@example.org/']",
    ]
    arguments = trial_arguments(*(text for text in given if "options" not in text))
    done = cli("run", *arguments)
    assert done.code == 0, done.err
    failing = cli("run", *arguments, "trainer.optimiser.learning_rate=1e30", f"model.note='{WANDB_NEW}'")
    assert failing.code == 2
    refused = cli(
        "run", *arguments, "seed=2", "model.source=folder", f"model.location='https://jo:{PASSWORD}@example.org/m'"
    )
    assert refused.code == 2 and f"https:/{REDACTED}@example.org/m" in refused.err
    report = cli("report")
    assert report.code == 0, report.err
    printed = [one.out + one.err for one in (done, failing, refused, report)]
    assert not [secret for secret in SECRETS for text in printed if secret in text]
    assert planted(tmp_path) == []
    records = [path.read_text() for path in (tmp_path / "results" / "records").glob("*/record.json")]
    assert len(records) == 2 and all(REDACTED in text and "value-of-a-variable" not in text for text in records)
    assert cli("store", "verify").code == 0
    swept = cli("run", "-m", *arguments, "seed=3,4", "trainer.steps=1", "trainer.evaluate_every=1")
    assert swept.code == 0 and (tmp_path / "runs" / "multirun.yaml").is_file(), swept.err
    assert planted(tmp_path) == []
