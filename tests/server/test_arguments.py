"""What callers write, as what it means, and what they read when it means nothing."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.tools.arguments import iso, number_of, symbol_of, time_of, window_of
from server.tools.refusals import Refusal
from storage.trades import Instrument

NOW_MS = int(datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp() * 1000)
HOUR_MS = 3_600_000


def listed(*symbols: str) -> dict[str, Instrument]:
    return {
        symbol: Instrument(
            symbol, "binance spot", symbol[:-4], symbol[-4:], Decimal("0.01"), Decimal("0.001")
        )
        for symbol in symbols
    }


def window(**given: Any) -> tuple[int, int]:
    defaults = {"duration_hours": 24, "start_time": None, "end_time": None, "session": None}
    found = window_of(**defaults | given, now_ms=NOW_MS, newest_ms=None)
    return found.start_ms, found.end_ms


@pytest.mark.parametrize("written", ["BTCUSDT", "btcusdt", "btc/usdt", "BTC-USDT", " Btc_Usdt ", "btc"])
def test_a_symbol_is_understood_as_people_write_it(written: str) -> None:
    assert symbol_of(written, listed("BTCUSDT", "ETHUSDT")) == "BTCUSDT"


def test_a_base_of_several_symbols_is_asked_back() -> None:
    with pytest.raises(Refusal, match=r"SYMBOL_UNKNOWN: 'btc' .*try BTCUSDC or BTCUSDT"):
        symbol_of("btc", listed("BTCUSDT", "BTCUSDC"))


@pytest.mark.parametrize("written", ["NOPE", "", None, 17, "BTCUSD\u0000", "x" * 5000, ["BTCUSDT"] * 2])
def test_an_unknown_symbol_names_those_that_are_recorded(written: Any) -> None:
    with pytest.raises(Refusal, match=r"^SYMBOL_UNKNOWN: .*BTCUSDT, ETHUSDT") as refusal:
        symbol_of(written, listed("BTCUSDT", "ETHUSDT"))
    assert len(str(refusal.value)) < 300


def test_a_window_is_a_duration_up_to_now_or_up_to_the_newest_trade() -> None:
    assert window(duration_hours=1) == (NOW_MS - HOUR_MS, NOW_MS)
    assert window(duration_hours="0.5") == (NOW_MS - HOUR_MS // 2, NOW_MS)
    ahead = window_of(
        duration_hours=1, start_time=None, end_time=None, session=None, now_ms=NOW_MS, newest_ms=NOW_MS + 1270
    )
    assert (ahead.end_ms, ahead.live) == (NOW_MS + 1271, True)


def test_start_and_end_times_win_over_a_duration_and_a_session_over_both() -> None:
    start, end = "2026-11-22T06:00:00Z", "2026-11-22T09:30:00+01:00"
    assert window(start_time=start, end_time=end) == (NOW_MS - 6 * HOUR_MS, NOW_MS - int(3.5 * HOUR_MS))
    assert window(start_time=start) == (NOW_MS - 6 * HOUR_MS, NOW_MS)
    assert window(end_time="2026-11-22T11:00:00", duration_hours=2) == (
        NOW_MS - 3 * HOUR_MS,
        NOW_MS - HOUR_MS,
    )
    assert window(session="asia", start_time=start) == (NOW_MS - 12 * HOUR_MS, NOW_MS - 4 * HOUR_MS)


@pytest.mark.parametrize(
    ("session", "start", "end"),
    [
        ("today", "2026-11-22T00:00:00.000Z", "2026-11-22T12:00:00.000Z"),
        ("yesterday", "2026-11-21T00:00:00.000Z", "2026-11-22T00:00:00.000Z"),
        ("asia", "2026-11-22T00:00:00.000Z", "2026-11-22T08:00:00.000Z"),
        ("London", "2026-11-22T08:00:00.000Z", "2026-11-22T12:00:00.000Z"),
        ("new york", "2026-11-21T13:30:00.000Z", "2026-11-21T20:00:00.000Z"),
    ],
)
def test_a_session_is_the_latest_one_that_has_begun(session: str, start: str, end: str) -> None:
    assert tuple(iso(ms) for ms in window(session=session)) == (start, end)


@pytest.mark.parametrize(
    "given_",
    [
        {"duration_hours": -1},
        {"duration_hours": 0},
        {"duration_hours": 168.1},
        {"duration_hours": 0.001},
        {"duration_hours": "abc"},
        {"duration_hours": float("nan")},
        {"duration_hours": float("inf")},
        {"duration_hours": "1e999999999"},
        {"duration_hours": True},
        {"duration_hours": []},
        {"start_time": "2026-11-22T09:00:00Z", "end_time": "2026-11-22T08:00:00Z"},
        {"start_time": "2026-11-22T09:00:00Z", "end_time": "2026-11-22T09:00:00Z"},
        {"start_time": "2026-11-01T00:00:00Z"},
        {"start_time": "yesterday"},
        {"start_time": 1795348800000},
        {"end_time": "2027-01-01T00:00:00Z"},
        {"end_time": "9999-12-31T23:59:59-14:00"},
        {"end_time": "0001-01-01T05:00:00+14:00"},
        {"start_time": "0001-01-01T05:00:00Z"},
        {"session": "lunch"},
        {"session": 5},
    ],
)
def test_a_window_that_cannot_be_says_what_is_valid(given_: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match=r"^WINDOW_INVALID: .*; .*; ") as refusal:
        window(**given_)
    assert len(str(refusal.value)) < 300


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=1e-9, max_value=1e9))
def test_a_number_counts_by_its_shortest_form(value: float) -> None:
    assert number_of(value, "row_size") == Decimal(repr(value))


@given(st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.none(), st.lists(st.integers())))
def test_whatever_is_written_is_a_value_or_a_refusal(written: Any) -> None:
    readings: list[Callable[[], object]] = [
        lambda: number_of(written, "x"),
        lambda: time_of(written, "x"),
        lambda: window(session=written),
    ]
    said = []
    for reading in readings:
        try:
            reading()
        except Refusal as refusal:
            said.append(str(refusal))
    assert all(len(text) < 400 for text in said)
