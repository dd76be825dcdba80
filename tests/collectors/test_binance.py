"""Numbers and columns: what goes out on the wire comes back exactly, and what does not fit is refused."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.binance import (
    InexactDecimal,
    decimal_string,
    units,
)
from collectors.exchange.texts import agg_trade_events, agg_trades_page, combined
from collectors.rest_bodies import parse_agg_trades
from collectors.stream_frames import parse_messages
from storage.trades import INT64_MAX, TradeColumns

from .payloads import (
    DOCUMENTED,
    assert_same,
    bare,
    trade_columns,
)


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
