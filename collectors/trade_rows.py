"""The exchange's rows of aggregate trades, as JSON has them, to columns.

Invariant: a row that is at fault is named and loses itself alone.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from collectors.binance import EXPONENT, MICROSECONDS_FROM, UnexpectedShape, WireError, in_ms, units
from storage.trades import IntArray, TradeColumns

# 2**62 leaves room for the difference of two ids in 64 bits.
_Id = Annotated[int, Meta(ge=0, lt=2**62)]
_TradeId = Annotated[int, Meta(ge=-1, lt=2**62)]
Time = Annotated[int, Meta(ge=0, lt=MICROSECONDS_FROM * 1000)]
# When a trade can have been made: not before 2009, and keys hold 13 digits of milliseconds.
EARLIEST_MS = 1_230_768_000_000
LATEST_MS = 10**13 - 1


class Row(Struct, gc=False):
    a: _Id
    p: str
    q: str
    f: _TradeId
    l: _TradeId  # noqa: E741  the exchange's name
    T: Time
    m: bool


def columns_of(rows: Sequence[Row]) -> tuple[TradeColumns, list[tuple[int, WireError]]]:
    """The good rows as columns, and (index, what is wrong) of the others."""
    price, quantity = _usual_decimals([row.p for row in rows]), _usual_decimals([row.q for row in rows])
    if price is not None and quantity is not None:
        columns = _assembled(rows, price, quantity)
        if _is_usual(columns):
            return columns, []
    return _careful_columns(rows)


def _usual_decimals(texts: list[str]) -> IntArray | None:
    """Units of 1e-8 of texts that all are digits, a point and 8 digits, at most 18 in all; else None."""
    if {text[-9:-8] for text in texts} != {"."} or max(map(len, texts)) > 19:
        return None
    digits = [text.replace(".", "", 1) for text in texts]
    whole = "".join(digits)
    if not (whole.isascii() and whole.isdigit()):  # int() also takes signs, underscores and other scripts
        return None
    return np.array([int(text) for text in digits], np.int64)


def _assembled(rows: Sequence[Row], price: IntArray, quantity: IntArray) -> TradeColumns:
    return TradeColumns(
        id=np.array([row.a for row in rows], np.int64),
        time_ms=np.array([in_ms(row.T) for row in rows], np.int64),
        price_int=price,
        quantity_int=quantity,
        first_id=np.array([row.f for row in rows], np.int64),
        last_id=np.array([row.l for row in rows], np.int64),
        buyer_is_maker=np.array([row.m for row in rows], np.bool_),
        price_exp=EXPONENT,
        quantity_exp=EXPONENT,
    )


def _is_usual(trades: TradeColumns) -> bool:
    """No row that is invalid or at fault."""
    is_trade = (trades.price_int > 0) & (trades.quantity_int > 0)
    if not (is_trade & (trades.first_id >= 0) & (trades.first_id <= trades.last_id)).all():
        return False
    times_ms = trades.time_ms
    return bool(np.minimum.reduce(times_ms) >= EARLIEST_MS and np.maximum.reduce(times_ms) <= LATEST_MS)


def _careful_columns(rows: Sequence[Row]) -> tuple[TradeColumns, list[tuple[int, WireError]]]:
    good, prices, quantities, faults = [], [], [], []
    for at, row in enumerate(rows):
        try:
            price, quantity = _price_and_quantity(row)
        except WireError as fault:
            faults.append((at, fault))
            continue
        good.append(row)
        prices.append(price)
        quantities.append(quantity)
    columns = _assembled(good, np.array(prices, np.int64), np.array(quantities, np.int64))
    columns.buyer_is_maker[columns.quantity_int == 0] = False  # an invalid row has no aggressor
    return columns, faults


def _price_and_quantity(row: Row) -> tuple[int, int]:
    """In units of 1e-8; (0, 0) for a row that the exchange marked invalid (p, q = 0 and f, l = -1)."""
    if not EARLIEST_MS <= in_ms(row.T) <= LATEST_MS:
        raise UnexpectedShape(f"a={row.a} has time T={row.T}, expected one from 2009 on, of 13 digits in ms")
    price, quantity = units(row.p), units(row.q)
    if quantity == 0:
        return 0, 0
    if price == 0:
        raise UnexpectedShape(f"a={row.a} has price 0 with quantity {row.q}")
    if not 0 <= row.f <= row.l:
        raise UnexpectedShape(f"a={row.a} has trades f={row.f} to l={row.l}, expected 0 <= f <= l")
    return price, quantity
