"""Volume profile: published vectors, a slow count beside the fast one, and the properties of the levels."""

import json
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics.errors import NoTrades, OptionInvalid
from analytics.profile import (
    ValueAreaMethod,
    contested_row,
    heaviest_tick,
    poc_row,
    value_area,
    volume_profile,
)
from analytics.rows import exact_total, on_ticks
from storage.histograms import PriceHistogram, exact_dot
from storage.trades import IntArray, TradeColumns
from tests.analytics import oracle
from tests.analytics.tapes import Tape, columns, market, prints_at, tapes

VECTORS = json.loads((Path(__file__).parent / "vectors" / "value_area.json").read_text())["vectors"]
STEP: dict[ValueAreaMethod, int] = {"two_row": 2, "one_row": 1}

volumes = st.lists(st.integers(0, 9) | st.integers(0, 2**50), min_size=1, max_size=40).filter(any)
methods = st.sampled_from(sorted(STEP))
percents = st.integers(50, 95) | st.decimals("50", "95", places=3)


def zero_filled(vector: dict[str, Any]) -> IntArray:
    volume = np.zeros(max(map(int, vector["rows"])) - vector["first_row"] + 1, np.int64)
    for row, quantity in vector["rows"].items():
        volume[int(row) - vector["first_row"]] = quantity
    return volume


def named(volume: list[int]) -> oracle.Volumes:
    return dict(enumerate(map(Decimal, volume)))


@pytest.mark.parametrize("method", sorted(STEP))
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_a_published_profile_gives_its_published_levels(
    vector: dict[str, Any], method: ValueAreaMethod
) -> None:
    volume, first_row, expected = zero_filled(vector), vector["first_row"], vector["expect"][method]

    poc = poc_row(volume)
    val, vah = value_area(volume, poc, 70, method)
    assert (poc + first_row, val + first_row, vah + first_row) == (
        expected["poc"],
        expected["val"],
        expected["vah"],
    )
    assert (int(volume[val : vah + 1].sum()), int(volume.sum())) == (expected["va_vol"], expected["total"])


@given(volumes, percents, methods)
def test_levels_equal_those_of_a_slow_count(
    volume: list[int], pct: int | Decimal, method: ValueAreaMethod
) -> None:
    columns, rows = np.array(volume, np.int64), named(volume)

    poc = poc_row(columns)
    assert poc == oracle.poc(rows)
    assert contested_row(columns, poc) == oracle.contested(rows, poc)
    expected = oracle.value_area(rows, poc, Decimal(pct), STEP[method])
    assert value_area(columns, poc, pct, method) == expected


@given(volumes, percents, methods)
def test_the_value_area_holds_the_poc_and_its_share_and_ends_on_traded_rows(
    volume: list[int], pct: int | Decimal, method: ValueAreaMethod
) -> None:
    poc = poc_row(np.array(volume, np.int64))
    val, vah = value_area(np.array(volume, np.int64), poc, pct, method)

    assert val <= poc <= vah
    assert 100 * sum(volume[val : vah + 1]) >= Fraction(pct) * sum(volume)
    assert volume[val]
    assert volume[vah]


@given(volumes, percents, methods)
def test_the_value_area_is_minimal_by_its_rule(
    volume: list[int], pct: int | Decimal, method: ValueAreaMethod
) -> None:
    poc = poc_row(np.array(volume, np.int64))
    val, vah = value_area(np.array(volume, np.int64), poc, pct, method)

    # The last step joined at most `step` rows on one side or, both being empty, added nothing.
    without_last = [
        sum(volume[min(val + step, poc) : vah + 1]) if below else sum(volume[val : max(vah - step, poc) + 1])
        for step in (STEP[method],)
        for below in (True, False)
    ]
    assert (val, vah) == (poc, poc) or 100 * min(without_last) < Fraction(pct) * sum(volume)


@given(volumes, percents, methods, st.integers(0, 5), st.integers(0, 5))
def test_empty_rows_around_a_profile_change_nothing(
    volume: list[int], pct: int | Decimal, method: ValueAreaMethod, below: int, above: int
) -> None:
    plain, padded = np.array(volume, np.int64), np.array([0] * below + volume + [0] * above, np.int64)

    assert poc_row(padded) == poc_row(plain) + below
    val, vah = value_area(plain, poc_row(plain), pct, method)
    assert value_area(padded, poc_row(padded), pct, method) == (val + below, vah + below)


@given(st.permutations([2**n for n in range(12)]), percents, methods)
def test_mirrored_prices_mirror_the_levels_where_nothing_ties(
    volume: list[int], pct: int | Decimal, method: ValueAreaMethod
) -> None:
    plain, mirrored = np.array(volume, np.int64), np.array(volume[::-1], np.int64)
    last = len(volume) - 1

    assert poc_row(mirrored) == last - poc_row(plain)
    val, vah = value_area(plain, poc_row(plain), pct, method)
    assert value_area(mirrored, poc_row(mirrored), pct, method) == (last - vah, last - val)


def test_of_equal_rows_the_one_nearest_the_middle_is_the_poc_then_the_lower() -> None:
    assert poc_row(np.array([9, 1, 5, 9, 2, 1, 1])) == 3
    assert poc_row(np.array([5, 9, 1, 9, 5])) == 1


def test_growth_stops_on_exact_equality() -> None:
    assert value_area(np.array([10, 70, 20]), 1, 70) == (1, 1)
    assert value_area(np.array([10, 70, 20]), 1, Decimal("70.001")) == (1, 2)


def test_the_poc_is_contested_by_the_largest_distant_row_of_nine_tenths() -> None:
    assert contested_row(np.array([100, 95, 0, 90, 0, 91]), 0) == 5
    assert contested_row(np.array([100, 99, 98, 89]), 0) is None


def test_of_equal_rivals_the_one_nearer_the_poc_is_named_then_the_lower() -> None:
    assert contested_row(np.array([95, 0, 0, 0, 100, 0, 0, 95]), 4) == 7
    assert contested_row(np.array([95, 0, 0, 100, 0, 0, 95]), 3) == 0


@given(tapes(), percents, methods)
def test_a_profile_equals_a_slow_count_over_its_trades(
    tape: Tape, pct: int | Decimal, method: ValueAreaMethod
) -> None:
    profile = volume_profile(tape.histogram, tick=tape.tick, value_area_pct=pct, method=method)

    size = profile.rows.row_ticks * oracle.answer_tick(tape.prints, tape.tick)
    volume = oracle.row_volumes(tape.prints, size)
    poc = oracle.poc(volume)
    val, vah = oracle.value_area(volume, poc, Decimal(pct), STEP[method])
    inside, total = (sum(Fraction(volume[r]) for r in rows) for rows in (range(val, vah + 1), sorted(volume)))
    assert (Fraction(profile.poc.low), Fraction(profile.val)) == (poc * size, val * size)
    assert Fraction(profile.vah) == (vah + 1) * size - Fraction(profile.rows.tick)
    assert profile.poc.volume == volume[poc]
    assert profile.value_area_pct_actual == float(100 * inside / total)
    assert profile.poc.share_pct == float(100 * Fraction(volume[poc]) / total)
    rival = oracle.contested(volume, poc)
    assert profile.poc.contested == (None if rival is None else profile.rows.low(rival - profile.rows.first))


@given(tapes())
def test_totals_and_extremes_are_those_of_the_trades(tape: Tape) -> None:
    profile = volume_profile(tape.histogram, tick=tape.tick)

    bought = sum(Fraction(p.quantity) for p in tape.prints if not p.buyer_is_maker)
    sold = sum(Fraction(p.quantity) for p in tape.prints if p.buyer_is_maker)
    assert Fraction(profile.total_volume) == bought + sold
    assert (Fraction(profile.buy_volume), Fraction(profile.sell_volume)) == (bought, sold)
    assert Fraction(profile.delta) == bought - sold
    assert profile.trades == len(tape.prints)
    assert profile.low == min(p.price for p in tape.prints)
    assert profile.high == max(p.price for p in tape.prints)
    assert profile.low_sample


@given(tapes())
def test_vwap_and_sigma_are_the_exact_ratios_rounded_once(tape: Tape) -> None:
    profile = volume_profile(tape.histogram, tick=tape.tick)

    decimals = -int(profile.rows.tick.as_tuple().exponent)
    assert (profile.vwap, profile.vwap_sigma) == oracle.vwap_and_sigma(tape.prints, decimals)


@pytest.mark.parametrize(
    ("prices", "vwap"), [(("1.00", "1.01"), "1.00"), (("1.01", "1.02"), "1.02"), (("1.01",) * 3, "1.01")]
)
def test_a_vwap_half_way_between_ticks_goes_to_the_even_one(prices: tuple[str, ...], vwap: str) -> None:
    profile = volume_profile(PriceHistogram.of(columns(prints_at(prices))), tick=Decimal("0.01"))

    assert str(profile.vwap) == vwap


def test_a_sigma_half_way_between_ticks_goes_to_the_even_one() -> None:
    halves = [volume_profile(sampled("1.00", high), tick=Decimal("0.01")) for high in ("1.01", "1.03")]

    assert [str(half.vwap_sigma) for half in halves] == ["0.00", "0.02"]


def sampled(*prices: str) -> PriceHistogram:
    return PriceHistogram.of(columns(prints_at(prices)))


@given(tapes())
def test_with_rows_of_one_tick_the_poc_row_and_its_heaviest_tick_are_the_same_price(tape: Tape) -> None:
    ticks = on_ticks(tape.histogram, tape.tick)
    low, high = ticks.span
    if high - low >= 2000:
        return
    profile = volume_profile(tape.histogram, tick=tape.tick, row_size=ticks.tick)

    assert profile.poc.low == profile.poc.high == profile.poc.tick


@given(tapes())
def test_the_heaviest_tick_of_the_poc_lies_in_it_and_no_tick_there_is_heavier(tape: Tape) -> None:
    profile = volume_profile(tape.histogram, tick=tape.tick)

    at_price = oracle.row_volumes(
        [p for p in tape.prints if profile.poc.low <= p.price <= profile.poc.high],
        Fraction(profile.rows.tick),
    )
    assert profile.poc.tick is not None
    heaviest = oracle.row(profile.poc.tick, Fraction(profile.rows.tick))
    assert profile.poc.low <= profile.poc.tick <= profile.poc.high
    assert at_price[heaviest] == max(at_price.values())


def test_of_equally_heavy_ticks_the_one_nearest_the_middle_of_the_window_is_named() -> None:
    ticks = on_ticks(sampled("1.00", "1.01", "1.04"), Decimal("0.01"))

    assert heaviest_tick(ticks, 100, 109) == 101


@given(
    st.lists(st.tuples(st.integers(0, 2**57), st.integers(0, 2**62)), max_size=30),
)
def test_a_weighted_sum_is_exact_whatever_its_size(pairs: list[tuple[int, int]]) -> None:
    weights = np.array([weight for weight, _ in pairs], np.int64)
    values = np.array([value for _, value in pairs], np.int64)

    assert exact_dot(weights, values) == sum(weight * value for weight, value in pairs)


def test_a_tick_of_1e_8_and_prices_to_a_million_keep_vwap_and_sigma_exact() -> None:
    prints = prints_at(["0.00000001", "1000000", "999999.99999999"], quantity="1000000.5")
    profile = volume_profile(PriceHistogram.of(columns(prints)), tick=Decimal("1E-8"))

    assert (profile.vwap, profile.vwap_sigma) == oracle.vwap_and_sigma(prints, 8)


def test_quantities_are_strings_at_lot_precision() -> None:
    profile = volume_profile(sampled("1.00", "1.01"), tick=Decimal("0.01"), lot=Decimal("0.00100000"))

    assert str(profile.total_volume) == "2.000"
    assert str(profile.delta) == "0.000"
    assert str(profile.poc.volume) == "1.000"


def test_the_last_price_is_the_callers() -> None:
    assert volume_profile(sampled("1.00"), tick=Decimal("0.01")).last is None
    assert volume_profile(sampled("1.00"), tick=Decimal("0.01"), last=Decimal("1.02")).last == Decimal("1.02")


def test_a_hundred_trades_on_three_rows_are_no_low_sample() -> None:
    def profile(*prices: str) -> bool:
        return volume_profile(sampled(*prices), tick=Decimal("0.01")).low_sample

    assert not profile(*["1.00"] * 99, "1.02")
    assert profile(*["1.00"] * 98, "1.02")
    assert profile(*["1.00"] * 99, "1.01")


@pytest.mark.parametrize("pct", [49, Decimal("49.999"), Decimal("95.001"), 96, Decimal("NaN")])
def test_a_value_area_outside_50_to_95_percent_is_refused(pct: int | Decimal) -> None:
    with pytest.raises(OptionInvalid, match="valid: 50 to 95; try 70") as refused:
        volume_profile(sampled("1.00"), tick=Decimal("0.01"), value_area_pct=pct)
    assert (refused.value.option, refused.value.default) == ("value_area_pct", 70)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="valid: two_row, one_row"):
        volume_profile(sampled("1.00"), tick=Decimal("0.01"), method="three_row")  # type: ignore[arg-type]


def test_a_profile_of_nothing_is_refused() -> None:
    with pytest.raises(NoTrades):
        volume_profile(PriceHistogram.of(TradeColumns.empty()), tick=Decimal("0.01"))


def test_a_market_with_wicks_gives_the_levels_of_a_slow_count() -> None:
    tape = market(7, trades=4000)
    profile = volume_profile(tape.histogram, tick=tape.tick)

    tick = oracle.answer_tick(tape.prints, tape.tick)
    assert profile.rows.row_ticks == oracle.profile_row_ticks(tape.prints, tick)
    volume = oracle.row_volumes(tape.prints, profile.rows.row_ticks * tick)
    assert profile.poc.row + profile.rows.first == oracle.poc(volume)
    assert exact_total(profile.rows.trades) == len(tape.prints)
    assert (profile.vwap, profile.vwap_sigma) == oracle.vwap_and_sigma(tape.prints, 2)
