"""The command line: `repro COMMAND ...`. Arguments of `repro run` are Hydra's overrides and flags."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from types import TracebackType

from repro.cli import registry
from repro.cli.outside import from_outside
from repro.errors import ReproError, redacted_text
from repro.trials.processes import present, refuse_beside_a_trial, tell


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. What a person can mend is printed as one clear message."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character that the terminal cannot show, as in a file's name
            stream.reconfigure(errors="backslashreplace")
    if arguments is None:  # a process of its own
        sys.excepthook = _redacted_traceback
        _end_as_by_ctrl_c()
    try:
        _working_folder()
        with from_outside(words) as own:
            code = _dispatch(own)
        sys.stdout.flush()
        return code
    except ReproError as error:
        tell(error)
        return error.exit_code
    except SystemExit as ended:  # argparse, whose message is printed
        return ended.code if isinstance(ended.code, int) else 1
    except BrokenPipeError:  # whoever read our output has seen enough; Python would complain again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print("repro: interrupted", file=sys.stderr)
        return 130


def _working_folder() -> None:
    """Raises ReproError: it was deleted."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise ReproError("the working folder was deleted. Change to one that exists (cd ~).") from None


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        print(registry.usage())
        return 0
    if words[0] == "--version":
        from repro import __version__

        print(__version__)
        return 0
    command = registry.find(words[0])
    if command is not None:
        refuse_beside_a_trial(command.name, words[1:])
        return command.call(words[1:])
    if "=" not in words[0] and not words[0].startswith("-"):
        allowed = ", ".join(command.name for command in registry.COMMANDS)
        raise ReproError(f"{words[0]}: there is no such command; allowed are {allowed}. See `repro --help`.")
    refuse_beside_a_trial("run", words)
    return registry.RUN.call(words)


def _end_as_by_ctrl_c() -> None:
    """Let `kill` and a closed terminal end a command as Ctrl-C does, so that it gives its locks back.

    Not where several processes share a trial: there SIGTERM is how their launcher ends those that wait.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if present().count == 1 and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _redacted_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python prints of an unexpected error, without secrets."""
    import traceback

    print(redacted_text("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)
