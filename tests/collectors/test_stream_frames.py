"""A link's texts: what comes in as it was sent, what is broken and named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.binance import (
    ApiError,
    stream_name,
)
from collectors.stream_frames import parse_messages
from collectors.trade_rows import EARLIEST_MS, LATEST_MS

from .payloads import (
    DOCUMENTED,
    INVALID_ROW,
    bare,
    in_stream,
    without,
)


def test_a_documented_payload_is_read_exactly() -> None:
    trades = parse_messages([bare()]).trades["BNBBTC"]
    assert trades.id.tolist() == [12345]
    assert trades.price_int.tolist() == [100_000]
    assert trades.quantity_int.tolist() == [100 * 10**8]
    assert (trades.first_id.tolist(), trades.last_id.tolist()) == ([100], [105])
    assert trades.time_ms.tolist() == [1672515782136]
    assert trades.buyer_is_maker.tolist() == [True]


def test_rows_keep_their_arrival_order_per_symbol() -> None:
    texts = [bare(a=3), bare(a=1, s="ETHUSDT"), bare(a=2, p="0.00200000"), bare(a=7, s="ETHUSDT"), bare(a=2)]
    parsed = parse_messages(texts)
    assert parsed.trades["BNBBTC"].id.tolist() == [3, 2, 2]
    assert parsed.trades["ETHUSDT"].id.tolist() == [1, 7]


def test_the_newest_event_time_is_the_largest_not_the_last() -> None:
    assert parse_messages([bare(E=5), bare(E=9), bare(E=7)]).newest_event_ms == 9


def test_microseconds_are_floored_to_milliseconds() -> None:
    parsed = parse_messages([bare(T=1672515782136999, E=1672515782137999)])
    assert parsed.trades["BNBBTC"].time_ms.tolist() == [1672515782136]
    assert parsed.newest_event_ms == 1672515782137


@pytest.mark.parametrize("unit", [1, 1000])
def test_the_earliest_and_the_latest_time_are_taken_in_either_unit(unit: int) -> None:
    parsed = parse_messages([bare(T=EARLIEST_MS * unit), bare(T=LATEST_MS * unit)])
    assert parsed.trades["BNBBTC"].time_ms.tolist() == [EARLIEST_MS, LATEST_MS]
    assert parsed.malformed == []


@pytest.mark.parametrize("quantity", ["0", "0.00000000"])
def test_a_row_that_the_exchange_marked_invalid_keeps_its_id_and_has_no_volume(quantity: str) -> None:
    trades = parse_messages([bare(**INVALID_ROW | {"q": quantity}), bare(a=12346)]).trades["BNBBTC"]
    assert trades.id.tolist() == [12345, 12346]
    assert trades.valid.tolist() == [False, True]
    assert (trades.price_int[0], trades.first_id[0], trades.last_id[0]) == (0, -1, -1)
    assert trades.buyer_is_maker.tolist() == [False, True]


def test_a_symbol_outside_ascii_is_a_symbol() -> None:
    text = in_stream(
        "币安人生usdt@aggTrade", json.dumps(DOCUMENTED | {"s": "币安人生USDT"}, ensure_ascii=False)
    )
    assert list(parse_messages([text]).trades) == ["币安人生USDT"]
    assert list(parse_messages([text.encode()]).trades) == ["币安人生USDT"]


@pytest.mark.parametrize(
    "text",
    [
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
        '{"e":"serverShutdown","E":1770123456789}',
    ],
)
def test_a_server_shutdown_is_seen_in_both_forms(text: str) -> None:
    parsed = parse_messages([bare(), text])
    assert parsed.shutdown
    assert parsed.newest_event_ms == 1770123456789
    assert not parsed.malformed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"code":2,"msg":"Invalid request","id":7}', ApiError(2, "Invalid request", 7)),
        ('{"error":{"code":2,"msg":"Invalid request"},"id":"x"}', ApiError(2, "Invalid request", "x")),
        ('{"code":3,"msg":"Invalid JSON"}', ApiError(3, "Invalid JSON", None)),
    ],
)
def test_an_error_reply_is_read_in_both_shapes(text: str, expected: ApiError) -> None:
    assert parse_messages([text]).errors == [expected]


@pytest.mark.parametrize(
    "text",
    [
        '{"result":null,"id":1}',
        '{"result":["btcusdt@aggTrade"],"id":3}',
        '{"e":"trade","E":1,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1,"m":true,"M":true}',
        '{"u":400900217,"s":"BNBUSDT","b":"25.35","B":"31.21","a":"25.36","A":"40.66"}',
        '{"lastUpdateId":160,"bids":[],"asks":[]}',
        '{"stream":"bnbusdt@bookTicker","data":{"u":400900217,"s":"BNBUSDT"}}',
        '{"stream":"!miniTicker@arr","data":[{"e":"24hrMiniTicker"}]}',
        '{"e":"somethingNew","E":1,"x":{}}',
    ],
)
def test_replies_and_other_events_are_ignored_and_counted(text: str) -> None:
    parsed = parse_messages([text])
    assert (parsed.ignored, parsed.malformed, parsed.trades) == (1, [], {})


BROKEN: dict[str, str | bytes] = {
    "truncated": bare()[:-20],
    "empty": "",
    "binary": b"\x00\x01\x02\xff",
    "array": "[1,2]",
    "null": "null",
    "NaN": bare().replace("12345", "NaN"),
    "number": "7",
    "empty object": "{}",
    "id beyond 64 bits": bare(a=2**63),
    "id far beyond 64 bits": bare(a=10**30),
    "negative id": bare(a=-1),
    "string for int": bare(a="12345"),
    "float id": bare(a=1.5),
    "int for string": bare(p=7),
    "null price": bare(p=None),
    "bool for int": bare(T=True),
    "no id": without("a"),
    "no symbol": without("s"),
    "no time": without("T"),
    "no side": without("m"),
    "empty symbol": bare(s=""),
    "negative price": bare(p="-0.00100000"),
    "negative quantity": bare(q="-1.00000000"),
    "price finer than 1e-8": bare(p="0.000000001"),
    "price beyond 64 bits": bare(p="92233720368.54775808"),
    "price of 5000 digits": bare(p="9" * 5000),
    "price with an exponent": bare(p="1e-3"),
    "price with an underscore": bare(p="1_0.00000000"),
    "price in other digits": bare(p="١٢.00000000"),
    "price 0 with a quantity": bare(p="0.00000000"),
    "first after last": bare(f=106),
    "no raw trades with a quantity": bare(f=-1, l=-1),
    "time of the far future": bare(T=10**17),
    "time of 14 digits": bare(T=10**13),
    "no time at all": bare(T=0),
    "time before there were coins": bare(T=EARLIEST_MS - 1),
    "the same in microseconds": bare(T=EARLIEST_MS * 1000 - 1),
    "wrong stream": in_stream("ethbtc@aggTrade", bare()),
    "stream in capitals": in_stream("BNBBTC@aggTrade", bare()),
    "other event in an aggTrade stream": in_stream("bnbbtc@aggTrade", '{"e":"trade","s":"BNBBTC"}'),
    "stream is a number": '{"stream":7,"data":{}}',
    "no data": '{"stream":"bnbbtc@aggTrade"}',
    "invalid UTF-8": bare().encode().replace(b"BNBBTC", b"BNB\xffTC"),
    "lone surrogate": bare() + "\ud800",
    "nested without end": "[" * 200_000,
    "nested data": '{"stream":"bnbbtc@aggTrade","data":' + "[" * 200_000,
    "2 MB": '{"stream":"x","data":"' + "y" * 2_000_000 + '"}',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_text_is_named_and_loses_only_itself(text: str | bytes) -> None:
    parsed = parse_messages([bare(a=1), text, bare(a=2)])
    assert parsed.trades["BNBBTC"].id.tolist() == [1, 2]
    (malformed,) = parsed.malformed
    assert malformed.reason
    assert len(malformed.text) <= 200


def test_a_malformed_text_is_kept_by_its_beginning() -> None:
    (malformed,) = parse_messages(["{" + "x" * 500]).malformed
    assert malformed.text == "{" + "x" * 199


@given(st.lists(st.one_of(st.text(), st.binary(), st.just(bare()), st.sampled_from(list(BROKEN.values())))))
def test_no_text_whatever_raises(texts: list[str | bytes]) -> None:
    parsed = parse_messages(texts)
    assert len(parsed.malformed) <= len(texts)
    good = sum(text == bare() for text in texts)
    assert sum(map(len, parsed.trades.values())) == good


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(list("eEsapqflTmM")), json_values), st.booleans())
def test_no_field_value_whatever_raises(changed: dict[str, Any], in_streams: bool) -> None:
    text = bare(**changed)
    parsed = parse_messages([in_stream("bnbbtc@aggTrade", text) if in_streams else text])
    seen = sum(map(len, parsed.trades.values())) + len(parsed.malformed) + len(parsed.errors) + parsed.ignored
    assert seen == 1


def test_a_stream_is_named_in_lower_case() -> None:
    assert stream_name("BTCUSDT") == "btcusdt@aggTrade"
