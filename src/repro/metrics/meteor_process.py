"""The METEOR 1.5 program as a process that stays up: one line in, one line out."""

from __future__ import annotations

import atexit
import select
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from typing import IO

from repro.errors import MetricUnavailable
from repro.metrics import java

STATISTICS = 23
"""Numbers of a statistics line: lengths [2], function words [2], for each of the matchers exact, stem, synonym and
paraphrase the matched content and function words of output and reference [4 x 4], chunks, matched words [2]."""

_OPTIONS = ("-", "-", "-stdio", "-l", "en", "-norm")
_PATIENCE = 300.0
"""Seconds after which a process that does not answer is given up (the first answer takes some, for the tables)."""


class MeteorProcess:
    """METEOR with `-l en -norm -stdio`. It starts at the first line, and once more if it dies.

    Args:
        command: the program and its arguments; None: Java with the jar of pycocoevalcap.
        patience: seconds to wait for an answer.
    """

    def __init__(self, command: Sequence[str] | None = None, patience: float = _PATIENCE) -> None:
        self._command, self._patience = command, patience
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self.starts = 0
        """How often the program was started."""

    def statistics(self, output: str, references: Sequence[str]) -> list[float]:
        """The numbers [23] of the reference that scores best.

        Raises:
            MetricUnavailable: Java or a file is missing, or the program died or hung twice on this line.
        """
        fields = [_field(text) for text in (*references, output)]
        return self._numbers(" ||| ".join(["SCORE", *fields]), STATISTICS)

    def value(self, rows: Sequence[Sequence[float]]) -> float:
        """The program's own score, from 0 to 1, of statistics of several examples together (its EVAL).

        Raises:
            MetricUnavailable: as above.
        """
        lines = [" ".join(f"{number:.1f}" for number in row) for row in rows]
        self._ask(" ||| ".join(["EVAL", *lines]))
        for _ in lines[1:]:
            self._answer()  # one score an example comes before that of all
        return float(self._answer())

    def close(self) -> None:
        """End the program."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def _numbers(self, line: str, count: int) -> list[float]:
        answer = self._ask(line)
        try:
            numbers = [float(piece) for piece in answer.split()]
        except ValueError:
            numbers = []
        if len(numbers) != count:
            self.close()  # what comes next may belong to this line
            raise MetricUnavailable(f"METEOR answered {answer[:200]!r} to the line {line[:200]!r}.")
        return numbers

    def _ask(self, line: str) -> str:
        """The answer to a line; a program that dies is started once more."""
        try:
            return self._exchange(line)
        except (OSError, EOFError) as first:
            said = self._last_words(first)
        try:
            return self._exchange(line)
        except (OSError, EOFError) as second:
            raise MetricUnavailable(
                f"METEOR ended twice at one line. First: {said} Then: {self._last_words(second)}"
            ) from second

    def _exchange(self, line: str) -> str:
        process = self._process or self._start()
        assert process.stdin is not None
        process.stdin.write(line.encode("utf-8", "replace") + b"\n")
        process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self._process is not None and self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], self._patience)
        if not ready:
            raise OSError(f"no answer within {self._patience:g} seconds.")
        answer = self._process.stdout.readline()
        if not answer.endswith(b"\n"):
            raise EOFError("the program ended.")
        return answer.decode("utf-8", "replace").strip()

    def _start(self) -> subprocess.Popen[bytes]:
        command = self._command
        if command is None:
            if why := java.missing(java.METEOR_JAR, java.PARAPHRASES):
                raise MetricUnavailable(f"{why}.")
            command = [*java.command(java.METEOR_JAR, "-Xmx2G"), "Meteor", *_OPTIONS]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        # Without a buffer of Python's own, select sees everything that has not been read yet.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, bufsize=0
        )
        self.starts += 1
        return self._process

    def _last_words(self, error: Exception) -> str:
        """What the program left, as a sentence; it is ended."""
        code = None if self._process is None else self._process.poll()
        left = ""
        if self._log is not None:
            self._log.seek(0)
            left = self._log.read()[-300:].decode("utf-8", "replace").strip()
        self.close()
        return f"{error} (exit code {code}) {left}".strip()


def _field(text: str) -> str:
    """A text without line ends and without the separator of fields (e2e-metrics takes `|||` out as well)."""
    return java.one_line(text).replace("|||", "").replace("  ", " ")


@cache
def shared() -> MeteorProcess:
    """The one METEOR of this process; it ends with it."""
    process = MeteorProcess()
    atexit.register(process.close)
    return process
