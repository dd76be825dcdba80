"""The websocket side without its sockets: what a link asked for, and the exact replies to its requests.

Invariant: a link gets the trades after it subscribed and none before, each stream's events in id order.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import numpy as np

from collectors.binance import stream_name
from collectors.exchange.events import Event
from collectors.exchange.sidelines import SideEvent, Sidelines
from collectors.exchange.texts import agg_trade_events, combined
from storage.trades import IntArray, TradeColumns

_T = TypeVar("_T")

MAX_STREAMS = 1024
# An event's time E is so long after its trade's T at most.
MOST_LATE_MS = 50
AGG_TRADE = "@aggTrade"
METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")

_TYPES = (
    r"aggTrade|trade|blockTrade|bookTicker|miniTicker|ticker(_\w+)?|avgPrice|referencePrice|kline_\w+(@.+)?"
)
_STREAM = re.compile(
    rf"[^@!\s]+@({_TYPES}|depth(5|10|20)?(@1000?ms)?)|!(miniTicker|ticker(_\w+)?|bookTicker)(@arr)?"
)


class StreamRefused(Exception):
    """The websocket address is answered with HTTP 400 and this text."""


@dataclass(slots=True)
class Subscriptions:
    """One link's subscriptions: stream -> the instant since when, in ms of the exchange's clock."""

    combined: bool = False
    microseconds: bool = False
    since_ms: dict[str, int] = field(default_factory=dict)
    asked_too_much: bool = False
    flat_errors: bool = False

    def answer(self, text: str | bytes, now_ms: int) -> str:
        """The reply to one request of the client's, its effect applied."""
        try:
            request = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return self.error(3, "Invalid JSON: expected value at line 1 column 1", None)
        request_id = request.get("id") if isinstance(request, dict) else None
        try:
            return _json({"result": self._result(request, now_ms), "id": request_id})
        except _BadRequest as bad:
            return self.error(bad.code, str(bad), request_id if _is_id(request_id) else None)

    @property
    def side_streams(self) -> list[str]:
        """Those that bring something else than aggTrades."""
        return [stream for stream in self.since_ms if not stream.endswith(AGG_TRADE)]

    def subscribe(self, streams: Iterable[str], now_ms: int) -> None:
        """Nothing is subscribed where one of the streams is refused."""
        streams = list(streams)
        if not all(_STREAM.fullmatch(stream) for stream in streams):
            raise _BadRequest(2, "Invalid request: invalid stream")
        if len(self.since_ms.keys() | set(streams)) > MAX_STREAMS:
            self.asked_too_much = True
            raise _BadRequest(2, f"Invalid request: more than {MAX_STREAMS} streams")
        for stream in streams:
            self.since_ms.setdefault(stream, now_ms)

    def error(self, code: int, msg: str, request_id: object) -> str:
        """Nested, as seen in the wild, or flat, as documented."""
        error = {"code": code, "msg": msg}
        return _json(error | {"id": request_id} if self.flat_errors else {"error": error, "id": request_id})

    def _result(self, request: Any, now_ms: int) -> object:
        method, params = _checked(request)
        match method:
            case "SUBSCRIBE":
                self.subscribe(_texts(params), now_ms)
            case "UNSUBSCRIBE":
                for stream in _texts(params):
                    self.since_ms.pop(stream, None)
            case "LIST_SUBSCRIPTIONS":
                return list(self.since_ms)
            case "GET_PROPERTY":
                _property(params, 1)
                return self.combined
            case "SET_PROPERTY":
                _property(params, 2)
                if not isinstance(params[1], bool):
                    raise _BadRequest(1, "Invalid value type: expected Boolean")
                self.combined = params[1]
        return None


def opened(target: str, now_ms: int, *, flat_errors: bool = False) -> tuple[Subscriptions, str | None]:
    """What a link asks for by its address, and the error text to send first; raises StreamRefused.

    `/stream?streams=a/b` is combined, `/ws`, `/ws/a` and `/ws/a/b` are raw; both may be URL-encoded.
    """
    url = urlsplit(target)
    query = {name: given[-1] for name, given in parse_qs(url.query).items()}
    unit = query.get("timeUnit", "MILLISECOND")
    if unit.upper() not in ("MILLISECOND", "MICROSECOND"):
        raise StreamRefused("Invalid time unit; expected MICROSECOND or MILLISECOND")
    is_combined = url.path.rstrip("/") == "/stream"
    named = query.get("streams", "") if is_combined else unquote(url.path).removeprefix("/ws")
    streams = [stream for stream in named.split("/") if stream]
    if len(streams) > MAX_STREAMS:
        raise StreamRefused(f"More than {MAX_STREAMS} streams")
    subscriptions = Subscriptions(is_combined, unit.upper() == "MICROSECOND", flat_errors=flat_errors)
    try:
        subscriptions.subscribe(streams, now_ms)
    except _BadRequest as bad:
        return subscriptions, subscriptions.error(bad.code, str(bad), None)
    return subscriptions, None


def is_stream_address(target: str) -> bool:
    path = urlsplit(target).path
    return path in ("/ws", "/stream") or path.startswith(("/ws/", "/stream/"))


# -- events -----------------------------------------------------------------------------------------------


class Slice:
    """The trades of (after_ms, now_ms] as frames, each form of them made once for however many links."""

    def __init__(
        self,
        trades: Mapping[str, TradeColumns],
        after_ms: int,
        now_ms: int,
        *,
        skew_ms: int = 0,
        sidelines: Sidelines | None = None,
    ) -> None:
        self._trades = {stream_name(symbol): (symbol, rows) for symbol, rows in trades.items() if len(rows)}
        self._sent_ms = {stream: _sent_ms(rows, now_ms) for stream, (_, rows) in self._trades.items()}
        self._after_ms, self._now_ms, self._skew_ms = after_ms, now_ms, skew_ms
        self._sidelines = sidelines
        self._frames: dict[tuple[str, bool, bool], list[bytes]] = {}
        self._sides: dict[tuple[str, bool, bool], list[Event]] = {}

    def frames(self, link: Subscriptions) -> Iterator[bytes]:
        """What one link is due, a text frame's payload an event, in the order in which they are sent."""
        due = [
            (self._sent_ms[stream][at:], self._frames_of(stream, link)[at:]) for stream, at in self._due(link)
        ]
        yield from _by_time(due)
        yield from (event.payload for event in self._side_events(link))

    def events(self, link: Subscriptions) -> Iterator[Event]:
        """The same with the trade that each is about, for faults to work on."""
        due = [
            (self._sent_ms[stream][at:], self._events_of(stream, link, at)) for stream, at in self._due(link)
        ]
        yield from _by_time(due)
        yield from self._side_events(link)

    def _due(self, link: Subscriptions) -> Iterator[tuple[str, int]]:
        """Each stream that the link is subscribed to, and how many rows came before that."""
        for stream in self._trades:
            since_ms = link.since_ms.get(stream)
            if since_ms is not None:
                yield stream, 0 if since_ms <= self._after_ms else self._rows_until(stream, since_ms)

    def _events_of(self, stream: str, link: Subscriptions, at: int) -> list[Event]:
        symbol, rows = self._trades[stream]
        payloads = self._frames_of(stream, link)[at:]
        about = zip(payloads, rows.id[at:].tolist(), rows.time_ms[at:].tolist(), strict=True)
        return [Event(payload, symbol, trade_id, time_ms) for payload, trade_id, time_ms in about]

    @property
    def oldest_ms(self) -> int:
        """T of the oldest trade; the slice's end where there is none."""
        return min((int(rows.time_ms[0]) for _, rows in self._trades.values()), default=self._now_ms)

    def _side_events(self, link: Subscriptions) -> Iterator[Event]:
        if self._sidelines is None:
            return
        for stream in link.side_streams:
            form = (stream, link.combined, link.microseconds)
            if form not in self._sides:
                found = self._sidelines.events(stream, microseconds=link.microseconds)
                self._sides[form] = [_side_event(stream, event, link.combined) for event in found]
            since_ms = link.since_ms[stream]
            yield from (event for event in self._sides[form] if event.time_ms > since_ms)

    def _rows_until(self, stream: str, time_ms: int) -> int:
        return int(np.searchsorted(self._trades[stream][1].time_ms, time_ms, side="right"))

    def _frames_of(self, stream: str, link: Subscriptions) -> list[bytes]:
        form = (stream, link.combined, link.microseconds)
        if form not in self._frames:
            symbol, rows = self._trades[stream]
            told_ms = self._sent_ms[stream] + self._skew_ms
            events = agg_trade_events(symbol, rows, told_ms, microseconds=link.microseconds)
            texts = [combined(stream, event) for event in events] if link.combined else events
            self._frames[form] = [text.encode() for text in texts]
        return self._frames[form]


def _sent_ms(rows: TradeColumns, now_ms: int) -> IntArray:
    """(n,) when each row is sent: up to 50 ms after its trade, in order, and not after `now_ms`."""
    late_ms = (rows.id * 2_654_435_761 >> 7) % (MOST_LATE_MS + 1)
    sent: IntArray = np.minimum(np.maximum.accumulate(rows.time_ms + late_ms), now_ms)
    return sent


def _by_time(streams: Sequence[tuple[IntArray, list[_T]]]) -> list[_T]:
    """What several streams send, in one order by time."""
    if len(streams) <= 1:
        return streams[0][1] if streams else []
    order = np.argsort(np.concatenate([sent_ms for sent_ms, _ in streams]), kind="stable")
    sent = [each for _, stream in streams for each in stream]
    return [sent[at] for at in order.tolist()]


def _side_event(stream: str, event: SideEvent, is_combined: bool) -> Event:
    """About no trade: no fault changes it, only a link or a stream that is mute lacks it."""
    text = combined(stream, event.payload) if is_combined else event.payload
    return Event(text.encode(), event.symbol, 0, event.time_ms, is_sound=False)


class RateWindow:
    """Admits `limit` events in any `period_s`; times are seconds of a clock that does not step back."""

    def __init__(self, limit: int, period_s: float) -> None:
        self._limit, self._period_s = limit, period_s
        self._times: deque[float] = deque()
        self.most = 0

    def admits(self, now_s: float) -> bool:
        """Counts one event, whether it is admitted or not."""
        self._times.append(now_s)
        while self._times[0] <= now_s - self._period_s:
            self._times.popleft()
        self.most = max(self.most, len(self._times))
        return len(self._times) <= self._limit

    @property
    def count(self) -> int:
        return len(self._times)


# -- requests ---------------------------------------------------------------------------------------------


class _BadRequest(Exception):
    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.code = code


def _checked(request: Any) -> tuple[str, Sequence[Any]]:
    """(method, params) of a well-formed request."""
    if not isinstance(request, dict) or "method" not in request:
        raise _BadRequest(2, "Invalid request: missing field `method` at line 1 column 1")
    method, params = request["method"], request.get("params", [])
    if method not in METHODS:
        expected = ", ".join(f"`{method}`" for method in METHODS)
        raise _BadRequest(2, f"Invalid request: unknown variant `{method}`, expected one of {expected}")
    if not _is_id(request.get("id")):
        raise _BadRequest(2, "Invalid request: request ID must be an unsigned integer")
    if not isinstance(params, list):
        raise _BadRequest(2, "Invalid request: params must be an array")
    return method, params


def _is_id(value: object) -> bool:
    """An int64, an alphanumeric string of at most 36, or null."""
    if isinstance(value, str):
        return len(value) <= 36 and value.isalnum()
    is_int = isinstance(value, int) and not isinstance(value, bool)
    return value is None or (is_int and -(2**63) <= int(str(value)) < 2**63)


def _texts(params: Sequence[Any]) -> list[str]:
    if not all(isinstance(param, str) for param in params):
        raise _BadRequest(2, "Invalid request: invalid stream")
    return list(params)


def _property(params: Sequence[Any], count: int) -> None:
    if len(params) > count:
        raise _BadRequest(2, "Invalid request: too many parameters")
    if len(params) < count or params[0] != "combined":
        raise _BadRequest(0, "Unknown property")


def _json(reply: object) -> str:
    return msgspec.json.encode(reply).decode()
