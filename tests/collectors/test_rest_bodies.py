"""REST's bodies: pages, filters and refusals as they were sent, what is broken and named."""

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from collectors.binance import (
    ApiError,
    NotJson,
    UnexpectedShape,
    WireError,
)
from collectors.rest_bodies import parse_agg_trades, parse_api_error, parse_exchange_info

SHARED = Path(os.environ.get("TAPEDECK_SHARED", Path(__file__).parents[2].parent / "shared"))


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


GOOD_ROW = b'{"a":7,"p":"1","q":"1","f":1,"l":1,"T":1672515782136,"m":true}'


@pytest.mark.parametrize(
    ("row", "names"),
    [
        (b'{"a":1}', "missing required field `p`"),
        (b'{"a":"8","p":"1","q":"1","f":1,"l":1,"T":1672515782136,"m":true}', "Expected `int`"),
        (b"null", "Expected `object`"),
        (b'{"a":1,"p":"1","q":"1","f":2,"l":1,"T":1672515782136,"m":true}', "f=2 to l=1"),
        (b'{"a":1,"p":"1e3","q":"1","f":1,"l":1,"T":1672515782136,"m":true}', "read '1e3'"),
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
