"""Payloads of the exchange for tests of the wire: documented, changed, drawn at random."""

import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from collectors.trade_rows import EARLIEST_MS, LATEST_MS
from storage.trades import INT64_MAX, IntArray, TradeColumns

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


def btcusdt(identity: int, time_ms: int, *, event_ms: int | None = None) -> str:
    """A trade of BTCUSDT in its stream; its event is of the same time unless told."""
    event_ms = time_ms if event_ms is None else event_ms
    trade = bare(s="BTCUSDT", a=identity, f=identity, l=identity, T=time_ms, E=event_ms)
    return in_stream("btcusdt@aggTrade", trade)


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
            sorted(draw(st.lists(st.integers(EARLIEST_MS, LATEST_MS), min_size=n, max_size=n))), np.int64
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
