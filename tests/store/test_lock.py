"""One holder at a time, also when holders are killed and several take over at once."""

import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import repro
from repro.errors import StoreError
from repro.store import files, lock
from repro.store.lock import Lock, Owner

SOURCE = str(Path(repro.__file__).parents[1])
HOLD = """
    import sys, time
    from repro.store.lock import Lock
    Lock(sys.argv[1]).acquire()
    print("held", flush=True)
    time.sleep(60)
"""


def start(code: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    environment = os.environ | {"PYTHONPATH": SOURCE}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def forge(path: Path, age: float = 0.0, **changes) -> Owner:
    """A lock file of somebody else, last refreshed `age` seconds ago."""
    owner = replace(Owner.here(), **changes)
    path.write_text(json.dumps(asdict(owner)))
    os.utime(path, (time.time() - age, time.time() - age))
    return owner


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "locks" / "key.lock"


@pytest.fixture
def folder(path) -> Path:
    path.parent.mkdir()
    return path.parent


def test_hold_and_release(path):
    first, second = Lock(path), Lock(path)
    assert not first.held
    with first:
        assert first.held
        assert not second.held
        content = json.loads(path.read_text())
        assert content["pid"] == os.getpid()
        assert {"host", "pid", "process_start", "created"} <= set(content)
        assert second.acquire(wait=False) is False
        with pytest.raises(RuntimeError, match="already"):
            first.acquire()
    assert not first.held
    assert os.listdir(path.parent) == []
    assert second.acquire(wait=False) is True
    with second:  # entering a lock that is held keeps it
        assert second.held
    assert os.listdir(path.parent) == []


def test_released_after_an_error(path):
    with pytest.raises(ZeroDivisionError), Lock(path):
        raise ZeroDivisionError
    assert os.listdir(path.parent) == []


def test_critical_sections_never_overlap(tmp_path, path):
    (tmp_path / "counter").write_text("0")
    code = """
        import os, sys
        from pathlib import Path
        from repro.store.lock import Lock
        folder, path = Path(sys.argv[1]), sys.argv[2]
        sys.stdin.readline()
        for _ in range(8):
            lock = Lock(path)
            lock.acquire(poll_seconds=0.002)
            with lock:
                os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))  # fails if another is inside
                count = int((folder / "counter").read_text())
                (folder / "counter").write_text(str(count + 1))
                os.unlink(folder / "inside")
    """
    processes = [start(code, str(tmp_path), str(path)) for _ in range(8)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
    assert (tmp_path / "counter").read_text() == "64"
    assert os.listdir(path.parent) == []


def test_exactly_one_takes_over_a_stale_lock(folder, path):
    rounds, pid = 25, dead_pid()
    code = """
        import sys
        from repro.store.lock import Lock
        for line in sys.stdin:
            print(int(Lock(sys.argv[1] + line.strip()).acquire(wait=False)), flush=True)
    """
    processes = [start(code, str(path)) for _ in range(4)]
    for number in range(rounds):
        forge(Path(f"{path}{number}"), pid=pid, process_start=1)
        for process in processes:
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
        got = [int(process.stdout.readline()) for process in processes]
        # None at all would be legal only if the winner of the removal died.
        assert sum(got) == 1, got
    for process in processes:
        process.communicate()
    assert len(os.listdir(folder)) == rounds


def test_killed_holder_is_replaced_and_the_living_one_is_not(path):
    process = start(HOLD, str(path))
    try:
        assert process.stdout.readline() == "held\n"
        os.utime(path, (0, 0))  # on one machine the process counts, however old its last heartbeat
        assert Lock(path).acquire(wait=False) is False
        process.send_signal(signal.SIGSTOP)
        assert Lock(path).acquire(wait=False) is False
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 10
        ours = Lock(path)
        # Nobody has collected the killed process yet, so its pid is still there, as a zombie.
        while not ours.acquire(wait=False):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with ours:
            assert os.listdir(path.parent) == [path.name]
    finally:
        process.kill()
        process.communicate()


def test_waiting_lock_gets_it_after_release(path):
    first, second, waited = Lock(path), Lock(path), []
    first.acquire()
    holder = json.loads(path.read_text())
    told = threading.Event()

    def wait():
        second.acquire(poll_seconds=0.01, on_wait=lambda owner: (waited.append(owner), told.set()))

    thread = threading.Thread(target=wait)
    thread.start()
    assert told.wait(10)
    time.sleep(0.05)
    assert not second.held
    first.release()
    thread.join(10)
    assert second.held
    assert [asdict(owner) for owner in waited] == [holder]
    second.release()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_another_process_with_the_same_pid_is_not_the_holder(folder, path):
    owner = forge(path)
    assert Lock(path).acquire(wait=False) is False
    forge(path, process_start=owner.process_start - 1)
    with Lock(path) as ours:
        assert ours.held


def test_unknown_start_time_counts_as_alive(folder, path):
    forge(path, process_start=None, age=1e6)
    assert Lock(path).acquire(wait=False) is False


@pytest.mark.parametrize(
    "elsewhere", [{"host": "far", "process_table": "far x"}, {"process_table": "this host, rebooted"}]
)
def test_other_machines_are_judged_by_age(folder, path, elsewhere):
    forge(path, age=50, pid=dead_pid(), **elsewhere)
    assert Lock(path).acquire(wait=False) is False
    forge(path, age=50, pid=os.getpid(), **elsewhere)
    for age, stale_seconds in ((0.5, 0.4), (50, 0.4)):
        forge(path, age=age, pid=os.getpid(), **elsewhere)
        ours = Lock(path, stale_seconds)
        assert ours.acquire(wait=False) is True
        assert os.listdir(folder) == [path.name]
        ours.release()


def test_age_is_by_the_file_servers_clock(folder, path, monkeypatch):
    forge(path, process_table="far")
    real = time.time
    for wrong in (1e6, -1e6):
        monkeypatch.setattr(time, "time", lambda wrong=wrong: real() + wrong)
        assert Lock(path).acquire(wait=False) is False


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}'])
def test_lock_without_an_owner_is_judged_by_age(folder, path, content):
    path.write_text(content)
    assert Lock(path).acquire(wait=False) is False
    os.utime(path, (time.time() - 70,) * 2)
    with Lock(path, stale_seconds=0.4) as ours:
        assert ours.held
    assert os.listdir(folder) == []


def test_heartbeat_refreshes_the_file(path):
    ours = Lock(path, stale_seconds=0.08)
    with ours:
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime < 1e9:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert ours.held


def test_a_living_holder_elsewhere_survives_a_jump_of_the_clock(folder, path):
    """The server's clock jumps two hours ahead: the last heartbeat looks old until the next one comes."""
    owner = forge(path, age=7200, process_table="far")
    stop = threading.Event()

    def beat():  # of the holder, a little late
        while not stop.wait(0.3):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert Lock(path, stale_seconds=2.0).acquire(wait=False) is False  # it looks on for a second
    finally:
        stop.set()
        thread.join()
    assert json.loads(path.read_text()) == asdict(owner)


def test_a_dead_holder_elsewhere_whose_time_lies_in_the_future_is_replaced(folder, path):
    """The clock jumped back: by its time the lock will be fresh for a year."""
    forge(path, age=-3.15e7, process_table="far")
    assert Lock(path, stale_seconds=0.2).acquire(wait=False) is False
    ours = Lock(path, stale_seconds=0.2)
    assert ours.acquire(poll_seconds=0.02) is True
    ours.release()
    assert os.listdir(folder) == []


def test_a_lock_that_looks_old_is_looked_at_for_two_heartbeats_before_it_is_taken(folder, path):
    forge(path, age=100, process_table="far")
    ours, began = Lock(path, stale_seconds=0.4), time.monotonic()
    assert ours.acquire(wait=False) is True
    assert time.monotonic() - began >= 0.2
    ours.release()


def test_slow_judge_cannot_remove_the_next_holders_lock(folder, path):
    """A and B both find the lock stale; B removes it and takes it; A, late, must not remove B's."""
    old = forge(path, pid=dead_pid(), process_start=1)
    with Lock(path) as ours:
        assert lock._remove(path, old, lock._Judge(60.0)) is False
        assert ours.held
    assert os.listdir(folder) == []


def test_killed_remover_does_not_block_the_next(folder, path):
    old = forge(path, pid=dead_pid(), process_start=1)
    forge(path.with_name(f"{path.name}.{old.token}"), pid=dead_pid(), process_start=1)
    ours = Lock(path)
    assert ours.acquire(poll_seconds=0.01) is True
    assert os.listdir(folder) == [path.name]
    ours.release()


def test_living_remover_is_left_alone(folder, path):
    old = forge(path, pid=dead_pid(), process_start=1)
    right = path.with_name(f"{path.name}.{old.token}")
    forge(right)
    assert Lock(path).acquire(wait=False) is False
    assert sorted(os.listdir(folder)) == sorted([path.name, right.name])


def test_release_leaves_a_lock_that_was_taken_over(path, caplog):
    ours = Lock(path, stale_seconds=0.04)
    ours.acquire()
    path.unlink()
    theirs = forge(path, process_table="far")
    deadline = time.monotonic() + 10
    while "Lost the lock" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "Lost the lock" in caplog.text
    assert not ours.held
    ours.release()
    assert json.loads(path.read_text()) == asdict(theirs)


def test_a_forked_child_does_not_release_its_parents_lock(path):
    code = """
        import os, sys
        from repro.store.lock import Lock
        with Lock(sys.argv[1]) as lock:
            child = os.fork()
            if child == 0:
                held = lock.held
                lock.release()
                os._exit(int(held))
            assert os.waitpid(child, 0)[1] == 0
            assert lock.held
    """
    process = start(code, str(path))
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert os.listdir(path.parent) == []


def test_full_disk_is_a_store_error_and_leaves_no_lock(folder, path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "write", full)
    with pytest.raises(StoreError, match=r"cannot lock .*disk is full"):
        Lock(path).acquire()
    assert os.listdir(folder) == []


def test_release_never_raises(folder, path, monkeypatch, caplog):
    ours = Lock(path)
    ours.acquire()

    def fail(*_):
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Path, "unlink", fail)
        ours.release()
    assert "stays" in caplog.text
