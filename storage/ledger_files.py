"""The files of a ledger's directory, looked at and copied without opening the database.

Invariant: nothing is changed but by `mend_logs` and `set_aside`, and what the former replaces is kept by the
latter in `damaged-<UTC time>`, a directory that LevelDB does not look into.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from storage.errors import LEFT, CorruptRecord, StoreLocked, StoreUnavailable
from storage.leveldb_format import Manifest, framed, manifest_of, read_log
from storage.leveldb_tables import FOOTER, check_footer, check_index, damaged_blocks, sound_blocks, table_of
from storage.whole_files import PARTIAL, put, sync_directory

# Given up when the disk is full: LevelDB needs room even to delete, and recording goes on in it for days.
RESERVE = "RESERVE"
PROBE = "PROBE"
CHECKPOINTS = "checkpoints"
IMPORTS = "imports"
# What the exchange has asked not to be asked, and until when; when links were opened of late.
BARS = "BARS"
ATTEMPTS = "ATTEMPTS"
# There from before a new database's first file until its first records are on disk.
NEW = "NEW"
DAMAGED = "damaged-"
# Ours in LevelDB's directory, or of no consequence: a directory with nothing else is empty.
NOT_LEVELDB = {
    "LOCK",
    "LOG",
    "LOG.old",
    "lost",
    "lost+found",
    RESERVE,
    PROBE,
    CHECKPOINTS,
    IMPORTS,
    NEW,
    BARS,
    ATTEMPTS,
}
NOT_LEVELDB |= {"access"}  # whom the server has let in, a directory of its own


@dataclass(frozen=True, slots=True)
class FileDamage:
    """A file of LevelDB's that is not as it should be, and the keys that can be made out in what is damaged.

    `log` damage loses records alone and is mended without LevelDB's help.
    """

    file: str
    what: str
    keys: tuple[bytes, ...] = ()
    log: bool = False

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


def is_leveldb(name: str) -> bool:
    """Whether a file in the directory is LevelDB's and holds data."""
    return name not in NOT_LEVELDB and not name.startswith(DAMAGED) and not name.endswith(PARTIAL)


def leveldb_files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if is_leveldb(file.name))


def size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # compacted away meanwhile
        return 0


def is_locked(path: Path) -> bool:
    """Whether another process has the directory open. Not for the process that has it open itself: asking
    would release its lock."""
    try:
        with (path / "LOCK").open("r+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps others from opening the directory, this process included. Raises `StoreLocked`."""
    try:
        with (path / "LOCK").open("a+b") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
    except BlockingIOError as error:
        raise StoreLocked(f"{path} is open in another process") from error


def refuse_damage(path: Path) -> None:
    """Raises `CorruptRecord` for what LevelDB would not see, or not survive: a manifest of which the end is
    gone makes it forget tables and delete them, a lost log is an empty one, and footers are believed."""
    for damage in _structure(path):
        raise CorruptRecord(f"{path / damage.file} {damage.what}; {LEFT}")


def examined(path: Path, *, tables: bool = False) -> Iterator[FileDamage]:
    """All that is damaged: manifest, log and how the tables end; with `tables` also each of their blocks."""
    structure = list(_structure(path))
    yield from structure
    for log in _logs(path):
        yield from (FileDamage(log.name, what, log=True) for what in read_log(log.read_bytes()).damage)
    if tables:
        named = {damage.file for damage in structure}
        for table in _tables(path):
            if table.name not in named:
                yield from _table_damage(table)


def _structure(path: Path) -> Iterator[FileDamage]:
    try:
        name, manifest = _manifest(path)
    except CorruptRecord as error:
        file, _, what = str(error).partition(" ")
        yield FileDamage(file, what)
        return
    log = f"{manifest.log:06d}.log"
    if manifest.log and not (path / log).exists():
        yield FileDamage(log, f"is gone, or the end of {name} is")
    for number, entry in sorted(manifest.tables.items()):
        table = next(
            (p for p in (path / f"{number:06d}.ldb", path / f"{number:06d}.sst") if p.exists()), None
        )
        keys = (entry.smallest, entry.largest)
        if table is None:
            yield FileDamage(f"{number:06d}.ldb", "is gone", keys)
            continue
        try:
            if table.stat().st_size != entry.size:
                raise CorruptRecord(f"has {table.stat().st_size} bytes instead of {entry.size}")
            check_footer(_end_of(table), entry.size)
        except CorruptRecord as error:
            yield FileDamage(table.name, str(error), keys)


def _manifest(path: Path) -> tuple[str, Manifest]:
    """The current manifest's name and what it says. Raises `CorruptRecord`, the file first."""
    try:
        current = (path / "CURRENT").read_bytes()
    except FileNotFoundError as error:
        raise CorruptRecord("CURRENT is gone") from error
    name = current.decode("ascii", errors="replace").rstrip("\n")
    if not name.startswith("MANIFEST-") or not name[9:].isdigit() or not current.endswith(b"\n"):
        raise CorruptRecord("CURRENT is damaged: it names no manifest")
    try:
        contents = (path / name).read_bytes()
    except FileNotFoundError as error:
        raise CorruptRecord(f"{name} is gone, which CURRENT names") from error
    log = read_log(contents)
    if log.damage or not log.records:
        raise CorruptRecord(f"{name} is damaged: {(log.damage or ['it is empty'])[0]}")
    try:
        return name, manifest_of(log.records)
    except CorruptRecord as error:
        raise CorruptRecord(f"{name} is damaged: {error}") from error


def _end_of(table: Path) -> bytes:
    with table.open("rb") as file:
        file.seek(-min(FOOTER, table.stat().st_size), os.SEEK_END)
        return file.read()


def _table_damage(table: Path) -> Iterator[FileDamage]:
    try:
        for block in damaged_blocks(table.read_bytes()):
            yield FileDamage(table.name, f"has a damaged block at byte {block.at}", tuple(block.keys))
    except CorruptRecord as error:
        yield FileDamage(table.name, str(error))


def _tables(path: Path) -> list[Path]:
    return sorted([*path.glob("*.ldb"), *path.glob("*.sst")])


def _logs(path: Path) -> list[Path]:
    """The logs that LevelDB reads at open, oldest first."""
    try:
        oldest = _manifest(path)[1].log
    except CorruptRecord:
        oldest = 0
    return sorted(log for log in path.glob("*.log") if log.stem.isdigit() and int(log.stem) >= oldest)


def damaged_logs(path: Path, *, checksums: bool = True) -> list[Path]:
    """The logs with damage in them. Without `checksums` only that which LevelDB does not see: it takes a
    damaged length in the last block for the end that a crash left."""
    return [log for log in _logs(path) if read_log(log.read_bytes(), checksums=checksums).damage]


def mend_logs(logs: Sequence[Path]) -> None:
    """Leave what is sound of these logs."""
    for log in logs:
        put(log, framed(read_log(log.read_bytes()).records))


def mend_tables(path: Path) -> None:
    """Give tables whose end is damaged a new one, behind their sound blocks: without it LevelDB would give
    them up whole."""
    for table in _tables(path):
        contents = table.read_bytes()
        try:
            check_index(contents)
        except CorruptRecord:
            blocks = list(sound_blocks(contents))
            if blocks:
                put(table, table_of(blocks))


def set_aside(path: Path, files: Sequence[Path]) -> Path:
    """Copies of files (links of tables, which never change) in a new `damaged-<UTC time>`, named after the
    last write to the database."""
    newest = max((file.stat().st_mtime for file in leveldb_files(path)), default=0.0)
    stem = f"{DAMAGED}{datetime.fromtimestamp(newest, UTC):%Y%m%dT%H%M%SZ}"
    names = (stem if turn == 0 else f"{stem}-{turn}" for turn in range(10_000))
    target = next(path / name for name in names if not (path / name).exists())
    try:
        target.mkdir(mode=0o700)
        for file in files:
            copy(file, target)
        sync_directory(path)
    except OSError as error:
        raise StoreUnavailable(f"{target} cannot be made: {error.strerror}; nothing was changed") from error
    return target


def copy(file: Path, target: Path) -> None:
    """A link of a table, which never changes; a copy of anything else."""
    if file.suffix in (".ldb", ".sst"):
        try:
            (target / file.name).hardlink_to(file)
            return
        except FileNotFoundError:
            raise
        except OSError:  # a file system without links
            pass
    shutil.copyfile(file, target / file.name)
