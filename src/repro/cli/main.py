"""The command line: `repro run | report | paper ...`. Arguments of `run` are Hydra's overrides and flags."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from repro.errors import Interrupted, ReproError
from repro.trials.processes import present, refuse_beside_a_trial, tell

USAGE = """\
repro: do published results on soft prompts hold?

  repro run GROUP=NAME KEY=VALUE ...       train and score one trial, or return it from the store
  repro run -m GROUP=A,B seed=1,2,3        a sweep (Hydra multirun); experiment=NAME -m runs a file of conf/experiment
  repro run --cfg job                      print the config; --help lists groups and keys
  repro run --config-dir DIR task=NAME     a task of your own in DIR/task/NAME.yaml (docs/own-data.md)
  repro plan PAPER | EXHIBIT               what that would run: trials, memory, hours, what is missing
  repro sweep PAPER | EXHIBIT              run what is missing of it (--exhibits figure1,table2 --models small,base;
                                           --joint auto: trials over one model train together)
  repro sweep --launcher slurm EXHIBIT     submit it to Slurm and return (docs/slurm.md); --resume: what was lost
  repro status [experiment=NAME]           what is queued, running, done, failed; loss, step, time left
  repro watch [experiment=NAME | RUNS]     the same as a live view, with loss curves (--once: one frame)
  repro report [--results DIR] [--track T] REPORT.md, index.html, tables and figures of our results and the papers'
  repro mini [--short] [--results DIR]     the papers in miniature: run, report, claims, comparison, in minutes
  repro check PAPER | mini [--results DIR] a paper's claims, on its own numbers and on ours; or those in miniature
  repro versus A B                         do two groups of runs differ: seeds, the test set, and both
  repro paper PAPER [--exhibit figure1]    a table or figure as the paper prints it; without --exhibit, their list
  repro methods [--write FILE]             every method: equation, source, switches, parameter counts
  repro metrics [--write FILE | --score KEY]  every metric and what it equals; a stored trial's missing values
  repro params [--paper P] | OVERRIDES     parameters trained and stored, beside the papers' counts
  repro tasks [--write FILE]               every task: papers, formats, templates, splits, metrics, licence, traps
  repro doctor [--require task=NAME ...]   what is ready, what is missing, and the command that mends it
  repro predict --prompt KEY --inputs FILE answer inputs with trained prompts, several tasks in one batch
  repro ensemble KEY KEY ...               let several prompts of one cell vote
  repro neighbours KEY                     the words nearest to a trained prompt
  repro export KEY --format F --out DIR    a trained prompt as safetensors or for peft, a tuned model for transformers
  repro store verify                       find damage in records and runs, with the fix for each
  repro store merge FOLDER ...             the records of other machines' results folders into ours
  repro import FILE --out FILE             a numpy or peft prompt as a file for method.start_from

`python -m repro ARGS` without a command is `repro run ARGS`.
Exit codes: 0 done, 1 `check`: a claim fails on our runs, `store`: damage or a conflict, 2 bad input or a failed trial
(a sentence says what to do), 130 interrupted after a checkpoint.
"""


def run(arguments: Sequence[str]) -> int:
    """Hydra's application; its errors come out as ours."""
    refuse_beside_a_trial("run", arguments)
    import hydra
    from omegaconf import DictConfig

    from repro.config import compose

    compose.register()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing half a traceback and exiting with 1
    conf = str(compose.conf_dir())
    failed: list[ReproError] = []
    stopped: list[Interrupted] = []

    @hydra.main(version_base="1.3", config_path=conf, config_name="config")
    def job(config: DictConfig) -> None:
        try:
            _job(config)
        except Interrupted as error:  # Hydra would note an Exception and go on to the sweep's next trial
            stopped.append(error)
            raise KeyboardInterrupt from error
        except ReproError as error:  # the other trials of a sweep still run
            failed.append(error)
            tell(error)

    before = sys.argv
    sys.argv = ["repro", *arguments]
    try:
        job()
    except Exception as error:
        known = compose.explain(error)
        if known is None:
            raise
        raise known from error
    except KeyboardInterrupt:
        if stopped:
            raise stopped[0] from None
        raise
    finally:
        sys.argv = before
    return max((error.exit_code for error in failed), default=0)


def _redact_sweep_file(hydra_config: Any) -> None:
    """Hydra writes the whole command of a multirun into the runs folder: its secrets are masked."""
    from pathlib import Path

    from repro.errors import redacted_text
    from repro.store.files import write_atomic

    path = Path(hydra_config.sweep.dir) / "multirun.yaml"
    if path.is_file() and (text := path.read_text()) != (masked := redacted_text(text)):
        write_atomic(path, masked)


def _job(config: Any) -> None:
    """One trial of an invocation: run it and print its scores beside the papers'."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from repro.config.compose import asked
    from repro.errors import RedactedLog
    from repro.sweeps.executors import joint

    for handler in logging.getLogger().handlers:  # Hydra has just set them up
        handler.addFilter(RedactedLog())
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        _redact_sweep_file(HydraConfig.get())
    result = joint.answered(joint.Job(*asked(config, HydraConfig.get())))
    if present().first:
        joint.say(result)


def report(arguments: Sequence[str]) -> int:
    """Write REPORT.md, index.html, tables and figures from the store, and print a summary."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="repro report", description=report.__doc__)
    parser.add_argument(
        "--results",
        default=os.environ.get("REPRO_RESULTS_ROOT", "results"),
        help="folder with records/ (default: results)",
    )
    parser.add_argument("--out", default=None, help="where to write (default: the results folder)")
    parser.add_argument("--track", choices=("wandb", "tensorboard"), help="hand its tables and figures to a tracker")
    for name, default in (("project", "repro"), ("group", None), ("mode", "offline")):
        parser.add_argument(f"--{name}", default=default, help=f"tracker.{name} (default: {default})")
    options = parser.parse_args(arguments)
    from repro.errors import StoreError
    from repro.report.pages.terminal import print_summary
    from repro.report.pages.write import write_report
    from repro.store.store import Store

    root = Path(options.results) / "records"
    if not Store(root).has_records():
        raise StoreError(
            f"{root}: no records there. Run a trial first (repro run ...), or name the folder with --results."
        )
    out = Path(options.out or options.results)
    written = write_report(root, out)
    print_summary(written.contents, out)
    if options.track is not None:
        from repro.config.schema import TrackerConfig
        from repro.tracking.reports import track_report

        settings = TrackerConfig(options.track, options.project, options.group, mode=options.mode)
        runs = Path(os.environ.get("REPRO_RUNS_ROOT", "runs"))
        print(f"tracked in {track_report(settings, out, written.paths, runs)}")
    return 0


def _page(name: str) -> Callable[[Sequence[str]], int]:
    """A command that prints a page of docs, or writes it."""

    def command(arguments: Sequence[str]) -> int:
        import argparse
        import importlib
        from pathlib import Path

        parser = argparse.ArgumentParser(prog=f"repro {name}", description=f"Print the page of {name}, or write it.")
        parser.add_argument("--write", type=Path, default=None, help=f"file (docs/{name}.md)")
        options = parser.parse_args(arguments)
        text = importlib.import_module(f"repro.cli.{name}_page").page()
        if options.write is None:
            print(text, end="")
        else:
            options.write.write_text(text, encoding="utf-8")
            print(f"wrote {options.write}")
        return 0

    return command


def metrics(arguments: Sequence[str]) -> int:
    """Print the page of metrics, or write it; or compute the values that a stored trial lacks."""
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="repro metrics", description=metrics.__doc__)
    parser.add_argument("--write", type=Path, default=None, help="file (docs/metrics.md)")
    parser.add_argument("--score", metavar="KEY", default=None, help="a trial whose predictions are in the runs folder")
    parser.add_argument("--metric", action="append", default=[], metavar="CLASS", help="one more metric for --score")
    for name in ("results", "runs"):
        default = Path(os.environ.get(f"REPRO_{name.upper()}_ROOT", name))
        parser.add_argument(f"--{name}", type=Path, default=default, help=f"folder (default: {name})")
    options = parser.parse_args(arguments)
    if options.score is not None:
        from repro.evaluation.rescoring import rescore

        lines = rescore(options.score, options.results, options.runs, options.metric)
        print("\n".join(lines or ["nothing is missing"]))
        return 0
    from repro.cli.metrics_page import page

    if options.write is None:
        print(page(), end="")
    else:
        options.write.write_text(page(), encoding="utf-8")
        print(f"wrote {options.write}")
    return 0


def params(arguments: Sequence[str]) -> int:
    """What methods train and store, beside the papers' numbers."""
    from repro.trials.parameter_counts import main as count

    return count(arguments)


def doctor(arguments: Sequence[str]) -> int:
    """What is ready, what is missing, and what mends it."""
    from repro.doctor.command import main as look

    return look(arguments)


def _of_prompts(name: str) -> Callable[[Sequence[str]], int]:
    """A command of `repro.inference`, imported when it is called."""

    def command(arguments: Sequence[str]) -> int:
        from repro.inference import commands

        return int(getattr(commands, name)(arguments))

    return command


def paper(arguments: Sequence[str]) -> int:
    """A paper's tables and figures as printed."""
    from repro.papers.commands import paper as show

    return show(arguments)


def check(arguments: Sequence[str]) -> int:
    """A paper's claims on its own numbers and on ours."""
    from repro.report.claims.check import check as run_check

    return run_check(arguments)


def versus(arguments: Sequence[str]) -> int:
    """Two groups of runs against each other."""
    from repro.report.compare.versus import versus as compare_groups

    return compare_groups(arguments)


def store(arguments: Sequence[str]) -> int:
    """Damage in the store, and the records of several machines in one."""
    from repro.store.commands import store as of_store

    return of_store(arguments)


def plan(arguments: Sequence[str]) -> int:
    """What an exhibit or a paper would run, before anything runs."""
    from repro.sweeps.plan import main as make

    return make(arguments)


def mini(arguments: Sequence[str]) -> int:
    """The papers in miniature."""
    from repro.sweeps.miniature.command import main as run_all

    return run_all(arguments)


def sweep(arguments: Sequence[str]) -> int:
    """Run what is missing of a paper's exhibits."""
    from repro.sweeps.sweep import main as run_all

    return run_all(arguments)


def status(arguments: Sequence[str]) -> int:
    """How trials are doing: queued, running, done, failed."""
    from repro.sweeps.status import main as show

    return show(arguments)


def watch(arguments: Sequence[str]) -> int:
    """A live view of trials."""
    from repro.sweeps.watch import main as show

    return show(arguments)


def run_chunk(arguments: Sequence[str]) -> int:
    """The trials of one job, inside that job."""
    from repro.sweeps.executors.slurm.worker import main as run_all

    return run_all(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": run,
    "plan": plan,
    "sweep": sweep,
    "status": status,
    "watch": watch,
    "run-chunk": run_chunk,
    "mini": mini,
    "report": report,
    **{name: _page(name) for name in ("methods", "tasks")},
    "metrics": metrics,
    "params": params,
    "paper": paper,
    "check": check,
    "versus": versus,
    "doctor": doctor,
    "store": store,
    **{name: _of_prompts(name) for name in ("predict", "ensemble", "neighbours", "export")},
    "import": _of_prompts("import_prompt"),
}


def _redacted_traceback(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What Python prints of an error that nobody expected, its secrets masked."""
    import traceback

    from repro.errors import redacted_text

    print(redacted_text("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)


def main(arguments: Sequence[str] | None = None) -> int:
    """Dispatch; print one clear message for what a person can mend."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:  # a process of its own
        sys.excepthook = _redacted_traceback
    if not given or given[0] in ("--help", "-h", "help"):
        print(USAGE)
        return 0
    if given[0] == "--version":
        from repro import __version__

        print(__version__)
        return 0
    command = COMMANDS.get(given[0])
    try:
        if command is not None:
            refuse_beside_a_trial(given[0], given[1:])
            return command(given[1:])
        if "=" not in given[0] and not given[0].startswith("-"):
            raise ReproError(
                f"{given[0]}: there is no such command; allowed are {', '.join(COMMANDS)}. See `repro --help`."
            )
        return run(given)
    except ReproError as error:
        tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("repro: interrupted", file=sys.stderr)
        return 130
