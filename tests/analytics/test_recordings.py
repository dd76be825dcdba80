"""Real trades: the fast answers on recordings of an exchange equal a slow count over the same rows."""

from decimal import Decimal
from fractions import Fraction
from functools import cache

import pytest

from analytics.profile import volume_profile
from analytics.vacuums import liquidity_vacuums
from tests.analytics import oracle
from tests.analytics.tapes import Tape, columns
from tests.recordings import recorded_prints

SYMBOLS = ("BTCUSDT", "ETHUSDT")


@cache
def recorded(symbol: str) -> Tape:
    prints = recorded_prints(symbol)
    return Tape(columns(prints), prints, Decimal("0.01000000"))


@pytest.mark.parametrize("row_size", [None, "5.00"])
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_recorded_profile_equals_a_slow_count(symbol: str, row_size: str | None) -> None:
    tape = recorded(symbol)
    profile = volume_profile(
        tape.histogram, tick=tape.tick, row_size=None if row_size is None else Decimal(row_size)
    )

    size = Fraction(profile.rows.row_size)
    if row_size is None:
        assert profile.rows.row_ticks == oracle.profile_row_ticks(tape.prints, Fraction(tape.tick))
    volume = oracle.row_volumes(tape.prints, size)
    poc = oracle.poc(volume)
    val, vah = oracle.value_area(volume, poc, Decimal(70), 2)
    assert Fraction(profile.poc.low) == poc * size
    assert (Fraction(profile.val), Fraction(profile.vah)) == (
        val * size,
        (vah + 1) * size - Fraction(tape.tick),
    )
    assert (profile.vwap, profile.vwap_sigma) == oracle.vwap_and_sigma(tape.prints, 2)
    assert profile.total_volume == sum(p.quantity for p in tape.prints)
    assert (profile.trades, profile.low_sample) == (len(tape.prints), False)


def test_the_levels_of_the_recorded_btcusdt_are_those_of_an_independent_library() -> None:
    """finmlkit 0.1.11 gave the two-row levels from the same trades in rows of 1.00; one_row differs."""
    tape = recorded("BTCUSDT")
    two, one = (
        volume_profile(tape.histogram, tick=tape.tick, row_size=Decimal(1), method=method)
        for method in ("two_row", "one_row")
    )

    assert [str(price) for price in (two.poc.low, two.val, two.vah)] == ["61570.00", "61556.00", "61692.99"]
    assert [str(price) for price in (one.poc.low, one.val, one.vah)] == ["61570.00", "61569.00", "61699.99"]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_recorded_vacuums_equal_a_slow_reading(symbol: str) -> None:
    tape = recorded(symbol)
    start_ms, end_ms = tape.prints[0].time_ms, tape.prints[-1].time_ms + 1
    chunks = (tape.trades.take(slice(i, i + 1000)) for i in range(0, len(tape.trades), 1000))
    answer = liquidity_vacuums(
        tape.histogram,
        chunks,
        symbol=symbol,
        tick=tape.tick,
        last=tape.prints[-1].price,
        start_ms=start_ms,
        end_ms=end_ms,
    )

    size = Fraction(answer.rows.row_size)
    assert answer.rows.row_ticks == oracle.vacuum_row_ticks(tape.prints, Fraction(tape.tick))
    zones = oracle.zones(oracle.row_volumes(tape.prints, size), "thin", Decimal(10), answer.rows.row_ticks)
    assert zones is not None
    assert sorted(Fraction(v.low) for v in answer.vacuums) == [z.first * size for z in zones if z.interior]
    assert [Fraction(tail.low) for tail in answer.edge_tails] == [
        z.first * size for z in zones if not z.interior
    ]
    assert answer.last == tape.prints[-1].price
    assert answer.sigma15m is None
