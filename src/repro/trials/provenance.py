"""Where a result comes from: code, packages, machine kind, command. Nothing that names a person or a machine.

Records are published. So no environment variables, no host or user name, no home folders, and secrets on the command
line are redacted.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import repro
from repro.errors import redacted_command as redacted_command

if TYPE_CHECKING:
    from repro.store.record import GitFacts, Provenance

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


def provenance(command: list[str], device: str | None = None) -> Provenance:
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
        command: see `repro.errors.redacted_command`.
    """
    return {
        "git": _git(),
        "packages": {name: _version(name) for name in PACKAGES} | {"repro": repro.__version__},
        "python": platform.python_version(),
        # The full release string may hold an administrator's own words, so only its number.
        "platform": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "device": _device_name(device),
        "command": redacted_command(command),
    }


def _git() -> GitFacts:
    """Commit and dirty flag of the package's source, None both if git does not keep that source."""
    unknown: GitFacts = {"commit": None, "dirty": None}
    # Installed into an environment that lies inside somebody's repository, we are not of that repository's commit.
    if _run_git("ls-files", "--error-unmatch", "--", __file__) is None:
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
            cwd=Path(repro.__file__).parent,
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
