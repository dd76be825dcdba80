"""Backups of one ledger side by side in a directory, named by date; the oldest go.

Invariant: an old backup goes only after a new one is whole, and nothing without a name of the series goes.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from storage.errors import StoreLocked

NAME = "%Y%m%dT%H%M%SZ"
FORM = re.compile(r"[0-9]{8}T[0-9]{6}Z")
CUT_OFF = re.compile(FORM.pattern + r"\.partial")


def name_of(moment_ms: int) -> str:
    """The name of a backup that is made at this moment; later ones sort behind it."""
    return datetime.fromtimestamp(moment_ms // 1000, UTC).strftime(NAME)


def backups_in(series: Path) -> list[Path]:
    """The backups, oldest first."""
    return sorted(path for path in series.iterdir() if FORM.fullmatch(path.name) and path.is_dir())


@contextmanager
def alone_in(series: Path) -> Iterator[None]:
    """The directory, made if need be, with nobody else adding to it. What was cut off there is removed.

    Raises `StoreLocked`.
    """
    series.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(series, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreLocked(f"{series}: another backup is being made; wait for it") from error
        for path in series.iterdir():
            if CUT_OFF.fullmatch(path.name):
                shutil.rmtree(path)
        yield
    finally:
        os.close(descriptor)


def drop_oldest(series: Path, keep: int) -> list[Path]:
    """Delete all but the newest `keep`; those that went."""
    gone = backups_in(series)[:-keep]
    for path in gone:
        shutil.rmtree(path)
    return gone
