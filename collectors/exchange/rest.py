"""The REST side: each endpoint a pure function from what was asked to a reply, and the weight it costs.

Invariant: no row with T after now, none before the history's start, and the used weight on every reply.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from urllib.parse import parse_qs, urlsplit

import msgspec

from collectors.binance import MICROSECONDS_FROM
from collectors.exchange.market import Market
from collectors.exchange.replies import Reply, error_body
from collectors.exchange.sidelines import book_at
from collectors.exchange.texts import agg_trades_page
from collectors.exchange.veil import NO_VEIL, Veil
from collectors.exchange.weights import WeightMeter
from storage.trades import Instrument, TradeColumns

USED_WEIGHT = "X-MBX-USED-WEIGHT-1M"
DEFAULT_ROWS = 500
MAX_ROWS = 1000
DEFAULT_DEPTH = 100
MAX_DEPTH = 5000
# (levels at most, weight)
DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))


@dataclass(frozen=True, slots=True)
class Tape:
    """What the exchange shows at one moment: the market's trades with floor_ms <= T <= now_ms.

    `veil` hides some of them for a while, `skew_ms` is how far the clock that it tells is off.
    """

    market: Market
    floor_ms: int
    now_ms: int
    veil: Veil = NO_VEIL
    skew_ms: int = 0
    refuses_large_limit: bool = False

    @property
    def instruments(self) -> Mapping[str, Instrument]:
        return self.veil.instruments(self.market.instruments)

    def first_id(self, symbol: str) -> int:
        return max(self.market.first_id_from(symbol, self.floor_ms), self.veil.floor_id(symbol))

    def last_id(self, symbol: str) -> int:
        return self.market.first_id_from(symbol, self.now_ms + 1 - self.veil.lag_ms(symbol)) - 1

    def rows(self, symbol: str, first_id: int, last_id: int, limit: int) -> TradeColumns:
        """The oldest `limit` visible rows of first_id..last_id; below the floor it starts at the floor."""
        next_id = max(first_id, self.first_id(symbol))
        stop_id = min(last_id, self.last_id(symbol))
        found: list[TradeColumns] = []
        wanted = limit
        while wanted > 0 and next_id <= stop_id:
            rows = self.market.from_id(symbol, next_id, min(wanted, stop_id - next_id + 1))
            if len(rows) == 0:
                break
            next_id = int(rows.id[-1]) + 1
            found.append(rows.take((rows.id <= stop_id) & self.veil.shows(symbol, rows.id)))
            wanted -= len(found[-1])
        if wanted > 0 and self.veil.shows_head(symbol):
            found.append(self._head(symbol, max(first_id, stop_id + 1), last_id))
        return TradeColumns.concat(found)

    def _head(self, symbol: str, first_id: int, last_id: int) -> TradeColumns:
        """The newest row alone, where it is within the ids asked for."""
        head = self.market.first_id_from(symbol, self.now_ms + 1) - 1
        rows = self.market.from_id(symbol, head, 1 if first_id <= head <= last_id else 0)
        if len(rows) and head > first_id:
            self.veil.note_head(symbol)
        return rows


@dataclass(frozen=True, slots=True)
class Asked:
    """A GET: the query's values, and whether times are wanted in microseconds."""

    query: Mapping[str, str]
    microseconds: bool


class Refused(Exception):
    """The request is answered with HTTP 400 and this code and message."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code = code


def respond(tape: Tape, weights: WeightMeter, method: str, target: str, headers: Mapping[str, str]) -> Reply:
    """The reply to one request, its weight charged."""
    url = urlsplit(target)
    route = _ROUTES.get(url.path)
    refusal = weights.charge(route.weight(url.query) if route else 0, tape.now_ms)
    reply = refusal or (_answer(route, tape, weights, url.query, headers) if route else _NOT_FOUND)
    if method not in ("GET", "HEAD"):
        reply = Reply(405, b"")
    used = {USED_WEIGHT: str(weights.used(tape.now_ms))}
    return Reply(reply.status, reply.body, reply.headers | used)


def _answer(
    route: "_Route", tape: Tape, weights: WeightMeter, query: str, headers: Mapping[str, str]
) -> Reply:
    values = {name: given[-1] for name, given in parse_qs(query, keep_blank_values=True).items()}
    try:
        asked = Asked(values, _wants_microseconds(headers.get("X-MBX-TIME-UNIT", "MILLISECOND")))
        return Reply(200, route.answer(tape, asked, weights.limit))
    except Refused as refusal:
        return Reply(400, error_body(refusal.code, str(refusal)))


_NOT_FOUND = Reply(404, b"<html><body><h2>404 Not found</h2></body></html>", {"Content-Type": "text/html"})


# -- endpoints --------------------------------------------------------------------------------------------


def ping(_tape: Tape, _asked: Asked, _weight_limit: int) -> bytes:
    return b"{}"


def server_time(tape: Tape, asked: Asked, _weight_limit: int) -> bytes:
    return msgspec.json.encode(
        {"serverTime": (tape.now_ms + tape.skew_ms) * (1000 if asked.microseconds else 1)}
    )


def agg_trades(tape: Tape, asked: Asked, _weight_limit: int) -> bytes:
    """`fromId`, `startTime` and `endTime` are inclusive; rows ascend by id.

    Nothing given: the most recent. A start: the oldest from there. An end alone: the most recent up to it.
    """
    symbol = _symbol(tape.instruments, asked.query)
    limit = _whole(asked.query, "limit", DEFAULT_ROWS)
    if limit < 1 or (limit > MAX_ROWS and tape.refuses_large_limit):
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    limit = min(limit, MAX_ROWS)
    from_id, start, end = (_optional(asked.query, name) for name in ("fromId", "startTime", "endTime"))
    if from_id is not None and (start is not None or end is not None):
        raise Refused(-1128, "Combination of optional parameters invalid.")
    past_ms = tape.now_ms + 1
    end_ms = past_ms if end is None else min(_floor_ms(end) + 1, past_ms)
    last_id = tape.market.first_id_from(symbol, end_ms) - 1
    if from_id is not None:
        first_id = from_id
    elif start is not None:
        first_id = tape.market.first_id_from(symbol, min(_ceil_ms(start), past_ms))
    else:
        first_id = min(last_id, tape.last_id(symbol)) - limit + 1
    return agg_trades_page(tape.rows(symbol, first_id, last_id, limit), microseconds=asked.microseconds)


def exchange_info(tape: Tape, asked: Asked, weight_limit: int) -> bytes:
    instruments = tape.instruments
    symbols = _symbols(instruments, asked.query)
    return msgspec.json.encode(
        {
            "timezone": "UTC",
            "serverTime": tape.now_ms + tape.skew_ms,
            "simulated": True,
            "rateLimits": [
                _rate_limit("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
                _rate_limit("ORDERS", "SECOND", 10, 100),
                _rate_limit("ORDERS", "DAY", 1, 200_000),
                _rate_limit("RAW_REQUESTS", "MINUTE", 5, 300_000),
            ],
            "exchangeFilters": [],
            "symbols": [_listed(instruments[symbol]) for symbol in symbols],
        }
    )


def depth(tape: Tape, asked: Asked, _weight_limit: int) -> bytes:
    """The order book as of the newest id that REST shows, so that a lag makes it older than the streams."""
    symbol = _symbol(tape.instruments, asked.query)
    limit = min(_whole(asked.query, "limit", DEFAULT_DEPTH), MAX_DEPTH)
    if limit < 1:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
    book = book_at(tape.market, symbol, tape.last_id(symbol))
    return msgspec.json.encode(
        {"lastUpdateId": book.update_id, "bids": book.bids(limit), "asks": book.asks(limit)}
    )


def depth_weight(query: str) -> int:
    """By the levels asked for."""
    text = parse_qs(query).get("limit", [str(DEFAULT_DEPTH)])[-1]
    limit = int(text) if _NUMBER.fullmatch(text) else DEFAULT_DEPTH
    return next((weight for most, weight in DEPTH_WEIGHTS if limit <= most), DEPTH_WEIGHTS[-1][1])


@dataclass(frozen=True, slots=True)
class _Route:
    """`weight` of a request by its query."""

    weight: Callable[[str], int]
    answer: Callable[[Tape, Asked, int], bytes]


_ROUTES = {
    "/api/v3/ping": _Route(lambda _: 1, ping),
    "/api/v3/time": _Route(lambda _: 1, server_time),
    "/api/v3/aggTrades": _Route(lambda _: 4, agg_trades),
    "/api/v3/exchangeInfo": _Route(lambda _: 20, exchange_info),
    "/api/v3/depth": _Route(depth_weight, depth),
}


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, str | int]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _listed(instrument: Instrument) -> dict[str, object]:
    """The exchange's record of a symbol; the order of the filters is no matter to rely on."""
    return {
        "symbol": instrument.symbol,
        "status": instrument.status,
        "baseAsset": instrument.base,
        "baseAssetPrecision": 8,
        "quoteAsset": instrument.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"],
        "icebergAllowed": True,
        "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": _shuffled(
            instrument.symbol,
            [
                {"filterType": "ICEBERG_PARTS", "limit": 10},
                {
                    "filterType": "LOT_SIZE",
                    "minQty": _padded(instrument.lot),
                    "maxQty": "9000.00000000",
                    "stepSize": _padded(instrument.lot),
                },
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": _padded(instrument.tick),
                    "maxPrice": "1000000.00000000",
                    "tickSize": _padded(instrument.tick),
                },
                {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            ],
        ),
        "permissions": ["SPOT"],
    }


def _shuffled(symbol: str, filters: list[dict[str, object]]) -> list[dict[str, object]]:
    """Every symbol in an order of its own."""
    return Random(symbol).sample(filters, len(filters))


def _padded(step: Decimal) -> str:
    return f"{step:.8f}"


# -- parameters -------------------------------------------------------------------------------------------

_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,20}")


def _symbol(listed: Mapping[str, Instrument], query: Mapping[str, str]) -> str:
    symbol = query.get("symbol", "")
    if not symbol:
        raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
    return _known(listed, symbol, "symbol")


def _symbols(listed: Mapping[str, Instrument], query: Mapping[str, str]) -> Sequence[str]:
    if "symbol" in query and "symbols" in query:
        raise Refused(-1128, "Combination of optional parameters invalid.")
    if "symbol" in query:
        return [_symbol(listed, query)]
    if "symbols" not in query:
        return list(listed)
    try:
        symbols = msgspec.json.decode(query["symbols"], type=list[str])
    except msgspec.DecodeError as exc:
        raise _illegal("symbols", r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}")*\]$') from exc
    return [_known(listed, symbol, "symbols") for symbol in symbols]


def _known(listed: Mapping[str, Instrument], symbol: str, parameter: str) -> str:
    if _SYMBOL.fullmatch(symbol) is None:
        raise _illegal(parameter, "^[A-Z0-9-_.]{1,20}$")
    if symbol not in listed:
        raise Refused(-1121, "Invalid symbol.")
    return symbol


def _optional(query: Mapping[str, str], name: str) -> int | None:
    return _whole(query, name, 0) if name in query else None


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if text == "":
        raise Refused(-1105, f"Parameter '{name}' was empty.")
    if _NUMBER.fullmatch(text) is None:
        raise _illegal(name, "^[0-9]{1,20}$")
    if int(text) >= 2**63:
        raise Refused(-1130, f"Data sent for parameter '{name}' is not valid.")
    return int(text)


def _illegal(parameter: str, legal: str) -> Refused:
    return Refused(-1100, f"Illegal characters found in parameter '{parameter}'; legal range is '{legal}'.")


def _wants_microseconds(unit: str) -> bool:
    if unit.upper() not in ("MILLISECOND", "MICROSECOND"):
        raise Refused(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")
    return unit.upper() == "MICROSECOND"


def _floor_ms(time: int) -> int:
    return time // 1000 if time >= MICROSECONDS_FROM else time


def _ceil_ms(time: int) -> int:
    return -(-time // 1000) if time >= MICROSECONDS_FROM else time
