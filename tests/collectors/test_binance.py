"""The wire format: what comes in as it was sent, what is broken and named, what goes out and comes back."""

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.binance import (
    ApiError,
    InexactDecimal,
    NotJson,
    UnexpectedShape,
    WireError,
    agg_trade_events,
    agg_trades_page,
    combined,
    decimal_string,
    parse_agg_trades,
    parse_api_error,
    parse_exchange_info,
    parse_messages,
    stream_name,
    units,
)
from storage.trades import INT64_MAX, IntArray, TradeColumns

SHARED = Path(os.environ.get("TAPEDECK_SHARED", Path(__file__).parents[2].parent / "shared"))

# The payload of the exchange's documentation.
DOCUMENTED = {
    "e": "aggTrade", "E": 1672515782136, "s": "BNBBTC", "a": 12345, "p": "0.001", "q": "100",
    "f": 100, "l": 105, "T": 1672515782136, "m": True, "M": True,
}  # fmt: skip
INVALID_ROW = {"p": "0", "q": "0", "f": -1, "l": -1}


def bare(**changed: Any) -> str:
    return json.dumps(DOCUMENTED | changed)


def without(key: str) -> str:
    return json.dumps({k: v for k, v in DOCUMENTED.items() if k != key})


def in_stream(stream: str, payload: str) -> str:
    return f'{{"stream":"{stream}","data":{payload}}}'


units_of_price = st.integers(1, INT64_MAX)


@st.composite
def trade_columns(draw: st.DrawFn) -> TradeColumns:
    """Up to 20 rows at 8 decimals, now and then one that the exchange marked invalid."""
    first = draw(st.integers(0, 2**60))
    rows = draw(
        st.lists(st.tuples(units_of_price, units_of_price, st.booleans(), st.booleans()), max_size=20)
    )
    valid = np.array([not invalid for *_, invalid in rows], np.bool_)
    n = len(rows)

    def column(values: list[int], invalid: int) -> IntArray:
        return np.where(valid, np.array(values, np.int64), invalid)

    return TradeColumns(
        id=np.arange(first, first + n),
        time_ms=np.array(
            sorted(draw(st.lists(st.integers(10**12, 10**13), min_size=n, max_size=n))), np.int64
        ),
        price_int=column([price for price, *_ in rows], 0),
        quantity_int=column([quantity for _, quantity, *_ in rows], 0),
        first_id=column(list(range(n)), -1),
        last_id=column(list(range(n)), -1),
        buyer_is_maker=np.array([maker for *_, maker, _ in rows], np.bool_) & valid,
        price_exp=8,
        quantity_exp=8,
    )


def assert_same(left: TradeColumns, right: TradeColumns) -> None:
    assert (left.price_exp, left.quantity_exp) == (right.price_exp, right.quantity_exp)
    for name in ("id", "time_ms", "price_int", "quantity_int", "first_id", "last_id", "buyer_is_maker"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
        assert getattr(left, name).dtype == getattr(right, name).dtype


# -- both ways


@given(trade_columns(), st.booleans(), st.booleans(), st.booleans())
def test_what_is_sent_comes_back_exactly(
    trades: TradeColumns, in_streams: bool, microseconds: bool, as_bytes: bool
) -> None:
    texts = agg_trade_events("BTCUSDT", trades, 10**13, microseconds=microseconds)
    if in_streams:
        texts = [combined("btcusdt@aggTrade", text) for text in texts]
    parsed = parse_messages([text.encode() for text in texts] if as_bytes else texts)
    assert parsed.malformed == []
    if len(trades):
        assert_same(parsed.trades["BTCUSDT"], trades)
        assert parsed.newest_event_ms == 10**13
    else:
        assert parsed.trades == {}
        assert parsed.newest_event_ms is None


@given(trade_columns())
def test_a_page_comes_back_exactly(trades: TradeColumns) -> None:
    assert_same(parse_agg_trades(agg_trades_page(trades)).trades, trades)


def test_events_have_the_documented_fields_in_the_documented_order() -> None:
    trades = parse_messages([bare()]).trades["BNBBTC"]
    (event,) = agg_trade_events("BNBBTC", trades, 1672515782136)
    assert list(json.loads(event).items()) == list(
        (DOCUMENTED | {"p": "0.00100000", "q": "100.00000000"}).items()
    )


def test_columns_at_few_decimals_are_written_with_eight() -> None:
    trades = parse_messages([bare()]).trades["BNBBTC"].reduced()
    assert trades.price_exp == 3
    assert json.loads(agg_trades_page(trades))[0]["p"] == "0.00100000"


@given(st.integers(0, INT64_MAX), st.integers(0, 8))
def test_decimal_strings_are_what_decimal_says(n: int, exponent: int) -> None:
    assert decimal_string(n, exponent) == f"{Decimal(n).scaleb(-exponent):.8f}"


@given(st.integers(0, INT64_MAX), st.integers(0, 12))
def test_units_are_exact_or_refused(n: int, exponent: int) -> None:
    text = f"{Decimal(n).scaleb(-exponent):f}"
    exact = Decimal(text) * 10**8
    if exact == int(exact) and exact <= INT64_MAX:
        assert units(text) == exact
    else:
        with pytest.raises(InexactDecimal):
            units(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e5", "1_0", ".5", "1.", " 1", "١", "NaN", "0x1", "9" * 5000]
)
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(InexactDecimal, match="expected"):
        units(text)


# -- websocket texts


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


# -- REST bodies


def test_an_empty_page_has_no_rows() -> None:
    assert len(parse_agg_trades(b"[]").trades) == 0


@pytest.mark.parametrize(
    ("body", "error", "names"),
    [
        (b"", NotJson, "0 bytes"),
        (b"<html>502</html>", NotJson, "<html>502"),
        (b'[{"a":1,', NotJson, "truncated"),
        (b"\xff\xfe", NotJson, "array of aggTrades"),
        (b"{}", UnexpectedShape, "Expected `array`"),
    ],
)
def test_a_bad_page_says_what_was_read(body: bytes, error: type[WireError], names: str) -> None:
    with pytest.raises(error, match=names):
        parse_agg_trades(body)


GOOD_ROW = b'{"a":7,"p":"1","q":"1","f":1,"l":1,"T":5,"m":true}'


@pytest.mark.parametrize(
    ("row", "names"),
    [
        (b'{"a":1}', "missing required field `p`"),
        (b'{"a":"8","p":"1","q":"1","f":1,"l":1,"T":5,"m":true}', "Expected `int`"),
        (b"null", "Expected `object`"),
        (b'{"a":1,"p":"1","q":"1","f":2,"l":1,"T":5,"m":true}', "f=2 to l=1"),
        (b'{"a":1,"p":"1e3","q":"1","f":1,"l":1,"T":5,"m":true}', "read '1e3'"),
    ],
)
def test_a_bad_row_of_a_page_loses_itself_alone(row: bytes, names: str) -> None:
    page = parse_agg_trades(b"[" + row + b"," + GOOD_ROW + b"]")
    assert page.trades.id.tolist() == [7]
    assert [names in malformed.reason for malformed in page.malformed] == [True]


def test_an_api_error_is_told_from_other_bodies() -> None:
    assert parse_api_error(b'{"code":-1121,"msg":"Invalid symbol."}') == ApiError(-1121, "Invalid symbol.")
    assert parse_api_error(b"[]") is None
    assert parse_api_error(b"{}") is None
    assert parse_api_error(b"<html>") is None


def exchange_info(**changed: Any) -> bytes:
    symbol = {
        "symbol": "BTCUSDT", "status": "HALT", "baseAsset": "BTC", "quoteAsset": "USDT",
        "filters": [
            {"filterType": "ICEBERG_PARTS", "limit": 10},
            {"filterType": "LOT_SIZE", "stepSize": "10.00000000"},
            {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"},
        ],
    }  # fmt: skip
    return json.dumps({"symbols": [symbol | changed]}).encode()


def test_filters_are_found_by_type_and_steps_are_plain_decimals() -> None:
    info = parse_exchange_info(exchange_info())
    instrument = info.instruments["BTCUSDT"]
    assert (str(instrument.tick), str(instrument.lot)) == ("0.01", "10")
    assert (instrument.base, instrument.quote, instrument.status) == ("BTC", "USDT", "HALT")
    assert (info.venue, instrument.venue, info.weight_limit) == ("binance spot", "binance spot", 6000)


def test_a_symbol_without_a_step_is_left_out() -> None:
    assert parse_exchange_info(exchange_info(filters=[])).instruments == {}
    zero = [{"filterType": "PRICE_FILTER", "tickSize": "0.00000000"}]
    assert parse_exchange_info(exchange_info(filters=zero)).instruments == {}


def test_a_step_that_is_no_string_is_an_error() -> None:
    number = [
        {"filterType": "PRICE_FILTER", "tickSize": 0.01},
        {"filterType": "LOT_SIZE", "stepSize": "1"},
    ]
    with pytest.raises(UnexpectedShape, match=r"PRICE_FILTER\.tickSize: read 0\.01"):
        parse_exchange_info(exchange_info(filters=number))


def test_a_real_exchange_info_is_read() -> None:
    path = SHARED / "data" / "exchangeInfo-spot-2021-10-12.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    info = parse_exchange_info(path.read_bytes())
    assert info.weight_limit == 1200
    assert info.venue == "binance spot"
    assert info.instruments["BTCUSDT"].tick == Decimal("0.01")
    assert info.instruments["BTCUSDT"].lot == Decimal("0.00001")
    assert len(info.instruments) == 8
