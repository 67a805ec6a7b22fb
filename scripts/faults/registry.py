"""Every scenario: what it injects, and which promise it tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from scripts.faults import disks, inputs, kills, slurm, stores, sweeps, trackers
from scripts.faults.result import Result
from scripts.faults.trials import Place


@dataclass(frozen=True)
class Counts:
    """How often what happens by chance is done, and to which command."""

    kills: int = 20
    """Of each trial in each way."""
    sweep_kills: int = 20
    """Of a whole command."""
    mini_kills: int = 12
    """Of `repro mini --short`."""
    command: str = sweeps.SMALL

    @property
    def called(self) -> str:
        """The command in a few words."""
        return "a sweep of six trials" if self.command == sweeps.SMALL else self.command[:40]


@dataclass(frozen=True)
class Scenario:
    """Faults of one kind."""

    promise: str
    """What holds whatever is injected."""
    inject: Callable[[Place, Counts], Result | Iterable[Result]]


RESULTS = "no result is lost or altered"
CODE = "nothing that is read runs code"
HASHES = "what was changed is not used"
RESUME = "a trial goes on with its own data"
FILES = "one bad file is one bad file"
SECRETS = "secrets are written nowhere"
NAMES = "names are text"
SIGNALS = "a signal ends a command cleanly"
SENTENCES = "bad input gets a sentence"
WEIGHTS = "weights are the model's"

SCENARIOS: dict[str, Scenario] = {
    "changes": Scenario(RESULTS, lambda at, counts: kills.at_random_changes(at, counts.kills)),
    "moments": Scenario(RESULTS, lambda at, counts: kills.at_random_moments(at, counts.kills)),
    "checkpoints": Scenario(RESULTS, lambda at, counts: kills.damaged_checkpoints(at, max(3, counts.kills // 5))),
    "storm": Scenario(RESULTS, lambda at, counts: stores.storm(at)),
    "killed writers": Scenario(RESULTS, lambda at, counts: stores.storm(at, kills=24)),
    "half written": Scenario(RESULTS, lambda at, counts: stores.half_written(at)),
    "killed holders": Scenario(RESULTS, lambda at, counts: stores.killed_holders(at)),
    "dead locks": Scenario(RESULTS, lambda at, counts: stores.dead_locks(at)),
    "clock": Scenario(RESULTS, lambda at, counts: stores.clock_jumps(at)),
    "full disk": Scenario(RESULTS, lambda at, counts: disks.full_disk(at)),
    "full disk under the log": Scenario(RESULTS, lambda at, counts: disks.full_disk_under_the_log(at)),
    "quota": Scenario(RESULTS, lambda at, counts: disks.quota(at)),
    "read-only": Scenario(RESULTS, lambda at, counts: disks.read_only(at)),
    "dead tracker": Scenario(RESULTS, lambda at, counts: trackers.dead(at)),
    "slow tracker": Scenario(RESULTS, lambda at, counts: trackers.slow(at)),
    "slurm": Scenario(RESULTS, lambda at, counts: slurm.jobs(at)),
    "sweep": Scenario(
        RESULTS, lambda at, counts: sweeps.under_kills(at, counts.command, counts.called, counts.sweep_kills)
    ),
    "mini": Scenario(RESULTS, lambda at, counts: sweeps.miniature(at, "--short", counts.mini_kills)),
    "code": Scenario(CODE, lambda at, counts: inputs.code(at)),
    "damaged records": Scenario(HASHES, lambda at, counts: stores.damaged_records(at)),
    "hashes": Scenario(HASHES, lambda at, counts: inputs.hashes(at)),
    "other data": Scenario(RESUME, lambda at, counts: kills.other_data(at)),
    "broken files": Scenario(FILES, lambda at, counts: inputs.broken_files(at)),
    "secrets": Scenario(SECRETS, lambda at, counts: inputs.secrets(at)),
    "names": Scenario(NAMES, lambda at, counts: inputs.names(at)),
    "signals": Scenario(SIGNALS, lambda at, counts: kills.signals(at, counts.kills)),
    "orphans": Scenario(SIGNALS, lambda at, counts: sweeps.orphans(at)),
    "sentences": Scenario(SENTENCES, lambda at, counts: inputs.sentences(at)),
    "weights": Scenario(WEIGHTS, lambda at, counts: inputs.weights(at)),
}


def results(name: str, place: Place, counts: Counts) -> list[Result]:
    """Inject the faults of a scenario."""
    found = SCENARIOS[name].inject(place, counts)
    return [found] if isinstance(found, Result) else list(found)
