"""Trackers that are dead or do not answer: the trial is neither slowed nor changed, and its record is there."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

from scripts.faults.result import Result
from scripts.faults.trials import TRIALS, Place, arguments, difference, outcome

_KEY = "0123456789abcdef" * 2 + "01234567"  # the form of one; nobody's


@contextlib.contextmanager
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stop, held = threading.Event(), []

        def accept() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    held.append(server.accept()[0])

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()
            for connection in held:
                connection.close()


_IMPATIENT = {"WANDB_X_GRAPHQL_RETRY_MAX": "1", "WANDB_X_GRAPHQL_TIMEOUT_SECONDS": "2"}
"""Settings of wandb's own, by which it gives up after seconds; by default it tries for 20 s."""


def _tracked(place: Place, name: str, address: str, **more: str) -> Result:
    trial = next(iter(TRIALS))
    expected, _ = place.undisturbed(trial)
    folder = place.fresh(name)
    given = {"WANDB_BASE_URL": address, "WANDB_API_KEY": _KEY} | more
    words = arguments(trial, place.data, "tracker=wandb", "tracker.mode=online")
    ended = place.stem.run(words, folder, environment=given)
    found = outcome(folder)
    for path in list(found):  # the tracker's own files lie beside the trial's
        if "/wandb/" in path:
            del found[path]
    for value in found.values():  # who watches is in the config
        if isinstance(value, dict) and "config" in value:
            value["config"]["tracker"] = _record(expected)["config"]["tracker"]
            value["choices"] = _record(expected)["choices"]
    said = difference(expected, found) if ended.code == 0 else ended.out[-300:]
    if not said and "wandb is off for the rest of trial" not in ended.out:
        said = f"the tracker was not found to be dead: {ended.out[-300:]}"
    texts = [path.read_text() for path in (folder / "results").rglob("record.json")]
    if not said and any(_KEY in text for text in (*texts, ended.out)):
        said = "the tracker's key was printed or recorded"
    return Result(name, 1, int(not said), int(bool(said)), said)


def _record(found: dict[str, Any]) -> dict[str, Any]:
    (record,) = (value for value in found.values() if isinstance(value, dict) and "config" in value)
    return record


def dead(place: Place, impatient: bool = False) -> Result:
    """Nobody listens at the tracker's address."""
    return _tracked(place, "tracker whose server is down", "http://127.0.0.1:9", **(_IMPATIENT if impatient else {}))


def slow(place: Place) -> Result:
    """Somebody listens and never answers."""
    with silent_server() as address:
        return _tracked(place, "tracker whose server never answers", address)
