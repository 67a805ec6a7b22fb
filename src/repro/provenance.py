"""Where a result comes from: code, packages, machine kind, command. Nothing that names a person or a machine.

Records are published. So no environment variables, no host or user name, no home folders, and secrets on the command
line are masked.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import repro

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "hydra-core",
    "omegaconf",
    "numpy",
    "sacrebleu",
    "seqeval",
    "peft",
)
"""Those whose version can change a result."""

GIT_SECONDS = 5.0
"""A git command that takes longer (a sleeping network disk) is given up: the trial matters more."""

MASK = "***"

_SECRET_NAME = r"[A-Za-z]*(?:key|token|password|passwd|passphrase|secret|credentials?|authorization)"
_ASSIGNED = re.compile(rf"^(?P<name>[^=\s{{]*{_SECRET_NAME}=).+", re.IGNORECASE | re.DOTALL)
_VALUE = r"(?:'[^']*'|\"[^\"]*\"|(?:(?:bearer|basic)\s+)?[^\s,;&}\])]+)"
_NESTED = re.compile(rf"(?P<name>{_SECRET_NAME}['\"]?\s*[=:]\s*){_VALUE}", re.IGNORECASE)
_FLAG = re.compile(rf"^--?[\w.-]*{_SECRET_NAME}$", re.IGNORECASE)
_SHAPES = re.compile(r"\b(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,})")
_URL_LOGIN = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_HOMES = re.compile(r"/(?:home|Users)/[^/\s:,;'\"]+")


def provenance(command: list[str], device: str | None = None) -> dict[str, Any]:
    """What a record says of the circumstances of its trial.

    Args:
        command: the command line, `sys.argv`.
        device: the type of the device that the trial runs on (cpu, cuda, mps); None: CUDA where torch sees it.

    Returns:
        git {commit, dirty}: None both, outside a repository; dirty says whether the package's own source differs from
            the commit (configs do not matter: the record holds the resolved config).
        packages {name: version, or None if it is not installed}.
        python, platform: versions.
        cpus: the number of cores that this process may use.
        device: the accelerator's name, `cpu`, or None if torch is not loaded.
        command: masked, see `masked`.
    """
    return {
        "git": _git(),
        "packages": {name: _version(name) for name in PACKAGES} | {"repro": repro.__version__},
        "python": platform.python_version(),
        # The full release string may hold an administrator's own words, so only its number.
        "platform": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": _device_name(device),
        "command": masked(command),
    }


def masked(command: list[str]) -> list[str]:
    """A command line that can be published: `***` for secrets, `~` for home folders, the program without its folder.

    A secret is the value of anything whose name ends like a key, token, password or credential (`wandb.api_key=...`,
    `--token ...`, `{password: ...}`), a login in a URL, and text of the form of some well-known access tokens. So
    `max_new_tokens=16` stays. Rather too much is masked than too little.
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


def _without_secrets(argument: str) -> str:
    if match := _ASSIGNED.match(argument):
        return match["name"] + MASK
    argument = _NESTED.sub(lambda match: match["name"] + MASK, argument)
    return _SHAPES.sub(MASK, _URL_LOGIN.sub(MASK, argument))


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


def _git() -> dict[str, Any]:
    """Commit and dirty flag of the package's source, None both if git does not keep that source."""
    unknown = {"commit": None, "dirty": None}
    # Installed into an environment that lies inside somebody's repository, we are not of that repository's commit.
    if _run_git("ls-files", "--error-unmatch", "--", Path(__file__).name) is None:
        return unknown
    commit = _run_git("rev-parse", "HEAD")
    status = _run_git("status", "--porcelain", "--", ".")
    if commit is None or status is None:
        return unknown
    return {"commit": commit, "dirty": status != ""}


def _run_git(*arguments: str) -> str | None:
    """What a git command prints in the package's folder, None if it fails for whatever reason."""
    # Inside a git hook GIT_DIR and its kin point elsewhere. Optional locks would disturb the user's own git commands.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=Path(__file__).parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _device_name(device: str | None) -> str | None:
    """The name of the device, None if torch is not loaded: it is never loaded for this."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if device in (None, "cuda") and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return device or "cpu"
