"""Answer a file of inputs with trained prompts, several tasks in one batch."""

from __future__ import annotations

import argparse
from pathlib import Path

from repro.cli import options as shared


def arguments(parser: argparse.ArgumentParser) -> None:
    """Prompts and inputs."""
    shared.results(parser)
    shared.runs(parser)
    shared.device(parser)
    parser.add_argument("--prompt", action="append", default=[], help="run key or folder; once for each task")
    parser.add_argument("--inputs", type=Path, required=True, help='json lines: {"task": "rte", "premise": ...}')
    parser.add_argument("--out", type=Path, default=None, help="json lines (default: print them)")
    parser.add_argument("--batch-size", type=int, default=32)


def run(options: argparse.Namespace) -> int:
    """Print or write the predictions."""
    from repro.inference import predict
    from repro.inference.restore import find
    from repro.trials.device import pick_device

    trials = [find(name, options.results, options.runs) for name in options.prompt]
    answers = predict.predict(trials, options.inputs, options.batch_size, pick_device(options.device))
    print(predict.write(answers, options.out))
    return 0
