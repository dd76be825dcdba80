"""A link's websocket texts to columns: trades by symbol, replies, the end announced, and what is neither.

Invariant: a text that cannot be read is named and loses itself alone, whatever it holds.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from collectors.binance import (
    EXCERPT,
    MICROSECONDS_FROM,
    UNDECODABLE,
    ApiError,
    Malformed,
    UnexpectedShape,
    WireError,
    api_error,
    decode_any,
    excerpt,
    in_ms,
    stream_name,
)
from collectors.trade_rows import Row, Time, columns_of
from storage.trades import TradeColumns


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """What a batch of websocket texts said; `trades` are per symbol, rows in arrival order, 8 decimals, and
    `events_ms` the time of the newest event of each."""

    trades: dict[str, TradeColumns]
    events_ms: dict[str, int]
    newest_event_ms: int | None
    malformed: list[Malformed]
    errors: list[ApiError]
    shutdown: bool
    ignored: int


class _AggTrade(Row, gc=False, tag_field="e", tag="aggTrade"):
    E: Time
    s: Annotated[str, Meta(min_length=1)]


class _Combined(Struct, gc=False):
    stream: str
    data: _AggTrade


_decode_combined = msgspec.json.Decoder(_Combined).decode
_decode_bare = msgspec.json.Decoder(_AggTrade).decode

_UNREADABLE = (*UNDECODABLE, UnexpectedShape)


def parse_messages(texts: Sequence[str | bytes]) -> Parsed:
    """The trades, replies and oddities in a batch of texts, each combined (`stream`, `data`) or bare.

    Never raises, whatever a text holds: one that cannot be read is named in `malformed` and loses only
    itself.
    """
    batch = Batch()
    batch.add(texts)
    return batch.parsed({symbol: batch.columns(symbol) for symbol in batch.symbols})


_COMBINED = ('{"stream"', b'{"stream"')


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
        self._events_ms: dict[str, int] = {}
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
        columns, faults = columns_of(rows)
        for at, fault in faults:
            self._reject(str(fault), self._sources[symbol][at])
        event_ms = self._events_ms[symbol] = in_ms(max([row.E for row in rows]))
        self._note_event_time(event_ms)
        return columns

    def parsed(self, trades: dict[str, TradeColumns]) -> Parsed:
        """All that the batch said; `trades` are the columns of its symbols."""
        trades = {symbol: columns for symbol, columns in trades.items() if len(columns)}
        events_ms = {symbol: self._events_ms[symbol] for symbol in trades}
        return Parsed(
            trades, events_ms, self._newest, self._malformed, self._errors, self._shutdown, self._ignored
        )

    def _add_other(self, text: str | bytes) -> None:
        """A text that is no well-formed combined or bare aggTrade at first sight."""
        try:
            self._add_message(decode_any(text), text)
        except UNDECODABLE as exc:
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
        elif (error := api_error(payload)) is not None:
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
            event_ms = in_ms(event_time)
            self._newest = event_ms if self._newest is None else max(self._newest, event_ms)

    def _reject(self, reason: str, text: str | bytes) -> None:
        self._malformed.append(Malformed(reason, excerpt(text)))


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
