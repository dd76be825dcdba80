"""How often random walks show what the flow tools describe: the base rates in docs/analytics.md.

Two markets without memory, 60,000 trades a day: in `independent` the side of a trade says nothing of the next
step, in `follows flow` price steps the taker's way in three of five cases. Neither can be forecast.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from analytics.bars import DAY_MS, default_width_ms
from analytics.flow import order_flow
from analytics.footprint import footprint
from analytics.imbalances import absorptions, imbalances, stacks
from analytics.profile import volume_profile
from analytics.rows import on_ticks, profile_row_ticks, rows_of
from analytics.sessions import traded_within
from analytics.toxicity import kyle_lambda, vpin
from storage.candles import MinuteCandles
from storage.histograms import PriceHistogram
from storage.trades import TradeColumns

TRADES_A_DAY = 60_000
HOUR_MS = 3_600_000
WALKS = 200
TICK, LOT = Decimal("0.01"), Decimal("0.00001")
START_MS = 20_000 * DAY_MS
# Of 60,000 around a price of 60,000.00: 2 % a day.
STEP_TICKS = 490
MODELS = {"independent": 0.5, "follows flow": 0.6}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A walk's trades of some hours."""

    trades: TradeColumns
    start_ms: int
    end_ms: int


def stretches_of(seed: int, with_the_taker: float, hours: int) -> tuple[Stretch, Stretch]:
    """Two stretches of one walk, one after the other; steps go the taker's way with a probability."""
    rng = np.random.default_rng(seed)
    count, length_ms = 2 * TRADES_A_DAY * hours // 24, hours * HOUR_MS
    sold = rng.random(count) < 0.5
    step = np.where(rng.random(count) < with_the_taker, 1, -1) * np.where(sold, -1, 1)
    price = 6_000_000 + np.cumsum(step * rng.exponential(STEP_TICKS / 2**0.5, count)).astype(np.int64)
    trades = TradeColumns(
        id=np.arange(count),
        time_ms=START_MS + np.sort(rng.integers(0, 2 * length_ms, count)),
        price_int=price,
        quantity_int=np.ceil(rng.lognormal(6, 1, count)).astype(np.int64),
        first_id=np.arange(count),
        last_id=np.arange(count),
        buyer_is_maker=sold,
        price_exp=2,
        quantity_exp=5,
    )
    bounds = [(START_MS + part * length_ms, START_MS + (part + 1) * length_ms) for part in (0, 1)]
    first, second = (Stretch(trades.within(*window), *window) for window in bounds)
    return first, second


def seen(walk: Stretch, later: Stretch) -> Counter[str]:
    """What the definitions find in a stretch, as counts."""
    candles = MinuteCandles.of(walk.trades)
    histogram = PriceHistogram.of(walk.trades)
    flow = order_flow(candles, start_ms=walk.start_ms, end_ms=walk.end_ms)
    ticks = on_ticks(histogram, TICK, LOT)
    cells = footprint(
        [walk.trades],
        candles,
        rows_of(ticks, profile_row_ticks(ticks)),
        width_ms=default_width_ms(walk.end_ms - walk.start_ms),
        start_ms=walk.start_ms,
        end_ms=walk.end_ms,
    )
    marked = imbalances(cells)
    piled, absorbed = stacks(cells, marked, candles), absorptions(cells)
    poc = volume_profile(histogram, tick=TICK).poc
    slope = kyle_lambda(candles)
    one_sided = vpin([walk.trades], candles, start_ms=walk.start_ms, end_ms=walk.end_ms)
    found: Counter[str] = Counter(list[str](flow.divergences))
    found["any divergence"] = bool(flow.divergences)
    found["price and delta opposite"] = flow.agreement == "opposite"
    found["imbalances"] = int(marked.buy.sum() + marked.sell.sum())
    found["cells"] = int(np.count_nonzero(cells.volume))
    found["stacks"] = len(piled)
    found["stacks came back"] = sum(stack.returned == "came_back" for stack in piled)
    found["heavy"] = absorbed.heavy
    found["absorbed"] = len(absorbed.absorbed)
    found["POC naked after as long again"] = not traded_within(
        PriceHistogram.of(later.trades), poc.low, poc.high, TICK
    )
    found["kyle t above 2"] = slope is not None and slope.t_stat is not None and abs(slope.t_stat) > 2
    found["vpin, 1/1000"] = round(1000 * one_sided.value) if one_sided else 0
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Base rates of what the flow tools describe, on walks.")
    parser.add_argument("--walks", type=int, default=WALKS)
    given = parser.parse_args()
    for model, with_the_taker in MODELS.items():
        for hours in (24, 1):
            total: Counter[str] = Counter()
            for seed in range(given.walks):
                total.update(seen(*stretches_of(seed, with_the_taker, hours)))
            print(f"{model}, mean of {given.walks} stretches of {hours} h:")
            for name, count in sorted(total.items()):
                print(f"  {name:<32}{count / given.walks:>10.3f}")


if __name__ == "__main__":
    main()
