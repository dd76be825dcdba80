"""A small ledger with everything in it, and whether its answers are those that its rows give."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import ormsgpack
import plyvel

from storage.candles import MinuteCandles
from storage.histograms import PriceHistogram
from storage.ledger import TradeLedger
from storage.trades import Instrument, TradeColumns
from tests.tapes import START_MS, rows_of, run_of

HOUR_MS = 3_600_000
FIRST_HOUR = START_MS - START_MS % HOUR_MS + HOUR_MS
OPEN_HOUR = FIRST_HOUR + 3 * HOUR_MS
STEP_MS = 60_000
Truth = Mapping[str, TradeColumns]

WINDOWS = (
    (0, 2 * START_MS),
    (FIRST_HOUR, FIRST_HOUR + HOUR_MS),
    (FIRST_HOUR + HOUR_MS, FIRST_HOUR + 3 * HOUR_MS),
    (FIRST_HOUR + 1_234_567, FIRST_HOUR + 2 * HOUR_MS + 777),
    (OPEN_HOUR + 60_000, OPEN_HOUR + HOUR_MS),
)


def truth() -> dict[str, TradeColumns]:
    """Three hours and twelve minutes of two symbols, one of them with a gap."""
    x = run_of(1, 3 * 60 + 12, start_ms=FIRST_HOUR, step_ms=STEP_MS)
    y = run_of(9_001, 3 * 30 + 6, start_ms=FIRST_HOUR, step_ms=2 * STEP_MS)
    return {"XUSDT": x, "Y": y.take((y.id < 9_050) | (y.id >= 9_053))}


def build(path: Path, *, crashed: bool = False) -> None:
    """Three hours sealed, a few rows late, the fourth hour open, several tables. `crashed`: as a kill leaves
    it, the last seconds in LevelDB's log."""
    stages = [path.with_name(f"{path.name}-{stage}") for stage in range(3)]
    with TradeLedger.open(stages[0]) as ledger:
        ledger.claim("binance spot", ["wss://stream", "https://rest"])
        for symbol, rows in truth().items():
            ledger.keep_instrument(
                Instrument(symbol, "binance spot", symbol[0], "USDT", Decimal("0.01"), Decimal("0.00001")), 1
            )
            ledger.append(symbol, rows.take((rows.time_ms < OPEN_HOUR) & (rows.id % 50 != 20)))
            ledger.set_warmup(symbol, FIRST_HOUR)
        for _ in range(2):
            ledger.seal(OPEN_HOUR + 60_000)
        ledger.compact()
    for before, after, part in ((stages[0], stages[1], slice(0, -7)), (stages[1], stages[2], slice(0, None))):
        with TradeLedger.open(before) as ledger:
            for symbol, rows in truth().items():
                ledger.append(symbol, rows.take(part))
                ledger.flush()
            shutil.copytree(before, after)
    if crashed:
        stages[2].rename(path)
    else:
        TradeLedger.open(stages[2]).close()
        stages[2].rename(path)
    for stage in stages:
        shutil.rmtree(stage, ignore_errors=True)


def records(path: Path) -> dict[bytes, bytes]:
    """What a closed ledger holds."""
    db = plyvel.DB(str(path), compression=None)
    found = dict(db.iterator())
    db.close()
    return found


def put(path: Path, key: bytes, value: bytes | None) -> None:
    """Overwrite or delete a record of a closed ledger."""
    db = plyvel.DB(str(path), compression=None)
    if value is None:
        db.delete(key)
    else:
        db.put(key, value)
    db.compact_range()
    db.close()


def differences(ledger: TradeLedger, tapes: Truth) -> Iterator[str]:
    """Where an answer is not what the rows that are held give. Raises `LedgerError` where there is none."""
    for symbol, tape in tapes.items():
        held = tape.take(_held(ledger, symbol, tape))
        for window in WINDOWS:
            expected, all_rows = held.within(*window), tape.within(*window)
            for what, same in _answers(ledger, symbol, expected, window):
                if not same:
                    yield f"{what} of {symbol} over {window}"
            if ledger.coverage(symbol, *window).complete and len(expected) != len(all_rows):
                yield f"coverage of {symbol} over {window} calls {len(expected)} of {len(all_rows)} complete"


def _held(ledger: TradeLedger, symbol: str, tape: TradeColumns) -> Any:
    held = np.zeros(len(tape), np.bool_)
    for run in ledger.runs(symbol):
        held |= (tape.id >= run.first_id) & (tape.id <= run.last_id)
    return held


def _answers(
    ledger: TradeLedger, symbol: str, rows: TradeColumns, window: tuple[int, int]
) -> Iterator[tuple[str, bool]]:
    with ledger.view(symbol) as view:
        coverage = view.coverage(*window)
        yield "coverage", coverage.trades == len(rows)
        yield (
            "ends",
            (coverage.first_id, coverage.last_id)
            == ((int(rows.id[0]), int(rows.id[-1])) if len(rows) else (None, None)),
        )
        yield "trades", rows_of(view.trades(*window)) == rows_of(rows)
        exact, plain = view.histogram(*window), PriceHistogram.of(rows)
        yield "histogram", same(exact, plain)
        size = Decimal("3.37")
        yield "in rows", same(view.histogram(*window, bin_size=size), plain.in_bins_of(size))
        binned = view.histogram(*window, exact=False)
        plain = plain.at_exponents(binned.price_exp, binned.quantity_exp)
        yield "binned", same(binned, plain if binned.bin_int is None else plain.in_bins(binned.bin_int))
        candles, made = view.candles(*window), MinuteCandles.of(rows)
        exponents = max(candles.price_exp, made.price_exp), max(candles.quantity_exp, made.quantity_exp)
        yield "candles", same(candles.at_exponents(*exponents), made.at_exponents(*exponents))
        last = view.last_trade(*window)
        yield "last", rows_of(last) == rows_of(rows)[-1:]


def signed(record: dict[str, Any]) -> bytes:
    """A rollup's record as a writer makes it, with the checksum that fits."""
    unsigned = ormsgpack.packb(record)[:-4]
    return unsigned + crc32(unsigned).to_bytes(4, "big")


def same(one: Any, other: Any) -> bool:
    """Whether two dataclasses hold the same, arrays included."""
    pairs = ((getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
    return all(
        np.array_equal(a, b)
        if isinstance(a, np.ndarray)
        else (same(a, b) if is_dataclass(a) and is_dataclass(b) else a == b)
        for a, b in pairs
    )
