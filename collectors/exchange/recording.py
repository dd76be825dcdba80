"""A market that replays recorded trades, moved in time and, if wished, faster.

Invariant: every recorded trade once, in the order of its id, its price, quantity and side untouched; trades
of one millisecond stay together.
"""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from collectors.binance import EXPONENT, WireError, plain_decimal, units
from collectors.exchange.listings import LISTINGS, instrument
from storage.trades import BoolArray, Instrument, IntArray, TradeColumns


class Recording:
    """A `Market` out of recorded files; reads them when made.

    The files may be given in any order: gzip lines `<receive time> <raw JSON>` with `trade` messages (other
    messages are skipped), or `<SYMBOL>-aggTrades*.csv.gz` with rows a,p,q,f,l,T,m[,M]. The first trade of all
    is moved to `start_ms`, and `speed` seconds of the recording pass in one. Lines that are cut or garbled
    are counted in `broken_lines`.
    """

    def __init__(self, files: Sequence[Path], *, start_ms: int, speed: int = 1) -> None:
        messages = [path for path in files if not path.name.endswith(".csv.gz")]
        tables = [path for path in files if path.name.endswith(".csv.gz")]
        raw, self.broken_lines = _read_trades(messages)
        recorded = {symbol: joined(rows) for symbol, rows in raw.items()}
        for symbol, paths in _by_symbol(tables).items():
            parts, broken = zip(*map(_read_table, paths), strict=True)
            recorded[symbol] = TradeColumns.concat(
                [*parts, recorded.get(symbol, TradeColumns.empty())]
            ).by_id()
            self.broken_lines += sum(broken)
        if not any(map(len, recorded.values())):
            raise ValueError(f"no trades in {', '.join(map(str, files)) or 'no files'}")
        origin_ms = min(int(rows.time_ms[0]) for rows in recorded.values())
        self._trades = {s: _moved(rows, origin_ms, start_ms, speed) for s, rows in sorted(recorded.items())}
        self.symbols = tuple(self._trades)
        self.instruments: Mapping[str, Instrument] = {s: _instrument(s, x) for s, x in self._trades.items()}

    def trades(self, symbol: str, start_ms: int, end_ms: int) -> TradeColumns:
        rows = self._trades[symbol]
        first, last = np.searchsorted(rows.time_ms, [start_ms, end_ms]).tolist()
        return rows.take(slice(first, last))

    def from_id(self, symbol: str, first_id: int, limit: int) -> TradeColumns:
        rows = self._trades[symbol]
        first = int(np.searchsorted(rows.id, first_id))
        return rows.take(slice(first, first + limit))

    def first_id_from(self, symbol: str, time_ms: int) -> int:
        rows = self._trades[symbol]
        at = int(np.searchsorted(rows.time_ms, time_ms))
        return int(rows.id[at]) if at < len(rows) else int(rows.id[-1]) + 1


def _moved(rows: TradeColumns, origin_ms: int, start_ms: int, speed: int) -> TradeColumns:
    """A time that steps back in the recording is raised to the one before it."""
    return replace(rows, time_ms=start_ms + (np.maximum.accumulate(rows.time_ms) - origin_ms) // speed)


def _instrument(symbol: str, trades: TradeColumns) -> Instrument:
    """As listed; for a symbol unknown here, the coarsest grid that all its trades are on."""
    if symbol in LISTINGS:
        return LISTINGS[symbol].instrument
    tick, lot = int(np.gcd.reduce(trades.price_int)), int(np.gcd.reduce(trades.quantity_int))
    return instrument(symbol, plain_decimal(tick), plain_decimal(lot))


# -- recorded messages ------------------------------------------------------------------------------------


class _Trade(msgspec.Struct, gc=False, tag_field="e", tag="trade"):
    s: str
    t: int
    p: str
    q: str
    T: int
    m: bool


class _Line(msgspec.Struct, gc=False):
    data: _Trade


_decode = msgspec.json.Decoder(_Line).decode


def _read_trades(paths: Iterable[Path]) -> tuple[dict[str, list[_Trade]], int]:
    """(trades per symbol in id order, broken lines) of files of raw messages."""
    trades: dict[str, dict[int, _Trade]] = {}
    broken = 0
    for line in (line for path in paths for line in _lines(path)):
        _, _, text = line.partition(b" ")
        if b'"e":"trade"' not in text:
            broken += not text.rstrip().endswith(b"}")
            continue
        try:
            trade = _decode(text).data
            units(trade.p), units(trade.q)
        except (msgspec.DecodeError, UnicodeError, WireError):
            broken += 1
            continue
        trades.setdefault(trade.s, {})[trade.t] = trade
    return {symbol: [rows[t] for t in sorted(rows)] for symbol, rows in trades.items()}, broken


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        yield from file


def joined(trades: Sequence[_Trade]) -> TradeColumns:
    """aggTrades of trades in id order: consecutive ones of equal time, price and side; ids count from 1.

    By the taker's order id this rule sets 95 % of the boundaries where the exchange sets them.
    """
    time = np.array([trade.T for trade in trades], np.int64)
    price = np.array([units(trade.p) for trade in trades], np.int64)
    quantity = np.array([units(trade.q) for trade in trades], np.int64)
    trade_id = np.array([trade.t for trade in trades], np.int64)
    maker = np.array([trade.m for trade in trades], np.bool_)
    starts = np.flatnonzero(_changes(time) | _changes(price) | _changes(maker))
    ends = np.append(starts[1:], len(trades))
    return TradeColumns(
        id=np.arange(1, len(starts) + 1),
        time_ms=time[starts],
        price_int=price[starts],
        quantity_int=np.add.reduceat(quantity, starts),
        first_id=trade_id[starts],
        last_id=trade_id[ends - 1],
        buyer_is_maker=maker[starts],
        price_exp=EXPONENT,
        quantity_exp=EXPONENT,
    )


def _changes(column: IntArray | BoolArray) -> BoolArray:
    """True where a row differs from the one before it, and in the first row."""
    return np.concatenate([[True], column[1:] != column[:-1]])


# -- tables -----------------------------------------------------------------------------------------------

_TABLE_NAME = re.compile(r"([A-Z0-9]+)-aggTrades")


def _by_symbol(paths: Iterable[Path]) -> dict[str, list[Path]]:
    tables: dict[str, list[Path]] = {}
    for path in paths:
        name = _TABLE_NAME.search(path.name)
        if name is None:
            raise ValueError(
                f"{path.name} names no symbol; expected <SYMBOL>-aggTrades in a .csv.gz file's name"
            )
        tables.setdefault(name[1], []).append(path)
    return tables


def _read_table(path: Path) -> tuple[TradeColumns, int]:
    """(rows in id order, broken lines) of a csv.gz of aggTrades."""
    rows = []
    broken = 0
    for line in _lines(path):
        try:
            rows.append(_table_row(line.decode("ascii").rstrip().split(",")))
        except ValueError:
            broken += 1
    if not rows:
        return TradeColumns.empty(), broken
    ids, times, prices, quantities, first_ids, last_ids, maker = zip(*rows, strict=True)
    trades = TradeColumns(
        id=np.array(ids, np.int64),
        time_ms=np.array(times, np.int64),
        price_int=np.array(prices, np.int64),
        quantity_int=np.array(quantities, np.int64),
        first_id=np.array(first_ids, np.int64),
        last_id=np.array(last_ids, np.int64),
        buyer_is_maker=np.array(maker, np.bool_),
        price_exp=EXPONENT,
        quantity_exp=EXPONENT,
    )
    return trades.by_id(), broken


def _table_row(cells: Sequence[str]) -> tuple[int, int, int, int, int, int, bool]:
    """Cells a,p,q,f,l,T,m[,M] as (id, time, price, quantity, first, last, maker); raises ValueError."""
    a, p, q, f, last, time, maker, *_ = cells
    return int(a), int(time), units(p), units(q), int(f), int(last), _truth(maker)


def _truth(cell: str) -> bool:
    if cell.lower() not in ("true", "false"):
        raise ValueError(f"read {cell[:40]!r}, expected True or False")
    return cell.lower() == "true"
