"""Trades to test on: hypothesis strategies, and a seeded market that walks, jumps and leaves thin ranges."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from hypothesis import strategies as st

from storage.histograms import PriceHistogram
from storage.trades import TradeColumns
from tests.analytics.oracle import Print

START_MS = 1_731_196_800_000  # 2024-11-10T00:00:00Z
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Tape:
    """The same trades as columns and as plain prints, with the tick of today."""

    trades: TradeColumns
    prints: list[Print]
    tick: Decimal

    @property
    def histogram(self) -> PriceHistogram:
        return PriceHistogram.of(self.trades)


def columns(prints: Sequence[Print], price_exp: int = 8, quantity_exp: int = 8) -> TradeColumns:
    ids = np.arange(len(prints), dtype=np.int64)
    return TradeColumns(
        id=ids,
        time_ms=np.array([p.time_ms for p in prints], np.int64),
        price_int=np.array([int(p.price.scaleb(price_exp)) for p in prints], np.int64),
        quantity_int=np.array([int(p.quantity.scaleb(quantity_exp)) for p in prints], np.int64),
        first_id=ids,
        last_id=ids,
        buyer_is_maker=np.array([p.buyer_is_maker for p in prints], np.bool_),
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
