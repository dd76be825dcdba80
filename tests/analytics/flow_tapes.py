"""Seeded tapes for order flow: bursts in one millisecond, ids that skip, times that step back."""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import numpy as np
import pytest

from analytics.rows import Rows, on_ticks, profile_row_ticks, rows_of
from storage.candles import MinuteCandles
from storage.histograms import PriceHistogram
from storage.trades import TradeColumns
from tests.analytics.flow_oracle import HOUR_MS, Row

START_MS = 1_731_196_800_000  # 2024-11-10T00:00:00Z
TICK, LOT = Decimal("0.01"), Decimal("0.001")
SEEDS = [*range(100), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(100, 1000))]


@dataclass(frozen=True)
class FlowTape:
    """A window's trades as plain rows and as columns in chunks of an hour, with all that is made of them."""

    rows: list[Row]
    start_ms: int
    end_ms: int
    tick: Decimal = TICK
    lot: Decimal = LOT

    @property
    def trades(self) -> TradeColumns:
        return columns(self.rows)

    @property
    def chunks(self) -> list[TradeColumns]:
        """As a ledger gives them: the hours in order, ids ascending within each."""
        trades = self.trades
        hour = trades.time_ms // HOUR_MS
        return [trades.take(hour == each) for each in np.unique(hour)]

    @property
    def candles(self) -> MinuteCandles:
        return MinuteCandles.of(self.trades)

    @property
    def price_rows(self) -> Rows:
        ticks = on_ticks(PriceHistogram.of(self.trades), self.tick, self.lot)
        return rows_of(ticks, profile_row_ticks(ticks))


def columns(rows: list[Row], price_exp: int = 8, quantity_exp: int = 8) -> TradeColumns:
    ids = np.array([row.id for row in rows], np.int64)
    return TradeColumns(
        id=ids,
        time_ms=np.array([row.time_ms for row in rows], np.int64),
        price_int=np.array([int(row.price.scaleb(price_exp)) for row in rows], np.int64),
        quantity_int=np.array([int(row.quantity.scaleb(quantity_exp)) for row in rows], np.int64),
        first_id=ids,
        last_id=ids,
        buyer_is_maker=np.array([row.sold for row in rows], np.bool_),
        price_exp=price_exp,
        quantity_exp=quantity_exp,
    )


@lru_cache(maxsize=4)
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
