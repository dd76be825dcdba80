"""Opening LevelDB where that is safe: its files are looked at first, damaged logs mended, a full disk helped.

Invariant: nothing is created where something was, and what mending replaces is kept in `damaged-<UTC time>`.
"""

import shutil
from contextlib import suppress
from pathlib import Path

from storage.errors import CorruptRecord, StoreLocked, StoreUnavailable
from storage.ledger_files import (
    NEW,
    damaged_logs,
    is_locked,
    leveldb_files,
    mend_logs,
    refuse_damage,
    set_aside,
)
from storage.leveldb import Handle, repair_tables
from storage.reserve import make_room


def first_handle(path: Path, *, create: bool) -> tuple[Handle, list[str]]:
    """A handle of a directory that this process has not open, and what was damaged and mended on the way.

    With `create` a database is made where there is nothing. Raises `StoreLocked` when another process holds
    it, `CorruptRecord`, and `StoreUnavailable` for whatever else the disk says.
    """
    if is_locked(path):
        raise StoreLocked(f"{path} is open in another process; stop it or choose another TAPEDECK_DATA_DIR")
    empty = _is_empty(path, create=create)
    _make_private(path)
    damage = [] if empty else _mended(path, checksums=False)
    return _handle_with_room(path, create=create and empty, damage=damage), damage


def handle_anew(path: Path) -> Handle:
    """A handle in place of one that this process has closed."""
    return _mended_handle(path, create=False, damage=[])


def repair(path: Path) -> None:
    """Make LevelDB's files consistent again with what is sound in them; the rest of them is given up.

    Its logs must be sound already: LevelDB would take damaged records over as they are. Tables come out in an
    order in which single records may be read stale, so all are compacted.
    """
    repair_tables(path)
    shutil.rmtree(path / "lost", ignore_errors=True)
    handle = handle_anew(path)
    handle.compact()
    handle.close()


def _handle_with_room(path: Path, *, create: bool, damage: list[str]) -> Handle:
    """The handle; a full disk is given the reserve first, since opening writes."""
    try:
        return _mended_handle(path, create=create, damage=damage)
    except StoreUnavailable:
        if create:
            raise
        make_room(path)
        return _mended_handle(path, create=create, damage=damage)


def _mended_handle(path: Path, *, create: bool, damage: list[str]) -> Handle:
    """The handle. A damaged log is mended first; what was done is added to `damage`."""
    try:
        return Handle(path, create=create)
    except CorruptRecord:
        mended = _mended(path, checksums=True)
        if not mended:
            raise
        damage += mended
        return Handle(path, create=create)


def _mended(path: Path, *, checksums: bool) -> list[str]:
    """Damaged logs are set aside and what is sound of them is kept; what was done."""
    try:
        refuse_damage(path)
        logs = damaged_logs(path, checksums=checksums)
        if not logs:
            return []
        kept = set_aside(path, logs)
        mend_logs(logs)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be used: {error.strerror}") from error
    return [f"{log.name} was damaged: what is sound of it was kept, the whole is in {kept}" for log in logs]


def _is_empty(path: Path, *, create: bool) -> bool:
    """Whether the directory holds no database. One is created only where nothing is: on a directory that
    lost its CURRENT file, LevelDB would start an empty database and delete the data."""
    try:
        if create:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        present = {file.name for file in leveldb_files(path)}
        if create and not present:
            (path / NEW).touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"{path} cannot be used: {error.strerror}; choose another TAPEDECK_DATA_DIR"
        ) from error
    begun = (path / NEW).exists() and not any(name.endswith(".ldb") for name in present)
    if present and "CURRENT" not in present and not begun:
        raise StoreUnavailable(
            f"{path} has files but no CURRENT, so it is no ledger or a damaged one; nothing was touched. "
            "`tapedeck verify --repair` brings a ledger back"
        )
    return "CURRENT" not in present


def _make_private(path: Path) -> None:
    """Only the user may look into the directory; on a medium that cannot be written it stays as it is."""
    with suppress(OSError):
        path.chmod(0o700)
        for file in path.iterdir():
            if file.is_file():
                file.chmod(0o600)
