"""Trades for tests: hypothesis strategies and a plain way to write a few rows down."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from storage.histograms import PriceHistogram
from storage.trades import TapeColumns, TradeColumns

START_MS = 1_700_000_000_000

# id, T, price in units of 1e-8, quantity in units of 1e-8, first id, last id, buyer is maker
Row = tuple[int, int, int, int, int, int, bool]


def columns(rows: Sequence[Row], *, exponent: int = 8) -> TradeColumns:
    """Rows as columns, prices and quantities at `exponent` decimals."""
    table = list(zip(*rows, strict=True)) if rows else [()] * 7
    identity, time_ms, price, quantity, first_id, last_id = (np.array(part, np.int64) for part in table[:6])
    maker = np.array(table[6], np.bool_)
    return TradeColumns(
        identity,
        time_ms,
        price,
        quantity,
        maker,
        price_exp=exponent,
        quantity_exp=exponent,
        first_id=first_id,
        last_id=last_id,
    )


def rows_of(trades: TradeColumns) -> list[Row]:
    """Columns as rows at 8 decimals."""
    trades = trades.at_exponents(8, 8)
    return list(
        zip(
            trades.id.tolist(),
            trades.time_ms.tolist(),
            trades.price_int.tolist(),
            trades.quantity_int.tolist(),
            trades.first_id.tolist(),
            trades.last_id.tolist(),
            trades.buyer_is_maker.tolist(),
            strict=True,
        )
    )


# Bought and sold quantity, number of buys and of sells.
def tape_rows_of(tape: TapeColumns) -> list[tuple[int, int, int, int, bool]]:
    """The same without the ids of single trades."""
    tape = tape.at_exponents(8, 8)
    columns = tape.id, tape.time_ms, tape.price_int, tape.quantity_int, tape.buyer_is_maker
    return list(zip(*(column.tolist() for column in columns), strict=True))


Sums = tuple[int, int, int, int]


def plain_sums(rows: Iterable[Sequence[int]]) -> dict[int, Sums]:
    """What the valid rows sum to at each price, one after the other."""
    sums: dict[int, list[int]] = defaultdict(lambda: [0] * 4)
    for _, _, price, quantity, _, _, maker in rows:
        if quantity:
            sums[price][maker] += quantity
            sums[price][2 + maker] += 1
    return {price: (buy, sell, buys, sells) for price, (buy, sell, buys, sells) in sorted(sums.items())}


def sums_of(histogram: PriceHistogram) -> dict[int, Sums]:
    """A histogram in the form of `plain_sums`, at the exponents that it has."""
    columns = (histogram.buy, histogram.sell, histogram.buy_trades, histogram.sell_trades)
    sums = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(histogram.price_int.tolist(), sums, strict=True))


def run_of(first_id: int, count: int, *, start_ms: int = START_MS, step_ms: int = 100) -> TradeColumns:
    """`count` plain trades with consecutive ids, `step_ms` apart; all but the time follows from the id."""
    return columns(
        [
            (
                identity,
                start_ms + i * step_ms,
                (62_000_00 + identity % 50) * 10**6,
                (identity % 7 + 1) * 10**3,
                2 * identity,
                2 * identity + 1,
                identity % 3 == 0,
            )
            for i, identity in enumerate(range(first_id, first_id + count))
        ]
    )


def on_disk(examples: int) -> settings:
    """For what is said of a ledger on the disk: so many examples, and ten times as many in a long run."""
    return settings(
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        max_examples=examples * settings().max_examples // 50,
    )


@st.composite
def tapes(draw: st.DrawFn, *, max_size: int = 60, seconds: int = 5, gaps: bool = True) -> TradeColumns:
    """Trades with ascending ids: jumps, repeated and falling times, invalid rows, all kinds of decimals.

    Prices lie anywhere, or within a thousand steps of each other, so that rollups have bins that hold many.
    """
    low, high = draw(st.sampled_from([(1, 10**9), (6_000_000, 6_001_000)]))
    unit = 10 ** draw(st.integers(0, 8))
    size = draw(st.integers(0, max_size))
    identity = draw(st.integers(0, 2**40))
    first = draw(st.integers(0, 2**40))
    rows: list[Row] = []
    for _ in range(size):
        identity += 1 + (draw(st.sampled_from([0, 0, 0, 0, 1, 1000])) if gaps else 0)
        fills = draw(st.integers(1, 5))
        time_ms = START_MS + draw(st.integers(0, seconds * 1000 - 1))
        if draw(st.integers(0, 15)) == 0:
            rows.append((identity, time_ms, 0, 0, -1, -1, False))
            continue
        first += draw(st.sampled_from([0, 0, 0, 7])) if gaps else 0
        price = draw(st.integers(low, high)) * unit
        quantity = draw(st.integers(1, 10**9)) * unit
        rows.append((identity, time_ms, price, quantity, first, first + fills - 1, draw(st.booleans())))
        first += fills
    return columns(rows)
