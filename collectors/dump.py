"""A daily dump of aggTrades, as bytes of CSV, to columns, a slice at a time.

Invariant: a number leaves here exactly as it came or not at all. A line that cannot be read loses itself
alone and is named; lines may come in any order, with a header or without, with times in ms or µs.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from pyarrow import csv

from collectors.binance import EXCERPT, EXPONENT, MICROSECONDS_FROM, Malformed, units
from storage.trades import BoolArray, IntArray, TradeColumns

# What a dump's file is read in: some 13,000 rows, 15 ms of parsing.
CHUNK_BYTES = 1 << 20
LONGEST_LINE = 1 << 16
# A file with more lines that cannot be read is no dump.
MOST_MALFORMED = 1_000

NAMES = ("a", "p", "q", "f", "l", "T", "m", "M")
# "M", best match, carries nothing, and files of futures lack it.
LEAST_CELLS = len(NAMES) - 1
LEAST_ID, PAST_ID = -1, 2**62

_TRUE, _FALSE = ("True", "true", "TRUE", "1"), ("False", "false", "FALSE", "0")
_TYPES = {
    **dict.fromkeys(("a", "f", "l", "T"), pa.int64()),
    **dict.fromkeys(("p", "q"), pa.decimal128(19, EXPONENT)),
    "m": pa.bool_(),
}


class DumpError(ValueError):
    """A file that is no dump of aggTrades."""


@dataclass(frozen=True, slots=True, eq=False)
class DumpSlice:
    """Rows in the order of the file, and what was wrong with the lines that gave none."""

    trades: TradeColumns
    malformed: list[Malformed]


def parse_dump(chunks: Iterable[bytes], start_ms: int, end_ms: int) -> Iterator[DumpSlice]:
    """The trades of a CSV of columns a,p,q,f,l,T,m[,M], one slice for each chunk of its bytes.

    A line of a time outside [start_ms, end_ms) counts as malformed: it is not of this dump's day. Raises
    `DumpError` for a file without line ends or with more than 1,000 malformed lines.
    """
    malformed, cells = 0, 0
    for lines in _whole_lines(chunks):
        if not cells:
            lines = _without_header(lines)
        if not lines.strip():
            continue
        cells = cells or _cells_of(lines)
        slice_ = _slice_of(lines, cells, start_ms, end_ms)
        malformed += len(slice_.malformed)
        if malformed > MOST_MALFORMED:
            raise DumpError(f"{malformed} lines are no aggTrades, such as {slice_.malformed[0].text!r}")
        yield slice_


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        whole, newline, rest = (rest + chunk).rpartition(b"\n")
        if len(rest) > LONGEST_LINE:
            raise DumpError(f"no line end in {len(rest)} bytes, such as {_excerpt(rest)!r}")
        if newline:
            yield whole + newline
    if rest:
        yield rest


def _without_header(lines: bytes) -> bytes:
    """The lines from the first one on that begins with a digit, where no more than one does not."""
    lines = lines.removeprefix(b"\xef\xbb\xbf").lstrip()
    return lines if lines[:1].isdigit() else lines.partition(b"\n")[2].lstrip()


def _cells_of(lines: bytes) -> int:
    """How many cells the lines have, by the first of them."""
    return LEAST_CELLS if lines.partition(b"\n")[0].count(b",") == LEAST_CELLS - 1 else len(NAMES)


def _slice_of(lines: bytes, cells: int, start_ms: int, end_ms: int) -> DumpSlice:
    trades = _read(lines, cells)
    if trades is not None:
        return _judged(trades, lines, start_ms, end_ms)
    return _searched(_lines_of(lines), cells, start_ms, end_ms)


def _searched(lines: Sequence[bytes], cells: int, start_ms: int, end_ms: int) -> DumpSlice:
    """Lines of which at least one cannot be read: halved until it stands alone."""
    if len(lines) == 1:
        return _one_line(lines[0], start_ms, end_ms)
    middle = len(lines) // 2
    parts: list[DumpSlice] = []
    for half in (lines[:middle], lines[middle:]):
        parts.append(_slice_of(b"\n".join(half), cells, start_ms, end_ms))
        if sum(len(part.malformed) for part in parts) > MOST_MALFORMED:
            break
    trades = TradeColumns.concat([part.trades for part in parts])
    return DumpSlice(trades, [fault for part in parts for fault in part.malformed])


# -- the usual way: many lines at once --------------------------------------------------------------------


def _read(lines: bytes, cells: int) -> TradeColumns | None:
    """The rows of lines that all can be read as they are meant; else None."""
    try:
        table = csv.read_csv(
            pa.BufferReader(lines),
            read_options=csv.ReadOptions(
                column_names=NAMES[:cells], use_threads=False, block_size=len(lines) + 1
            ),
            parse_options=csv.ParseOptions(quote_char=False),
            convert_options=csv.ConvertOptions(
                column_types=_TYPES,
                include_columns=NAMES[:LEAST_CELLS],
                null_values=[],
                true_values=_TRUE,
                false_values=_FALSE,
            ),
        )
    except pa.ArrowInvalid:
        return None
    column = {name: table.column(name).combine_chunks() for name in NAMES[:LEAST_CELLS]}
    price, quantity = _units_of(column["p"]), _units_of(column["q"])
    if price is None or quantity is None:
        return None
    identity, first_id, last_id, time = (column[name].to_numpy() for name in ("a", "f", "l", "T"))
    return _columns(
        identity, time, price, quantity, first_id, last_id, column["m"].to_numpy(zero_copy_only=False)
    )


def _units_of(decimals: pa.Decimal128Array) -> IntArray | None:
    """128-bit decimals as 64-bit integers; None where one does not fit or is negative."""
    words = np.frombuffer(decimals.buffers()[1], np.int64).reshape(-1, 2)
    words = words[decimals.offset : decimals.offset + len(decimals)]
    low, high = words[:, 0], words[:, 1]
    return np.ascontiguousarray(low) if not high.any() and int(low.min()) >= 0 else None


def _columns(
    identity: IntArray,
    time: IntArray,
    price: IntArray,
    quantity: IntArray,
    first_id: IntArray,
    last_id: IntArray,
    buyer_is_maker: BoolArray,
) -> TradeColumns:
    return TradeColumns(
        id=identity,
        time_ms=np.where(time >= MICROSECONDS_FROM, time // 1000, time),
        price_int=price,
        quantity_int=quantity,
        first_id=first_id,
        last_id=last_id,
        buyer_is_maker=buyer_is_maker,
        price_exp=EXPONENT,
        quantity_exp=EXPONENT,
    )


def _marked(trades: TradeColumns) -> TradeColumns:
    """A row of quantity 0 was marked invalid by the exchange: it has no price and no aggressor."""
    valid = trades.valid
    if bool(valid.all()):
        return trades
    return replace(
        trades,
        price_int=np.where(valid, trades.price_int, 0),
        buyer_is_maker=trades.buyer_is_maker & valid,
    )


def _faults(trades: TradeColumns, start_ms: int, end_ms: int) -> dict[str, BoolArray]:
    """What may be wrong with a row, and the rows of which it is."""
    ids = np.stack([trades.id, trades.first_id, trades.last_id])
    no_range = (trades.first_id < 0) | (trades.first_id > trades.last_id)
    return {
        "an id out of range": (trades.id < 0) | ((ids < LEAST_ID) | (ids >= PAST_ID)).any(axis=0),
        "price 0 with a quantity": trades.valid & (trades.price_int == 0),
        "trades f to l, expected 0 <= f <= l": trades.valid & no_range,
        "a time outside the dump's day": (trades.time_ms < start_ms) | (trades.time_ms >= end_ms),
    }


def _judged(trades: TradeColumns, lines: bytes, start_ms: int, end_ms: int) -> DumpSlice:
    """The rows of the lines, those at fault left out and named."""
    faults = _faults(trades, start_ms, end_ms)
    wrong: BoolArray = np.logical_or.reduce(list(faults.values()))
    if not wrong.any():
        return DumpSlice(_marked(trades), [])
    texts = _lines_of(lines)
    malformed = [
        Malformed(next(reason for reason, rows in faults.items() if rows[at]), _excerpt(texts[at]))
        for at in np.flatnonzero(wrong).tolist()
    ]
    return DumpSlice(_marked(trades.take(~wrong)), malformed)


def _lines_of(lines: bytes) -> list[bytes]:
    return [line for line in lines.splitlines() if line.strip()]


# -- one line ---------------------------------------------------------------------------------------------

_INTEGER = re.compile(r"-?[0-9]{1,18}")


def _one_line(line: bytes, start_ms: int, end_ms: int) -> DumpSlice:
    try:
        return _judged(_row(line), line, start_ms, end_ms)
    except ValueError as fault:
        return DumpSlice(TradeColumns.empty(), [Malformed(str(fault), _excerpt(line))])


def _row(line: bytes) -> TradeColumns:
    """A line on its own, such as one with more decimals than needed; raises ValueError."""
    cells = [cell.strip() for cell in line.decode("ascii").split(",")]
    if len(cells) not in (LEAST_CELLS, len(NAMES)):
        raise DumpError(f"{len(cells)} cells, expected {len(NAMES)}")
    a, p, q, f, last, time, maker, *_ = cells
    if maker not in _TRUE + _FALSE:
        raise DumpError(f"read {maker[:40]!r}, expected True or False")
    identity, time_, first_id, last_id = (np.array([_integer(text)], np.int64) for text in (a, time, f, last))
    price, quantity = (np.array([units(text)], np.int64) for text in (p, q))
    return _columns(identity, time_, price, quantity, first_id, last_id, np.array([maker in _TRUE]))


def _integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise DumpError(f"read {text[:40]!r}, expected an integer")
    return int(text)


def _excerpt(line: bytes) -> str:
    return line[:EXCERPT].decode(errors="replace")
