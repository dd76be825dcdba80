"""REST's bodies to columns and records: pages of trades, filters, refusals, the clock.

Invariant: a body that is not what the exchange documents raises `WireError`; in a page a bad row loses itself
alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from collectors.binance import (
    DEFAULT_WEIGHT_LIMIT,
    UNDECODABLE,
    ApiError,
    Malformed,
    NotJson,
    UnexpectedShape,
    api_error,
    decode_any,
    excerpt,
    in_ms,
    plain_decimal,
    units,
)
from collectors.trade_rows import Row, Time, columns_of
from storage.trades import Instrument, TradeColumns

_decode_page = msgspec.json.Decoder(list[Row]).decode
_decode_array = msgspec.json.Decoder(list[Any]).decode


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """What may be subscribed to, and the request weight that one address may use in a minute."""

    instruments: dict[str, Instrument]
    weight_limit: int
    venue: str


@dataclass(frozen=True, slots=True, eq=False)
class AggTradesPage:
    """The rows of a page that could be read, in the order sent, and what was wrong with the others."""

    trades: TradeColumns
    malformed: list[Malformed]


def parse_agg_trades(body: bytes) -> AggTradesPage:
    """A page of `/api/v3/aggTrades`; WireError for a body that is no array. A bad row loses itself alone."""
    try:
        rows, malformed = _decode_page(body), list[Malformed]()
    except UNDECODABLE:
        rows, malformed = _rows_one_by_one(_decoded(_decode_array, body, "an array of aggTrades"))
    columns, faults = columns_of(rows)
    malformed += [Malformed(str(fault), excerpt(msgspec.json.encode(rows[at]))) for at, fault in faults]
    return AggTradesPage(columns, malformed)


def _rows_one_by_one(page: list[Any]) -> tuple[list[Row], list[Malformed]]:
    rows, malformed = [], []
    for row in page:
        try:
            rows.append(msgspec.convert(row, Row))
        except msgspec.ValidationError as exc:
            malformed.append(Malformed(f"aggTrade: {exc}", excerpt(str(row))))
    return rows, malformed


class _RateLimit(Struct):
    rateLimitType: str  # noqa: N815  the exchange's names, here and below
    interval: str
    intervalNum: int  # noqa: N815
    limit: int


class _Symbol(Struct):
    symbol: str
    status: str
    baseAsset: str  # noqa: N815
    quoteAsset: str  # noqa: N815
    filters: list[dict[str, Any]]


class _ExchangeInfo(Struct):
    symbols: list[_Symbol]
    rateLimits: list[_RateLimit] = []  # noqa: N815
    simulated: bool = False


_decode_exchange_info = msgspec.json.Decoder(_ExchangeInfo).decode


def parse_exchange_info(body: bytes) -> ExchangeInfo:
    """The instruments of `/api/v3/exchangeInfo`; raises WireError.

    A symbol whose price or quantity has no step (filter absent, or 0, which disables it) is left out.
    """
    info = _decoded(_decode_exchange_info, body, "an exchangeInfo object")
    venue = "simulated" if info.simulated else "binance spot"
    instruments = {symbol.symbol: _instrument(symbol, venue) for symbol in info.symbols}
    kept = {name: instrument for name, instrument in instruments.items() if instrument is not None}
    return ExchangeInfo(kept, _weight_limit(info.rateLimits), venue)


def _instrument(symbol: _Symbol, venue: str) -> Instrument | None:
    tick = _step(symbol, "PRICE_FILTER", "tickSize")
    lot = _step(symbol, "LOT_SIZE", "stepSize")
    if tick is None or lot is None:
        return None
    return Instrument(symbol.symbol, venue, symbol.baseAsset, symbol.quoteAsset, tick, lot, symbol.status)


def _step(symbol: _Symbol, filter_type: str, field: str) -> Decimal | None:
    text = next((f.get(field) for f in symbol.filters if f.get("filterType") == filter_type), None)
    if text is None:
        return None
    if not isinstance(text, str):
        raise UnexpectedShape(f"{symbol.symbol} {filter_type}.{field}: read {text!r}, expected a string")
    step = units(text)
    return plain_decimal(step) if step else None


def _weight_limit(limits: list[_RateLimit]) -> int:
    per_minute = ("REQUEST_WEIGHT", "MINUTE", 1)
    found = (x.limit for x in limits if (x.rateLimitType, x.interval, x.intervalNum) == per_minute)
    return next(found, DEFAULT_WEIGHT_LIMIT)


def parse_api_error(body: bytes) -> ApiError | None:
    """The code and message of a refusal, or None where the body is no error of the exchange's."""
    try:
        reply = decode_any(body)
    except UNDECODABLE:
        return None
    return api_error(reply) if isinstance(reply, dict) else None


_T = TypeVar("_T")


def _decoded(decode: Callable[[bytes], _T], body: bytes, expected: str) -> _T:
    try:
        return decode(body)
    except msgspec.ValidationError as exc:
        raise UnexpectedShape(f"read {excerpt(body)!r}, expected {expected}: {exc}") from exc
    except UNDECODABLE as exc:
        raise NotJson(f"read {len(body)} bytes {excerpt(body)!r}, expected {expected}: {exc}") from exc


class _ServerTime(Struct):
    serverTime: Time  # noqa: N815


_decode_server_time = msgspec.json.Decoder(_ServerTime).decode


def parse_server_time(body: bytes) -> int:
    """The exchange's clock by `/api/v3/time`, UTC milliseconds; raises WireError."""
    time = _decoded(_decode_server_time, body, "a serverTime object").serverTime
    return in_ms(time)
