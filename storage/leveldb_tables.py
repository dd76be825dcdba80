"""LevelDB's tables, read without LevelDB: which blocks are sound, and a table of those that are.

Invariant: a block counts only with a checksum that fits. LevelDB gives up a table whose end is damaged; its
blocks stand one behind the other, so they are found without it. Source: LevelDB's doc/table_format.md.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storage.errors import CorruptRecord
from storage.leveldb_format import SEQUENCE, Cursor, masked_crc

FOOTER = 48
MAGIC = 0xDB4775248B80FB57
TRAILER = struct.Struct("<BI")  # behind each block: compression, masked CRC-32C
RESTART_INTERVAL = 16
NO_ENTRIES = struct.pack("<II", 0, 1)
# Where a block may begin: an entry that shares nothing with the one before, with one of our keys.
BEGINNING = re.compile(
    rb"(?=\x00[\x09-\x7f][\x80-\xff]{0,4}[\x00-\x7f]"
    rb"(?:blocks:|candles:|lost:|meta:|rollup:|state:|trades:|\xff))",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class DamagedBlock:
    """A block of a table whose checksum differs, and the keys that can be made out in it."""

    at: int
    size: int
    keys: list[bytes]


def check_footer(footer: bytes, size: int) -> None:
    """LevelDB believes a footer, which has no checksum, about how much memory to take. Raises
    `CorruptRecord`."""
    if len(footer) < FOOTER or struct.unpack_from("<Q", footer, FOOTER - 8)[0] != MAGIC:
        raise CorruptRecord("does not end as a table does")
    try:
        index_at, index_size = _index_handle(footer)
    except IndexError as error:
        raise CorruptRecord("has a damaged footer") from error
    if index_at + index_size + TRAILER.size + FOOTER != size:
        raise CorruptRecord("has a damaged footer")


def _index_handle(footer: bytes) -> tuple[int, int]:
    cursor = Cursor(footer)
    metaindex_at, metaindex_size = cursor.varint(), cursor.varint()
    index_at = cursor.varint()
    if metaindex_at + metaindex_size + TRAILER.size != index_at:
        raise IndexError("no place for the index")
    return index_at, cursor.varint()


def check_index(table: bytes) -> tuple[int, int]:
    """Where the index of a table lies and how long it is. Raises `CorruptRecord` where it is not sound."""
    check_footer(table[-FOOTER:], len(table))
    index_at, index_size = _index_handle(table[-FOOTER:])
    if not _is_sound(table, index_at, index_size):
        raise CorruptRecord("has a damaged index")
    return index_at, index_size


def damaged_blocks(table: bytes) -> list[DamagedBlock]:
    """The blocks of a table whose checksum differs. Raises `CorruptRecord` where it has no sound index."""
    damaged = []
    index_at, index_size = check_index(table)
    for _, handle in _entries(table[index_at : index_at + index_size]):
        cursor = Cursor(handle)
        at, size = cursor.varint(), cursor.varint()
        if not _is_sound(table, at, size):
            keys = [key[:-SEQUENCE] for key, _ in _entries(table[at : at + size])]
            damaged.append(DamagedBlock(at, size, keys))
    return damaged


def _is_sound(table: bytes, at: int, size: int) -> bool:
    if at + size + TRAILER.size > len(table):
        return False
    _, crc = TRAILER.unpack_from(table, at + size)
    return masked_crc(table[at : at + size + 1]) == int(crc)


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of an uncompressed block, as far as they can be made out."""
    restarts = struct.unpack("<I", block[-4:])[0] if len(block) >= 4 else 0
    for key, value, _ in _walk(block, 0, len(block) - 4 - 4 * restarts):
        yield key, value


def _walk(table: bytes, at: int, end: int) -> Iterator[tuple[bytes, bytes, int]]:
    """Key and value of each entry from here on, and where it ends, as far as they make sense."""
    cursor, key = Cursor(table, at), b""
    while cursor.at < end:
        try:
            shared, own, length = cursor.varint(), cursor.varint(), cursor.varint()
            if shared > len(key):
                return
            key = key[:shared] + cursor.take(own)
            yield key, cursor.take(length), cursor.at
        except IndexError:
            return


# A table whose end is damaged


@dataclass(frozen=True, slots=True)
class SoundBlock:
    """A block with its trailer, and the last of its keys."""

    contents: bytes
    last_key: bytes


def sound_blocks(table: bytes) -> Iterator[SoundBlock]:
    """The blocks of records, found one behind the other."""
    at = 0
    while at < len(table):
        block = _block_at(table, at)
        if block is not None:
            yield block
            at += len(block.contents)
        elif table.startswith(NO_ENTRIES, at) and _is_sound(table, at, len(NO_ENTRIES)):
            return  # the metaindex: behind it are no records
        else:
            found = BEGINNING.search(table, at + 1)
            at = found.start() if found else len(table)


def _block_at(table: bytes, at: int) -> SoundBlock | None:
    """The block that begins here. Its length follows from its number of entries: behind them are the places
    of every sixteenth, then how many those are."""
    values = []
    for count, (key, value, end) in enumerate(_walk(table, at, len(table)), start=1):
        values.append(value)
        restarts = (count + RESTART_INTERVAL - 1) // RESTART_INTERVAL
        size = end + 4 * restarts + 4 - at
        if table[at + size - 4 : at + size] == struct.pack("<I", restarts) and _is_sound(table, at, size):
            block = SoundBlock(table[at : at + size + TRAILER.size], key)
            return None if all(map(_is_handle, values)) else block
    return None


def _is_handle(value: bytes) -> bool:
    """Whether it may be an index's: two numbers and nothing else. No record of ours is."""
    cursor = Cursor(value)
    try:
        for _ in range(2):
            cursor.varint()
    except IndexError:
        return False
    return not cursor


def table_of(blocks: Iterable[SoundBlock]) -> bytes:
    """A table of these blocks."""
    table = bytearray()
    index = []
    for block in blocks:
        size = len(block.contents) - TRAILER.size
        index.append((block.last_key, _varint(len(table)) + _varint(size)))
        table += block.contents
    handles = b""
    for part in (NO_ENTRIES, _index(index)):
        handles += _varint(len(table)) + _varint(len(part))
        table += part + TRAILER.pack(0, masked_crc(part + b"\0"))
    return bytes(table) + handles.ljust(FOOTER - 8, b"\0") + struct.pack("<Q", MAGIC)


def _index(entries: Iterable[tuple[bytes, bytes]]) -> bytes:
    block, places = bytearray(), []
    for key, value in entries:
        places.append(len(block))
        block += _varint(0) + _varint(len(key)) + _varint(len(value)) + key + value
    return bytes(block) + struct.pack(f"<{len(places) + 1}I", *places, len(places))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
