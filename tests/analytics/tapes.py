"""Trades to test on: hypothesis strategies; a seeded market that walks, jumps and leaves thin ranges; seeded
tapes for order flow with bursts in one millisecond, ids that skip and times that step back."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, cached_property

import numpy as np
from hypothesis import strategies as st

from analytics.rows import Rows, on_ticks, profile_row_ticks, rows_of
from storage.candles import MinuteCandles
from storage.histograms import PriceHistogram
from storage.trades import TradeColumns
from tests.analytics import flow_oracle
from tests.analytics.flow_oracle import Row
from tests.analytics.oracle import Print

START_MS = 1_731_196_800_000  # 2024-11-10T00:00:00Z
HOUR_MS = 3_600_000
TICK, LOT = Decimal("0.01"), Decimal("0.001")


@dataclass(frozen=True)
class Tape:
    """The same trades as columns and as plain prints, with the tick of today."""

    trades: TradeColumns
    prints: list[Print]
    tick: Decimal

    @property
    def histogram(self) -> PriceHistogram:
        return PriceHistogram.of(self.trades)


def columns(trades: Sequence[Print | Row], price_exp: int = 8, quantity_exp: int = 8) -> TradeColumns:
    """As columns; prints, which have no ids, are numbered."""
    ids = np.array([trade.id if isinstance(trade, Row) else i for i, trade in enumerate(trades)], np.int64)
    sold = [trade.sold if isinstance(trade, Row) else trade.buyer_is_maker for trade in trades]
    return TradeColumns(
        id=ids,
        time_ms=np.array([trade.time_ms for trade in trades], np.int64),
        price_int=np.array([int(trade.price.scaleb(price_exp)) for trade in trades], np.int64),
        quantity_int=np.array([int(trade.quantity.scaleb(quantity_exp)) for trade in trades], np.int64),
        first_id=ids,
        last_id=ids,
        buyer_is_maker=np.array(sold, np.bool_),
        price_exp=price_exp,
        quantity_exp=quantity_exp,
    )


def prints_at(prices: Sequence[str | Decimal], quantity: str = "1") -> list[Print]:
    """One print a second at each price, sides alternating."""
    return [
        Print(Decimal(price), Decimal(quantity), START_MS + 1000 * i, bool(i % 2))
        for i, price in enumerate(prices)
    ]


@st.composite
def tapes(draw: st.DrawFn) -> Tape:
    """Up to 40 trades: any tick and exponents, prices to 1e6, wicks, off-tick prices, huge quantities."""
    tick = Decimal(draw(st.sampled_from(["0.01", "0.10", "0.5", "1", "10", "1E-8", "0.00025"])))
    lowest = draw(st.integers(1, int(Decimal(10**6) / tick)))
    reach = draw(st.sampled_from([3, 60, 1500, 2_000_000]))
    halves = draw(st.booleans()) and tick > Decimal("1E-7")
    quantity_exp = draw(st.integers(0, 8))
    largest = draw(st.sampled_from([9, 10**6, 10**17]))
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, reach), st.integers(1, largest), st.integers(0, 2 * HOUR_MS), st.booleans()
            ),
            min_size=1,
            max_size=40,
        )
    )
    times = sorted(row[2] for row in rows)
    prints = [
        Print(
            tick * (lowest + steps) + (tick / 2 if halves and steps % 5 == 0 else 0),
            Decimal(quantity).scaleb(-quantity_exp),
            START_MS + time,
            maker,
        )
        for (steps, quantity, _, maker), time in zip(rows, times, strict=True)
    ]
    return Tape(columns(prints, price_exp=8, quantity_exp=quantity_exp), prints, tick)


def market(seed: int, trades: int = 1500, hours: int = 3) -> Tape:
    """A walk between price areas that it jumps between, trading little on the way; at times a wick."""
    rng = np.random.default_rng(seed)
    area = np.cumsum(rng.random(trades) < 4 / trades) * rng.integers(20, 90)
    steps = area + np.cumsum(rng.integers(-1, 2, trades)) // 4 + rng.integers(0, 25, trades)
    crossing = rng.random(trades) < 0.01
    steps = np.where(crossing, rng.integers(0, steps.max() + 1, trades), steps) + 6_000_000
    steps[rng.random(trades) < 0.001] -= rng.integers(200, 1500)
    scale = np.where(crossing, 1, 200)
    quantity = rng.integers(1, 100, trades) * scale
    times = np.sort(rng.integers(0, hours * HOUR_MS, trades)) + START_MS
    sold = rng.random(trades) < 0.5
    prints = [
        Print(Decimal(k).scaleb(-2), Decimal(q).scaleb(-5), t, m)
        for k, q, t, m in zip(steps.tolist(), quantity.tolist(), times.tolist(), sold.tolist(), strict=True)
    ]
    return Tape(columns(prints), prints, Decimal("0.01"))


@dataclass(frozen=True, eq=False)
class FlowTape:
    """A window's trades as plain rows and as columns in chunks of an hour, with all that is made of them."""

    rows: list[Row]
    start_ms: int
    end_ms: int
    tick: Decimal = TICK
    lot: Decimal = LOT

    @cached_property
    def trades(self) -> TradeColumns:
        return columns(self.rows)

    @cached_property
    def chunks(self) -> list[TradeColumns]:
        """As a ledger gives them: the hours in order, ids ascending within each."""
        trades = self.trades
        hour = trades.time_ms // HOUR_MS
        return [trades.take(hour == each) for each in np.unique(hour)]

    @cached_property
    def candles(self) -> MinuteCandles:
        return MinuteCandles.of(self.trades)

    @cached_property
    def strokes(self) -> list[flow_oracle.Stroke]:
        """By the slow count."""
        return flow_oracle.strokes(self.rows)

    @cached_property
    def price_rows(self) -> Rows:
        ticks = on_ticks(PriceHistogram.of(self.trades), self.tick, self.lot)
        return rows_of(ticks, profile_row_ticks(ticks))


@cache
def flow_tape(seed: int) -> FlowTape:
    """Up to 400 trades within 20 minutes to 30 hours, at least one of them valid, not at round times."""
    rng = np.random.default_rng(seed)
    length_ms = int(rng.choice([HOUR_MS // 3, 3 * HOUR_MS, 26 * HOUR_MS, 30 * HOUR_MS])) + int(
        rng.integers(900_000)
    )
    start_ms = START_MS + int(rng.integers(24 * HOUR_MS))
    count = int(rng.integers(1, 400))
    burst = np.cumsum(rng.random(count) < rng.choice([0.3, 0.9]))
    times = np.sort(rng.integers(0, length_ms, int(burst[-1]) + 1))[burst]
    times = np.where(rng.random(count) < 0.02, np.maximum(times - rng.integers(0, 200_000, count), 0), times)
    sides = (rng.random(int(burst[-1]) + 1) < 0.5)[burst]
    ids = np.cumsum(1 + (rng.random(count) < 0.03) * rng.integers(1, 5, count)) + 1_000
    drift = np.cumsum(rng.integers(-3, 4, count)) * int(rng.choice([1, 40]))
    price = int(rng.choice([500, 6_000_000])) + drift - drift.min() + rng.integers(0, 4, count)
    quantity = rng.integers(1, int(rng.choice([5, 100_000])), count) * (rng.random(count) > 0.02)
    quantity[0] = max(quantity[0], 1)
    return FlowTape(
        [
            Row(i, start_ms + t, Decimal(p).scaleb(-2), Decimal(q).scaleb(-3), s)
            for i, t, p, q, s in zip(
                ids.tolist(), times.tolist(), price.tolist(), quantity.tolist(), sides.tolist(), strict=True
            )
        ],
        start_ms,
        start_ms + length_ms,
    )
