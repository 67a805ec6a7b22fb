"""`repro doctor`: what is ready, what is missing, and the command that mends it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence

from repro.config.compose import options as files_of
from repro.doctor.findings import Finding, shown
from repro.errors import ConfigError

KINDS = ("task", "model", "metric")


def main(arguments: Sequence[str]) -> int:
    """Print the findings. Returns 0, or 2 if something that was asked for is not ready.

    Raises:
        ConfigError: a name that does not exist.
    """
    options = _parser().parse_args(arguments)
    root = options.data or os.environ.get("REPRO_DATA_ROOT") or "data"
    special = {"fingerprint": options.fingerprint, "majority": options.majority, "tokenise": options.tokenise}
    for name, asked in special.items():
        if asked is not None:
            _special(name, asked, root)
            return 0
    asked = _named([*options.names, *options.require])
    findings = _findings(asked, root, options.deep)
    if options.json:
        print(json.dumps([one.plain() for one in findings], indent=1))
    else:
        print(f"data root: {root}\n{shown(findings)}")
        if not options.deep and any(one.kind == "task" and one.ready for one in findings):
            print("Of data only the names were looked at; --deep reads the files and counts their rows.")
    needed = _named(options.require)
    lacking = [one for one in findings if one.name in needed.get(one.kind, ()) and not one.ready]
    for one in lacking:
        print(f"repro: {one.kind}={one.name} is not ready: {one.state} ({one.detail}). {one.fix}", file=sys.stderr)
    return 2 if lacking else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="repro doctor", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="task=NAME", help="only these tasks, models and metrics")
    parser.add_argument(
        "--require", nargs="+", default=[], metavar="task=NAME", help="exit with 2 unless these are ready"
    )
    parser.add_argument("--deep", action="store_true", help="read the data: rows and content hashes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--data", default=None, help="the data root (default: $REPRO_DATA_ROOT, else data)")
    parser.add_argument("--fingerprint", nargs="+", metavar="task=NAME", help="rows and hashes as conf/task has them")
    parser.add_argument(
        "--majority", nargs="*", metavar="task=NAME", help="scores of a constant answer; none named: all"
    )
    parser.add_argument(
        "--tokenise", nargs="+", metavar="task=NAME model=NAME", help="seconds of the first and of a later trial"
    )
    return parser


def _named(words: Sequence[str]) -> dict[str, list[str]]:
    """{task, model or metric: names} of words `kind=name[,name]`.

    Raises:
        ConfigError: another kind, or no such name.
    """
    found: dict[str, list[str]] = {}
    for word in words:
        kind, _, names = word.partition("=")
        if kind not in KINDS or not names:
            raise ConfigError(f"{word}: say task=NAME, model=NAME or metric=NAME.")
        for name in names.split(","):
            if name not in _known(kind):
                raise ConfigError(f"{kind}={name}: there is none; allowed are {', '.join(sorted(_known(kind)))}.")
            found.setdefault(kind, []).append(name)
    return found


def _known(kind: str) -> list[str]:
    if kind != "metric":
        return files_of(kind)
    from repro.doctor.metrics import classes

    return [metric.name for metric in classes()]  # type: ignore[attr-defined]


def _findings(asked: dict[str, list[str]], root: str, deep: bool) -> list[Finding]:
    from repro.doctor.metrics import metrics
    from repro.doctor.models import models
    from repro.doctor.tasks import tasks

    found: list[Finding] = []
    if not asked or "task" in asked:
        found += tasks(root, deep, asked.get("task"))
    if not asked or "model" in asked:
        found += models(asked.get("model"))
    if not asked or "metric" in asked:
        found += metrics(asked.get("metric"))
    return found


def _special(name: str, words: Sequence[str], root: str) -> None:
    from repro.doctor import fingerprints

    if name == "tokenise":
        from repro.doctor.tokenising import seconds

        print(seconds(list(words), root))
        return
    if name == "majority" and not words:
        print("\n".join(fingerprints.every_majority(root)))
        return
    for task in _named(words).get("task", []):
        print("\n".join(getattr(fingerprints, name)(task, root)))
