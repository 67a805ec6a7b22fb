"""`python -m repro.sweeps.executors.process_worker PARENT`: runs the trials that come in as lines of JSON.

One process runs many trials, so that torch and transformers are loaded once. In: `TrialSpec.to_dict()`, one trial a
line; the end of the input ends the process. Out: `{"step": 3, "steps": 100}` a few times a second, then one of
`{"done": true}`, `{"failed": "why"}` and `{"stopped": true}`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import TextIO

from repro.config import plugins
from repro.errors import Interrupted, ReproError
from repro.trials.run import run
from repro.trials.spec import TrialSpec

INTERVAL = 0.25
"""Seconds between two lines about steps, and between two looks at the parent."""
GRACE = 0.75
"""Seconds for a checkpoint when the parent is gone."""


def run_trial(line: str, out: TextIO) -> bool:
    """Run a trial; whether the process is to go on."""
    last = 0.0

    def on_step(step: int, steps: int) -> None:
        nonlocal last
        if time.monotonic() - last >= INTERVAL or step == steps:
            last = time.monotonic()
            _send(out, step=step, steps=steps)

    try:
        run(TrialSpec.from_dict(json.loads(line)), on_step)
    except (Interrupted, KeyboardInterrupt):
        _send(out, stopped=True)
        return False
    except ReproError as error:
        _send(out, failed=str(error))
    else:
        _send(out, done=True)
    return True


def _send(out: TextIO, **message: object) -> None:
    print(json.dumps(message), file=out, flush=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Between trials. A trial in training handles the signal itself, and writes a checkpoint first."""
    raise KeyboardInterrupt


def _end_with(parent: int) -> None:
    """When the parent is gone (killed), stop after a checkpoint, or without where that takes long."""
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os._exit(Interrupted.exit_code)


def main(parent: int) -> int:
    """Run trials until the input ends."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's goes to the parent, which tells us
    # What a library prints must not come between our lines, so it goes to the log.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    plugins.load()
    try:
        for line in sys.stdin:
            if not run_trial(line, out):
                break
    except (KeyboardInterrupt, BrokenPipeError):  # asked to stop between two trials, or the parent is gone
        pass
    return 0


if __name__ == "__main__":
    code = main(int(sys.argv[1]))
    sys.stderr.flush()
    os._exit(code)  # libraries' goodbyes take seconds on a busy machine, and the watching thread is not heard in them
