"""Errors as sentences, redaction of secrets, and console output that cannot fail a trial.

A message says what was wrong, the value, what is allowed, and the fix. The command line prints it without a traceback
and exits with `exit_code`.

Messages, logs and records are redacted. A secret is recognised by the name in front of it (`api_key=...`), by its
format (well-known access tokens, a login in a URL), or as the value of an environment variable with such a name. When
in doubt, text is redacted.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

REDACTED = "***"

_SECRET_NAME = r"[A-Za-z]*(?:key|token|password|passwd|passphrase|secret|credentials?|authorization)"
_ASSIGNED = re.compile(rf"^(?P<name>[^=\s{{]*{_SECRET_NAME}=).+", re.IGNORECASE | re.DOTALL)
_VALUE = r"(?:'[^']*'|\"[^\"]*\"|(?:(?:bearer|basic)\s+)?[^\s,;&}\])'\"]+)"
_NESTED = re.compile(rf"(?P<name>{_SECRET_NAME}['\"]?\s*[=:]\s*){_VALUE}", re.IGNORECASE)
_FLAG = re.compile(rf"^--?[\w.-]*{_SECRET_NAME}$", re.IGNORECASE)
_SHAPES = re.compile(
    r"(?<![\w-])(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{20,}"
    r"|wandb_v\d_[A-Za-z0-9_-]{16,}|AKIA[A-Z0-9]{16}|xox[abpr]-[A-Za-z0-9-]{10,})"
)
# A path takes one of the two slashes away.
_URL_LOGIN = re.compile(r"(?:(?<=://)[^/\s@]+|(?<=:/)[^/\s@:]+:[^/\s@]+)(?=@)")
_HOMES = re.compile(r"/(?:home|Users)/[^/\s:,;'\"]+")

# In prose and configs, where a plain `key: score` is no secret.
_STRONG_NAME = (
    r"(?:[A-Za-z_-]*(?:api|access|secret|private|auth)[_-]?key|(?:[A-Za-z_-]*[_-])?token"
    r"|[A-Za-z_-]*(?:password|passwd|passphrase|secret|authorization)|(?-i:[A-Z0-9_]+_(?:PASS|PAT)))"
)
_IN_PROSE = re.compile(rf"(?P<name>(?<![A-Za-z]){_STRONG_NAME}['\"]?\s*[=:]\s*){_VALUE}", re.IGNORECASE)
_CONFIG_NAME = re.compile(_STRONG_NAME, re.IGNORECASE)
_VARIABLE = re.compile(
    r".*(?:PASSWORD|PASSWD|PASS|TOKEN|SECRET|PASSPHRASE)|(?:.*_)?(?:KEY|PAT|CREDENTIALS?|AUTH)", re.I
)
_SHORT = 8
"""Characters below which the value of a secret variable is redacted where it stands by itself: inside of words it would
hide parts of ordinary ones."""
_SHORTEST = 4
"""Characters below which it is not looked for."""


def redacted_command(command: list[str]) -> list[str]:
    """A command line that can be published: `***` for secrets, `~` for home folders, the program without its folder.

    Redacted are values whose name ends in key, token, password or credential (`wandb.api_key=...`, `--token ...`,
    `{password: ...}`), logins in URLs, and well-known access tokens. `max_new_tokens=16` stays.
    """
    result: list[str] = []
    for position, argument in enumerate(command):
        if position and _FLAG.match(command[position - 1]):
            result.append(REDACTED)
        else:
            result.append(_without_person(_without_secrets(argument)))
    if result:
        result[0] = Path(result[0]).name
    return result


def redacted_text(text: str) -> str:
    """A message without its secrets; all else stays, folders too."""
    if not text:
        return text
    return _without_known(_IN_PROSE.sub(lambda match: match["name"] + REDACTED, text))


def redacted_values(values: Mapping[str, object], skip: tuple[str, ...] = ()) -> dict[str, object]:
    """A dict without secrets, at any depth; a string under a secret's name is one.

    Args:
        skip: keys whose values stay as they are (long lists of numbers).
    """
    return {key: value if key in skip else _redacted(value, key) for key, value in values.items()}


def _redacted(value: object, key: object = None) -> object:
    if isinstance(value, str):
        named = isinstance(key, str) and _CONFIG_NAME.fullmatch(key)
        return REDACTED if value and named else redacted_text(value)
    if isinstance(value, Mapping):
        return {name: _redacted(item, name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """Text of a record or a file whose control, direction and zero-width characters are written out (`<U+202E>`): a
    terminal, a page or a spreadsheet would obey or hide them. Tabs and line feeds stay."""
    return _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


class RedactedLog(logging.Filter):
    """A filter for log handlers: redacts messages and tracebacks."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted_text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = redacted_text(logging.Formatter().formatException(record.exc_info))
        return True


def _without_known(text: str) -> str:
    """Redact secrets that are recognised by their format or value."""
    text = _SHAPES.sub(REDACTED, _URL_LOGIN.sub(REDACTED, text))
    for name, value in os.environ.items():
        if len(value) < _SHORTEST or value not in text or not _VARIABLE.fullmatch(name) or _is_path(value):
            continue
        if len(value) < _SHORT:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", lambda _: REDACTED, text)
        else:
            text = text.replace(value, REDACTED)
    return text


def _is_path(value: str) -> bool:
    """Of a file or folder that exists: `SSH_AUTH=/run/agent` names no secret, `/Xy7...` may be one."""
    try:
        return value.startswith("/") and os.path.exists(value)
    except (OSError, ValueError):
        return False


def _without_secrets(argument: str) -> str:
    if match := _ASSIGNED.match(argument):
        return match["name"] + REDACTED
    return _without_known(_NESTED.sub(lambda match: match["name"] + REDACTED, argument))


def _without_person(argument: str) -> str:
    """Home folders become `~`; the user's name in any path becomes `<user>`."""
    home = os.path.expanduser("~")
    if len(home) > 1:
        argument = re.sub(rf"{re.escape(home)}(?=$|[/\s:,;'\"\]}}])", "~", argument)
    argument = _HOMES.sub("~", argument)
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user id without an entry in the password file, as in containers
        return argument
    return re.sub(rf"(?<=/){re.escape(user)}(?=$|[/\s:,;'\"\]}}])", "<user>", argument)


class ReproError(Exception):
    """Bad input or a failed trial, with a message that says how to fix it. Exit code 2."""

    exit_code = 2
    here_only = False
    """Only this one of several processes that share a trial knows the error, so it must print it."""

    def __str__(self) -> str:
        return redacted_text(super().__str__())


class ConfigError(ReproError):
    """A config that cannot run; found before data or a model is loaded."""


class DataError(ReproError):
    """A data file that is missing or malformed; names the file and, where there is one, the line (1-based)."""


class ModelError(ReproError):
    """Weights that cannot be loaded, or that are not what the config says."""


class WeightsUnavailable(ModelError):
    """A model that cannot be loaded on this machine: no other trial of it can run here either."""


class MetricUnavailable(ReproError):
    """A metric that this machine cannot compute: what is missing, and the fix. Never turned into a number."""


class TrialFailed(ReproError):
    """A trial that started and could not finish (a NaN loss, say). Its record says why."""


def unforeseen(what: str, error: Exception) -> TrialFailed:
    """The failure of a trial by an error of somebody's code, with the line that raised it.

    Args:
        what: part of the trial that it ended.
    """
    *_, last = traceback.extract_tb(error.__traceback__)
    where = f"{Path(last.filename).name}:{last.lineno}"
    failure = TrialFailed(f"its {what} ended with {type(error).__name__}: {error} ({where}).")
    failure.__cause__ = error
    return failure


class StoreError(ReproError):
    """A result store that cannot be read or written (full disk, no permission, damaged record)."""


class ToldElsewhere(ReproError):
    """Another process of this trial failed and printed the reason; nothing is printed here."""


class Interrupted(ReproError):
    """Ctrl-C or a termination signal: the trial was checkpointed and the same command continues it."""

    exit_code = 130


_FREE_SPACE = "free some space or choose another folder, then run the same command again"
_PERMISSIONS = "change the permissions or choose a folder of your own"
_OTHER_FOLDER = "remove that file or choose another folder"
_FIXES = {
    errno.ENOSPC: ("the disk is full", _FREE_SPACE),
    errno.EDQUOT: ("your disk quota is used up", _FREE_SPACE),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written to"),
    errno.EACCES: ("permission denied", _PERMISSIONS),
    errno.EPERM: ("permission denied", _PERMISSIONS),
    errno.ENOTDIR: ("a file is where a folder should be", _OTHER_FOLDER),
    errno.EEXIST: ("a file is where a folder should be", _OTHER_FOLDER),
    errno.EISDIR: ("a folder is where a file should be", "remove that folder or choose another name"),
}


def os_fault(error: OSError) -> tuple[str, str]:
    """What happened, and the fix."""
    reason = error.strerror or str(error)
    return _FIXES.get(error.errno or 0, (reason, "mend that, then run the same command again"))


@contextlib.contextmanager
def explained(path: str | os.PathLike[str], doing: str) -> Iterator[None]:
    """Turn an OSError of the body into a StoreError with the path, what happened, and the fix.

    Args:
        path: the file or folder that the body works on.
        doing: a verb, as in "cannot <doing> <path>".
    """
    try:
        yield
    except OSError as error:
        what, fix = os_fault(error)
        raise StoreError(f"cannot {doing} {os.fspath(path)}: {what}. To fix it, {fix}.") from error


def print_line(text: str, stream: TextIO | None = None) -> None:
    """Print a line at once (to standard output). A write error (full disk, closed terminal) is ignored."""
    with contextlib.suppress(OSError):
        print(text, file=stream or sys.stdout, flush=True)
