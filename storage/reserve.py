"""Room on the disk: whether it takes what opening writes, and the reserve that a full one is given.

Invariant: the reserve is given up only where a disk says that it is full.
"""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from storage.errors import StoreUnavailable
from storage.ledger_files import PROBE, RESERVE, size_of

RESERVE_BYTES = 64 << 20
RESERVE_SHARE = 16
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# A broken handle is opened anew only once so much can be written: opening makes tables of the logs, and this
# much more is for a manifest and the first batches.
PROBE_BYTES = 1 << 20


def keep_reserve(path: Path) -> bool:
    """Set aside what a full disk is helped with, as far as there is room; whether some is there now."""
    try:
        with (path / RESERVE).open("ab") as file:
            there = os.fstat(file.fileno()).st_size
            wanted = min(RESERVE_BYTES, (shutil.disk_usage(path).free + there) // RESERVE_SHARE)
            if there < wanted:
                os.posix_fallocate(file.fileno(), 0, wanted)
    except OSError:
        return False
    return True


def make_room(path: Path) -> None:
    """Raises `StoreUnavailable` where the disk takes no bytes; a full one is given the reserve."""
    try:
        _probe(path)
    except OSError as error:
        if error.errno not in DISK_FULL or not _given_up(path / RESERVE):
            raise StoreUnavailable(f"{path} cannot be written: {error.strerror}") from error
        make_room(path)


def _given_up(reserve: Path) -> bool:
    try:
        reserve.unlink()
    except OSError:
        return False
    return True


def _probe(path: Path) -> None:
    """Raises `OSError` where the disk does not take durably what opening the database writes."""
    probe = path / PROBE
    with os.scandir(path) as entries:
        logs = sum(size_of(entry) for entry in entries if entry.name.endswith(".log"))
    try:
        with probe.open("wb") as file:
            file.write(bytes(logs + PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    finally:
        with suppress(OSError):
            probe.unlink()
