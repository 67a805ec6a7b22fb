"""One process at a time for one run key, also among machines that share a folder.

A lock is a file created with O_CREAT | O_EXCL, which every file system makes atomic, network ones included (flock is
not to be had on all of them). It says who holds it. A holder that was killed leaves it behind, so others must be able
to tell that it is stale, and exactly one of them may remove it:

- Seen from the machine that wrote it, a lock is stale when its process is gone, and never before.
- Seen from elsewhere, it is stale when its holder stopped refreshing its modification time. Its age is measured against
  a file that we touch beside it, so all times are of the file server's clock and no two machines' clocks are compared.
  That clock may jump, so an old time alone is no evidence: the lock must also stay unchanged while we look on, by our
  own monotonic clock, longer than a living holder needs to refresh it. A time in the future is no evidence of life
  either: what stays unchanged for `stale_seconds` before our eyes is stale, whatever its time says.
- The right to remove the lock of one holder is itself a file created with O_EXCL, named after that holder's token (a
  random number). Whoever has it looks once more whether the lock is still that holder's: a slow process, which judged
  the old lock stale before another replaced it, finds the new token and withdraws. A remover that is killed in between
  leaves a stale file of the same kind, which is removed in the same way.

What remains: a holder whose whole machine stood still for `stale_seconds` loses its lock to another machine without
knowing it until its next heartbeat. No lock without the help of the storage can prevent that, so `held` should be asked
before what must not be done twice; results are keyed by content, so doing it twice costs time only.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from repro.config.conversion import from_plain
from repro.errors import ConfigError, explained
from repro.store.damage import parsed
from repro.store.files import make_folder, write_new
from repro.store.processes import is_alive, process_start, process_table

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: the content of the lock file."""

    host: str
    pid: int
    process_start: int | None
    """Clock ticks from boot to the start of the process: tells it from a later one with the same pid. None: unknown."""
    process_table: str
    """Host, boot and pid namespace: where it equals ours, `pid` is a process that we can look up."""
    created: str
    """When the lock was taken, by the holder's clock: for people only."""
    token: str
    """16 random hex digits: no two locks have the same."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.created}"

    @classmethod
    def here(cls) -> Owner:
        """This process, with a new token."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            process_start=process_start(os.getpid()),
            process_table=process_table(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            token=secrets.token_hex(8),
        )


class Lock:
    """A lock file, as a context manager: `with Lock(path): ...` waits for it, holds it, and gives it back.

    Not reentrant, and of one process: a forked child does not hold its parent's lock.
    """

    def __init__(self, path: str | Path, stale_seconds: float = 60.0) -> None:
        """
        Args:
            path: the lock file; its folder is made if it is missing.
            stale_seconds: a lock of another machine that was not refreshed for so long may be taken over. The same for
                all who use this lock: the holder refreshes it every quarter of that, and at least every 5 seconds.
        """
        self.path = Path(path)
        self.stale_seconds = stale_seconds
        self._owner: Owner | None = None
        self._judge = _Judge(stale_seconds)
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def held(self) -> bool:
        """Whether the file still says that the lock is ours. Reads the file."""
        if self._owner is None or self._owner.pid != os.getpid():
            return False
        seen = _look(self.path)
        return seen is not None and seen.owner == self._owner

    def acquire(
        self,
        wait: bool = True,
        poll_seconds: float = 1.0,
        on_wait: Callable[[Owner], object] | None = None,
    ) -> bool:
        """Takes the lock.

        Args:
            wait: whether to wait while somebody else holds it. Without, a lock of another machine that looks stale is
                still looked at for two heartbeats.
            poll_seconds: seconds between two looks.
            on_wait: called once, with the holder, before the first wait (to tell the user).

        Returns:
            True: the lock is ours. False: somebody else holds it, and we are not to wait.

        Raises:
            StoreError: the lock file cannot be created (full disk, no permission).
            RuntimeError: this object holds the lock already.
        """
        if self._owner is not None:
            raise RuntimeError(f"the lock {self.path} is held by this object already")
        with explained(self.path, "lock"):
            make_folder(self.path.parent)
        while (holder := self._attempt()) is not None:
            if self._judge.undecided:
                time.sleep(min(poll_seconds, self._judge.confirm_seconds / 4))
                continue
            if not wait:
                return False
            if on_wait is not None:
                on_wait(holder)
                on_wait = None
            time.sleep(poll_seconds)
        try:
            self._start_heartbeat()
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        """Gives the lock back, if it is still ours. Never raises: one that stays is stale once this process ended."""
        owner, self._owner = self._owner, None
        if owner is None or owner.pid != os.getpid():
            return
        self._stop.set()
        if self._heart is not None and self._heart.ident is not None:
            self._heart.join()
        try:
            seen = _look(self.path)
            if seen is not None and seen.owner == owner:
                self.path.unlink()
        except OSError as error:
            log.warning("The lock %s stays (%s): it can be taken over when this process has ended.", self.path, error)

    def __enter__(self) -> Lock:
        if self._owner is None:
            self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _attempt(self) -> Owner | None:
        """One try. Returns None if the lock is ours now, else its holder."""
        self._judge.undecided = False
        with explained(self.path, "lock"):
            while (owner := _create(self.path)) is None:
                seen = _look(self.path)
                if seen is None:
                    continue  # given back between the two lines
                if not self._judge.is_stale(self.path, seen):
                    return seen.owner
                if not _remove(self.path, seen.owner, self._judge):
                    return seen.owner  # another process is at it: look again after the poll
                log.warning("Removed the lock %s: its holder, %s, is gone.", self.path, seen.owner)
        self._owner = owner
        return None

    def _start_heartbeat(self) -> None:
        self._stop = threading.Event()
        self._heart = threading.Thread(target=self._beat, args=(self._owner, self._stop), name="lock", daemon=True)
        self._heart.start()

    def _beat(self, owner: Owner, stop: threading.Event) -> None:
        """Refreshes the modification time, by the server's clock, until the lock is given back or lost."""
        while not stop.wait(_heartbeat(self.stale_seconds)):
            # A server that is away for a moment is no reason to give up.
            with contextlib.suppress(OSError):
                seen = _look(self.path)
                if seen is None or seen.owner != owner:
                    log.warning("Lost the lock %s: it was taken over while this process stood still.", self.path)
                    return
                os.utime(self.path)


def holder(path: Path, stale_seconds: float = 60.0) -> Owner | None:
    """Who holds a lock and lives, for people to read: looked at without taking it or writing anything.

    A lock of another machine is judged by our clock, so this is no ground to remove it; `Lock` has its own. One that
    cannot be read (a folder, say) has no holder.
    """
    try:
        seen = _look(path)
    except OSError:
        seen = None
    if seen is None:
        return None
    if seen.owner.process_table == process_table():
        return seen.owner if is_alive(seen.owner.pid, seen.owner.process_start) else None
    return seen.owner if time.time() - seen.modified <= stale_seconds else None


@dataclass(frozen=True)
class _Seen:
    """What one look at a lock file showed."""

    owner: Owner
    modified: float
    """Seconds, of the file server's clock."""


def _create(path: Path) -> Owner | None:
    """Creates a lock file of ours. None if there is one already."""
    owner = Owner.here()
    try:
        write_new(path, json.dumps(asdict(owner)).encode())
    except FileExistsError:
        return None
    # Had we stood still for long between creating and writing, others may have removed the empty file as stale.
    seen = _look(path)
    return owner if seen is not None and seen.owner == owner else None


def _look(path: Path) -> _Seen | None:
    """Who holds a lock and when it was last refreshed; None if there is no such file.

    A file without readable content (its maker was killed before writing it, or is about to) has an owner of no process
    table, so that only its age can make it stale, with a token of its own.
    """
    try:
        # Opening makes a network file system ask the server; a plain stat may answer from its cache.
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            content = stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # replaced on the server while we opened it
            return None
        raise
    try:
        owner = from_plain(Owner, parsed(content), {})
        if not _TOKEN.fullmatch(owner.token) or not owner.pid > 0:
            raise ValueError(owner)
    except (ValueError, ConfigError):
        owner = Owner("unknown", 0, None, "", "", f"{status.st_ino:x}-{status.st_mtime_ns:x}")
    return _Seen(owner, status.st_mtime)


def fault_of(path: Path, stale_seconds: float = 60.0) -> str | None:
    """Why a lock file cannot be that of a living holder, as far as one look tells; None: it may be.

    Raises:
        OSError: it cannot be read.
    """
    seen = _look(path)
    if seen is None:
        return None
    if seen.owner.process_table == process_table():
        gone = not is_alive(seen.owner.pid, seen.owner.process_start)
        return f"its holder, {seen.owner}, is gone" if gone else None
    try:
        now = _server_time(path.parent)
    except OSError:  # a folder that we may only read
        now = time.time()
    age = now - seen.modified
    if age > stale_seconds:
        return f"its holder, {seen.owner}, has not refreshed it for {age:,.0f} s"
    if age < -stale_seconds:
        return f"it was last refreshed {-age:,.0f} s in the future by its holder, {seen.owner}: a clock jumped"
    return None


def _heartbeat(stale_seconds: float) -> float:
    """Seconds between two refreshments of a lock."""
    return min(5.0, stale_seconds / 4)


class _Judge:
    """Says which locks are stale, and remembers since when, by our own clock, each was seen unchanged."""

    def __init__(self, stale_seconds: float) -> None:
        self.stale_seconds = stale_seconds
        self.confirm_seconds = 2 * _heartbeat(stale_seconds)
        self.undecided = False
        """A lock looked old, but was not looked at for long enough."""
        self._first: dict[Path, tuple[_Seen, float]] = {}

    def is_stale(self, path: Path, seen: _Seen) -> bool:
        """Whether the holder of a lock is gone."""
        if seen.owner.process_table == process_table():
            return not is_alive(seen.owner.pid, seen.owner.process_start)
        quiet = self._unchanged(path, seen)
        if quiet > self.stale_seconds:
            return True
        if _server_time(path.parent) - seen.modified <= self.stale_seconds:
            return False
        self.undecided = quiet < self.confirm_seconds
        return not self.undecided

    def _unchanged(self, path: Path, seen: _Seen) -> float:
        """Seconds since we first saw the file as it is now."""
        now = time.monotonic()
        if path not in self._first or self._first[path][0] != seen:
            self._first[path] = (seen, now)
        return now - self._first[path][1]


def _remove(path: Path, owner: Owner, judge: _Judge) -> bool:
    """Removes the stale lock of one owner, never another's. Returns whether this call did it."""
    right = path.with_name(f"{path.name}.{owner.token}")
    if _create(right) is None:
        remover = _look(right)
        if remover is not None and judge.is_stale(right, remover):
            _remove(right, remover.owner, judge)
        return False
    try:
        seen = _look(path)
        if seen is None or seen.owner != owner:
            return False
        path.unlink()
        return True
    finally:
        right.unlink(missing_ok=True)


def _server_time(folder: Path) -> float:
    """Now, in seconds, by the clock that gives this folder's files their times."""
    probe = folder / f".clock.{secrets.token_hex(6)}"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)
