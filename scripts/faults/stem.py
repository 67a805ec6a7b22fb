"""Run as a program: loads torch once, then forks for each command that comes in by standard input, as JSON lines.

A child may be told to die at its n-th change of a file (`kill_at`): a write (half of it is done), a rename, a removal,
a flush. That way a kill falls into every part of a trial, whatever the speed of the machine.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import runpy
import signal
import sys
from collections.abc import Callable
from typing import Any

LOADED = (
    *(
        "torch",
        "hydra",
        "safetensors.torch",
        "transformers",
        "repro.cli.main",
        "repro.report.pages.trial_summary",
        "repro.trials.run",
    ),
    *(f"transformers.models.{name}.modeling_{name}" for name in ("bert", "gpt2", "t5")),
    "repro.trials.prepared",
)
CHANGES = ("write", "replace", "unlink", "fsync")


def counted(limit: int | None) -> Callable[[], int]:
    """Let the process die at change number `limit`; returns what tells how many there were."""
    done = [0]

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            done[0] += 1
            if done[0] == limit:
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in CHANGES:
        setattr(os, name, wrap(name, getattr(os, name)))
    return lambda: done[0]


def bound_by_permissions() -> None:
    """Let permissions stop this process even where it is root's: without CAP_DAC_OVERRIDE they do.

    Another user's id would not do: that user may not be allowed to read the interpreter's own files.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then their upper halves
    if libc.capget(header, sets) or (sets[0] & 2 and _without(libc, header, sets)):
        raise OSError(ctypes.get_errno(), "capset")


def _without(libc: Any, header: Any, sets: Any) -> int:
    for index in (0, 1, 2):
        sets[index] &= ~2
    return int(libc.capset(header, sets))


def child(request: dict[str, Any]) -> None:
    """Become `repro ARGUMENTS`; does not return."""
    os.setsid()
    os.chdir(request["cwd"])
    output = os.open(request["out"], os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(source, descriptor)
    os.environ.update(request.get("environment", {}))
    if request.get("bound"):
        bound_by_permissions()
    if "cpu_seconds" in request:
        limit = request["cpu_seconds"]
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
    if "largest_file" in request:
        limit = request["largest_file"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = os.fdopen(0)
    sys.argv = ["repro", *request["arguments"]]
    changes = counted(request.get("kill_at")) if "kill_at" in request or request.get("calls") else None
    code: Any = 1
    try:
        runpy.run_module("repro", run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    if request.get("calls") and changes is not None:
        with open("calls", "w") as stream:
            stream.write(str(changes()))
    os._exit(code)


def main() -> None:
    for name in LOADED:
        importlib.import_module(name)
    sys.modules["torch"].set_num_threads(1)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if not pid:
            child(request)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
