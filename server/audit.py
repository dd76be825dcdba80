"""`tapedeck audit`: a day of the ledger against the exchange's daily dump.

Invariant: it only reads; beside a running server, from a checkpoint that the server makes. Ids of the day
that are certified missing are asked for again, of REST too.
"""

import asyncio
from collections.abc import Iterator
from datetime import date

import numpy as np

from collectors.archive import Archive, ArchiveError, Dump
from collectors.binance import DAY_MS, decimal_string, start_of
from collectors.clock import Clock
from collectors.kept_bars import KeptBars
from collectors.rest import BinanceRest, RestError
from server.progress import Bars
from server.settings import Settings
from server.tools.arguments import iso
from storage.absences import Absence
from storage.checkpoints import readable
from storage.difference import Difference, difference
from storage.errors import StoreUnavailable
from storage.held_ids import runs_of
from storage.keys import HOUR_MS
from storage.ledger import TradeLedger
from storage.rollups import digest_of
from storage.trades import TradeColumns

SHOWN = 3
# REST is asked for a few ids beside the comparison, which does not wait longer for it.
PATIENCE_S = 10.0


def audit(day: date, symbols: list[str], settings: Settings, clock: Clock) -> int:
    """Compare a day of each symbol, of all that are held by default; 1 where one differs from its dump."""
    with readable(settings.data_dir) as path, TradeLedger.open(path, create=False) as ledger:
        chosen = symbols or ledger.symbols
        if not chosen:
            raise StoreUnavailable(f"{settings.data_dir} holds no trades")
        same = [asyncio.run(_audited(ledger, symbol, day, settings, clock)) for symbol in chosen]
    return 0 if all(same) else 1


async def _audited(ledger: TradeLedger, symbol: str, day: date, settings: Settings, clock: Clock) -> bool:
    """Compare one symbol's day and tell of it; whether ledger and dump say the same, and REST has none of the
    ids that count as missing at the exchange."""
    bars = KeptBars(clock, settings.data_dir)
    async with BinanceRest(settings.rest_url, clock, bars=bars, patience_s=PATIENCE_S) as rest:
        came = [await _asked_again(rest, symbol, absence) for absence in _certified(ledger, symbol, day)]
    same = await _compared(ledger, symbol, day, settings)
    for line, _ in came:
        print(line, flush=True)
    if shown := sum(shown for _, shown in came):
        print(f"  bring the {shown} with `tapedeck backfill {symbol} --from {day}`", flush=True)
    return same and not shown


def _certified(ledger: TradeLedger, symbol: str, day: date) -> list[Absence]:
    """The ids of the day that count as missing at the exchange."""
    start_ms, end_ms = start_of(day), start_of(day) + DAY_MS
    return [
        absence
        for absence in ledger.absences(symbol)
        if absence.state == "certified"
        and absence.below.time_ms < end_ms
        and absence.above.time_ms >= start_ms
    ]


async def _asked_again(rest: BinanceRest, symbol: str, absence: Absence) -> tuple[str, int]:
    """A line about certified ids, and how many of them REST shows now."""
    ids = f"{absence.first_id}-{absence.last_id}"
    line = f"  {absence.missing} ids certified missing: {ids}, asked for {absence.asked} times"
    try:
        rows = await rest.trades_from_id(symbol, absence.first_id, hurried=False)
    except RestError as error:
        return f"{line}; not asked now: {error}", 0
    shown = int(((rows.id >= absence.first_id) & (rows.id <= absence.last_id)).sum())
    return f"{line}; REST {f'has {shown} of them now' if shown else 'has none of them now'}", shown


async def _compared(ledger: TradeLedger, symbol: str, day: date, settings: Settings) -> bool:
    try:
        with Bars(symbol) as bars:
            bars.begin(day)
            async with Archive(settings.archive_url) as archive:
                dump = await archive.dump(symbol, day, bars.received)
    except ArchiveError as error:
        print(f"{symbol} {day}: not audited: {error}", flush=True)
        return False
    held = _held_of(ledger, symbol, day, dump.trades)
    found = difference(held, dump.trades)
    for line in _findings(f"{symbol} {day}", held, dump, found):
        print(line, flush=True)
    return not found and not dump.malformed and not dump.repeated


def _held_of(ledger: TradeLedger, symbol: str, day: date, dumped: TradeColumns) -> TradeColumns:
    """The ledger's rows of the day, and those within an hour of it whose ids the dump has."""
    start_ms, end_ms = start_of(day), start_of(day) + DAY_MS
    rows = ledger.trades(symbol, start_ms - HOUR_MS, end_ms + HOUR_MS)
    of_day = (rows.time_ms >= start_ms) & (rows.time_ms < end_ms)
    return rows.take(of_day | np.isin(rows.id, dumped.id))


def _findings(name: str, held: TradeColumns, dump: Dump, found: Difference) -> Iterator[str]:
    clean = not found and not dump.malformed and not dump.repeated
    yield f"{name}: {'same' if clean else 'DIFFERS'}"
    yield f"  ledger  {_counted(held)}"
    yield f"  dump    {_counted(dump.trades)}, zip SHA-256 {dump.sha256}"
    for what, rows in (
        ("in the dump, not in the ledger", found.only_right),
        ("in the ledger, not in the dump", found.only_left),
    ):
        if len(rows):
            yield f"  {len(rows)} ids {what}: {_ranges(rows)}"
    if len(found.left):
        yield f"  {len(found.left)} ids with other content"
        for at in range(min(SHOWN, len(found.left))):
            yield f"    ledger  {_row(found.left, at)}"
            yield f"    dump    {_row(found.right, at)}"
    if dump.repeated:
        yield f"  {dump.repeated} lines of the dump repeat an id"
    if dump.malformed:
        yield f"  {len(dump.malformed)} lines of the dump cannot be read"
        yield from (f"    {fault.reason}: {fault.text!r}" for fault in dump.malformed[:SHOWN])


def _counted(rows: TradeColumns) -> str:
    if not len(rows):
        return "no trades"
    return f"{len(rows)} ids, {rows.id[0]} to {rows.id[-1]}, digest {digest_of(rows).hex()}"


def _ranges(rows: TradeColumns) -> str:
    """The first runs of ids."""
    runs = list(runs_of(rows))
    shown = ", ".join(
        str(run.first_id) if run.first_id == run.last_id else f"{run.first_id}-{run.last_id}"
        for run in runs[:SHOWN]
    )
    return shown if len(runs) <= SHOWN else f"{shown}, and {len(runs) - SHOWN} more ranges"


def _row(rows: TradeColumns, at: int) -> str:
    price = decimal_string(int(rows.price_int[at]), rows.price_exp)
    quantity = decimal_string(int(rows.quantity_int[at]), rows.quantity_exp)
    maker = "buyer" if rows.buyer_is_maker[at] else "seller"
    return (
        f"a={rows.id[at]} T={iso(int(rows.time_ms[at]))} p={price} q={quantity} f={rows.first_id[at]} "
        f"l={rows.last_id[at]} maker={maker}"
    )
