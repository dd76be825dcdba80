"""Binance's wire format, both ways: websocket texts and REST bodies to columns, and columns to them.

Invariant: a number leaves here exactly as it came or not at all. Prices and quantities are integers at
8 decimals (`EXPONENT`), times UTC milliseconds; what does not fit is named, never rounded.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct

from storage.trades import INT64_MAX, Instrument, IntArray, TradeColumns

EXPONENT = 8
UNIT = 10**EXPONENT
DEFAULT_WEIGHT_LIMIT = 6000
EXCERPT = 200
DAY_MS = 86_400_000
EPOCH = date(1970, 1, 1)
# Milliseconds of today are about 1.7e12, microseconds 1.7e15.
MICROSECONDS_FROM = 10**14


class WireError(ValueError):
    """Bytes that are not what the exchange documents; says what was read and what was expected.

    WireError
    ├── NotJson          HTML, an empty or a truncated body
    ├── UnexpectedShape  JSON, but not the documented object or array, or a field out of its range
    └── InexactDecimal   a price or quantity that 64 bits at 8 decimals do not hold exactly
    """


class NotJson(WireError):
    pass


class UnexpectedShape(WireError):
    pass


class InexactDecimal(WireError):
    pass


@dataclass(frozen=True, slots=True)
class Malformed:
    """A text that gave no trade though it should have: why, and its first 200 characters."""

    reason: str
    text: str


@dataclass(frozen=True, slots=True)
class ApiError:
    """The exchange's own refusal; `request_id` names the websocket request that it answers."""

    code: int
    msg: str
    request_id: int | str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """What a batch of websocket texts said; `trades` are per symbol, rows in arrival order, 8 decimals."""

    trades: dict[str, TradeColumns]
    newest_event_ms: int | None
    malformed: list[Malformed]
    errors: list[ApiError]
    shutdown: bool
    ignored: int


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """What may be subscribed to, and the request weight that one address may use in a minute."""

    instruments: dict[str, Instrument]
    weight_limit: int
    venue: str


# 2**62 leaves room for the difference of two ids in 64 bits.
_Id = Annotated[int, Meta(ge=0, lt=2**62)]
_TradeId = Annotated[int, Meta(ge=-1, lt=2**62)]
_Time = Annotated[int, Meta(ge=0, lt=MICROSECONDS_FROM * 1000)]


class _Row(Struct, gc=False):
    a: _Id
    p: str
    q: str
    f: _TradeId
    l: _TradeId  # noqa: E741  the exchange's name
    T: _Time
    m: bool


class _AggTrade(_Row, gc=False, tag_field="e", tag="aggTrade"):
    E: _Time
    s: Annotated[str, Meta(min_length=1)]


class _Combined(Struct, gc=False):
    stream: str
    data: _AggTrade


_decode_combined = msgspec.json.Decoder(_Combined).decode
_decode_bare = msgspec.json.Decoder(_AggTrade).decode
_decode_any = msgspec.json.Decoder().decode
_decode_page = msgspec.json.Decoder(list[_Row]).decode
_decode_array = msgspec.json.Decoder(list[Any]).decode

# msgspec reports bad UTF-8 in bytes and lone surrogates in str as the UnicodeErrors that they are, and JSON
# nested beyond the interpreter's limit as RecursionError.
_UNDECODABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
_UNREADABLE = (*_UNDECODABLE, UnexpectedShape)


# -- websocket texts --------------------------------------------------------------------------------------


def parse_messages(texts: Sequence[str | bytes]) -> Parsed:
    """The trades, replies and oddities in a batch of texts, each combined (`stream`, `data`) or bare.

    Never raises, whatever a text holds: one that cannot be read is named in `malformed` and loses only
    itself.
    """
    batch = Batch()
    batch.add(texts)
    return batch.parsed({symbol: batch.columns(symbol) for symbol in batch.symbols})


_COMBINED = ('{"stream"', b'{"stream"')


def stream_name(symbol: str) -> str:
    return f"{symbol.lower()}@aggTrade"


def _checked_symbol(trade: _AggTrade, stream: str) -> str:
    if stream != stream_name(trade.s):
        raise UnexpectedShape(f"{trade.s[:EXCERPT]} came in stream {stream[:EXCERPT]}")
    return trade.s


class Batch:
    """A batch while it is being read, step by step: `add` as often as need be, then `columns` of each of the
    `symbols`, then `parsed`."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, list[_AggTrade]] = defaultdict(list)
        self._sources: defaultdict[str, list[str | bytes]] = defaultdict(list)  # the text of each row
        self._checked: dict[str, str] = {}  # stream name -> the symbol that may come in it
        self._newest: int | None = None
        self._malformed: list[Malformed] = []
        self._errors: list[ApiError] = []
        self._shutdown = False
        self._ignored = 0

    @property
    def symbols(self) -> list[str]:
        """Those of which there are trades so far."""
        return list(self._rows)

    def add(self, texts: Sequence[str | bytes]) -> None:
        """Read these texts too."""
        rows, sources, checked = self._rows, self._sources, self._checked
        for text in texts:
            try:
                if text[:9] in _COMBINED:
                    message = _decode_combined(text)
                    trade, stream = message.data, message.stream
                    if checked.get(stream) != trade.s:
                        checked[stream] = _checked_symbol(trade, stream)
                else:
                    trade = _decode_bare(text)
            except _UNREADABLE:
                self._add_other(text)
            else:
                rows[trade.s].append(trade)
                sources[trade.s].append(text)

    def columns(self, symbol: str) -> TradeColumns:
        """The trades of a symbol; rows that are at fault become malformed."""
        rows = self._rows[symbol]
        columns, faults = _columns(rows)
        for at, fault in faults:
            self._reject(str(fault), self._sources[symbol][at])
        self._note_event_time(max([row.E for row in rows]))
        return columns

    def parsed(self, trades: dict[str, TradeColumns]) -> Parsed:
        """All that the batch said; `trades` are the columns of its symbols."""
        trades = {symbol: columns for symbol, columns in trades.items() if len(columns)}
        return Parsed(trades, self._newest, self._malformed, self._errors, self._shutdown, self._ignored)

    def _add_other(self, text: str | bytes) -> None:
        """A text that is no well-formed combined or bare aggTrade at first sight."""
        try:
            self._add_message(_decode_any(text), text)
        except _UNDECODABLE as exc:
            self._reject(f"not JSON: {exc}", text)
        except WireError as exc:
            self._reject(str(exc), text)

    def _add_message(self, message: Any, text: str | bytes) -> None:
        stream, payload = _unwrapped(message)
        event = payload.get("e")
        self._note_event_time(payload.get("E"))
        if event == "aggTrade":
            trade = _converted(payload, stream)
            self._rows[trade.s].append(trade)
            self._sources[trade.s].append(text)
        elif event == "serverShutdown":
            self._shutdown = True
        elif (error := _api_error(payload)) is not None:
            self._errors.append(error)
        elif stream is not None and stream.endswith("@aggTrade"):
            raise UnexpectedShape(f"{stream} carried event {event!r}, expected 'aggTrade'")
        elif stream is not None or isinstance(event, str) or not _EVENTLESS.isdisjoint(payload):
            self._ignored += 1
        else:
            raise UnexpectedShape(
                "object is neither an event nor a reply: it has none of e, stream, result, error"
            )

    def _note_event_time(self, event_time: object) -> None:
        if isinstance(event_time, int) and 0 <= event_time < MICROSECONDS_FROM * 1000:
            event_ms = _in_ms(event_time)
            self._newest = event_ms if self._newest is None else max(self._newest, event_ms)

    def _reject(self, reason: str, text: str | bytes) -> None:
        self._malformed.append(Malformed(reason, _excerpt(text)))


# Payloads without an event type: replies (result), bookTicker (u with b and a), partial depth (lastUpdateId).
_EVENTLESS = frozenset({"result", "u", "lastUpdateId"})


def _unwrapped(message: Any) -> tuple[str | None, dict[str, Any]]:
    """(stream, payload) of a decoded message; stream None for a bare payload."""
    if not isinstance(message, dict):
        raise UnexpectedShape(f"got {type(message).__name__}, expected an object")
    if "stream" not in message:
        return None, message
    stream, payload = message["stream"], message.get("data")
    if not isinstance(stream, str):
        raise UnexpectedShape(f"stream is {type(stream).__name__}, expected a string")
    if isinstance(payload, list) and "@arr" in stream:
        return stream, {}
    if not isinstance(payload, dict):
        raise UnexpectedShape(f"data is {type(payload).__name__}, expected an object")
    return stream, payload


def _converted(payload: dict[str, Any], stream: str | None) -> _AggTrade:
    try:
        trade = msgspec.convert(payload, _AggTrade)
    except msgspec.ValidationError as exc:
        raise UnexpectedShape(f"aggTrade: {exc}") from exc
    if stream is not None:
        _checked_symbol(trade, stream)
    return trade


def _excerpt(text: str | bytes) -> str:
    if isinstance(text, str):
        return text[:EXCERPT]
    return text[: 4 * EXCERPT].decode(errors="replace")[:EXCERPT]


# -- rows to columns --------------------------------------------------------------------------------------


def _columns(rows: Sequence[_Row]) -> tuple[TradeColumns, list[tuple[int, WireError]]]:
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


def _assembled(rows: Sequence[_Row], price: IntArray, quantity: IntArray) -> TradeColumns:
    return TradeColumns(
        id=np.array([row.a for row in rows], np.int64),
        time_ms=np.array([_in_ms(row.T) for row in rows], np.int64),
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
    return bool((is_trade & (trades.first_id >= 0) & (trades.first_id <= trades.last_id)).all())


def _careful_columns(rows: Sequence[_Row]) -> tuple[TradeColumns, list[tuple[int, WireError]]]:
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


def _price_and_quantity(row: _Row) -> tuple[int, int]:
    """In units of 1e-8; (0, 0) for a row that the exchange marked invalid (p, q = 0 and f, l = -1)."""
    price, quantity = units(row.p), units(row.q)
    if quantity == 0:
        return 0, 0
    if price == 0:
        raise UnexpectedShape(f"a={row.a} has price 0 with quantity {row.q}")
    if not 0 <= row.f <= row.l:
        raise UnexpectedShape(f"a={row.a} has trades f={row.f} to l={row.l}, expected 0 <= f <= l")
    return price, quantity


_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?")


def units(text: str) -> int:
    """A plain decimal in units of 1e-8, exactly; raises InexactDecimal."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise InexactDecimal(f"read {text[:40]!r}, expected a decimal >= 0 such as '0.00100000'")
    whole, fraction = match[1].lstrip("0"), (match[2] or "").rstrip("0")
    if len(fraction) > EXPONENT:
        raise InexactDecimal(f"read {text[:40]!r}, expected at most {EXPONENT} decimals")
    value = int(whole + fraction.ljust(EXPONENT, "0")) if len(whole) < 12 else INT64_MAX + 1
    if value > INT64_MAX:
        raise InexactDecimal(f"read {text[:40]!r}, expected at most {decimal_string(INT64_MAX, EXPONENT)}")
    return value


def _in_ms(time: int) -> int:
    return time // 1000 if time >= MICROSECONDS_FROM else time


# -- REST bodies ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class AggTradesPage:
    """The rows of a page that could be read, in the order sent, and what was wrong with the others."""

    trades: TradeColumns
    malformed: list[Malformed]


def parse_agg_trades(body: bytes) -> AggTradesPage:
    """A page of `/api/v3/aggTrades`; WireError for a body that is no array. A bad row loses itself alone."""
    try:
        rows, malformed = _decode_page(body), list[Malformed]()
    except _UNDECODABLE:
        rows, malformed = _rows_one_by_one(_decoded(_decode_array, body, "an array of aggTrades"))
    columns, faults = _columns(rows)
    malformed += [Malformed(str(fault), _excerpt(msgspec.json.encode(rows[at]))) for at, fault in faults]
    return AggTradesPage(columns, malformed)


def _rows_one_by_one(page: list[Any]) -> tuple[list[_Row], list[Malformed]]:
    rows, malformed = [], []
    for row in page:
        try:
            rows.append(msgspec.convert(row, _Row))
        except msgspec.ValidationError as exc:
            malformed.append(Malformed(f"aggTrade: {exc}", _excerpt(str(row))))
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


def plain_decimal(value: int) -> Decimal:
    """Units of 1e-8 as a Decimal without trailing zeros or an exponent above 0: 0.01, 1, 10."""
    return Decimal(f"{Decimal(value).scaleb(-EXPONENT).normalize():f}")


def _weight_limit(limits: list[_RateLimit]) -> int:
    per_minute = ("REQUEST_WEIGHT", "MINUTE", 1)
    found = (x.limit for x in limits if (x.rateLimitType, x.interval, x.intervalNum) == per_minute)
    return next(found, DEFAULT_WEIGHT_LIMIT)


def parse_api_error(body: bytes) -> ApiError | None:
    """The code and message of a refusal, or None where the body is no error of the exchange's."""
    try:
        reply = _decode_any(body)
    except _UNDECODABLE:
        return None
    return _api_error(reply) if isinstance(reply, dict) else None


def _api_error(reply: dict[str, Any]) -> ApiError | None:
    """An error reply in either shape: `{"code", "msg"}` or `{"error": {"code", "msg"}}`."""
    error = reply.get("error", reply)
    if not isinstance(error, dict):
        return None
    code, msg, request_id = error.get("code"), error.get("msg"), reply.get("id")
    if not (isinstance(code, int) and isinstance(msg, str)):
        return None
    return ApiError(code, msg, request_id if isinstance(request_id, int | str) else None)


_T = TypeVar("_T")


def _decoded(decode: Callable[[bytes], _T], body: bytes, expected: str) -> _T:
    try:
        return decode(body)
    except msgspec.ValidationError as exc:
        raise UnexpectedShape(f"read {_excerpt(body)!r}, expected {expected}: {exc}") from exc
    except _UNDECODABLE as exc:
        raise NotJson(f"read {len(body)} bytes {_excerpt(body)!r}, expected {expected}: {exc}") from exc


# -- daily dumps ------------------------------------------------------------------------------------------


def dump_path(symbol: str, day: date) -> str:
    """Where the archive has a day's aggTrades; beside it lies the same with `.CHECKSUM`."""
    return f"/data/spot/daily/aggTrades/{symbol}/{symbol}-aggTrades-{day.isoformat()}.zip"


def start_of(day: date) -> int:
    """The day's first millisecond, UTC."""
    return (day - EPOCH).days * DAY_MS


# -- the other direction ----------------------------------------------------------------------------------


def agg_trade_events(
    symbol: str, trades: TradeColumns, event_ms: int | IntArray, *, microseconds: bool = False
) -> list[str]:
    """One bare aggTrade payload a row, sent at `event_ms`, one for all or one each; times in µs where the
    link asked for them."""
    scale = 1000 if microseconds else 1
    sent = (np.broadcast_to(event_ms, len(trades)) * scale).tolist()
    rows = zip(sent, _row_texts(trades, scale), strict=True)
    return [f'{{"e":"aggTrade","E":{time},"s":"{symbol}",{row}' for time, row in rows]


def combined(stream: str, payload: str) -> str:
    return f'{{"stream":"{stream}","data":{payload}}}'


def agg_trades_page(trades: TradeColumns, *, microseconds: bool = False) -> bytes:
    """The body of a REST page of these rows."""
    return f"[{','.join('{' + row for row in _row_texts(trades, 1000 if microseconds else 1))}]".encode()


def _row_texts(trades: TradeColumns, time_scale: int) -> list[str]:
    """The fields from `a` to `M` and the closing brace, without the opening one."""
    rows = zip(
        trades.id.tolist(),
        decimal_strings(trades.price_int, trades.price_exp),
        decimal_strings(trades.quantity_int, trades.quantity_exp),
        trades.first_id.tolist(),
        trades.last_id.tolist(),
        (trades.time_ms * time_scale).tolist(),
        np.where(trades.buyer_is_maker, "true", "false").tolist(),
        strict=True,
    )
    return [
        f'"a":{a},"p":"{p}","q":"{q}","f":{f},"l":{last},"T":{time},"m":{m},"M":true}}'
        for a, p, q, f, last, time, m in rows
    ]


def decimal_strings(values: IntArray, exponent: int) -> list[str]:
    """Each with 8 decimals, 0 as the bare "0" that the exchange writes in rows it marked invalid."""
    factor = 10**exponent
    whole, fraction = np.divmod(values, factor)
    fraction *= 10 ** (EXPONENT - exponent)
    texts = [f"{w}.{f:08d}" for w, f in zip(whole.tolist(), fraction.tolist(), strict=True)]
    return texts if values.all() else ["0" if text == "0.00000000" else text for text in texts]


def decimal_string(n: int, exponent: int) -> str:
    """`n * 10**-exponent` with 8 decimals, as the exchange writes it; `exponent` is at most 8."""
    whole, fraction = divmod(n, 10**exponent)
    return f"{whole}.{fraction * 10 ** (EXPONENT - exponent):08d}"


class _ServerTime(Struct):
    serverTime: _Time  # noqa: N815


_decode_server_time = msgspec.json.Decoder(_ServerTime).decode


def parse_server_time(body: bytes) -> int:
    """The exchange's clock by `/api/v3/time`, UTC milliseconds; raises WireError."""
    time = _decoded(_decode_server_time, body, "a serverTime object").serverTime
    return time // 1000 if time >= MICROSECONDS_FROM else time
