"""The REST side: each endpoint a pure function from what was asked to a reply, and the weight it costs.

Invariant: no row with T after now, none before the history's start, and the used weight on every reply.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import msgspec

from collectors.binance import DEFAULT_WEIGHT_LIMIT, MICROSECONDS_FROM, agg_trades_page
from collectors.exchange.market import Market
from storage.trades import Instrument, TradeColumns

MINUTE_MS = 60_000
DEFAULT_ROWS = 500
MAX_ROWS = 1000
FIRST_BAN_MS = 120_000
LONGEST_BAN_MS = 3 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Tape:
    """What the exchange shows at one moment: the market's trades with floor_ms <= T <= now_ms."""

    market: Market
    floor_ms: int
    now_ms: int

    def first_id(self, symbol: str) -> int:
        return self.market.first_id_from(symbol, self.floor_ms)

    def last_id(self, symbol: str) -> int:
        return self.market.first_id_from(symbol, self.now_ms + 1) - 1

    def rows(self, symbol: str, first_id: int, last_id: int, limit: int) -> TradeColumns:
        """The oldest `limit` visible rows of first_id..last_id; below the floor it starts at the floor."""
        first_id = max(first_id, self.first_id(symbol))
        count = min(limit, min(last_id, self.last_id(symbol)) - first_id + 1)
        return self.market.from_id(symbol, first_id, count) if count > 0 else TradeColumns.empty()


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


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


def respond(
    tape: Tape, weights: "WeightMeter", method: str, target: str, headers: Mapping[str, str]
) -> Reply:
    """The reply to one request, its weight charged."""
    url = urlsplit(target)
    route = _ROUTES.get(url.path)
    refusal = weights.charge(route.weight if route else 0, tape.now_ms)
    reply = refusal or (_answer(route, tape, weights, url.query, headers) if route else _NOT_FOUND)
    if method not in ("GET", "HEAD"):
        reply = Reply(405, b"")
    used = {"X-MBX-USED-WEIGHT-1M": str(weights.used(tape.now_ms))}
    return Reply(reply.status, reply.body, reply.headers | used)


def _answer(
    route: "_Route", tape: Tape, weights: "WeightMeter", query: str, headers: Mapping[str, str]
) -> Reply:
    values = {name: given[-1] for name, given in parse_qs(query, keep_blank_values=True).items()}
    try:
        asked = Asked(values, _wants_microseconds(headers.get("X-MBX-TIME-UNIT", "MILLISECOND")))
        return Reply(200, route.answer(tape, asked, weights.limit))
    except Refused as refusal:
        return Reply(400, error_body(refusal.code, str(refusal)))


def error_body(code: int, msg: str) -> bytes:
    return msgspec.json.encode({"code": code, "msg": msg})


_NOT_FOUND = Reply(404, b"<html><body><h2>404 Not found</h2></body></html>", {"Content-Type": "text/html"})


# -- endpoints --------------------------------------------------------------------------------------------


def ping(_tape: Tape, _asked: Asked, _weight_limit: int) -> bytes:
    return b"{}"


def server_time(tape: Tape, asked: Asked, _weight_limit: int) -> bytes:
    return msgspec.json.encode({"serverTime": tape.now_ms * (1000 if asked.microseconds else 1)})


def agg_trades(tape: Tape, asked: Asked, _weight_limit: int) -> bytes:
    """`fromId`, `startTime` and `endTime` are inclusive; rows ascend by id.

    Nothing given: the most recent. A start: the oldest from there. An end alone: the most recent up to it.
    """
    symbol = _symbol(tape.market, asked.query)
    limit = min(_whole(asked.query, "limit", DEFAULT_ROWS), MAX_ROWS)
    if limit < 1:
        raise Refused(-1130, "Data sent for parameter 'limit' is not valid.")
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
        first_id = last_id - limit + 1
    return agg_trades_page(tape.rows(symbol, first_id, last_id, limit), microseconds=asked.microseconds)


def exchange_info(tape: Tape, asked: Asked, weight_limit: int) -> bytes:
    instruments = tape.market.instruments
    symbols = _symbols(tape.market, asked.query)
    return msgspec.json.encode(
        {
            "timezone": "UTC",
            "serverTime": tape.now_ms,
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


@dataclass(frozen=True, slots=True)
class _Route:
    weight: int
    answer: Callable[[Tape, Asked, int], bytes]


_ROUTES = {
    "/api/v3/ping": _Route(1, ping),
    "/api/v3/time": _Route(1, server_time),
    "/api/v3/aggTrades": _Route(4, agg_trades),
    "/api/v3/exchangeInfo": _Route(20, exchange_info),
}


def _rate_limit(kind: str, interval: str, count: int, limit: int) -> dict[str, str | int]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def _listed(instrument: Instrument) -> dict[str, object]:
    """The exchange's record of a symbol; LOT_SIZE comes before PRICE_FILTER: clients go by filterType."""
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
        "filters": [
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
        "permissions": ["SPOT"],
    }


def _padded(step: Decimal) -> str:
    return f"{step:.8f}"


# -- parameters -------------------------------------------------------------------------------------------

_SYMBOL = re.compile(r"[A-Z0-9\-_.]{1,20}")
_NUMBER = re.compile(r"[0-9]{1,20}")


def _symbol(market: Market, query: Mapping[str, str]) -> str:
    symbol = query.get("symbol", "")
    if not symbol:
        raise Refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
    return _known(market, symbol, "symbol")


def _symbols(market: Market, query: Mapping[str, str]) -> Sequence[str]:
    if "symbol" in query and "symbols" in query:
        raise Refused(-1128, "Combination of optional parameters invalid.")
    if "symbol" in query:
        return [_symbol(market, query)]
    if "symbols" not in query:
        return market.symbols
    try:
        symbols = msgspec.json.decode(query["symbols"], type=list[str])
    except msgspec.DecodeError as exc:
        raise _illegal("symbols", r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}")*\]$') from exc
    return [_known(market, symbol, "symbols") for symbol in symbols]


def _known(market: Market, symbol: str, parameter: str) -> str:
    if _SYMBOL.fullmatch(symbol) is None:
        raise _illegal(parameter, "^[A-Z0-9-_.]{1,20}$")
    if symbol not in market.instruments:
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


# -- weight -----------------------------------------------------------------------------------------------


class WeightMeter:
    """Request weight of one address by fixed minutes: over the limit 429, asking on regardless a ban."""

    def __init__(self, limit: int = DEFAULT_WEIGHT_LIMIT) -> None:
        self.limit = limit
        self.bans = 0
        self._minute = -1
        self._used = 0
        self._limited_until_ms = 0
        self._banned_until_ms = 0

    def used(self, now_ms: int) -> int:
        return self._used if now_ms // MINUTE_MS == self._minute else 0

    def charge(self, weight: int, now_ms: int) -> Reply | None:
        """Counts the request; a refusal where it is one too many."""
        if now_ms < self._banned_until_ms:
            return self._ban_reply(now_ms)
        if now_ms < self._limited_until_ms:
            self.bans += 1
            self._banned_until_ms = now_ms + min(FIRST_BAN_MS * 2 ** (self.bans - 1), LONGEST_BAN_MS)
            return self._ban_reply(now_ms)
        self._used = self.used(now_ms) + weight
        self._minute = now_ms // MINUTE_MS
        if self._used <= self.limit:
            return None
        self._limited_until_ms = (self._minute + 1) * MINUTE_MS
        return _too_much(429, self._limited_until_ms - now_ms, _LIMITED.format(self.limit))

    def _ban_reply(self, now_ms: int) -> Reply:
        return _too_much(418, self._banned_until_ms - now_ms, _BANNED.format(self._banned_until_ms))


_LIMITED = (
    "Too much request weight used; current limit is {} request weight per 1 MINUTE. "
    "Please use WebSocket Streams for live updates to avoid polling the API."
)
_BANNED = (
    "Way too much request weight used; IP banned until {}. "
    "Please use WebSocket Streams for live updates to avoid bans."
)


def _too_much(status: int, wait_ms: int, msg: str) -> Reply:
    return Reply(status, error_body(-1003, msg), {"Retry-After": str(-(-wait_ms // 1000))})
