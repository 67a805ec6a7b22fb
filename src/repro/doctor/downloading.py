"""Download one file over http: resumes a broken download, and checks size and hash."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path

from repro.doctor.assets import Download
from repro.errors import DataError, explained
from repro.store.files import make_folder, sha256_file

TRIES = 4
"""Connections that a download may use; each goes on where the last one broke off."""
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""
PIECE = 1 << 20
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)

Say = Callable[[str], None]


def downloaded(download: Download, part: Path, say: Say) -> Path:
    """The whole file, as `part`; goes on with what an earlier call left there.

    Raises:
        DataError: it cannot be had (what came is kept for the next call), or it is not what was published (then `part`
            is removed).
        StoreError: the disk.
    """
    if not download.url.startswith(("https://", "http://")):
        raise DataError(f"{download.url}: only http and https are fetched.")
    fault = ""
    with explained(part, "write"):
        make_folder(part.parent)
        for _ in range(TRIES):
            there = _kept(part, download.bytes)
            if there == download.bytes:
                break
            say(f"{download.url}: {there / 1e6:.1f} of {download.bytes / 1e6:.1f} MB are there")
            try:
                _read_on(download, part, there)
            except urllib.error.HTTPError as error:
                if error.code != 416 or not there:
                    raise DataError(
                        f"{download.url}: the server says {error.code} {error.reason}. Try later, or get the file by "
                        "hand."
                    ) from error
                part.unlink()  # what is there ends behind the server's file: it is another one
            except _BROKEN as error:
                fault = f" (the last time: {error})"
    return _checked(download, part, fault)


def _kept(part: Path, most: int) -> int:
    """Bytes that are there; more than the whole file is another file, and removed."""
    there = part.stat().st_size if part.exists() else 0
    if there > most:
        part.unlink()
        return 0
    return there


def _read_on(download: Download, part: Path, there: int) -> None:
    """Append the rest of the file, or write all of it where the server knows no ranges. A connection that ends early
    ends the call without an error."""
    request = urllib.request.Request(download.url, headers={"User-Agent": "repro-fetch-assets"})
    if there:
        request.add_header("Range", f"bytes={there}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        resumes = answer.status == 206
        if resumes and _range_start(answer.headers) != there:
            part.unlink()  # another piece than was asked for: the next try asks for the whole file
            return
        size = _file_size(answer.status, answer.headers)
        if size not in (None, download.bytes):
            part.unlink(missing_ok=True)
            raise DataError(another(download, f"{size:,} instead of {download.bytes:,} bytes"))
        left = download.bytes - (there if resumes else 0)
        with part.open("ab" if resumes else "wb") as stream:
            while left and (piece := answer.read(min(PIECE, left))):
                stream.write(piece)
                left -= len(piece)


def _range_start(headers: Message) -> int | None:
    first = str(headers.get("Content-Range", "")).removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None


def _file_size(status: int, headers: Message) -> int | None:
    """Bytes of the server's file; None if the server does not say."""
    text = headers.get("Content-Length") if status == 200 else None
    if status == 206:
        text = str(headers.get("Content-Range", "")).rpartition("/")[2]
    return int(text) if text and text.isdigit() else None


def _checked(download: Download, part: Path, fault: str) -> Path:
    size = part.stat().st_size if part.exists() else 0
    if size != download.bytes:
        raise DataError(
            f"{download.url}: {size:,} of {download.bytes:,} bytes came in {TRIES} tries{fault}. Run the same command "
            "again: it goes on there."
        )
    digest = sha256_file(part)
    if digest != download.sha256:
        part.unlink()
        raise DataError(another(download, f"the hash {digest[:16]} instead of {download.sha256[:16]}"))
    return part


def another(download: Download, difference: str) -> str:
    """The sentence for a file that is not the published one."""
    return (
        f"{download.url} is not the file that was published: it has {difference}. Nothing was kept. If the publisher "
        "changed it, put the new size and hash into assets.yaml."
    )
