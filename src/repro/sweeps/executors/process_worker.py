"""`python -m repro.sweeps.executors.process_worker`: trials come as lines of JSON, progress goes out as lines of JSON.

One process runs many trials, so that torch and transformers are loaded once. In: a `TrialSpec`, one a line; the end of
the input ends the process. Out: `{"step": 3, "of": 100}` a few times a second, then `{"done": "done", "said": ...}`,
`{"failed": "why"}` or `{"stopped": "..."}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import Any, TextIO

from repro.config import plugins
from repro.errors import Interrupted, ReproError

BETWEEN = 0.25
"""Seconds between two lines about steps."""


def _stop(number: int, frame: FrameType | None) -> None:
    """Outside of training; while a trial trains, its console takes the signal and writes a checkpoint first."""
    raise KeyboardInterrupt


def one_trial(job: Mapping[str, Any], out: TextIO) -> bool:
    """Run a trial; whether the process is to go on."""
    from repro.trials.run import run
    from repro.trials.spec import TrialSpec

    said = 0.0

    def on_step(step: int, of: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= BETWEEN or step == of:
            said = now
            _say(out, step=step, of=of)

    try:
        outcome = run(TrialSpec.from_dict(job), on_step)
    except (Interrupted, KeyboardInterrupt) as error:
        _say(out, stopped=str(error))
        return False
    except ReproError as error:
        _say(out, failed=str(error))
        return True
    record = outcome.record
    assert record is not None  # trainer.if_running is `wait`
    metric = record.selection.get("metric")
    values = record.metrics.get(record.config["task"]["report_split"], {})
    score = values.get(str(metric), next(iter(values.values()), None))
    _say(out, done=record.status, said=None if score is None else f"{metric} {score:.1f}")
    return True


def _say(out: TextIO, **facts: Any) -> None:
    print(json.dumps(facts), file=out, flush=True)


def main() -> int:
    """Answer lines until they end."""
    plugins.load()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's goes to the parent, which tells us
    # What a library prints must not come between the lines: they go where standard output was, all else to the log.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        for line in sys.stdin:
            if not one_trial(json.loads(line), out):
                break
    except (KeyboardInterrupt, BrokenPipeError):  # asked to stop between two trials, or nobody listens any more
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
