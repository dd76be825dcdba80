"""The ledger's way to an answer: as the server asks, from a view to the levels.

Invariant: the whole way is taken each time; nothing is kept from one question to the next but what the ledger
itself keeps.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import TypeVar

from analytics.errors import BinsTooWide
from analytics.profile import VolumeProfile, volume_profile
from analytics.rows import MAX_ROWS, Rows, on_ticks, rows_of
from analytics.vacuums import LiquidityVacuums, liquidity_vacuums
from bench.levels import Answer, Levels, Question, RowSums
from storage.export import in_id_order
from storage.histograms import PriceHistogram
from storage.ledger import TradeLedger
from storage.trades import decimal_of
from storage.view import LedgerView

T = TypeVar("T")


def profile_of(
    ledger: TradeLedger, symbol: str, start_ms: int, end_ms: int, row_size: Decimal | None = None
) -> VolumeProfile:
    instrument = ledger.instruments[symbol]
    analyse = partial(volume_profile, tick=instrument.tick, lot=instrument.lot, row_size=row_size)
    with ledger.view(symbol) as view:
        return over_prices(view, start_ms, end_ms, analyse)


def tick_rows(ledger: TradeLedger, symbol: str, start_ms: int, end_ms: int) -> Rows:
    """Rows of one tick. A profile refuses more than 2,000 rows, so this is its way up to that check."""
    instrument = ledger.instruments[symbol]
    with ledger.view(symbol) as view:
        ticks = on_ticks(view.histogram(start_ms, end_ms), instrument.tick, instrument.lot)
    return rows_of(ticks, 1)


def vacuums_of(ledger: TradeLedger, symbol: str, start_ms: int, end_ms: int) -> LiquidityVacuums:
    instrument = ledger.instruments[symbol]
    with ledger.view(symbol) as view:
        last = view.last_trade(start_ms, end_ms)
        analyse = partial(
            liquidity_vacuums,
            symbol=symbol, tick=instrument.tick, lot=instrument.lot, start_ms=start_ms, end_ms=end_ms,
            last=decimal_of(int(last.price_int[0]), last.price_exp),
        )  # fmt: skip

        def with_trades(histogram: PriceHistogram) -> LiquidityVacuums:
            return analyse(histogram, in_id_order(view.tape(start_ms, end_ms), view.id_spans()))

        return over_prices(view, start_ms, end_ms, with_trades)


def over_prices(view: LedgerView, start_ms: int, end_ms: int, analyse: Callable[[PriceHistogram], T]) -> T:
    """As `server.tools.tape.Question`: by the rollups' bins where they serve, else in the rows that are asked
    for, else by exact price."""
    try:
        return analyse(view.histogram(start_ms, end_ms, exact=False))
    except BinsTooWide as refused:
        return analyse(view.histogram(start_ms, end_ms, bin_size=refused.row_size))


def odd_row_size(profile: VolumeProfile) -> Decimal:
    """The smallest n.37 with at most 2,000 rows on a tick of 0.01: no multiple of any bin."""
    size = Decimal("0.37")
    while (profile.high - profile.low) / size > MAX_ROWS - 2:
        size += 1
    return size


def answer(ledger: TradeLedger, symbol: str, question: Question, row_size: Decimal | None = None) -> Answer:
    """One of three: rows of one tick without levels, of `row_size`, of the default size."""
    if not question.levels:
        return Answer(_sums(tick_rows(ledger, symbol, question.start_ms, question.end_ms)), None)
    profile = profile_of(ledger, symbol, question.start_ms, question.end_ms, row_size)
    first = profile.rows.first
    levels = Levels(first + profile.poc.row, first + profile.val_row, first + profile.vah_row)
    return Answer(_sums(profile.rows), levels)


def _sums(rows: Rows) -> RowSums:
    return RowSums(rows.first, rows.buy, rows.sell)
