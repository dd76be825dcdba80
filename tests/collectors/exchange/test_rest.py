"""REST as pure functions: which rows a page holds, what is refused and how, and what requests weigh."""

import json
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.binance import ApiError
from collectors.exchange.market import GeneratedMarket
from collectors.exchange.replies import Reply
from collectors.exchange.rest import Tape, respond
from collectors.exchange.weights import WeightMeter
from collectors.rest_bodies import parse_agg_trades, parse_api_error, parse_exchange_info
from storage.trades import TradeColumns

NOW_MS = 20_660 * 86_400_000 + 15 * 3_600_000 + 30_000
FLOOR_MS = NOW_MS - 600_000
MARKET = GeneratedMarket(1)
VISIBLE = MARKET.trades("BTCUSDT", FLOOR_MS, NOW_MS + 1)
FIRST_ID, LAST_ID = int(VISIBLE.id[0]), int(VISIBLE.id[-1])


def ask(
    path: str, *, weights: WeightMeter | None = None, headers: dict[str, str] | None = None, **query: Any
) -> Reply:
    tape = Tape(MARKET, FLOOR_MS, NOW_MS)
    return respond(tape, weights or WeightMeter(), "GET", f"{path}?{urlencode(query)}", headers or {})


def page(**query: Any) -> TradeColumns:
    reply = ask("/api/v3/aggTrades", symbol="BTCUSDT", **query)
    assert reply.status == 200, reply.body
    return parse_agg_trades(reply.body).trades


def refusal(path: str, **query: Any) -> ApiError | None:
    reply = ask(path, **query)
    assert reply.status == 400
    return parse_api_error(reply.body)


# -- rows


def test_nothing_asked_gives_the_500_most_recent() -> None:
    assert page().id.tolist() == list(range(LAST_ID - 499, LAST_ID + 1))


def test_no_row_is_after_now_and_none_before_the_floor() -> None:
    assert page(limit=1).time_ms[0] <= NOW_MS
    assert page(fromId=LAST_ID + 1).id.tolist() == []
    assert page(fromId=2**62).id.tolist() == []
    assert page(startTime=NOW_MS + 1).id.tolist() == []
    assert page(endTime=FLOOR_MS - 1).id.tolist() == []


def test_an_id_below_the_floor_jumps_to_it_without_an_error() -> None:
    assert page(fromId=1, limit=3).id.tolist() == [FIRST_ID, FIRST_ID + 1, FIRST_ID + 2]
    assert page(startTime=0, limit=2).id.tolist() == [FIRST_ID, FIRST_ID + 1]


def test_the_limit_is_clamped_to_1000() -> None:
    assert len(page(fromId=FIRST_ID, limit=5000)) == 1000


def test_from_id_is_inclusive_and_the_last_page_is_short() -> None:
    assert page(fromId=LAST_ID - 2).id.tolist() == [LAST_ID - 2, LAST_ID - 1, LAST_ID]


def expected(start: int | None, end: int | None, limit: int) -> list[int]:
    """The documented semantics, said plainly."""
    time = VISIBLE.time_ms
    inside = (time >= (start if start is not None else 0)) & (time <= (end if end is not None else 2**62))
    rows: list[int] = VISIBLE.id[inside].tolist()
    return rows[:limit] if start is not None else rows[-limit:]


some_times = st.one_of(
    st.none(), st.sampled_from(VISIBLE.time_ms.tolist()), st.integers(FLOOR_MS - 9_000, NOW_MS + 9_000)
)


@given(some_times, some_times, st.integers(1, 1000))
@settings(max_examples=60)
def test_start_and_end_are_inclusive(start: int | None, end: int | None, limit: int) -> None:
    given_times = {"startTime": start, "endTime": end}
    query = {name: value for name, value in given_times.items() if value is not None}
    assert page(limit=limit, **query).id.tolist() == expected(start, end, limit)


@given(st.integers(FIRST_ID - 2000, LAST_ID + 10), st.integers(1, 1000))
@settings(max_examples=30)
def test_pages_by_id_are_the_truth(from_id: int, limit: int) -> None:
    got = page(fromId=from_id, limit=limit)
    want = VISIBLE.take(VISIBLE.id >= from_id).take(slice(0, limit)).at_exponents(8, 8)
    np.testing.assert_array_equal(got.id, want.id)
    np.testing.assert_array_equal(got.price_int, want.price_int)
    np.testing.assert_array_equal(got.quantity_int, want.quantity_int)
    np.testing.assert_array_equal(got.buyer_is_maker, want.buyer_is_maker)


def test_times_are_in_microseconds_where_the_header_asks() -> None:
    reply = ask(
        "/api/v3/aggTrades", symbol="BTCUSDT", limit=1, headers={"X-MBX-TIME-UNIT": "MICROSECOND"},
        endTime=NOW_MS * 1000,
    )  # fmt: skip
    assert json.loads(reply.body)[0]["T"] == VISIBLE.time_ms[-1] * 1000


# -- the other endpoints


def test_exchange_info_is_read_by_our_own_parser_as_simulated() -> None:
    info = parse_exchange_info(ask("/api/v3/exchangeInfo", weights=WeightMeter(1234)).body)
    assert (info.venue, info.weight_limit) == ("simulated", 1234)
    assert info.instruments == MARKET.instruments


def test_exchange_info_may_be_asked_for_some_symbols() -> None:
    one = parse_exchange_info(ask("/api/v3/exchangeInfo", symbol="ETHUSDT").body)
    two = parse_exchange_info(ask("/api/v3/exchangeInfo", symbols='["ETHUSDT","BTCUSDT"]').body)
    assert list(one.instruments) == ["ETHUSDT"]
    assert set(two.instruments) == {"ETHUSDT", "BTCUSDT"}


def test_the_filters_of_symbols_come_in_different_orders() -> None:
    body = json.loads(ask("/api/v3/exchangeInfo").body)
    orders = {tuple(each["filterType"] for each in symbol["filters"]) for symbol in body["symbols"]}
    assert len({order[0] for order in orders}) > 1
    assert len({order[order.index("LOT_SIZE") - 1] for order in orders}) > 1  # nor in one round
    assert all(sorted(order) == sorted(next(iter(orders))) for order in orders)


def test_time_and_ping() -> None:
    assert json.loads(ask("/api/v3/time").body) == {"serverTime": NOW_MS}
    assert ask("/api/v3/ping").body == b"{}"


def test_an_unknown_path_is_404_and_another_method_405() -> None:
    assert ask("/api/v3/historicalTrades").status == 404
    assert respond(Tape(MARKET, 0, 0), WeightMeter(), "POST", "/api/v3/ping", {}).status == 405


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("aggTrades", {}, -1102),
        ("aggTrades", {"symbol": ""}, -1102),
        ("aggTrades", {"symbol": "NOPE"}, -1121),
        ("aggTrades", {"symbol": "btcusdt"}, -1100),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "x"}, -1100),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": "-1"}, -1100),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": ""}, -1105),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": 2**63}, -1130),
        ("aggTrades", {"symbol": "BTCUSDT", "limit": 0}, -1130),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, -1128),
        ("aggTrades", {"symbol": "BTCUSDT", "fromId": 1, "endTime": 1}, -1128),
        ("exchangeInfo", {"symbol": "NOPE"}, -1121),
        ("exchangeInfo", {"symbols": '["BTCUSDT","NOPE"]'}, -1121),
        ("exchangeInfo", {"symbols": "BTCUSDT"}, -1100),
        ("exchangeInfo", {"symbol": "BTCUSDT", "symbols": "[]"}, -1128),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_code(path: str, query: dict[str, Any], code: int) -> None:
    error = refusal(f"/api/v3/{path}", **query)
    assert error is not None
    assert error.code == code


def test_an_unknown_time_unit_is_refused() -> None:
    reply = ask("/api/v3/time", headers={"X-MBX-TIME-UNIT": "HOUR"})
    assert parse_api_error(reply.body) == ApiError(
        -1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND."
    )


# -- weight


def test_every_reply_carries_the_used_weight() -> None:
    weights = WeightMeter()
    paths = ("ping", "time", "aggTrades", "exchangeInfo", "nope")
    replies = [ask(f"/api/v3/{path}", weights=weights, symbol="BTCUSDT") for path in paths]
    assert [reply.headers["X-MBX-USED-WEIGHT-1M"] for reply in replies] == ["1", "2", "6", "26", "26"]


def test_over_the_limit_is_429_until_the_minute_ends_and_asking_on_is_a_ban() -> None:
    weights = WeightMeter(limit=20)
    assert weights.charge(20, 0) is None
    limited = weights.charge(1, 45_500)
    assert limited is not None
    assert (limited.status, limited.headers["Retry-After"]) == (429, "15")
    assert parse_api_error(limited.body) == ApiError(
        -1003,
        "Too much request weight used; current limit is 20 request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
    )
    banned = weights.charge(1, 46_000)
    assert banned is not None
    assert (banned.status, banned.headers["Retry-After"], weights.bans) == (418, "120", 1)
    assert b"IP banned until 166000." in banned.body
    still = weights.charge(1, 165_001)
    assert still is not None
    assert (still.status, still.headers["Retry-After"]) == (418, "1")
    assert weights.charge(1, 166_000) is None


def test_who_waits_as_told_is_not_banned() -> None:
    weights = WeightMeter(limit=20)
    weights.charge(20, 0)
    limited = weights.charge(1, 59_999)
    assert limited is not None
    assert limited.headers["Retry-After"] == "1"
    assert weights.charge(20, 60_999) is None
    assert (weights.bans, weights.used(60_999), weights.used(120_000)) == (0, 20, 0)


def test_each_ban_is_twice_as_long() -> None:
    weights = WeightMeter(limit=0)
    bans = []
    for minute in (0, 100, 200):
        weights.charge(1, minute * 60_000)
        reply = weights.charge(1, minute * 60_000 + 1_000)
        assert reply is not None
        bans.append(reply.headers["Retry-After"])
    assert bans == ["120", "240", "480"]
