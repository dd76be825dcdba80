"""A link's requests and their exact replies, and which events it is due; no sockets here."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.exchange.market import GeneratedMarket
from collectors.exchange.streams import (
    MAX_STREAMS,
    RateWindow,
    Slice,
    StreamRefused,
    Subscriptions,
    is_stream_address,
    opened,
)
from collectors.stream_frames import parse_messages

NOW_MS = 20_660 * 86_400_000


def asked(link: Subscriptions, method: str, *params: Any, id: Any = 1) -> Any:
    return json.loads(link.answer(json.dumps({"method": method, "params": params, "id": id}), NOW_MS))


def test_the_documented_requests_get_the_documented_replies() -> None:
    link = Subscriptions()
    assert asked(link, "SUBSCRIBE", "btcusdt@aggTrade", "ethusdt@depth@100ms") == {"result": None, "id": 1}
    assert asked(link, "LIST_SUBSCRIPTIONS", id=3) == {
        "result": ["btcusdt@aggTrade", "ethusdt@depth@100ms"], "id": 3,
    }  # fmt: skip
    assert asked(link, "UNSUBSCRIBE", "ethusdt@depth@100ms", id="a1") == {"result": None, "id": "a1"}
    assert asked(link, "LIST_SUBSCRIPTIONS", id=None) == {"result": ["btcusdt@aggTrade"], "id": None}
    assert asked(link, "GET_PROPERTY", "combined", id=2) == {"result": False, "id": 2}
    assert asked(link, "SET_PROPERTY", "combined", True, id=5) == {"result": None, "id": 5}
    assert asked(link, "GET_PROPERTY", "combined", id=2) == {"result": True, "id": 2}


@pytest.mark.parametrize(
    ("request_", "code", "msg"),
    [
        ('{"method":"SUBSCRIBE","params":["btcusdt@nonsense"],"id":2}', 2, "invalid stream"),
        ('{"method":"SUBSCRIBE","params":["btcusdt"],"id":2}', 2, "invalid stream"),
        ('{"method":"SUBSCRIBE","params":[7],"id":2}', 2, "invalid stream"),
        ('{"method":"SUBSCRIBE","params":"x","id":2}', 2, "array"),
        ('{"method":"SUBSCRIBE","params":[],"id":1.5}', 2, "request ID must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":[],"id":true}', 2, "request ID must be an unsigned integer"),
        ('{"method":"SUBSCRIBE","params":[],"id":99999999999999999999}', 2, "request ID"),
        ('{"method":"SING","id":2}', 2, "unknown variant `SING`, expected one of `SUBSCRIBE`"),
        ('{"params":[],"id":2}', 2, "missing field `method`"),
        ("[]", 2, "missing field `method`"),
        ('{"method":"GET_PROPERTY","params":["other"],"id":2}', 0, "Unknown property"),
        ('{"method":"GET_PROPERTY","params":[],"id":2}', 0, "Unknown property"),
        ('{"method":"GET_PROPERTY","params":["combined",1],"id":2}', 2, "too many parameters"),
        ('{"method":"SET_PROPERTY","params":["combined","yes"],"id":2}', 1, "expected Boolean"),
        ("{", 3, "Invalid JSON"),
        ("", 3, "Invalid JSON"),
    ],
)
def test_a_wrong_request_gets_its_code(request_: str, code: int, msg: str) -> None:
    reply = Subscriptions().answer(request_, NOW_MS)
    (error,) = parse_messages([reply]).errors
    assert error.code == code
    assert msg in error.msg


@given(st.one_of(st.text(), st.binary()))
def test_any_request_gets_a_reply(text: str | bytes) -> None:
    assert "id" in json.loads(Subscriptions().answer(text, NOW_MS))


@pytest.mark.parametrize(
    ("target", "streams", "is_combined"),
    [
        ("/ws", [], False),
        ("/ws/btcusdt@aggTrade", ["btcusdt@aggTrade"], False),
        ("/ws/btcusdt@aggTrade/ethusdt@trade", ["btcusdt@aggTrade", "ethusdt@trade"], False),
        ("/ws/btcusdt%40aggTrade%2Fethusdt%40trade", ["btcusdt@aggTrade", "ethusdt@trade"], False),
        ("/stream", [], True),
        (
            "/stream?streams=btcusdt@aggTrade/ethusdt@depth5@100ms",
            ["btcusdt@aggTrade", "ethusdt@depth5@100ms"],
            True,
        ),
        (
            "/stream?streams=btcusdt%40aggTrade%2F%E5%B8%81usdt%40trade",
            ["btcusdt@aggTrade", "币usdt@trade"],
            True,
        ),
        ("/stream?streams=!miniTicker@arr", ["!miniTicker@arr"], True),
    ],
)
def test_an_address_says_what_is_subscribed(target: str, streams: list[str], is_combined: bool) -> None:
    assert is_stream_address(target)
    link, greeting = opened(target, NOW_MS)
    assert (list(link.since_ms), link.combined, greeting) == (streams, is_combined, None)


def test_a_bad_stream_type_in_the_address_is_told_first() -> None:
    link, greeting = opened("/ws/btcusdt@nonsense", NOW_MS)
    assert not link.since_ms
    assert json.loads(greeting or "") == {
        "error": {"code": 2, "msg": "Invalid request: invalid stream"},
        "id": None,
    }


@pytest.mark.parametrize("unit", ["MICROSECOND", "microsecond"])
def test_microseconds_are_asked_for_in_the_address(unit: str) -> None:
    assert opened(f"/ws/btcusdt@aggTrade?timeUnit={unit}", NOW_MS)[0].microseconds


def test_an_unknown_time_unit_is_refused() -> None:
    with pytest.raises(StreamRefused):
        opened("/ws?timeUnit=HOUR", NOW_MS)


def test_more_than_1024_streams_are_refused() -> None:
    names = [f"s{i}@aggTrade" for i in range(MAX_STREAMS + 1)]
    with pytest.raises(StreamRefused):
        opened(f"/stream?streams={'/'.join(names)}", NOW_MS)
    link = Subscriptions()
    link.subscribe(names[:-1], NOW_MS)
    assert asked(link, "SUBSCRIBE", names[-1])["error"]["code"] == 2
    assert len(link.since_ms) == MAX_STREAMS


def test_other_addresses_are_no_streams() -> None:
    assert not is_stream_address("/api/v3/ping")
    assert not is_stream_address("/wsx")


def test_a_link_is_due_only_what_came_after_it_subscribed() -> None:
    market = GeneratedMarket(1)
    trades = market.trades("BTCUSDT", NOW_MS + 1, NOW_MS + 5001)
    slice_ = Slice({"BTCUSDT": trades}, NOW_MS, NOW_MS + 5000)
    since_ms = int(trades.time_ms[len(trades) // 2])
    early = Subscriptions(since_ms={"btcusdt@aggTrade": NOW_MS - 9})
    late = Subscriptions(since_ms={"btcusdt@aggTrade": since_ms})
    silent = Subscriptions(since_ms={"BTCUSDT@aggTrade": 0, "btcusdt@trade": 0})
    assert len(list(slice_.frames(early))) == len(trades)
    got = parse_messages(list(slice_.frames(late))).trades["BTCUSDT"]
    assert got.id.tolist() == trades.id[trades.time_ms > since_ms].tolist()
    assert not list(slice_.frames(silent))


def test_events_are_never_older_than_their_trades() -> None:
    trades = GeneratedMarket(1).trades("BTCUSDT", NOW_MS + 1, NOW_MS + 5001)
    slice_ = Slice({"BTCUSDT": trades}, NOW_MS, NOW_MS + 5000)
    for frame in slice_.frames(Subscriptions(since_ms={"btcusdt@aggTrade": 0})):
        event = json.loads(frame)
        assert event["E"] >= event["T"]


def test_a_rate_window_admits_so_many_in_any_period() -> None:
    window = RateWindow(2, 1.0)
    assert [window.admits(at) for at in (0.0, 0.5, 0.9, 1.2, 3.0)] == [True, True, False, False, True]
