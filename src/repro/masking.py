"""What must not be published is `***`: secrets in commands, configs, messages and logs; and who sits at the machine.

Three ways to know a secret: by the name in front of it (`api_key=...`), by its form (well-known access tokens, a login
in a URL), and by its value: what stands in an environment variable with such a name is masked wherever it appears.
Rather too much is masked than too little.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MASK = "***"

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

# Of running text and of configs, where a plain `key: score` is no secret.
_STRONG_NAME = (
    r"(?:[A-Za-z_-]*(?:api|access|secret|private|auth)[_-]?key|(?:[A-Za-z_-]*[_-])?token"
    r"|[A-Za-z_-]*(?:password|passwd|passphrase|secret|authorization))"
)
_SAID = re.compile(rf"(?P<name>(?<![A-Za-z]){_STRONG_NAME}['\"]?\s*[=:]\s*){_VALUE}", re.IGNORECASE)
_CONFIG_NAME = re.compile(_STRONG_NAME, re.IGNORECASE)
_VARIABLE = re.compile(r"(?:.*_)?(?:KEY|TOKEN|PASSWORD|PASSWD|SECRET|PASSPHRASE|CREDENTIALS?|AUTH)", re.IGNORECASE)
_SHORTEST = 8
"""Characters of a secret variable's value: a shorter one would hide parts of ordinary words."""


def masked(command: list[str]) -> list[str]:
    """A command line that can be published: `***` for secrets, `~` for home folders, the program without its folder.

    A secret is the value of anything whose name ends like a key, token, password or credential (`wandb.api_key=...`,
    `--token ...`, `{password: ...}`), a login in a URL, and text of the form of some well-known access tokens. So
    `max_new_tokens=16` stays.
    """
    result: list[str] = []
    for position, argument in enumerate(command):
        if position and _FLAG.match(command[position - 1]):
            result.append(MASK)
        else:
            result.append(_without_person(_without_secrets(argument)))
    if result:
        result[0] = Path(result[0]).name
    return result


def masked_text(text: str) -> str:
    """A message that can be published: its secrets are masked, the rest stays, folders too."""
    if not text:
        return text
    return _known(_SAID.sub(lambda match: match["name"] + MASK, text))


def masked_values(value: Any, skip: tuple[str, ...] = ()) -> Any:
    """Dicts, lists and texts with every secret masked; a text under a secret's name is one.

    Args:
        skip: keys of the outermost dict whose values stay as they are (long lists of numbers).
    """
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {key: one if key in skip else _under(key, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [masked_values(one) for one in value]
    return value


def _under(key: Any, value: Any) -> Any:
    if isinstance(value, str) and value and isinstance(key, str) and _CONFIG_NAME.fullmatch(key):
        return MASK
    return masked_values(value)


class MaskedLog(logging.Filter):
    """For a log's handlers: what they write has its secrets masked."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = masked_text(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = masked_text(logging.Formatter().formatException(record.exc_info))
        return True


def _known(text: str) -> str:
    """Secrets by form and by value."""
    text = _SHAPES.sub(MASK, _URL_LOGIN.sub(MASK, text))
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST and value in text and _VARIABLE.fullmatch(name) and not value.startswith("/"):
            text = text.replace(value, MASK)
    return text


def _without_secrets(argument: str) -> str:
    if match := _ASSIGNED.match(argument):
        return match["name"] + MASK
    return _known(_NESTED.sub(lambda match: match["name"] + MASK, argument))


def _without_person(argument: str) -> str:
    """Home folders become `~`; the user's name as a part of any path becomes `<user>`."""
    home = os.path.expanduser("~")
    if len(home) > 1:
        argument = re.sub(rf"{re.escape(home)}(?=$|[/\s:,;'\"\]}}])", "~", argument)
    argument = _HOMES.sub("~", argument)
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user id without an entry in the password file, as in containers
        return argument
    return re.sub(rf"(?<=/){re.escape(user)}(?=$|[/\s:,;'\"\]}}])", "<user>", argument)
