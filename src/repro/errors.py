"""The one kind of error that a person at the terminal is meant to read.

Every message is one sentence, or a few, that say what was wrong, the value, what is allowed, and the fix. The command
line prints it without a traceback and exits with `exit_code`. What is said of values may hold a secret (a URL with a
login, a token that a server refused): the message is masked, wherever it goes.
"""

from repro.masking import masked_text


class ReproError(Exception):
    """Bad input or a failed trial, said so that the reader can mend it. Exit code 2."""

    exit_code = 2
    here_only = False
    """Of several processes that share a trial, this one alone knows it: it must be the one that says it."""

    def __str__(self) -> str:
        return masked_text(super().__str__())


class ConfigError(ReproError):
    """A config that cannot run: found before any data or model is loaded."""


class DataError(ReproError):
    """A data file that is missing or malformed; names the file and, where there is one, the line (1-based)."""


class ModelError(ReproError):
    """Weights that cannot be had, or that are not what the config says they are."""


class MetricUnavailable(ReproError):
    """A metric that this machine cannot compute: what is missing, and what mends it. Never turned into a number."""


class TrialFailed(ReproError):
    """A trial that started and could not finish (a NaN loss, say). Its record says why."""


class StoreError(ReproError):
    """A result store that cannot be read or written (full disk, no permission, damaged record)."""


class ToldElsewhere(ReproError):
    """Another process of this trial failed and has said why; nothing is printed here."""


class Interrupted(ReproError):
    """Ctrl-C or a termination signal: the trial was checkpointed and the same command continues it."""

    exit_code = 130
