"""The aggTrades of one simulated minute: taker orders that arrive in bursts and sweep levels of a book.

Invariant: exactly as many rows as asked for, ids without holes, times non-decreasing inside the minute,
prices on the tick and quantities on the lot.
"""

from dataclasses import dataclass
from decimal import Decimal
from math import floor, log10, tanh

import numpy as np
import numpy.typing as npt

from collectors.exchange.day import FloatArray
from collectors.exchange.listings import Listing
from storage.trades import IntArray, TradeColumns

MINUTE_MS = 60_000
# Raw trades behind the aggTrades: fixed per aggTrade on average, so that their ids are closed-form too.
RAW_PER_AGG = 2


@dataclass(frozen=True, slots=True)
class MinutePlan:
    """What the day's plan says of one minute; prices are logarithms, `volatility` a share."""

    start_ms: int
    trades: int
    first_id: int
    first_raw_id: int
    log_open: float
    log_close: float
    volatility: float


def minute_trades(listing: Listing, plan: MinutePlan, rng: np.random.Generator) -> TradeColumns:
    levels = _levels_taken(rng, plan.trades)
    order = np.repeat(np.arange(len(levels)), levels)
    surprise = rng.standard_normal(len(levels))
    mid, at_round = _mid_prices(rng, plan, listing.price, surprise)
    is_buy = _buyers(rng, plan, surprise)
    tick, lot = _grid(listing.instrument.tick), _grid(listing.instrument.lot)
    price = _swept_ticks(rng, listing, mid / float(listing.instrument.tick), is_buy, order)
    quantity = _lots(rng, listing, price, at_round[order])
    last_raw = plan.first_raw_id - 1 + np.cumsum(_raw_trades(rng, quantity))
    return TradeColumns(
        id=np.arange(plan.first_id, plan.first_id + plan.trades, dtype=np.int64),
        time_ms=plan.start_ms + _order_times(rng, len(levels))[order],
        price_int=price * tick.unit,
        quantity_int=quantity * lot.unit,
        first_id=np.concatenate([[plan.first_raw_id], last_raw[:-1] + 1])[: plan.trades],
        last_id=last_raw,
        buyer_is_maker=~is_buy[order],
        price_exp=tick.exponent,
        quantity_exp=lot.exponent,
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    """A step as `unit * 10**-exponent`."""

    unit: int
    exponent: int


def _grid(step: Decimal) -> _Grid:
    exponent = max(0, -int(step.as_tuple().exponent))
    return _Grid(int(step.scaleb(exponent)), exponent)


def _levels_taken(rng: np.random.Generator, trades: int) -> IntArray:
    """Levels that each taker order takes, summing to `trades`: mostly one, now and then a deep sweep."""
    kind = rng.random(trades)
    shallow = 1 + (kind < 0.2) * rng.geometric(0.45, trades)
    levels = np.where(kind > 0.992, rng.integers(8, 48, trades), shallow)
    taken = np.cumsum(levels)
    orders = int(np.searchsorted(taken, trades)) + 1 if trades else 0
    kept: IntArray = levels[:orders]
    if orders:
        kept[-1] -= int(taken[orders - 1]) - trades
    return kept


def _order_times(rng: np.random.Generator, orders: int) -> IntArray:
    """Milliseconds into the minute, ascending: 60 % of the orders in bursts that die away within 0.1 s."""
    bursts = rng.uniform(0, MINUTE_MS, 1 + orders // 14)
    in_burst = rng.choice(bursts, orders) + rng.exponential(60.0, orders) * rng.random(orders) ** 2
    alone = rng.uniform(0, MINUTE_MS, orders)
    times = np.where(rng.random(orders) < 0.6, in_burst, alone)
    return np.sort(np.minimum(times, MINUTE_MS - 1).astype(np.int64))


def _mid_prices(
    rng: np.random.Generator, plan: MinutePlan, price: float, surprise: FloatArray
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """The price that each order meets, and whether it stands at a round one.

    A bridge of the surprises from open to close, which holds for some orders before it moves on, and which
    round prices catch when it comes near.
    """
    orders = len(surprise)
    way = np.arange(1, orders + 1) / max(orders, 1)
    walk = np.cumsum(surprise) / max(orders, 1) ** 0.5
    bridge = walk - way * (walk[-1] if orders else 0.0)
    path = np.exp(plan.log_open + (plan.log_close - plan.log_open) * way + plan.volatility * bridge)
    moves = np.where(rng.random(orders) < 0.35, np.arange(orders), 0)
    mid = path[np.maximum.accumulate(moves)]
    step = 10.0 ** (floor(log10(price)) - 2)
    nearest = np.rint(mid / step) * step
    caught = (np.abs(mid - nearest) < 0.09 * step) & (rng.random(orders) < 0.45)
    return np.where(caught, nearest, mid), caught


def _buyers(rng: np.random.Generator, plan: MinutePlan, surprise: FloatArray) -> npt.NDArray[np.bool_]:
    """Which orders buy: some by where the price goes next, the others leaning with the minute's move."""
    lean = 0.5 + 0.2 * tanh((plan.log_close - plan.log_open) / (2 * plan.volatility))
    informed = rng.random(len(surprise)) < 0.3
    return np.where(informed, surprise > 0, rng.random(len(surprise)) < lean)


def _swept_ticks(
    rng: np.random.Generator,
    listing: Listing,
    mid_ticks: FloatArray,
    is_buy: npt.NDArray[np.bool_],
    order: npt.NDArray[np.intp],
) -> IntArray:
    """(rows,) price of each level taken, in ticks: buys from the ask upwards, sells from the bid down."""
    best = np.rint(mid_ticks) + np.where(is_buy, 1, 0)
    gaps = 1 + np.floor(rng.exponential(1.0, len(order)) * listing.book_gap)
    starts = np.flatnonzero(np.diff(order, prepend=-1))
    gaps[starts] = 0
    depth = np.cumsum(gaps)
    depth -= depth[starts][order]
    price = best[order] + np.where(is_buy[order], depth, -depth)
    return np.asarray(np.maximum(price, 1), np.int64)


def _lots(
    rng: np.random.Generator, listing: Listing, price_ticks: IntArray, at_round: npt.NDArray[np.bool_]
) -> IntArray:
    """(rows,) heavy-tailed quantities in lots, at least one; larger where orders rest at round prices."""
    sizes = np.exp(1.9 * rng.standard_normal(len(price_ticks))) * np.where(at_round, 1.8, 1.0)
    lot_value = price_ticks * float(listing.instrument.tick * listing.instrument.lot)
    lots = np.rint(listing.notional * sizes / lot_value)
    return np.asarray(np.maximum(lots, 1), np.int64)


def _raw_trades(rng: np.random.Generator, quantity: IntArray) -> IntArray:
    """Raw trades joined in each aggTrade: one, and the others wherever the volume is."""
    rows = len(quantity)
    share = np.cumsum(quantity) / max(int(quantity.sum()), 1)
    extra = np.searchsorted(share, rng.random((RAW_PER_AGG - 1) * rows))
    counts: IntArray = 1 + np.bincount(np.minimum(extra, rows - 1), minlength=rows).astype(np.int64)
    return counts
