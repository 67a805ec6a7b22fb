"""Data sets from their publishers, checked by size and hash, and unpacked without trusting the archive.

No trial calls this: a person runs `scripts/fetch_assets.py` once. Until its hash is right, a file is `<name>.part`,
which the next call resumes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from repro.doctor.archives import unpacked
from repro.doctor.assets import Asset, Download, assets
from repro.doctor.downloading import Say, downloaded
from repro.errors import ConfigError, DataError, ReproError, explained
from repro.store.files import sha256_file


def fetch(asset: Asset, dest: Path, say: Say = print, replace: bool = False) -> None:
    """Download what is missing of a data set.

    Args:
        dest: the data root.
        replace: overwrite files whose content is not the published one (they are kept otherwise).

    Raises:
        DataError: licensed data, a broken download, a wrong size or hash, or an archive that is not to be trusted.
        StoreError: the disk.
    """
    if asset.licensed or not asset.downloads:
        why = "is licensed" if asset.licensed else "has no address that can be checked"
        raise DataError(f"{asset.name} ({asset.title}) {why}, so it is not fetched. Get it from: {asset.get}.")
    for download in asset.downloads:
        (_fetch_archive if download.archive else _fetch_file)(download, dest, say, replace)


def _fetch_file(download: Download, dest: Path, say: Say, replace: bool) -> None:
    target = dest / download.places[""]
    if target.exists():
        if sha256_file(target) == download.sha256:
            say(f"{target}: is there")
            return
        if not replace:
            say(f"{target}: kept, though its content is not the published one (--replace fetches that)")
            return
    part = downloaded(download, target.with_name(f"{target.name}.part"), say)
    with explained(target, "write"):
        os.replace(part, target)
    say(f"{target}: done")


def _fetch_archive(download: Download, dest: Path, say: Say, replace: bool) -> None:
    wanted = {member: place for member, place in download.places.items() if replace or not (dest / place).exists()}
    if not wanted:
        say(f"{', '.join(str(dest / place) for place in download.places.values())}: are there")
        return
    name = PurePosixPath(download.url).name
    first = dest / next(iter(download.places.values()))
    part = downloaded(download, first.with_name(f"{name}.part"), say)
    for path in unpacked(part, wanted, dest):
        say(f"{path}: done")
    part.unlink()


def listed() -> str:
    """A line a data set: how large, or why it is not fetched; then how to get it."""
    lines = []
    for asset in assets():
        size = sum(download.bytes for download in asset.downloads)
        what = f"{size / 1e6:.1f} MB" if size else "licensed" if asset.licensed else "by hand"
        lines.append(f"{asset.name:<26} {what:>10}  {asset.title} ({asset.licence})")
        if not asset.downloads:
            lines.append(f"{'':<26} {'':>10}  from: {asset.get}")
    return "\n".join(lines)


def fetch_all(names: Sequence[str], dest: Path, replace: bool) -> list[ReproError]:
    """Fetch the data sets named, and print how a hub model that is named is fetched; what could not be fetched."""
    known = {asset.name: asset for asset in assets()}
    errors: list[ReproError] = []
    for name in names:
        try:
            if name in known:
                fetch(known[name], dest, replace=replace)
            elif not _model(name):
                raise ConfigError(f"--only {name}: there is none; allowed are {', '.join(known)}, and hub models.")
        except ReproError as error:  # the others are still fetched
            errors.append(error)
    return errors


def _model(name: str) -> bool:
    """Print how a hub model is fetched, by the hub's own client. False: there is no such model."""
    from repro.config.compose import options
    from repro.doctor.models import models

    if name not in options("model"):
        return False
    (found,) = models([name])
    print(f"{name}: {found.state}" + (f"; run: {found.fix}" if found.fix else ""))
    return True
