"""Atomic files: a kill, a full disk or a read-only folder leaves the old content and nothing else."""

import errno
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import repro
from repro.errors import StoreError
from repro.store import files
from repro.store.damage import read_json
from repro.store.files import append_line, json_text, sha256_file, write_atomic, write_json_atomic
from repro.store.processes import short_table

SOURCE = str(Path(repro.__file__).parents[1])


def start(code: str, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen:
    """A Python process of its own, which runs `code` with `arguments`."""
    command = [*prefix, sys.executable, "-c", textwrap.dedent(code), *arguments]
    environment = os.environ | {"PYTHONPATH": SOURCE}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def on_small_disk(code: str, folder: Path, options: str) -> str:
    """Runs `code` where `folder` is a file system of its own, in a mount namespace, so that nothing is left behind."""
    if shutil.which("unshare") is None:
        pytest.skip("no unshare command")
    mount = f'mount -t tmpfs -o size=64k tmpfs "{folder}" && echo old > "{folder}/file" && '
    mount += f'mount -o remount,size=64k,{options} "{folder}" && exec "$@"'
    process = start(code, str(folder), prefix=("unshare", "-rm", "sh", "-c", mount, "sh"))
    output, errors = process.communicate(timeout=20)
    if any(word in errors for word in ("unshare:", "mount:", "Operation not permitted")):
        pytest.skip(f"mounts are not allowed here: {errors.strip()}")
    assert process.returncode == 0, errors
    return output


def test_content_is_written_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    write_atomic(path, "süß\r\n")
    assert path.read_bytes() == "süß\r\n".encode()
    assert os.listdir(path.parent) == ["file"]


def test_killed_between_write_and_replace_leaves_the_old_content(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")
    process = start(
        """
        import os, sys, time
        from repro.store.files import write_atomic
        def wait(*_):
            print("written", flush=True)
            time.sleep(60)
        os.replace = wait
        write_atomic(sys.argv[1], "new")
        """,
        str(path),
    )
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.read_text() == "old"
    (left,) = [name for name in os.listdir(tmp_path) if name != "file"]
    assert (tmp_path / left).read_text() == "new"

    write_atomic(path, "newer")
    assert path.read_text() == "newer"
    assert os.listdir(tmp_path) == ["file"], "its writer ran here and is gone"


def test_temporary_files_of_other_machines_are_judged_by_age_and_our_own_by_their_process(tmp_path):
    path = tmp_path / "file"
    elsewhere = tmp_path / ".file.1-00000000-0123456789ab.tmp"
    ours = tmp_path / f".file.{os.getpid()}-{short_table()}-0123456789ab.tmp"
    for left in (elsewhere, ours):
        left.write_text("new")
    write_atomic(path, "old")
    assert set(os.listdir(tmp_path)) == {"file", elsewhere.name, ours.name}, "a young file may have a living writer"
    for left in (elsewhere, ours):
        os.utime(left, (0, 0))
    write_atomic(path, "newer")
    assert set(os.listdir(tmp_path)) == {"file", ours.name}, "a clock may jump, but this process lives"


def test_a_writer_whose_temporary_file_was_taken_for_an_abandoned_one_writes_again(tmp_path, monkeypatch):
    """The server's clock jumps between two writers: the second sees the first's file as hours old."""
    path, real, calls = tmp_path / "file", os.replace, []

    def jump(source, target):
        calls.append(source)
        if len(calls) < 3:
            os.unlink(source)
        return real(source, target)

    monkeypatch.setattr(files.os, "replace", jump)
    write_atomic(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["file"] and len(set(calls)) == 3


def test_a_folder_that_is_removed_under_a_writer_is_made_again(tmp_path, monkeypatch):
    path, real, calls = tmp_path / "a" / "file", files.write_new, []

    def remove_first(target, content):
        calls.append(target)
        if len(calls) == 1:
            target.parent.rmdir()  # `Store.delete` of another process does so with an empty folder
        return real(target, content)

    monkeypatch.setattr(files, "write_new", remove_first)
    write_atomic(path, "new")
    assert path.read_text() == "new"


def test_a_file_that_is_replaced_on_the_server_while_it_is_opened_is_read_again(tmp_path, monkeypatch):
    path, real, calls = tmp_path / "file.json", Path.read_bytes, []
    path.write_text("{}")

    def stale(self):
        calls.append(self)
        if len(calls) < 3:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(self)

    monkeypatch.setattr(Path, "read_bytes", stale)
    assert read_json(path) == {} and len(calls) == 3
    monkeypatch.setattr(files, "_TRIES", 1)
    calls.clear()
    with pytest.raises(StoreError, match="cannot be read"):
        read_json(path)


def test_full_disk(tmp_path):
    output = on_small_disk(
        """
        import os, sys
        from repro.errors import StoreError
        from repro.store.files import write_atomic
        path = os.path.join(sys.argv[1], "file")
        try:
            write_atomic(path, b"x" * 1_000_000)
        except StoreError as error:
            print(error)
        print(open(path).read().strip(), os.listdir(sys.argv[1]))
        write_atomic(path, b"small")
        print(open(path).read())
        """,
        tmp_path,
        "rw",
    )
    message, state, after = output.splitlines()
    assert str(tmp_path / "file") in message
    assert "disk is full" in message
    assert "free some space" in message
    assert state == "old ['file']"
    assert after == "small"


def test_read_only_disk(tmp_path):
    output = on_small_disk(
        """
        import os, sys
        from repro.errors import StoreError
        from repro.store.files import write_atomic
        for path in ("file", "new/folder/file"):
            try:
                write_atomic(os.path.join(sys.argv[1], path), b"new")
            except StoreError as error:
                print("read-only" in str(error))
        print(open(os.path.join(sys.argv[1], "file")).read().strip(), os.listdir(sys.argv[1]))
        """,
        tmp_path,
        "ro",
    )
    assert output.splitlines() == ["True", "True", "old ['file']"]


@pytest.mark.parametrize("call", ["write", "fsync", "close", "replace"])
@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission"), (errno.EIO, "error")],
)
def test_every_failing_system_call_leaves_the_old_content(tmp_path, monkeypatch, call, number, words):
    path = tmp_path / "file"
    path.write_text("old")
    real_close = os.close

    def fail(*arguments):
        if call == "close":
            real_close(*arguments)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(StoreError, match=words) as caught:
        write_atomic(path, "new")
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert caught.value.__cause__.errno == number
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "file", "new")
    assert os.listdir(tmp_path) == []


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(files.os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    write_atomic(tmp_path / "file", "0123456789")
    assert (tmp_path / "file").read_text() == "0123456789"


@pytest.mark.parametrize("place", ["file/record.json", "file/a/b/record.json"])
def test_file_in_place_of_the_folder(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="a file is where a folder should be"):
        write_atomic(tmp_path / place, "x")
    assert (tmp_path / "file").read_text() == "mine"


def test_json_is_one_value_a_line_but_numbers_on_one(tmp_path):
    value = {
        "b": {"z": [1, 2.5, True, None], "a": [[1.0, 2.0], [3.0, 4.0]]},
        "a": ["one sentence", "another"],
        "rows": [{"step": 1}, {"step": 2}],
        "empty": [[], {}],
    }
    write_json_atomic(tmp_path / "file", value)
    assert (tmp_path / "file").read_text() == textwrap.dedent(
        """\
        {
         "a": [
          "one sentence",
          "another"
         ],
         "b": {
          "a": [[1.0,2.0],[3.0,4.0]],
          "z": [1,2.5,true,null]
         },
         "empty": [
          [],
          {}
         ],
         "rows": [
          {
           "step": 1
          },
          {
           "step": 2
          }
         ]
        }
        """
    )


quick = settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@quick
@given(PLAIN)
def test_json_round_trip(value):
    assert json.loads(json_text(value)) == value


@quick
@given(st.dictionaries(st.text(), st.integers()))
def test_order_of_keys_does_not_show(value):
    assert json_text(dict(reversed(value.items()))) == json_text(value)


@pytest.mark.parametrize("number", [0.1, 1e-300, 1 / 3, 5e-324, 1.0, -0.0, 2**53 + 0.0])
def test_floats_read_back_the_same(number):
    back = json.loads(json_text([number]))[0]
    assert isinstance(back, float)
    assert (back, math.copysign(1, back)) == (number, math.copysign(1, number))


def test_numbers_of_numpy_are_plain_and_nan_and_infinities_null():
    value = [math.nan, math.inf, -math.inf, np.float32("nan"), np.float32(0.5), np.int64(3), np.float64(0.1), (1, 2)]
    assert json.loads(json_text(value)) == [None, None, None, None, 0.5, 3, 0.1, [1, 2]]


def test_undecodable_file_names_survive(tmp_path):
    name = os.fsdecode(b"caf\xe9")
    write_json_atomic(tmp_path / "file", [name])
    assert read_json(tmp_path / "file") == [name]


@pytest.mark.parametrize(
    ("value", "place"), [({"a": {"b": [1, {2}]}}, r"value\.a\.b\[1\]"), ({"a": {1: 2}}, r"value\.a"), ([b""], r"\[0\]")]
)
def test_what_json_cannot_hold_is_refused_before_writing(tmp_path, value, place):
    (tmp_path / "file").write_text("old")
    with pytest.raises(TypeError, match=place):
        write_json_atomic(tmp_path / "file", value)
    assert (tmp_path / "file").read_text() == "old"


def test_read_json_says_which_file_is_damaged(tmp_path):
    (tmp_path / "file").write_text('{"a": 1')
    with pytest.raises(StoreError, match=rf"{tmp_path}/file: is damaged.*run the trial again"):
        read_json(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "missing")
    with pytest.raises(StoreError, match="a folder is where a file should be"):
        read_json(tmp_path)


def test_sha256_file_known_digest(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256_file(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_append_line_of_several_processes(tmp_path):
    path = tmp_path / "logs" / "log"
    code = """
        import sys
        from repro.store.files import append_line
        for _ in range(50):
            append_line(sys.argv[1], sys.argv[2] * 100)
    """
    for process in [start(code, str(path), letter) for letter in "ab"]:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
    lines = path.read_text().splitlines()
    assert sorted(lines) == ["a" * 100] * 50 + ["b" * 100] * 50


def test_append_line_refusals(tmp_path):
    with pytest.raises(ValueError, match="line end"):
        append_line(tmp_path / "log", "a\nb")
    assert os.listdir(tmp_path) == []
    with pytest.raises(StoreError, match="/dev/full: the disk is full"):
        append_line("/dev/full", "x")
