"""Downloads over a server of our own on this machine: broken connections, ranges, wrong files, evil archives."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from repro.doctor import downloading
from repro.doctor.archives import unpacked
from repro.doctor.assets import Asset, Download, assets
from repro.doctor.downloading import downloaded
from repro.doctor.fetch import fetch
from repro.errors import DataError
from scripts.fetch_assets import main

BODY = bytes(range(256)) * 40  # 10,240 bytes


@dataclass
class Behaviour:
    """How the server answers, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    break_after: list[int] = field(default_factory=list)
    """Bytes after which a connection is cut: one number a request, as long as there are any."""
    wrong_range: bool = False
    refuse: int | None = None
    asked: list[str | None] = field(default_factory=list)
    """The Range header of every request."""


@pytest.fixture
def server() -> Iterator[tuple[str, Behaviour]]:
    """Address and behaviour of an http server that lives as long as the test."""
    how = Behaviour()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            how.asked.append(asked)
            if how.refuse is not None:
                return self.send_error(how.refuse)
            body = how.files[self.path]
            first = int(asked.removeprefix("bytes=").rstrip("-")) if asked and how.ranges else 0
            if first >= len(body):
                return self.send_error(416)
            self.send_response(206 if asked and how.ranges else 200)
            if asked and how.ranges:
                said = first + 1 if how.wrong_range else first
                self.send_header("Content-Range", f"bytes {said}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Length", str(len(body) - first))
            self.end_headers()
            end = first + how.break_after.pop(0) if how.break_after else len(body)
            self.wfile.write(body[first:end])
            return None

        def log_message(self, *_: Any) -> None:
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}", how
    made.shutdown()
    made.server_close()
    thread.join(5)


def wanted(url: str, body: bytes, **places: str) -> Download:
    return Download(url, len(body), hashlib.sha256(body).hexdigest(), places or {"": "set/file.txt"})


def quiet(text: str) -> None:
    pass


@pytest.mark.parametrize(
    ("part", "how", "asked"),
    [
        (None, {}, [None]),
        (None, {"break_after": [1000, 2000]}, [None, "bytes=1000-", "bytes=3000-"]),
        (BODY[:5000], {"ranges": False}, ["bytes=5000-"]),
        (BODY[:5000], {"wrong_range": True}, ["bytes=5000-", None]),
        (BODY + b"more", {}, [None]),
    ],
    ids=["whole", "broken connections", "no ranges", "another place", "part too long"],
)
def test_a_file_comes_whole(part, how, asked, server, tmp_path):
    address, behaviour = server
    behaviour.files["/f"] = BODY
    vars(behaviour).update(how)
    path = tmp_path / "new" / "f.part"
    if part is not None:
        path.parent.mkdir()
        path.write_bytes(part)
    assert downloaded(wanted(f"{address}/f", BODY), path, quiet).read_bytes() == BODY
    assert behaviour.asked[-len(asked) :] == asked


def test_what_came_is_kept_for_the_next_call(server, tmp_path):
    address, how = server
    how.files["/f"], how.break_after = BODY, [100] * downloading.TRIES
    download = wanted(f"{address}/f", BODY)
    with pytest.raises(DataError, match=r"400 of 10,240 bytes came in 4 tries.*same command again"):
        downloaded(download, tmp_path / "f.part", quiet)
    assert (tmp_path / "f.part").read_bytes() == BODY[:400]
    how.asked.clear()
    assert downloaded(download, tmp_path / "f.part", quiet).read_bytes() == BODY
    assert how.asked == ["bytes=400-"]


def test_a_part_of_another_file_is_noticed_by_its_hash_and_removed(server, tmp_path):
    address, how = server
    how.files["/f"] = BODY
    (tmp_path / "f.part").write_bytes(b"x" * 5000)
    download = wanted(f"{address}/f", BODY)
    with pytest.raises(DataError, match=r"not the file that was published.*the hash"):
        downloaded(download, tmp_path / "f.part", quiet)
    assert not (tmp_path / "f.part").exists()
    assert downloaded(download, tmp_path / "f.part", quiet).read_bytes() == BODY


@pytest.mark.parametrize("served", [BODY[:-1], BODY + b"!", b""])
def test_a_file_of_another_size_is_refused(served, server, tmp_path):
    address, how = server
    how.files["/f"] = served or b"!"
    with pytest.raises(DataError, match=r"not the file that was published: it has [\d,]+ instead of 10,240 bytes"):
        downloaded(wanted(f"{address}/f", BODY), tmp_path / "f.part", quiet)
    assert not (tmp_path / "f.part").exists()


def test_a_file_of_another_content_is_refused(server, tmp_path):
    address, how = server
    how.files["/f"] = BODY[::-1]
    asset = Asset("toy", "Toy", (), "none", False, "", (wanted(f"{address}/f", BODY),), ())
    with pytest.raises(DataError, match=r"it has the hash [0-9a-f]{16} instead of [0-9a-f]{16}\. Nothing was kept"):
        fetch(asset, tmp_path, quiet)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("code", [404, 503])
def test_what_the_server_refuses_is_said(code, server, tmp_path):
    address, how = server
    how.refuse = code
    with pytest.raises(DataError, match=str(code)):
        downloaded(wanted(f"{address}/f", BODY), tmp_path / "f.part", quiet)


def test_nobody_there_and_no_http(tmp_path):
    with pytest.raises(DataError, match="0 of 10,240 bytes came"):
        downloaded(wanted("http://127.0.0.1:9/f", BODY), tmp_path / "f.part", quiet)
    with pytest.raises(DataError, match="only http and https"):
        downloaded(wanted((tmp_path / "x").as_uri(), BODY), tmp_path / "f.part", quiet)


def test_a_finished_file_is_not_fetched_again_and_another_one_is_kept(server, tmp_path):
    address, how = server
    how.files["/f"] = BODY
    asset = Asset("toy", "Toy", (), "none", False, "", (wanted(f"{address}/f", BODY),), ())
    said: list[str] = []
    fetch(asset, tmp_path, said.append)
    target = tmp_path / "set" / "file.txt"
    assert target.read_bytes() == BODY and not target.with_name("file.txt.part").exists()
    how.asked.clear()
    fetch(asset, tmp_path, said.append)
    target.write_bytes(b"mine")
    fetch(asset, tmp_path, said.append)
    assert how.asked == [] and "kept" in said[-1] and target.read_bytes() == b"mine"
    fetch(asset, tmp_path, said.append, replace=True)
    assert target.read_bytes() == BODY


# Archives ------------------------------------------------------------------------------------------------------------


def zipped(*members: tuple[str, bytes], link: str | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members:
            archive.writestr(name, body)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    return stream.getvalue()


def tarred(*members: tuple[str, bytes], kind: bytes | None = None, mode: int = 0o644) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(body), mode, 1234
            archive.addfile(info, io.BytesIO(body))
        if kind:
            info = tarfile.TarInfo("set/odd")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return stream.getvalue()


GOOD = ("RTE/train.jsonl", b"one\n"), ("RTE/val.jsonl", b"two\n"), ("__MACOSX/RTE/train.jsonl", b"shadow")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_members_come_to_their_places(pack, server, tmp_path):
    address, how = server
    body = how.files["/RTE.zip"] = pack(*GOOD)
    download = wanted(
        f"{address}/RTE.zip", body, **{"train.jsonl": "sg/RTE/train.jsonl", "val.jsonl": "sg/RTE/v.jsonl"}
    )
    asset = Asset("rte", "RTE", (), "none", False, "", (download,), ())
    fetch(asset, tmp_path, quiet)
    assert (tmp_path / "sg/RTE/train.jsonl").read_bytes() == b"one\n"
    assert (tmp_path / "sg/RTE/v.jsonl").read_bytes() == b"two\n"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["train.jsonl", "v.jsonl"]
    how.asked.clear()
    fetch(asset, tmp_path, quiet)
    assert how.asked == []


EVIL = {
    "absolute": zipped(*GOOD, ("/etc/evil", b"x")),
    "up": zipped(*GOOD, ("RTE/../../evil", b"x")),
    "backslash": zipped(*GOOD, ("RTE\\..\\evil", b"x")),
    "drive": zipped(*GOOD, ("C:evil", b"x")),
    "zip link": zipped(*GOOD, link="RTE/link"),
    "tar absolute": tarred(*GOOD, ("/etc/evil", b"x")),
    "tar up": tarred(*GOOD, ("../evil", b"x")),
    "tar symlink": tarred(*GOOD, kind=tarfile.SYMTYPE),
    "tar hard link": tarred(*GOOD, kind=tarfile.LNKTYPE),
    "tar device": tarred(*GOOD, kind=tarfile.CHRTYPE),
    "tar pipe": tarred(*GOOD, kind=tarfile.FIFOTYPE),
    "tar twice": tarred(*GOOD, ("RTE/other", b"x"), ("RTE/other", b"y")),
    "wanted twice": zipped(*GOOD, ("else/train.jsonl", b"x")),
    "wanted missing": zipped(("RTE/val.jsonl", b"x")),
    "no archive": b"hello",
    "cut": zipped(*GOOD)[:-30],
    "cut tar": tarred(*GOOD)[:-60],
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_archive_that_is_not_to_be_trusted_writes_nothing(kind, tmp_path):
    path = tmp_path / "a.part"
    path.write_bytes(EVIL[kind])
    with pytest.raises(DataError):
        unpacked(
            path, {"RTE/train.jsonl" if kind != "wanted twice" else "train.jsonl": "set/train.jsonl"}, tmp_path / "in"
        )
    assert not [found for found in (tmp_path / "in").rglob("*") if found.is_file()]
    assert sorted(found.name for found in tmp_path.iterdir() if found.name != "in") == ["a.part"]


def says_less() -> bytes:
    """The size in the directory is what decides whether it is too large: a member that goes on is cut off."""
    body = bytearray(zipped(("big", bytes(50_000))))
    entry = body.rindex(b"PK\x01\x02")
    body[entry + 24 : entry + 28] = (100).to_bytes(4, "little")  # uncompressed size, in the central directory
    return bytes(body)


@pytest.mark.parametrize(
    ("body", "said"), [(zipped(("big", bytes(3_000_000))), "would unpack to 3,000,000 bytes"), (says_less(), "")]
)
def test_an_archive_that_would_fill_the_disk_leaves_no_file(body, said, tmp_path, monkeypatch):
    path = tmp_path / "a.part"
    path.write_bytes(body)
    monkeypatch.setattr("repro.doctor.archives.ALWAYS_UNPACKED", 1_000_000)
    with pytest.raises(DataError, match=said or None):
        unpacked(path, {"big": "set/big"}, tmp_path / "in")
    assert not [found for found in (tmp_path / "in").rglob("*") if found.is_file()]


def test_permissions_in_an_archive_are_not_taken_over(tmp_path):
    path = tmp_path / "a.part"
    path.write_bytes(tarred(("RTE/train.jsonl", b"one\n"), mode=0o6777))
    before = os.umask(0o027)
    try:
        (target,) = unpacked(path, {"train.jsonl": "set/train.jsonl"}, tmp_path / "in")
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == 0o640 and target.stat().st_uid == os.geteuid()


# The facts and the command -------------------------------------------------------------------------------------------


def test_the_facts_are_complete_and_stay_below_the_data_root():
    places = [place for asset in assets() for download in asset.downloads for place in download.places.values()]
    assert len(places) == len(set(places)) > 40
    for asset in assets():
        assert asset.title and asset.licence and (asset.get or asset.downloads)
        for download in asset.downloads:
            assert len(download.sha256) == 64 and download.bytes > 0
            assert all(not place.startswith("/") and ".." not in place for place in download.places.values())


def test_licensed_data_is_explained_not_fetched(tmp_path, capsys):
    assert main(["--only", "conll05", "squadshifts", "--dest", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert "is licensed, so it is not fetched" in printed and "LDC" in printed and "modestyachts" in printed
    assert not list(tmp_path.iterdir())


def test_the_list_and_hub_models_only_print(tmp_path, capsys):
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(asset.name in printed for asset in assets())
    assert main(["--only", "roberta-large", "--dest", str(tmp_path)]) == 0
    assert "hf download FacebookAI/roberta-large" in capsys.readouterr().out
    assert main(["--only", "nothing", "--dest", str(tmp_path)]) == 2
    assert "nothing: there is none; allowed are superglue_boolq" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.real
def test_the_hashes_are_those_of_the_files_that_are_here():
    """E2E, WNUT17 and DART's dev file are published as single files: their hashes are those of the copies."""
    root = Path(os.environ.get("REPRO_DATA_ROOT", Path(__file__).parents[3] / "shared" / "data"))
    if not (root / "e2e").is_dir():
        pytest.skip(f"no real data under {root}")
    checked = 0
    for asset in assets():
        for download in asset.downloads:
            path = root / download.places.get("", "-")
            if path.is_file() and asset.name in ("e2e", "wnut17", "dart"):
                assert path.stat().st_size == download.bytes
                assert hashlib.sha256(path.read_bytes()).hexdigest() == download.sha256
                checked += 1
    assert checked >= 6
