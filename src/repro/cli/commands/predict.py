"""Answer a file of inputs with trained prompts, several tasks in one batch."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    shared.model(parser)
    parser.add_argument("--prompt", action="append", default=[], help="run key or folder; once for each task")
    parser.add_argument("--inputs", type=Path, required=True, help='json lines: {"task": "rte", "premise": ...}')
    parser.add_argument("--out", type=Path, default=None, help="json lines (default: print them)")
    parser.add_argument("--batch-size", type=shared.count, default=32)


def run(options: argparse.Namespace) -> int:
    from repro.inference import predict

    trials, device = shared.finished(options, options.prompt)
    print(predict.write(predict.predict(trials, options.inputs, options.batch_size, device), options.out))
    return 0
