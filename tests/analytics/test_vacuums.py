"""Liquidity vacuums: zones with prices, dates and distances, beside a slow reading of the same trades."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics.errors import NoTrades, RowTooFine
from analytics.grids import GridCheck
from analytics.impact import impact_of
from analytics.placed import by_distance, stop_hint
from analytics.tape import mean_squared_return
from analytics.thin import Rule
from analytics.vacuums import LiquidityVacuums, Vacuum, liquidity_vacuums
from storage.histograms import PriceHistogram
from storage.trades import TradeColumns
from tests.analytics import oracle
from tests.analytics.oracle import Print
from tests.analytics.tapes import HOUR_MS, START_MS, Tape, columns, market

seeds = st.integers(0, 2**32)


def asked(
    tape: Tape, *, hours: float = 3, rule: Rule = "thin", row_size: str | None = None, chunk: int = 400
) -> LiquidityVacuums:
    chunks = (tape.trades.take(slice(i, i + chunk)) for i in range(0, len(tape.trades), chunk))
    return liquidity_vacuums(
        tape.histogram,
        chunks,
        symbol="BTCUSDT",
        tick=tape.tick,
        last=tape.prints[-1].price if tape.prints else Decimal(1),
        start_ms=START_MS,
        end_ms=START_MS + int(hours * HOUR_MS),
        rule=rule,
        row_size=None if row_size is None else Decimal(row_size),
    )


def tape_of(*prints: Print) -> Tape:
    return Tape(columns(prints), list(prints), Decimal("0.01"))


def two_areas(*between: tuple[str, str], last: str = "100.00", minutes: int = 179) -> Tape:
    """150 trades of 1 at each cent of 100.00-100.09 and 100.30-100.39, and what is `between`.

    The area's trades spread over `minutes`; those `between`, (price, quantity), follow a second apart.
    """
    cents = [*range(10_000, 10_010), *range(10_030, 10_040)]
    area = [
        Print(Decimal(cent).scaleb(-2), Decimal(1), START_MS + i * minutes * 20, bool(i % 2))
        for i, cent in enumerate(cents * 150)
    ]
    late = [
        Print(Decimal(price), Decimal(quantity), START_MS + minutes * 60_000 + 1000 * i, False)
        for i, (price, quantity) in enumerate([*between, (last, "1")])
    ]
    return tape_of(*area, *late)


def only(answer: LiquidityVacuums) -> Vacuum:
    (vacuum,) = answer.vacuums
    return vacuum


@given(seeds, st.integers(1, 1500))
@settings(max_examples=15)
def test_how_the_tape_is_cut_into_chunks_changes_nothing(seed: int, chunk: int) -> None:
    tape = market(seed % 1000)

    whole, cut = asked(tape, chunk=len(tape.trades)), asked(tape, chunk=chunk)
    assert whole.vacuums == cut.vacuums
    assert (whole.last, whole.sigma15m) == (cut.last, cut.sigma15m)


def test_the_tape_is_read_once() -> None:
    tape = two_areas()
    reads = 0

    def chunks() -> Iterator[TradeColumns]:
        nonlocal reads
        for i in range(0, len(tape.trades), 500):
            reads += 1
            yield tape.trades.take(slice(i, i + 500))

    liquidity_vacuums(
        tape.histogram,
        chunks(),
        symbol="X",
        tick=tape.tick,
        last=tape.prints[-1].price,
        start_ms=START_MS,
        end_ms=START_MS + 3 * HOUR_MS,
    )
    assert reads == len(range(0, len(tape.trades), 500))


def test_a_gap_between_two_areas_is_one_critical_vacuum() -> None:
    answer = asked(two_areas())

    vacuum = only(answer)
    assert vacuum.id == "v-BTCUSDT-100.10-100.29"
    assert (vacuum.kind, vacuum.gap, vacuum.jump, vacuum.single_print) == ("interior", True, True, False)
    assert (str(vacuum.low), str(vacuum.high), str(vacuum.width)) == ("100.10", "100.29", "0.20")
    assert (vacuum.side, vacuum.distance_pct, vacuum.width_pct) == ("above", 0.1, 0.2)
    assert (str(vacuum.volume), str(vacuum.delta)) == ("0", "0")
    assert (vacuum.volume_deficit_pct, vacuum.impact) == (100.0, "Critical")
    assert (vacuum.last_traded_ms, vacuum.age_h) == (None, None)
    assert (vacuum.stability, vacuum.grid_check, vacuum.visits) == (1.0, GridCheck(4, 4), 0)
    # The cents are walked through in turn, up and down, and then comes the last trade.
    assert vacuum.jumps == 2 * 150


def test_a_small_price_is_named_without_an_exponent() -> None:
    tape = two_areas()
    prints = [replace(p, price=p.price.scaleb(-8)) for p in tape.prints]
    trades = replace(tape.trades, price_exp=16)
    answer = asked(Tape(trades, prints, Decimal("1E-10")))

    assert only(answer).id == "v-BTCUSDT-0.0000010010-0.0000010029"


def test_a_zone_is_dated_by_its_last_trade() -> None:
    vacuum = only(asked(two_areas(("100.15", "0.5"), ("100.16", "0.25"))))

    assert vacuum.last_traded_ms == START_MS + 179 * 60_000 + 1000
    assert vacuum.age_h == pytest.approx(59 / 3600)
    assert (vacuum.volume, vacuum.delta) == (Decimal("0.75"), Decimal("0.75"))


def test_a_zone_of_rows_traded_in_one_half_hour_each_is_a_single_print() -> None:
    once = [(f"100.{cents}", "0.1") for cents in range(10, 30)]

    tape = two_areas(*once)
    earlier = replace(tape.prints[0], price=Decimal("100.20"), quantity=Decimal("0.1"))
    twice, with_an_empty_row = tape_of(earlier, *tape.prints), two_areas(*once[1:])

    assert only(asked(tape, row_size="0.01")).single_print
    assert not only(asked(twice, row_size="0.01")).single_print
    assert not only(asked(with_an_empty_row, row_size="0.01")).single_print


def test_in_a_window_under_two_hours_single_print_is_unknown() -> None:
    tape = two_areas(minutes=110)

    assert only(asked(tape, hours=1.999)).single_print is None
    assert only(asked(tape, hours=2)).single_print is False


@pytest.mark.parametrize(
    ("last", "side", "distance"),
    [("100.09", "above", 0.01), ("100.30", "below", 0.01), ("100.20", "inside", 0.0)],
)
def test_the_side_is_the_zones_as_seen_from_the_last_price(last: str, side: str, distance: float) -> None:
    vacuum = only(asked(two_areas(last=last)))

    assert vacuum.side == side
    assert vacuum.distance_pct == pytest.approx(distance, rel=0.01)


def test_a_stop_sits_one_tick_beyond_the_zone() -> None:
    above = asked(two_areas(last="100.35"))
    below = asked(two_areas(last="100.05"))
    inside = asked(two_areas(last="100.20"))

    assert above.stop_short is None
    assert above.stop_long is not None
    assert str(above.stop_long.price) == "100.09"
    assert above.stop_long.distance_pct == pytest.approx(26 / 10035 * 100)
    assert below.stop_long is None
    assert below.stop_short is not None
    assert str(below.stop_short.price) == "100.30"
    assert inside.stop_long is not None
    assert inside.stop_short is not None
    assert (str(inside.stop_long.price), str(inside.stop_short.price)) == ("100.09", "100.30")
    assert inside.stop_long.vacuum_id == only(inside).id


def placed(low: str, high: str) -> Vacuum:
    vacuum = only(asked(two_areas()))
    return replace(vacuum, id=f"v-{low}", low=Decimal(low), high=Decimal(high))


def test_vacuums_are_ranked_by_distance_and_the_lower_of_two_equals_first() -> None:
    zones = [placed("13", "14"), placed("5", "7"), placed("8", "9"), placed("1", "2")]

    assert [v.id for v in by_distance(zones, Decimal(10))] == ["v-8", "v-5", "v-13", "v-1"]


def test_the_stop_goes_beyond_the_first_zone_of_its_side() -> None:
    zones = [placed("13", "14"), placed("5", "7"), placed("16", "17"), placed("1", "2")]

    long, short = (stop_hint(zones, Decimal(10), Decimal("0.5"), side) for side in ("long", "short"))
    assert long is not None
    assert short is not None
    assert (long.price, long.vacuum_id) == (Decimal("4.5"), "v-5")
    assert (short.price, short.vacuum_id) == (Decimal("14.5"), "v-13")


def test_at_most_ten_vacuums_are_listed_with_their_total() -> None:
    """Thirteen areas a dollar apart leave twelve empty ranges; the last trade is in the middle one."""
    cents = [100 * area + cent for area in range(1, 14) for cent in range(0, 50, 5)] * 150
    prints = [
        Print(Decimal(cent).scaleb(-2), Decimal(1), START_MS + i * 500, False)
        for i, cent in enumerate([*cents, 720])
    ]
    answer = asked(tape_of(*prints), row_size="0.05")

    assert (len(answer.vacuums), answer.total) == (10, 12)
    assert [str(v.low) for v in answer.vacuums[:2]] == ["6.50", "7.50"]


@pytest.mark.parametrize(
    ("deficit", "impact"),
    [
        (93.99, "Low"),
        (94.0, "Medium"),
        (96.99, "Medium"),
        (97.0, "High"),
        (98.99, "High"),
        (99.0, "Critical"),
    ],
)
def test_impact_follows_the_deficit(deficit: float, impact: str) -> None:
    assert impact_of(deficit, gap=False, dense=True) == impact


def test_a_gap_is_critical_where_rows_are_dense() -> None:
    assert impact_of(91, gap=True, dense=True) == "Critical"
    assert impact_of(91, gap=True, dense=False) == "Low"


def test_weak_evidence_takes_one_class_off() -> None:
    assert impact_of(99, gap=False, dense=True, stability=0.89) == "High"
    assert impact_of(99, gap=False, dense=True, stability=0.9, speed_ratio=0.99) == "Critical"
    assert impact_of(99, gap=False, dense=True, speed_ratio=1.0) == "High"
    assert impact_of(99, gap=False, dense=True, stability=0.5, speed_ratio=2.0) == "High"
    assert impact_of(90, gap=False, dense=True, stability=0.5) == "Low"


def test_a_thin_end_is_an_edge_tail_with_bounds_only() -> None:
    tape = two_areas()
    wick = replace(tape.prints[0], price=Decimal("99.80"), quantity=Decimal("0.1"))
    answer = asked(tape_of(wick, *tape.prints))

    (tail,) = answer.edge_tails
    assert (str(tail.low), str(tail.high)) == ("99.80", "99.99")
    assert answer.total == 1


def test_few_trades_are_a_low_sample() -> None:
    dense = asked(two_areas(*[(f"100.{cents}", "0.05") for cents in range(10, 30)] * 150))

    assert not dense.low_sample
    assert dense.median_core_trades == 150
    assert asked(market(1, trades=100)).low_sample


def test_rows_marked_invalid_and_trades_outside_the_window_do_not_count() -> None:
    tape = two_areas()
    invalid = replace(tape.prints[-1], price=Decimal(0), quantity=Decimal(0))
    late = replace(tape.prints[-1], price=Decimal("100.39"), time_ms=START_MS + 3 * HOUR_MS)
    noisy = columns([*tape.prints, invalid, late])
    answer = asked(Tape(noisy.take(slice(0, -1)), tape.prints, tape.tick))

    assert answer.last == Decimal("100.00")
    dated = liquidity_vacuums(
        tape.histogram,
        [noisy],
        symbol="BTCUSDT",
        tick=tape.tick,
        last=answer.last,
        start_ms=START_MS,
        end_ms=answer.end_ms,
    )
    assert dated.vacuums == answer.vacuums


def test_trades_that_are_not_the_histograms_are_refused() -> None:
    tape = two_areas()
    stranger = columns([replace(tape.prints[0], price=Decimal("120.00"))])

    with pytest.raises(ValueError, match="trades lie outside rows"):
        liquidity_vacuums(
            tape.histogram,
            [stranger],
            symbol="X",
            tick=tape.tick,
            last=tape.prints[-1].price,
            start_ms=START_MS,
            end_ms=START_MS + HOUR_MS,
        )


def test_a_window_without_trades_is_refused() -> None:
    with pytest.raises(NoTrades):
        asked(Tape(TradeColumns.empty(), [], Decimal("0.01")))
    with pytest.raises(NoTrades):
        liquidity_vacuums(
            two_areas().histogram,
            [],
            symbol="X",
            tick=Decimal("0.01"),
            last=Decimal(100),
            start_ms=0,
            end_ms=HOUR_MS,
        )


def test_one_trade_is_enough_for_an_answer() -> None:
    answer = asked(tape_of(Print(Decimal("1.10"), Decimal(1), START_MS, True)), hours=1)

    assert (answer.vacuums, answer.sigma15m, answer.low_sample) == ((), None, True)


def test_chunks_may_come_at_other_exponents_than_the_histogram() -> None:
    tape = two_areas(("100.15", "0.5"))
    reduced = PriceHistogram.of(tape.trades)
    answer = liquidity_vacuums(
        reduced,
        [tape.trades.take(slice(0, 700)).reduced(), tape.trades.take(slice(700, None))],
        symbol="BTCUSDT",
        tick=tape.tick,
        last=tape.prints[-1].price,
        start_ms=START_MS,
        end_ms=START_MS + 3 * HOUR_MS,
    )

    assert answer.vacuums == asked(tape).vacuums


def sigma_over(minutes: int, offset_ms: int = 0) -> float | None:
    """The sigma of one trade a minute, which must be the one of a slow reading."""
    start, end = START_MS + offset_ms, START_MS + offset_ms + minutes * 60_000
    prints = [Print(Decimal(100 + i % 2), Decimal(1), start + i * 60_000, False) for i in range(minutes)]
    answer = liquidity_vacuums(
        PriceHistogram.of(columns(prints)),
        [columns(prints)],
        symbol="X",
        tick=Decimal(1),
        last=prints[-1].price,
        start_ms=start,
        end_ms=end,
    )
    expected = oracle.sigma15m(prints, start, end)
    assert answer.sigma15m == (None if expected is None else pytest.approx(expected))
    return answer.sigma15m


def test_sigma_needs_twelve_returns_between_marks_inside_the_window() -> None:
    # The mark at the window's start has no trade before it, the one at its end is outside.
    assert sigma_over(minutes=66) is not None
    assert sigma_over(minutes=65) is None
    assert sigma_over(minutes=65, offset_ms=1) is not None
    assert sigma_over(minutes=64, offset_ms=1) is None


def test_an_empty_bin_is_a_zero_return_and_leading_ones_do_not_count() -> None:
    closes = np.array([np.nan, 100.0, *[np.nan] * 11, 110.0])

    assert mean_squared_return(closes) == pytest.approx(np.log(1.1) ** 2 / 12)
    assert mean_squared_return(closes[:-1]) is None
    assert mean_squared_return(np.full(20, np.nan)) is None


def test_a_window_without_variance_has_no_width_in_sigmas() -> None:
    prints = [Print(Decimal("100.00"), Decimal(1), START_MS + i * 60_000, False) for i in range(120)]
    jump = [replace(prints[-1], price=Decimal("100.90"), quantity=Decimal(100))]
    answer = asked(tape_of(*prints, *jump), row_size="0.10", hours=2)

    assert answer.sigma15m == 0.0
    assert only(answer).width_sigma15m is None


def test_the_origins_rule_names_the_longest_empty_run_when_half_of_the_rows_are_empty() -> None:
    sparse = tape_of(*[p for p in two_areas().prints if p.price < Decimal("100.34")])

    with pytest.raises(RowTooFine, match=r"longest empty run is 100\.10-100\.29") as refused:
        asked(sparse, rule="origin", row_size="0.01")
    fits = refused.value.fits
    assert asked(sparse, rule="origin", row_size=str(fits)).rows.row_size == fits
