"""Which trials the miniature has, which of them are still to run, and about how long each will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.config.schema import TrialConfig
from repro.report.claims.miniature import EXPERIMENTS
from repro.store.record import Record
from repro.store.store import Store
from repro.sweeps import estimates, experiments
from repro.sweeps.expand import Planned
from repro.trials.spec import TrialSpec

SHORT = f"{EXPERIMENTS}/short"
"""The experiment of `repro mini --short`: trials of the others, one seed, one task of each family."""
WHOLE = f"{EXPERIMENTS}/scale"
"""Its settings are shared by the ablations."""
_RATE = 2e10
"""Assumed operations a second of one core on small matrices, where no record says how long a trial takes."""
_AROUND = 1.5
"""Seconds to load, score and store a trial, roughly."""
_UNKNOWN = 8.0
"""Seconds of a trial of unknown length."""


_UNNAMED = ("paths.", "trainer.threads", "trainer.device", "trainer.checkpoint_seconds", "trainer.epochs")
"""Overrides that are not part of a trial's name in the display."""


@dataclass(frozen=True)
class Job:
    """A trial that is to run."""

    spec: TrialSpec
    name: str
    """`prompt_tuning mini-t5-s mini_rte seed 1 (length 8)`"""
    seconds: float
    """How long it is expected to take on the machine of the reference, or by its shape."""


def chosen(short: bool) -> list[str]:
    """Names of the experiments. A trial of two of them stands in the tables of the first: the scale curve is whole."""
    if short:
        return [SHORT]
    return sorted((name for name in experiments.names(EXPERIMENTS) if name != SHORT), key=lambda name: name != WHOLE)


def planned(names: Sequence[str], given: Mapping[str, str]) -> list[Planned]:
    """Every trial of some experiments once, in their order.

    Raises:
        ConfigError: a trial that cannot run.
    """
    trials: dict[str, Planned] = {}
    for name in names:
        for trial in experiments.load(name).planned(given):
            trials.setdefault(trial.spec.key, trial)
    return list(trials.values())


def to_run(trials: Sequence[Planned], results: Path, reference: Path | None) -> list[Job]:
    """The trials without a record, the longest first: so the last ones of two workers end at about the same time.

    A trial that failed before is run again: whatever stopped it may be mended.
    """
    store = Store(results / "records")
    known = {} if reference is None else {r.key: r for r in Store(reference / "records").records(statistics=False)}
    jobs = []
    for trial in trials:
        record = store.get(trial.spec.key, statistics=False)
        if record is None or record.status == "failed":
            jobs.append(_job(trial, known.get(trial.spec.key)))
    return sorted(jobs, key=lambda job: -job.seconds)


def _job(trial: Planned, before: Record | None) -> Job:
    return Job(trial.spec.again(), _name(trial), _seconds(trial.spec.config, before))


def _name(trial: Planned) -> str:
    given = dict(word.partition("=")[::2] for word in trial.words)
    varied = {key: value for key, value in given.items() if "." in key and not key.startswith(_UNNAMED)}
    settings = ", ".join(f"{key.rpartition('.')[2].replace('_', ' ')} {value}" for key, value in varied.items())
    return trial.spec.name + (f" ({settings})" if settings else "")


def _seconds(config: TrialConfig, before: Record | None) -> float:
    if before is not None and "seconds" in before.cost:
        return max(float(before.cost["seconds"]), 0.1)
    flops = estimates.cost(config).flops
    return _UNKNOWN if flops is None else _AROUND + flops / _RATE
