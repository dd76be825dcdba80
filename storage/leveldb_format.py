"""What LevelDB's log and manifest say, read without LevelDB.

Invariant: bytes in, facts out; nothing raises but `CorruptRecord`. LevelDB does not tell a log that was
damaged near its end from one that a crash cut off, nor a ledger whose log is gone from an empty one; here
they are told apart. Source: LevelDB's doc/log_format.md and
db/version_edit.cc.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from storage.errors import CorruptRecord

LOG_BLOCK = 32 * 1024
HEADER = struct.Struct("<IHB")  # masked CRC-32C, length, kind
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
SEQUENCE = 8  # bytes behind each key: sequence number and kind

COMPARATOR, LOG_NUMBER, NEXT_FILE, LAST_SEQUENCE, COMPACT_POINTER, DELETED, NEW_FILE = 1, 2, 3, 4, 5, 6, 7
PREVIOUS_LOG = 9


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return tuple(table)


_CRC = _crc_table()


def masked_crc(contents: bytes) -> int:
    """CRC-32C as LevelDB stores it."""
    table, crc = _CRC, 0xFFFFFFFF
    for byte in contents:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# The log


@dataclass(frozen=True, slots=True)
class Log:
    """The whole records of a log, where bytes of it are damaged, and whether its end is cut off, as a crash
    leaves it."""

    records: list[bytes]
    damage: list[str]
    torn: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    at: int
    kind: int
    contents: bytes


@dataclass(frozen=True, slots=True)
class _Unsound:
    at: int
    until: int
    last: bool
    cut: bool


def read_log(log: bytes, *, checksums: bool = True) -> Log:
    """Reads past damage to the next sound piece. Without `checksums` only the lengths are looked at."""
    records: list[bytes] = []
    damage: list[str] = []
    pieces: list[bytes] = []
    torn = False
    for frame in _frames(log, checksums=checksums):
        if isinstance(frame, _Unsound):
            pieces, torn = [], frame.last and frame.cut
            if not torn:
                damage.append(f"bytes {frame.at} to {frame.until} are damaged")
        elif frame.kind in (FULL, FIRST):
            pieces = [frame.contents]
        elif pieces:
            pieces.append(frame.contents)
        if isinstance(frame, _Frame) and frame.kind in (FULL, LAST):
            records += [b"".join(pieces)] if pieces else []
            pieces = []
    return Log(records, damage, torn or bool(pieces))


def _frames(log: bytes, *, checksums: bool) -> Iterator[_Frame | _Unsound]:
    at = 0
    while at < len(log):
        left = min(LOG_BLOCK - at % LOG_BLOCK, len(log) - at)
        if left < HEADER.size:
            at += left
            continue
        frame = _frame_at(log, at, checksums=checksums)
        if frame is not None:
            yield frame
            at += HEADER.size + len(frame.contents)
            continue
        sound = _next_sound(log, at + 1)
        cut = at + HEADER.size + HEADER.unpack_from(log, at)[1] > len(log) or not any(log[at:])
        yield _Unsound(at, sound, last=sound >= len(log), cut=cut)
        at = sound


def _frame_at(log: bytes, at: int, *, checksums: bool) -> _Frame | None:
    """The piece of a record at this place; None where there is none."""
    left = min(LOG_BLOCK - at % LOG_BLOCK, len(log) - at) - HEADER.size
    if left < 0:
        return None
    crc, length, kind = HEADER.unpack_from(log, at)
    if not FULL <= kind <= LAST or length > left:
        return None
    start = at + HEADER.size
    if checksums and masked_crc(log[start - 1 : start + length]) != crc:
        return None
    return _Frame(at, kind, log[start : start + length])


def _next_sound(log: bytes, at: int) -> int:
    """The next place at which a sound piece begins, or the length of the log."""
    while at < len(log):
        end = min(at - at % LOG_BLOCK + LOG_BLOCK, len(log))
        for place in range(at, end):
            frame = _frame_at(log, place, checksums=True)
            if frame is not None and frame.contents:
                return place
        at = end
    return len(log)


def framed(records: Iterable[bytes]) -> bytes:
    """A log of these records."""
    log = bytearray()
    for record in records:
        begun, rest = False, record
        while rest or not begun:
            left = LOG_BLOCK - len(log) % LOG_BLOCK
            if left < HEADER.size:
                log += bytes(left)
                continue
            piece, rest = rest[: left - HEADER.size], rest[left - HEADER.size :]
            kind = (MIDDLE if rest else LAST) if begun else (FIRST if rest else FULL)
            log += HEADER.pack(masked_crc(bytes([kind]) + piece), len(piece), kind) + piece
            begun = True
    return bytes(log)


# The manifest


@dataclass(frozen=True, slots=True)
class TableEntry:
    size: int
    smallest: bytes
    largest: bytes


@dataclass(slots=True)
class Manifest:
    """Which files make up the database: the number of the log, and the tables by number."""

    log: int = 0
    tables: dict[int, TableEntry] = field(default_factory=dict)


def manifest_of(records: Iterable[bytes]) -> Manifest:
    """The state after all changes. Raises `CorruptRecord`."""
    manifest = Manifest()
    for record in records:
        try:
            _apply(manifest, Cursor(record))
        except IndexError as error:
            raise CorruptRecord("manifest holds a change that ends early") from error
    return manifest


class Cursor:
    """A cursor over bytes; `IndexError` at their end."""

    def __init__(self, contents: bytes, at: int = 0) -> None:
        self._contents = contents
        self.at = at

    def __bool__(self) -> bool:
        return self.at < len(self._contents)

    def varint(self) -> int:
        number = 0
        for shift in range(0, 70, 7):
            byte = self._contents[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
        raise IndexError("number of more than 64 bits")

    def take(self, length: int) -> bytes:
        if self.at + length > len(self._contents):
            raise IndexError("fewer bytes than announced")
        taken = self._contents[self.at : self.at + length]
        self.at += length
        return taken

    def text(self) -> bytes:
        return self.take(self.varint())


def _apply(manifest: Manifest, change: Cursor) -> None:
    while change:
        tag = change.varint()
        if tag == COMPARATOR:
            change.text()
        elif tag == LOG_NUMBER:
            manifest.log = change.varint()
        elif tag in (NEXT_FILE, LAST_SEQUENCE, PREVIOUS_LOG):
            change.varint()
        elif tag == COMPACT_POINTER:
            change.varint()
            change.text()
        elif tag == DELETED:
            change.varint()
            manifest.tables.pop(change.varint(), None)
        elif tag == NEW_FILE:
            change.varint()
            number = change.varint()
            manifest.tables[number] = TableEntry(
                change.varint(), change.text()[:-SEQUENCE], change.text()[:-SEQUENCE]
            )
        else:
            raise CorruptRecord(f"manifest holds a change of unknown kind {tag}")
