"""A ledger's copy elsewhere, and back.

Invariant: a copy appears under its name only when it is whole, synced to its disk, and has been opened. It
shares no file with the ledger that it was made of.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import StoreLocked, StoreUnavailable
from storage.inventory import Inventory, inventories
from storage.ledger import TradeLedger
from storage.ledger_files import is_locked, leveldb_files
from storage.whole_files import sync_directory

# Without it nothing takes a directory for a ledger, so it is copied last.
CURRENT = "CURRENT"
# What a new file system has by itself.
NOTHING = {"lost+found"}
NAMED = 3


def back_up(ledger: TradeLedger, target: Path) -> list[Inventory]:
    """Copy the ledger to `target`, a new or empty directory; what the copy holds.

    Raises `StoreUnavailable`, then nothing is left at `target`.
    """
    checkpoint = ledger.checkpoint(f"backup-{os.getpid()}")
    try:
        with _put_in_place(target) as making:
            _copy(checkpoint, making)
            copied = _opened(making)
            if copied != inventories(ledger):
                raise StoreUnavailable(f"the copy at {target} does not hold what the ledger does; removed")
            return copied
    finally:
        shutil.rmtree(checkpoint, ignore_errors=True)


def restore(backup: Path, target: Path) -> list[Inventory]:
    """Copy a backup to `target`, a new or empty directory; what it holds.

    Raises `StoreUnavailable`, `StoreLocked` where `backup` is a ledger in use, and what opening raises; then
    nothing is left at `target`.
    """
    if not (backup / CURRENT).is_file():
        raise StoreUnavailable(f"{backup} is no backup of a ledger: it has no file {CURRENT}")
    if is_locked(backup):
        raise StoreLocked(f"{backup} is open in another process; take a backup of it and restore that")
    with _put_in_place(target) as making:
        _copy(backup, making)
        return _opened(making)


def _opened(copy: Path) -> list[Inventory]:
    with TradeLedger.open(copy, create=False) as ledger:
        return inventories(ledger)


@contextmanager
def _put_in_place(target: Path) -> Iterator[Path]:
    """A directory that becomes `target` when the context ends well; else nothing is left of it.

    It is made beside it and renamed, except at a mount point, which nothing can be renamed to.
    """
    target = target.resolve()
    _refuse_unless_empty(target)
    making = target if target.is_mount() else target.with_name(f"{target.name}.partial")
    try:
        making.mkdir(mode=0o700, parents=True, exist_ok=making == target)
    except FileExistsError as error:
        raise StoreUnavailable(
            f"{making} exists: a copy is being made, or was cut off; delete it if none is"
        ) from error
    try:
        yield making
        _settle(making)
        if making != target:
            making.rename(target)
        sync_directory(target.parent)
    except BaseException:
        _remove(making, keep=making == target)
        raise


def _refuse_unless_empty(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise StoreUnavailable(f"{target} is no directory")
    present = sorted(entry.name for entry in target.iterdir()) if target.exists() else []
    present = [name for name in present if name not in NOTHING or not target.is_mount()]
    if present:
        more = f" and {len(present) - NAMED} more" if len(present) > NAMED else ""
        raise StoreUnavailable(
            f"{target} is not empty: it has {', '.join(present[:NAMED])}{more}; nothing was touched"
        )


def _copy(source: Path, target: Path) -> None:
    """Copy LevelDB's files, each synced, CURRENT last."""
    for file in sorted(leveldb_files(source), key=lambda file: (file.name == CURRENT, file.name)):
        with file.open("rb") as original, (target / file.name).open("xb") as copy:
            shutil.copyfileobj(original, copy, 1 << 20)
            copy.flush()
            os.fsync(copy.fileno())


def _settle(directory: Path) -> None:
    """Only the user may look into it, and it is on the disk."""
    directory.chmod(0o700)
    for entry in directory.iterdir():
        if entry.is_file():
            entry.chmod(0o600)
    sync_directory(directory)


def _remove(making: Path, *, keep: bool) -> None:
    """Delete what was copied, and the directory unless it was there before."""
    with suppress(OSError):
        for entry in making.iterdir():
            if entry.is_file():
                entry.unlink()
        if not keep:
            shutil.rmtree(making, ignore_errors=True)
