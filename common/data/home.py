"""Where data files lie, and how we know that they are the right ones.

The data home is `$REPRO_DATA`, else `$XDG_CACHE_HOME/repro-generative`, else `~/.cache/repro-generative`. It may be
read-only when it is complete: files are only written when one is missing. A file that is there but has another checksum
is named in an error and never read. With `REPRO_OFFLINE=1` (what `--offline` sets) nothing is ever downloaded.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path


def data_home() -> Path:
    """The folder that holds all data sets; not created here."""
    if named := os.environ.get("REPRO_DATA"):
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "repro-generative"


def is_offline() -> bool:
    """Whether `REPRO_OFFLINE` forbids downloads (unset, empty and `0` do not)."""
    return os.environ.get("REPRO_OFFLINE", "") not in ("", "0")


def _checksum(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def ensure(
    folder: Path,
    checksums: Mapping[str, str],
    algorithm: str,
    download: Callable[[Path], Path],
    offline: bool | None = None,
) -> Path:
    """Return `folder` once it holds every file of `checksums` (name -> hex digest), each one verified.

    Args:
        folder: where the files are wanted.
        checksums: hex digests by file name.
        algorithm: a name of `hashlib`, 'sha256' or 'md5'.
        download: fetches the files below a given empty folder and returns the folder that holds them. They are verified
            there and moved into place one by one, so that a download cut short leaves no half file behind.
        offline: never download; by default as `REPRO_OFFLINE` says.

    Raises:
        FileNotFoundError: a file is missing and downloads are forbidden, or the download failed.
        ValueError: a file that is there is truncated or corrupted.
    """
    missing = [name for name in checksums if not (folder / name).is_file()]
    for name in checksums.keys() - set(missing):
        if (found := _checksum(folder / name, algorithm)) != checksums[name]:
            raise ValueError(
                f"{folder / name} is truncated or corrupted ({algorithm} {found[:12]}…, expected "
                f"{checksums[name][:12]}…): delete it and run again to download it"
            )
    if not missing:
        return folder
    if is_offline() if offline is None else offline:
        raise FileNotFoundError(
            f"offline, and {folder / missing[0]} is missing: put it there, or set REPRO_DATA to a folder that has it"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In the same folder: a rename is atomic only within one file system.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            fetched = download(Path(scratch))
            for name in missing:
                if _checksum(fetched / name, algorithm) != checksums[name]:
                    raise OSError(f"{name} came truncated or changed")
                os.replace(fetched / name, folder / name)
    except (OSError, RuntimeError) as error:  # torchvision raises RuntimeError when every mirror fails
        raise FileNotFoundError(
            f"{folder / missing[0]} is missing and could not be downloaded ({error}): put it there, or set REPRO_DATA"
        ) from error
    return folder
