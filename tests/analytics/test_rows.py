"""Rows: an absolute grid of whole ticks, exact sums, sizes by default and by request."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.errors import BinsTooWide, NoTrades, RowSizeInvalid, RowTooFine
from analytics.rows import (
    asked_row_ticks,
    core_rows,
    exact_median,
    exact_total,
    on_ticks,
    profile_row_ticks,
    quantile_rows,
    rows_of,
    vacuum_row_ticks,
)
from storage.histograms import PriceHistogram, PriceTotals
from storage.trades import TradeColumns
from tests.analytics import oracle
from tests.analytics.tapes import Tape, columns, market, prints_at, tapes


def histogram(*prices: str) -> PriceHistogram:
    return PriceHistogram.of(columns(prints_at(prices)))


@given(tapes())
def test_default_rows_hold_what_a_slow_count_holds(tape: Tape) -> None:
    ticks = on_ticks(tape.histogram, tape.tick)
    tick = oracle.answer_tick(tape.prints, tape.tick)
    rows = rows_of(ticks, profile_row_ticks(ticks))

    assert Fraction(rows.tick) == tick
    assert rows.row_ticks == oracle.profile_row_ticks(tape.prints, tick)
    expected = oracle.row_volumes(tape.prints, rows.row_ticks * tick)
    assert rows.first == min(expected)
    assert [rows.quantity(v) for v in rows.volume.tolist()] == [expected[r] for r in sorted(expected)]


@given(tapes())
def test_rows_sum_to_the_trades_exactly(tape: Tape) -> None:
    ticks = on_ticks(tape.histogram, tape.tick)
    rows = rows_of(ticks, profile_row_ticks(ticks))

    bought = sum(Fraction(p.quantity) for p in tape.prints if not p.buyer_is_maker)
    sold = sum(Fraction(p.quantity) for p in tape.prints if p.buyer_is_maker)
    assert Fraction(rows.quantity(exact_total(rows.buy))) == bought
    assert Fraction(rows.quantity(exact_total(rows.sell))) == sold
    assert np.array_equal(rows.volume, rows.buy + rows.sell)
    assert int(rows.trades.sum()) == len(tape.prints)


@given(tapes(), st.integers(0, 40))
def test_rows_of_a_window_are_the_sum_of_the_rows_of_its_parts(tape: Tape, cut: int) -> None:
    halves = [tape.trades.take(slice(0, cut)), tape.trades.take(slice(cut, None))]
    merged = PriceHistogram.merge([PriceHistogram.of(half) for half in halves])

    whole, parts = on_ticks(tape.histogram, tape.tick), on_ticks(merged, tape.tick)
    row_ticks = profile_row_ticks(whole)
    a, b = rows_of(whole, row_ticks), rows_of(parts, row_ticks)
    assert (a.first, a.tick) == (b.first, b.tick)
    for name in ("volume", "buy", "sell"):
        sums = [[rows.quantity(n) for n in getattr(rows, name).tolist()] for rows in (a, b)]
        assert sums[0] == sums[1]
    assert np.array_equal(a.trades, b.trades)


@given(tapes())
def test_a_row_is_named_by_its_lowest_and_highest_tick(tape: Tape) -> None:
    ticks = on_ticks(tape.histogram, tape.tick)
    rows = rows_of(ticks, profile_row_ticks(ticks))

    for i in (0, len(rows) - 1):
        assert Fraction(rows.low(i)) == (rows.first + i) * rows.row_ticks * Fraction(rows.tick)
        assert rows.high(i) == rows.low(i) + rows.row_size - rows.tick
        exponent = rows.low(i).as_tuple().exponent
        assert exponent == rows.high(i).as_tuple().exponent == rows.tick.as_tuple().exponent


def test_price_1_10_on_tick_0_01_is_tick_110() -> None:
    ticks = on_ticks(histogram("1.10"), Decimal("0.01"))

    assert ticks.at.tolist() == [110]
    assert str(ticks.price(110)) == "1.10"


def test_a_round_price_opens_the_row_above_it() -> None:
    rows = rows_of(on_ticks(histogram("61799.9", "61800.0"), Decimal("0.10")), 10)

    assert [str(rows.low(i)) for i in range(2)] == ["61799.0", "61800.0"]
    assert [str(rows.high(i)) for i in range(2)] == ["61799.9", "61800.9"]


def test_prices_off_todays_tick_make_the_grid_their_common_divisor() -> None:
    ticks = on_ticks(histogram("1.000", "1.005", "1.020"), Decimal("0.01"))

    assert ticks.tick == Decimal("0.005")
    assert str(ticks.price(ticks.span[0])) == "1.000"


def test_trailing_zeros_of_the_exchanges_tick_are_not_decimals() -> None:
    assert str(on_ticks(histogram("1.10"), Decimal("0.01000000")).tick) == "0.01"
    assert str(on_ticks(histogram("120"), Decimal("1E+1")).tick) == "10"


def test_a_tick_that_the_exchange_disabled_is_read_from_the_prices() -> None:
    assert on_ticks(histogram("1.10", "1.15"), Decimal("0E-8")).tick == Decimal("0.05")


def test_quantities_come_at_the_lots_decimals_and_at_more_where_an_older_lot_was_finer() -> None:
    fine = PriceHistogram.of(columns(prints_at(["1.00"], quantity="0.12345")))
    coarse = PriceHistogram.of(columns(prints_at(["1.00"], quantity="2")))

    assert on_ticks(coarse, Decimal("0.01"), Decimal("0.001")).quantity_exp == 3
    assert on_ticks(fine, Decimal("0.01"), Decimal("0.001")).quantity_exp == 5
    assert on_ticks(fine, Decimal("0.01")).quantity_exp == fine.quantity_exp


def test_one_wick_does_not_coarsen_the_rows() -> None:
    busy = [f"100.{cents:02d}" for cents in range(100)] * 20
    with_wick = on_ticks(histogram(*busy, "90.00"), Decimal("0.01"))

    assert profile_row_ticks(with_wick) == 1
    assert quantile_rows(with_wick, 1) == 100
    assert len(rows_of(with_wick, 1)) == 1100


def test_a_quantile_is_reached_where_its_share_is_and_not_a_unit_before() -> None:
    cheap, dear = prints_at(["1.00"]), prints_at(["2.00"], quantity="249")
    ticks = on_ticks(PriceHistogram.of(columns([*cheap, *dear])), Decimal("0.01"))

    assert ticks.quantile_span() == (200, 200)


def test_vacuum_rows_may_grow_to_twenty_but_not_below() -> None:
    twenty, fewer = (histogram(*[f"1.{cent:02d}" for cent in range(n)] * 100) for n in (40, 38))

    assert vacuum_row_ticks(on_ticks(twenty, Decimal("0.01"))) == 2
    assert vacuum_row_ticks(on_ticks(fewer, Decimal("0.01"))) == 1


@pytest.mark.parametrize("seed", range(4))
def test_vacuum_rows_grow_until_the_median_core_row_is_dense(seed: int) -> None:
    tape = market(seed, trades=6000)
    ticks = on_ticks(tape.histogram, tape.tick)

    assert vacuum_row_ticks(ticks) == oracle.vacuum_row_ticks(tape.prints, Fraction(ticks.tick))


@given(tapes())
@settings(max_examples=40)
def test_vacuum_rows_of_a_small_sample_stay_as_many_as_they_can(tape: Tape) -> None:
    ticks = on_ticks(tape.histogram, tape.tick)

    assert vacuum_row_ticks(ticks) == oracle.vacuum_row_ticks(tape.prints, Fraction(ticks.tick))


def test_bins_too_wide_for_the_rows_asked_for_name_those_rows() -> None:
    """The rows of a default size follow from finer prices than the bins have, so they are not named."""
    prices = [f"100.{cents:02d}" for cents in range(0, 100, 3)] * 20
    ticks = on_ticks(histogram(*prices).in_bins(10), Decimal("0.01"))

    with pytest.raises(BinsTooWide) as asked:
        profile_row_ticks(ticks, Decimal("0.37"))
    assert asked.value.row_size == Decimal("0.37")
    with pytest.raises(BinsTooWide) as default:
        profile_row_ticks(ticks)
    assert default.value.row_size is None


@pytest.mark.parametrize(
    ("row_size", "below", "above"),
    [
        ("0.25", "0.2", "0.3"),
        ("0.05", None, "0.1"),
        ("0", None, "0.1"),
        ("-1", None, "0.1"),
        ("NaN", None, "0.1"),
        ("Infinity", None, "0.1"),
    ],
)
def test_a_row_size_off_the_tick_is_refused_with_the_multiples_on_either_side(
    row_size: str, below: str | None, above: str
) -> None:
    ticks = on_ticks(histogram("100.0", "101.0"), Decimal("0.1"))

    with pytest.raises(RowSizeInvalid, match=r"positive multiples of the tick 0\.1") as refused:
        asked_row_ticks(ticks, Decimal(row_size))
    assert refused.value.below == (below and Decimal(below))
    assert refused.value.above == Decimal(above)


def test_more_than_2000_rows_are_refused_with_the_smallest_size_that_fits() -> None:
    ticks = on_ticks(histogram("100.00", "140.00"), Decimal("0.01"))

    with pytest.raises(RowTooFine, match="makes 4001 rows; valid: at most 2000 rows; try") as refused:
        vacuum_row_ticks(ticks, Decimal("0.01"))
    assert (refused.value.rows, refused.value.fits) == (4001, Decimal("0.05"))
    assert profile_row_ticks(ticks, refused.value.fits) == 5


def test_a_size_that_puts_2001_rows_on_the_grid_does_not_fit() -> None:
    ticks = on_ticks(histogram("0.01", "40.00"), Decimal("0.01"))

    with pytest.raises(RowTooFine) as refused:
        asked_row_ticks(ticks, Decimal("0.02"))
    assert (refused.value.rows, refused.value.fits) == (2001, Decimal("0.05"))


def test_no_trades_are_refused() -> None:
    with pytest.raises(NoTrades, match="no trades in the window"):
        on_ticks(PriceHistogram.of(TradeColumns.empty()), Decimal("0.01"))


def test_volume_beyond_64_bits_is_an_error_and_never_wraps() -> None:
    column = np.array([2**62], np.int64)
    one = np.array([1], np.int64)
    totals = PriceTotals(1, 1, 1, 2**63, 2**63)
    too_much = PriceHistogram(one, column, column, one, one, price_exp=0, quantity_exp=0, totals=totals)

    with pytest.raises(ValueError, match="does not fit in 64 bits"):
        on_ticks(too_much, Decimal(1))


def test_a_tick_must_be_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        on_ticks(histogram("1"), Decimal("NaN"))


def test_a_total_beyond_64_bits_is_still_exact() -> None:
    assert exact_total(np.array([2**62, 2**62, 2**62], np.int64)) == 3 * 2**62


@given(st.lists(st.integers(0, 2**55), min_size=1, max_size=60).filter(any))
def test_the_core_is_what_its_definition_counts(volume: list[int]) -> None:
    named = dict(enumerate(map(Decimal, volume)))
    expected = oracle.core(named)

    first, last = core_rows(np.array(volume, np.int64))
    assert list(range(first, last + 1)) == expected


def test_a_row_at_exactly_one_percent_lies_outside_the_core() -> None:
    assert core_rows(np.array([1, 98, 1])) == (1, 1)
    assert core_rows(np.array([1, 97, 1])) == (0, 2)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=9))
def test_the_median_of_an_even_count_is_the_mean_of_the_middle_two(values: list[int]) -> None:
    assert exact_median(np.array(values, np.int64)) == oracle.median([Fraction(v) for v in values])
