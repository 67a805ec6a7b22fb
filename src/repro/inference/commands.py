"""Arguments of `repro predict`, `ensemble` and `neighbours`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def _parser(name: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"repro {name}", description=about)
    environment = os.environ
    parser.add_argument("--results", type=Path, default=Path(environment.get("REPRO_RESULTS_ROOT", "results")))
    parser.add_argument("--runs", type=Path, default=Path(environment.get("REPRO_RUNS_ROOT", "runs")))
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    return parser


def _device(name: str) -> Any:
    from repro.trials.run import pick_device

    return pick_device(name)


def predict(arguments: Sequence[str]) -> int:
    """Answer a file of inputs with trained prompts, several tasks in one batch."""
    parser = _parser("predict", predict.__doc__ or "")
    parser.add_argument("--prompt", action="append", default=[], help="run key or folder; once for each task")
    parser.add_argument("--inputs", type=Path, required=True, help='json lines: {"task": "rte", "premise": ...}')
    parser.add_argument("--out", type=Path, default=None, help="json lines (default: print them)")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args(arguments)
    from repro.inference import predict as predicting
    from repro.inference.restore import find

    trials = [find(name, options.results, options.runs) for name in options.prompt]
    answers = predicting.predict(trials, options.inputs, options.batch_size, _device(options.device))
    print(predicting.write(answers, options.out))
    return 0


def ensemble(arguments: Sequence[str]) -> int:
    """Let several prompts of one cell vote; the vote becomes a record of its own."""
    parser = _parser("ensemble", ensemble.__doc__ or "")
    parser.add_argument("members", nargs="+", help="run keys, in the order that breaks ties")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("REPRO_DATA_ROOT", "data")))
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args(arguments)
    from repro.inference import ensemble as ensembling
    from repro.inference.restore import find
    from repro.store.store import Store

    trials = [find(name, options.results, options.runs) for name in options.members]
    command = ["repro", "ensemble", *(trial.record.key for trial in trials)]
    record = ensembling.ensemble(trials, options.data, options.batch_size, _device(options.device), command)
    Store(options.results / "records").put(record)
    print(ensembling.shown(record))
    return 0


def neighbours(arguments: Sequence[str]) -> int:
    """Print the words nearest to each row of a trained prompt."""
    parser = _parser("neighbours", neighbours.__doc__ or "")
    parser.add_argument("trial", help="run key or folder")
    parser.add_argument("--top", type=int, default=5)
    options = parser.parse_args(arguments)
    from repro.inference.neighbours import neighbours as look
    from repro.inference.restore import find

    print(look(find(options.trial, options.results, options.runs), options.top, _device(options.device)).table())
    return 0


def export(arguments: Sequence[str]) -> int:
    """Write a trained prompt (or a tuned model) for other programs."""
    parser = _parser("export", export.__doc__ or "")
    parser.add_argument("trial", help="run key or folder")
    parser.add_argument("--format", default="safetensors", help="safetensors, peft or transformers")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args(arguments)
    from repro.inference.export import export as write
    from repro.inference.restore import find

    trial = find(options.trial, options.results, options.runs)
    for path in write(trial, options.format, options.out, _device(options.device)):
        print(f"wrote {path}")
    return 0


def import_prompt(arguments: Sequence[str]) -> int:
    """Turn a numpy prompt or a peft checkpoint into a file for method.start_from."""
    parser = argparse.ArgumentParser(prog="repro import", description=import_prompt.__doc__)
    parser.add_argument("source", type=Path, help="a .npy file, or a peft checkpoint's folder")
    parser.add_argument("--method", default="prompt_tuning", help="prompt_tuning, prefix_tuning or p_tuning_v2")
    parser.add_argument("--site", choices=("decoder", "encoder"), default="decoder", help="of a prefix")
    parser.add_argument("--out", type=Path, required=True, help="a new .safetensors file")
    options = parser.parse_args(arguments)
    from repro.inference.import_prompt import import_prompt as take

    for name, shape in take(options.source, options.method, options.out, options.site).items():
        print(f"wrote {name} {list(shape)} to {options.out}: use it with method.start_from={options.out}")
    return 0
