"""The levels beside those of other people's code; `make crosscheck` runs it in an environment of its own.

What they do differently is named where it is left out: finmlkit takes the lowest of equal POCs and both sides
of an equal pair; marketprofile drops empty rows, and goes on where exactly 70 % are reached.
"""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("finmlkit", reason="in an environment of its own: make crosscheck")

import pandas as pd

from analytics.profile import VolumeProfile, value_area, volume_profile
from storage.trades import IntArray, TradeColumns
from tests.analytics.oracle import Print
from tests.analytics.tapes import START_MS, Tape, columns, market
from tests.crosscheck.libraries import (
    Levels,
    finmlkit_levels,
    finmlkit_rows,
    finmlkit_value_area,
    marketprofile_levels,
)
from tests.recordings import recorded_prints

SYMBOLS = ("BTCUSDT", "ETHUSDT")
ROW_SIZES = ("0.20", "1.00", "5.00")
CENT = Decimal("0.01")
SEEDS = range(20)


def levels(profile: VolumeProfile) -> Levels:
    first = profile.rows.first
    return profile.poc.row + first, profile.val_row + first, profile.vah_row + first


def in_cents(
    trades: TradeColumns,
) -> tuple[IntArray, IntArray, IntArray, "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
    trades = trades.at_exponents(2, 8)
    return trades.time_ms, trades.price_int, trades.quantity_int, trades.buyer_is_maker


def recorded(symbol: str) -> Tape:
    prints = recorded_prints(symbol)
    return Tape(columns(prints), prints, CENT)


@pytest.mark.parametrize("row_size", ROW_SIZES)
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_finmlkit_names_the_same_two_row_levels_of_a_recording(symbol: str, row_size: str) -> None:
    tape = recorded(symbol)
    profile = volume_profile(tape.histogram, tick=CENT, row_size=Decimal(row_size))

    assert finmlkit_levels(*in_cents(tape.trades), row_ticks=profile.rows.row_ticks) == levels(profile)


@pytest.mark.parametrize("seed", SEEDS)
def test_finmlkit_names_the_same_two_row_levels_of_generated_trades(seed: int) -> None:
    tape = market(seed)
    profile = volume_profile(tape.histogram, tick=CENT)
    rows, volume = profile.rows, profile.rows.volume.astype(np.float64)
    if ties(profile.rows.volume, profile.poc.row):
        return

    numbers = np.arange(rows.first, rows.first + len(rows), dtype=np.int32)
    assert finmlkit_value_area(numbers, volume) == levels(profile)


@pytest.mark.parametrize("seed", SEEDS)
def test_finmlkits_footprint_holds_the_same_volume_by_row(seed: int) -> None:
    tape = market(seed)
    rows = volume_profile(tape.histogram, tick=CENT).rows
    _, price, quantity, maker = in_cents(tape.trades)
    numbers, volume = finmlkit_rows(price // rows.row_ticks, quantity, maker)

    assert numbers.tolist() == list(range(rows.first, rows.first + len(rows)))
    ours = rows.volume * 10.0 ** (8 - rows.quantity_exp)
    assert volume.tolist() == pytest.approx(ours.tolist(), rel=1e-4)


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_marketprofile_names_the_same_one_row_levels_of_a_recording(symbol: str) -> None:
    tape = recorded(symbol)
    profile = volume_profile(tape.histogram, tick=CENT, row_size=Decimal(5), method="one_row")

    assert profile.rows.volume.all()
    assert marketprofile_levels(*in_cents(tape.trades), row_ticks=500) == levels(profile)


def dense(seed: int) -> Tape:
    """Two areas of trades without an empty row between them: marketprofile would not see it."""
    rng = np.random.default_rng(seed)
    cents = np.where(rng.random(3_000) < 0.4, 6_000_000, 6_000_060) + np.rint(rng.normal(0, 25, 3_000))
    quantity = rng.integers(1, 10**6, 3_000)
    prints = [
        Print(Decimal(int(cent)).scaleb(-2), Decimal(int(q)).scaleb(-5), START_MS + 1_000 * i, bool(i % 3))
        for i, (cent, q) in enumerate(zip(np.clip(cents, 5_999_950, 6_000_110), quantity, strict=True))
    ]
    return Tape(columns(prints), prints, CENT)


@pytest.mark.parametrize("seed", SEEDS)
def test_marketprofile_names_the_same_one_row_levels_of_generated_trades(seed: int) -> None:
    tape = dense(seed)
    profile = volume_profile(tape.histogram, tick=CENT, row_size=Decimal("0.05"), method="one_row")

    assert profile.rows.volume.all()
    assert marketprofile_levels(*in_cents(tape.trades), row_ticks=5) == levels(profile)


def test_few_generated_profiles_are_left_out() -> None:
    """Else the comparisons above would say little."""
    profiles = [volume_profile(market(seed).histogram, tick=CENT) for seed in SEEDS]

    assert sum(ties(p.rows.volume, p.poc.row) for p in profiles) <= len(SEEDS) // 10


@pytest.mark.parametrize("symbol", [*SYMBOLS, *SEEDS])
def test_pandas_gives_the_same_vwap_and_sigma(symbol: str | int) -> None:
    tape = recorded(symbol) if isinstance(symbol, str) else market(symbol)
    profile = volume_profile(tape.histogram, tick=CENT)
    frame = pd.DataFrame(
        {"price": [float(p.price) for p in tape.prints], "quantity": [float(p.quantity) for p in tape.prints]}
    )
    vwap = (frame["price"] * frame["quantity"]).sum() / frame["quantity"].sum()
    sigma = ((frame["price"] - vwap) ** 2 * frame["quantity"]).sum() / frame["quantity"].sum()

    half_a_tick = pytest.approx(0, abs=0.005 + 1e-6)
    assert float(profile.vwap) - vwap == half_a_tick
    assert float(profile.vwap_sigma) - sigma**0.5 == half_a_tick


def ties(volume: IntArray, poc: int) -> bool:
    """Whether another row equals the POC, or two sides were equal while the two-row value area grew."""
    if np.count_nonzero(volume == volume.max()) > 1:
        return True
    # Upwards where equal: the mirrored profile grows the other way exactly where a pair ties.
    low, high = value_area(volume, poc, 70)
    mirrored = value_area(volume[::-1].copy(), len(volume) - 1 - poc, 70)
    return (len(volume) - 1 - mirrored[1], len(volume) - 1 - mirrored[0]) != (low, high)


def test_where_the_libraries_differ_is_where_the_page_says() -> None:
    """Vector V6b, equal POCs: ours is the one nearest the middle, finmlkit's the lowest."""
    volume = np.array([9, 1, 5, 9, 2, 1, 1], np.int64)
    numbers = np.arange(7, dtype=np.int32)

    assert finmlkit_value_area(numbers, volume.astype(np.float64))[0] == 0
    assert Fraction(24, 28) > Fraction(70, 100)
    assert value_area(volume, 3, 70, "two_row") == (0, 3)
