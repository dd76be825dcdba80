"""Developing levels: at every minute those of a profile of the trades so far."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics import developing
from analytics.developing import DevelopingLevels, developing_levels
from analytics.errors import OptionInvalid
from analytics.profile import STEP, ValueAreaMethod, volume_profile
from tests.analytics import oracle
from tests.analytics.tapes import HOUR_MS, START_MS, Tape, columns, market, prints_at, tapes

methods = st.sampled_from(sorted(STEP))


def developed(
    tape: Tape, *, hours: float = 3, method: ValueAreaMethod = "two_row", chunk: int = 400, pct: int = 70
) -> DevelopingLevels:
    rows = volume_profile(tape.histogram, tick=tape.tick).rows
    chunks = (tape.trades.take(slice(i, i + chunk)) for i in range(0, len(tape.trades), chunk))
    end_ms = START_MS + int(hours * HOUR_MS)
    return developing_levels(
        chunks, rows, start_ms=START_MS, end_ms=end_ms, method=method, value_area_pct=pct
    )


def changes(found: DevelopingLevels) -> list[tuple[int, int, int, int]]:
    first = found.rows.first
    rows = ((column + first).tolist() for column in (found.poc, found.val, found.vah))
    return list(zip(found.time_ms.tolist(), *rows, strict=True))


@given(tapes(), methods, st.integers(1, 40), st.integers(50, 95))
@settings(max_examples=6)
def test_changes_equal_those_of_a_slow_count(
    tape: Tape, method: ValueAreaMethod, chunk: int, pct: int
) -> None:
    found = developed(tape, hours=2.0001, method=method, chunk=chunk, pct=pct)

    end_ms = START_MS + int(2.0001 * HOUR_MS)
    size = Fraction(found.rows.row_size)
    assert changes(found) == oracle.developing(
        tape.prints, size, START_MS, end_ms, Decimal(pct), STEP[method]
    )


@given(st.integers(0, 2**32), methods)
@settings(max_examples=10)
def test_the_last_change_is_the_profile_of_the_window(seed: int, method: ValueAreaMethod) -> None:
    tape = market(seed)
    found = developed(tape, method=method)
    profile = volume_profile(tape.histogram, tick=tape.tick, method=method)

    assert (found.poc[-1], found.val[-1], found.vah[-1]) == (
        profile.poc.row,
        profile.val_row,
        profile.vah_row,
    )


def test_how_much_is_worked_on_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    tape = market(3)
    whole = changes(developed(tape))
    monkeypatch.setattr(developing, "CELLS_AT_ONCE", 1000)

    assert changes(developed(tape)) == whole
    assert changes(developed(tape, chunk=7)) == whole


def test_a_poc_that_moves_is_told_from_a_value_area_that_grows() -> None:
    first, second = prints_at(["100", "100", "101"]), prints_at(["103"] * 4)
    later = [replace(p, time_ms=p.time_ms + 60_000) for p in second]
    prints = [*first, *later]
    found = developed(Tape(columns(prints), prints, Decimal(1)), hours=1)

    assert found.poc_moved.tolist() == [True, True]
    assert found.time_ms.tolist() == [START_MS + 60_000, START_MS + 120_000]


def test_a_window_that_ends_within_a_minute_ends_with_its_own_levels() -> None:
    prints = prints_at(["100", "101", "101"])
    found = developed(Tape(columns(prints), prints, Decimal(1)), hours=0.001)

    assert found.time_ms.tolist() == [START_MS + 3600]


def test_a_window_without_trades_has_no_changes() -> None:
    prints = prints_at(["100"])
    tape = Tape(columns(prints), prints, Decimal(1))
    rows = volume_profile(tape.histogram, tick=tape.tick).rows

    assert len(developing_levels([tape.trades], rows, start_ms=0, end_ms=1)) == 0


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(OptionInvalid, match="valid: 50 to 95"):
        developed(market(1), pct=96)
