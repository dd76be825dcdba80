"""Random windows of trades: all that the tools say of them equals a slow reading, number by number."""

from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest

from analytics.developing import developing_levels
from analytics.errors import RowTooFine
from analytics.impact import impact_of
from analytics.profile import STEP, ValueAreaMethod, volume_profile
from analytics.thin import Rule
from analytics.vacuums import LiquidityVacuums, Vacuum, liquidity_vacuums
from tests.analytics import oracle
from tests.analytics.oracle import Print
from tests.analytics.tapes import HOUR_MS, START_MS, Tape, market

WINDOWS = 10
BATCHES = 100
QUICK = 4
SYMBOL = "BTCUSDT"
CENT = Fraction(1, 100)

in_batches = pytest.mark.parametrize(
    "batch",
    [batch if batch < QUICK else pytest.param(batch, marks=pytest.mark.long) for batch in range(BATCHES)],
)


@lru_cache(maxsize=QUICK * WINDOWS)
def window(seed: int) -> tuple[Tape, int, int]:
    """A market and a window of it, both of random length, and the trades inside."""
    rng = np.random.default_rng(seed)
    whole = market(seed, trades=int(rng.integers(50, 900)), hours=int(rng.integers(1, 5)))
    last_ms = whole.prints[-1].time_ms
    start_ms = int(rng.integers(START_MS, START_MS + HOUR_MS // 3))
    end_ms = int(rng.integers(max(start_ms + 60_000, last_ms - HOUR_MS // 3), last_ms + HOUR_MS))
    inside = [i for i, p in enumerate(whole.prints) if start_ms <= p.time_ms < end_ms] or [0]
    prints = whole.prints[inside[0] : inside[-1] + 1]
    start_ms = min(start_ms, prints[0].time_ms)
    return Tape(whole.trades.take(slice(inside[0], inside[-1] + 1)), prints, whole.tick), start_ms, end_ms


def seeds(batch: int) -> range:
    return range(batch * WINDOWS, (batch + 1) * WINDOWS)


@in_batches
def test_a_profile_equals_a_slow_count(batch: int) -> None:
    for seed in seeds(batch):
        tape, _, _ = window(seed)
        method: ValueAreaMethod = "one_row" if seed % 3 == 0 else "two_row"
        pct = 50 + seed % 46
        profile = volume_profile(tape.histogram, tick=tape.tick, value_area_pct=pct, method=method)

        size = Fraction(profile.rows.row_size)
        volume = oracle.row_volumes(tape.prints, size)
        poc = oracle.poc(volume)
        levels = poc, *oracle.value_area(volume, poc, Decimal(pct), STEP[method])
        first = profile.rows.first
        assert profile.rows.row_ticks == oracle.profile_row_ticks(tape.prints, CENT)
        assert tuple(r + first for r in (profile.poc.row, profile.val_row, profile.vah_row)) == levels
        rival = oracle.contested(volume, poc)
        assert profile.poc.contested == (None if rival is None else rival * profile.rows.row_size)
        assert (profile.vwap, profile.vwap_sigma) == oracle.vwap_and_sigma(tape.prints, 2)
        assert profile.total_volume == sum(p.quantity for p in tape.prints)
        for ours, theirs in zip(
            (profile.nodes.high_volume, profile.nodes.low_volume), oracle.prominent(volume), strict=True
        ):
            assert {node.row + first: node.prominence_ratio for node in ours} == pytest.approx(theirs)


@in_batches
def test_developing_levels_equal_a_slow_count(batch: int) -> None:
    """One window of each batch: a slow count looks at all trades again for every minute."""
    tape, start_ms, end_ms = window(seeds(batch)[0])
    rows = volume_profile(tape.histogram, tick=tape.tick).rows
    found = developing_levels([tape.trades], rows, start_ms=start_ms, end_ms=end_ms)

    levels = (np.array([found.poc, found.val, found.vah]) + rows.first).T.tolist()
    assert [(time, *level) for time, level in zip(found.time_ms.tolist(), levels, strict=True)] == (
        oracle.developing(tape.prints, Fraction(rows.row_size), start_ms, end_ms, Decimal(70), 2)
    )


@in_batches
def test_vacuums_equal_a_slow_reading(batch: int) -> None:
    for seed in seeds(batch):
        tape, start_ms, end_ms = window(seed)
        rule: Rule = "origin" if seed % 4 == 0 else "thin"
        row_size = (None, "0.02", "0.07", "0.50")[seed % 5 % 4]
        cuts = [0, *sorted(np.random.default_rng(seed).integers(0, len(tape.prints), 3)), len(tape.prints)]
        try:
            answer = liquidity_vacuums(
                tape.histogram,
                [tape.trades.take(slice(a, b)) for a, b in pairwise(cuts)],
                symbol=SYMBOL,
                tick=tape.tick,
                last=tape.prints[-1].price,
                start_ms=start_ms,
                end_ms=end_ms,
                rule=rule,
                row_size=None if row_size is None else Decimal(row_size),
            )
        except RowTooFine:
            continue
        agrees(answer, tape)


def agrees(answer: LiquidityVacuums, tape: Tape) -> None:
    m, threshold, prints = answer.rows.row_ticks, answer.threshold_pct, tape.prints
    size = m * CENT
    zones = oracle.zones(oracle.row_volumes(prints, size), answer.rule, threshold, m)
    assert zones is not None
    interior = {zone.first * size: zone for zone in zones if zone.interior}
    assert answer.total == len(interior)
    assert len(answer.edge_tails) == len(zones) - len(interior)
    assert answer.last == prints[-1].price
    assert answer.sigma15m == pytest.approx(oracle.sigma15m(prints, answer.start_ms, answer.end_ms))
    shown = [interior[Fraction(vacuum.low)] for vacuum in answer.vacuums]
    shares = oracle.stabilities(prints, size, shown, SYMBOL, answer.rule, threshold)
    for zone, vacuum, share in zip(shown, answer.vacuums, shares, strict=True):
        assert vacuum.stability == share
        assert str(vacuum.grid_check) == oracle.grid_check(prints, CENT, m, zone, answer.rule, threshold)
        agrees_with(zone, vacuum, answer, prints, size)


def agrees_with(
    zone: oracle.Zone, vacuum: Vacuum, answer: LiquidityVacuums, prints: list[Print], size: Fraction
) -> None:
    inside = [p for p in prints if vacuum.low <= p.price <= vacuum.high]
    last, width = prints[-1].price, (zone.last - zone.first + 1) * size
    assert Fraction(vacuum.high) == (zone.last + 1) * size - CENT
    assert (vacuum.gap, vacuum.jump) == (zone.gap, zone.jump)
    assert vacuum.volume_deficit_pct == float(zone.deficit_pct)
    assert vacuum.volume == sum(p.quantity for p in inside)
    assert vacuum.delta == sum(-p.quantity if p.buyer_is_maker else p.quantity for p in inside)
    short = answer.end_ms - answer.start_ms < 2 * HOUR_MS
    assert vacuum.single_print == (None if short else oracle.single_print(prints, size, zone))
    assert vacuum.last_traded_ms == max((p.time_ms for p in inside), default=None)
    assert Fraction(vacuum.width) == width
    assert vacuum.width_pct == pytest.approx(float(100 * vacuum.width / last))
    distance = max(vacuum.low - last, last - vacuum.high, Decimal(0))
    assert vacuum.distance_pct == pytest.approx(float(100 * distance / last))
    seen = oracle.visited(prints, size, zone)
    assert (vacuum.visits, vacuum.through, vacuum.rejected, vacuum.jumps) == (
        seen.visits,
        seen.through,
        seen.rejected,
        seen.jumps,
    )
    crossing = oracle.median_cross_s(seen)
    assert vacuum.median_cross_s == crossing
    ratio = None
    if crossing is not None and answer.sigma15m and len(inside) >= 10:
        # Over 15 minutes the variance is sigma15m squared; 900 seconds of it.
        ratio = pytest.approx(crossing / (0.278 * float(width) ** 2 / (answer.sigma15m**2 / 900)))
    assert vacuum.speed_ratio == ratio
    assert vacuum.impact == impact_of(
        vacuum.volume_deficit_pct,
        gap=zone.gap,
        dense=oracle.median_core_trades(prints, size) >= 150,
        stability=vacuum.stability,
        speed_ratio=vacuum.speed_ratio,
    )
