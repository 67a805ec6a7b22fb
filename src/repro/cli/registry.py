"""Every command: its lines of `repro --help` and the module that holds it. Dispatch and completion read this table."""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast


class CommandModule(Protocol):
    """A module of `repro.cli.commands`. Its docstring is the description in `repro NAME --help`."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments; imports nothing heavy."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; the exit code."""


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: as typed.
        usage: (arguments, summary) of each line in `repro --help`; none: the command is called by other programs.
        module: below `repro.cli.commands`, if its name differs.
        intermixed: options may stand between positional arguments.
        raw: the words are not parsed here, `options.overrides` holds them.
    """

    name: str
    usage: tuple[tuple[str, str], ...]
    module: str = ""
    intermixed: bool = False
    raw: bool = False

    def load(self) -> CommandModule:
        """Import the command's module."""
        name = self.module or self.name.replace("-", "_")
        return cast(CommandModule, importlib.import_module(f"repro.cli.commands.{name}"))

    def parser(self) -> argparse.ArgumentParser:
        """The command's argument parser."""
        module = self.load()
        parser = argparse.ArgumentParser(
            prog=f"repro {self.name}", description=inspect.getdoc(module), epilog="Also: " + GLOBAL_OPTIONS
        )
        module.arguments(parser)
        return parser

    def call(self, arguments: Sequence[str]) -> int:
        """Parse the arguments and run the command; the exit code."""
        if self.raw:
            return self.load().run(argparse.Namespace(overrides=list(arguments)))
        parser = self.parser()
        parse = parser.parse_intermixed_args if self.intermixed else parser.parse_args
        return self.load().run(parse(list(arguments)))


GLOBAL_OPTIONS = (
    "--config-dir DIR (configs of your own beside conf/), --plugin MODULE_OR_FILE.py (code of your own; repeatable)."
)


def _command(name: str, *usage: str, module: str = "", intermixed: bool = False, raw: bool = False) -> Command:
    """A command; `usage` has arguments and summary in turn."""
    return Command(name, tuple(zip(usage[::2], usage[1::2], strict=True)), module, intermixed, raw)


RUN = _command(
    *("run", "GROUP=NAME KEY=VALUE ...", "train and score one trial, or return it from the store"),
    *("-m GROUP=A,B seed=1,2,3", "a sweep (Hydra multirun); experiment=NAME -m runs a file of conf/experiment"),
    *("--cfg job", "print the config; --help lists groups and keys"),
    *("--config-dir DIR task=NAME", "a task of your own in DIR/task/NAME.yaml (docs/own-data.md)"),
    raw=True,
)
COMMANDS = (
    RUN,
    _command("plan", "PAPER | EXHIBIT", "what that would run: trials, memory, hours, what is missing", intermixed=True),
    _command(
        *("sweep", "PAPER | EXHIBIT", "run what is missing of it (--exhibits figure1,table2 --models small,base;"),
        *("", "--joint auto: trials over one model train jointly)"),
        *("--launcher slurm EXHIBIT", "submit it to Slurm and return (docs/slurm.md); --resume: what was lost"),
        intermixed=True,
    ),
    _command("status", "[experiment=NAME]", "what is queued, running, done, failed; loss, step, time left"),
    _command("watch", "[experiment=NAME | RUNS]", "the same as a live view, with loss curves (--once: one frame)"),
    _command("run-chunk"),
    _command(
        "report",
        "[--results DIR] [--track T]",
        "REPORT.md, index.html, tables and figures of our results and the papers'",
    ),
    _command(
        "mini", "[--short] [--results DIR]", "the papers in miniature: run, report, claims, comparison, in minutes"
    ),
    _command(
        "check",
        "PAPER | mini [--results DIR]",
        "a paper's claims, on its own numbers and on ours; or those in miniature",
    ),
    _command("versus", "A B", "do two groups of runs differ: seeds, the test set, and both"),
    _command(
        "paper", "PAPER [--exhibit figure1]", "a table or figure as the paper prints it; without --exhibit, their list"
    ),
    _command("methods", "[--write FILE]", "every method: equation, source, switches, parameter counts"),
    _command("metrics", "[NAME | --score KEY]", "every metric, or all about one; a stored trial's missing values"),
    _command("params", "[--paper P] | OVERRIDES", "parameters trained and stored, beside the papers' counts"),
    _command("tasks", "[NAME]", "every task, or all about one: papers, formats, splits, metrics, licence, traps"),
    _command("doctor", "[--require task=NAME ...]", "what is ready, what is missing, and the command that mends it"),
    _command("predict", "--prompt KEY --inputs FILE", "answer inputs with trained prompts, several tasks in a batch"),
    _command("ensemble", "KEY KEY ...", "let several prompts of one cell vote"),
    _command("neighbours", "KEY", "the words nearest to a trained prompt"),
    _command(
        *("export", "KEY --format F --out DIR"),
        "a trained prompt as safetensors or for peft, a tuned model for transformers",
    ),
    _command(
        *("import", "FILE --out FILE", "a numpy or peft prompt as a file for method.start_from"), module="import_prompt"
    ),
    _command(
        *("store", "verify", "find damage in records and runs, with the fix for each"),
        *("merge FOLDER ...", "the records of other machines' results folders into ours"),
    ),
    _command("completion", "bash | zsh", 'shell completion: eval "$(repro completion bash)"'),
)

_BY_NAME = {command.name: command for command in COMMANDS}


def find(name: str) -> Command | None:
    """The command of this name."""
    return _BY_NAME.get(name)


def usage() -> str:
    """The text of `repro --help`."""
    lines = [
        (f"repro {command.name} {arguments}" if arguments else "", summary)
        for command in COMMANDS
        for arguments, summary in command.usage
    ]
    return _USAGE.format(commands="\n".join(f"  {call:40} {summary}" for call, summary in lines), own=GLOBAL_OPTIONS)


_USAGE = """\
repro: do published results on soft prompts hold?

{commands}

Every command takes {own}
`python -m repro ARGS` without a command is `repro run ARGS`.
Exit codes: 0 done, 1 `check`: a claim fails on our runs, `store`: damage or a conflict, 2 bad input or a failed trial
(a sentence says what to do), 130 interrupted after a checkpoint."""
