"""What is ready, what is missing, and the command that mends it. Exit code 2: something required is not ready."""

from __future__ import annotations

import argparse
import json
import sys

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    shared.folders(parser, "data")
    parser.add_argument("names", nargs="*", metavar="task=NAME", help="only these tasks, models and metrics")
    parser.add_argument(
        "--require", nargs="+", default=[], metavar="task=NAME", help="exit with 2 unless these are ready"
    )
    parser.add_argument("--deep", action="store_true", help="read the data: rows and content hashes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--fingerprint", nargs="+", metavar="task=NAME", help="rows and hashes as conf/task has them")
    parser.add_argument(
        "--majority", nargs="*", metavar="task=NAME", help="scores of a constant answer; none named: all"
    )
    parser.add_argument(
        "--tokenise", nargs="+", metavar="task=NAME model=NAME", help="seconds of the first and of a later trial"
    )


def run(options: argparse.Namespace) -> int:
    from repro.doctor import look
    from repro.doctor.findings import shown

    root = str(options.data)
    if options.fingerprint is not None:
        print("\n".join(look.fingerprints(options.fingerprint, root)))
        return 0
    if options.majority is not None:
        print("\n".join(look.majorities(options.majority, root)))
        return 0
    if options.tokenise is not None:
        from repro.doctor.tokenising import seconds

        print(seconds(options.tokenise, root))
        return 0
    findings = look.findings([*options.names, *options.require], root, options.deep)
    if options.json:
        print(json.dumps([finding.plain() for finding in findings], indent=1))
    else:
        print(f"data root: {root}\n{shown(findings)}")
        if not options.deep and any(finding.kind == "task" and finding.ready for finding in findings):
            print("Of data only the names were looked at; --deep reads the files and counts their rows.")
    lacking = look.lacking(findings, options.require)
    for finding in lacking:
        print(
            f"repro: {finding.kind}={finding.name} is not ready: {finding.state} ({finding.detail}). {finding.fix}",
            file=sys.stderr,
        )
    return 2 if lacking else 0
