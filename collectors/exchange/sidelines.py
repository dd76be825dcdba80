"""The streams beside aggTrade: single trades, book tickers and depth, as far as they follow from the tape.

Invariant: pure, and the same whenever it is asked: depth comes at whole periods of the clock, each update
begins where the one before ended, and its last id is the newest aggregate id by then.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from collectors.binance import EXPONENT, decimal_string, decimal_strings
from collectors.exchange.book import Book, book_after
from collectors.exchange.market import Market
from storage.trades import IntArray, TradeColumns

DEFAULT_SPEED_MS = 1000
# Rows marked invalid have no price: the book is that of the newest one before that has.
LOOKED_BACK = 64

_SIDE = re.compile(r"([^@A-Z]+)@(trade|bookTicker|depth)(5|10|20)?(?:@(100|1000)ms)?")


@dataclass(frozen=True, slots=True)
class SideEvent:
    """A bare payload, and when it is due."""

    payload: str
    symbol: str
    time_ms: int


class Sidelines:
    """What is due in (after_ms, now_ms]; `streamed` gives the trades that streams bring of [start, end)."""

    def __init__(
        self,
        market: Market,
        streamed: Callable[[str, int, int], TradeColumns],
        after_ms: int,
        now_ms: int,
        *,
        skew_ms: int = 0,
    ) -> None:
        self._market, self._streamed = market, streamed
        self._after_ms, self._now_ms, self._skew_ms = after_ms, now_ms, skew_ms

    def events(self, stream: str, *, microseconds: bool = False) -> Sequence[SideEvent]:
        """In order; none for a stream that is unknown here."""
        named = _SIDE.fullmatch(stream)
        if named is None or (symbol := named[1].upper()) not in self._market.instruments:
            return ()
        scale = 1000 if microseconds else 1
        match named[2]:
            case "trade":
                made = self._trades(symbol, scale)
            case "bookTicker":
                made = self._tickers(symbol)
            case _:
                every_ms = int(named[4] or DEFAULT_SPEED_MS)
                depth = int(named[3]) if named[3] else None
                made = (
                    self._depth(symbol, every_ms, scale)
                    if depth is None
                    else self._top(symbol, every_ms, depth)
                )
        return [SideEvent(msgspec.json.encode(event).decode(), symbol, time_ms) for event, time_ms in made]

    def _trades(self, symbol: str, scale: int) -> Iterator[tuple[dict[str, Any], int]]:
        """Each aggTrade as the single trades that it joins."""
        rows = self._streamed(symbol, self._after_ms + 1, self._now_ms + 1)
        for row in range(len(rows)):
            first, last, time_ms = int(rows.first_id[row]), int(rows.last_id[row]), int(rows.time_ms[row])
            price = decimal_string(int(rows.price_int[row]), rows.price_exp)
            quantity = int(rows.quantity_int[row]) * 10 ** (EXPONENT - rows.quantity_exp)
            shares = _shared(quantity, last - first + 1)
            for trade_id, share in zip(
                range(first, last + 1), decimal_strings(shares, EXPONENT), strict=True
            ):
                event = {"e": "trade", "E": self._event_time(self._now_ms, scale), "s": symbol, "t": trade_id}
                event |= {"p": price, "q": share, "T": time_ms * scale}
                yield event | {"m": bool(rows.buyer_is_maker[row]), "M": True}, time_ms

    def _tickers(self, symbol: str) -> Iterator[tuple[dict[str, Any], int]]:
        book = self._book(symbol, self._now_ms)
        if book.update_id > self._book(symbol, self._after_ms).update_id:
            (bid,), (ask,) = book.bids(1), book.asks(1)
            touch = {"b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
            yield {"u": book.update_id, "s": symbol, **touch}, self._now_ms

    def _depth(self, symbol: str, every_ms: int, scale: int) -> Iterator[tuple[dict[str, Any], int]]:
        for end_ms in self._ends(every_ms):
            before, book = self._book(symbol, end_ms - every_ms), self._book(symbol, end_ms)
            if book.update_id > before.update_id:
                bids, asks = book.changes_from(before)
                event = {"e": "depthUpdate", "E": self._event_time(end_ms, scale), "s": symbol}
                yield event | {"U": before.update_id + 1, "u": book.update_id, "b": bids, "a": asks}, end_ms

    def _top(self, symbol: str, every_ms: int, depth: int) -> Iterator[tuple[dict[str, Any], int]]:
        for end_ms in self._ends(every_ms):
            book = self._book(symbol, end_ms)
            yield {"lastUpdateId": book.update_id, "bids": book.bids(depth), "asks": book.asks(depth)}, end_ms

    def _ends(self, every_ms: int) -> range:
        """The ends of whole periods."""
        return range((self._after_ms // every_ms + 1) * every_ms, self._now_ms + 1, every_ms)

    def _book(self, symbol: str, time_ms: int) -> Book:
        return book_at(self._market, symbol, self._market.first_id_from(symbol, time_ms + 1) - 1)

    def _event_time(self, time_ms: int, scale: int) -> int:
        return (time_ms + self._skew_ms) * scale


def book_at(market: Market, symbol: str, last_id: int) -> Book:
    """The book after the trade of that id."""
    rows = market.from_id(symbol, max(1, last_id - LOOKED_BACK), LOOKED_BACK + 1)
    rows = rows.take((rows.id <= last_id) & (rows.price_int > 0))
    return book_after(rows.take(slice(len(rows) - 1, None)), market.instruments[symbol])


def _shared(quantity: int, parts: int) -> IntArray:
    """(parts,) that sum to the quantity, as even as can be."""
    shares = np.full(parts, quantity // parts, np.int64)
    shares[0] += quantity % parts
    return shares
