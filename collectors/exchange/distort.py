"""What faults make of the events that a link is due: from events to events, one fault after the other.

Invariant: no I/O, no clock; without a fault in whose scope it is, an event passes unchanged and in order.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import msgspec

from collectors.binance import stream_name
from collectors.exchange.events import Ending, Event, edited, event_of
from collectors.exchange.faults import (
    Conflict,
    Drop,
    Duplicate,
    End,
    EventFault,
    EventTime,
    Malformed,
    Misroute,
    Stale,
    Swap,
    Unknown,
)
from collectors.exchange.malformed import malformed
from collectors.exchange.script import Placed
from collectors.exchange.streams import Subscriptions
from collectors.exchange.texts import agg_trade_events, combined
from storage.trades import TradeColumns


@dataclass(slots=True)
class Way:
    """A link's form of events, and what waits on it: by a fault's number, the event that goes second.

    `streamed` gives the trade of an id as streams bring it: one row, or none where none of them does.
    """

    form: Subscriptions
    streamed: Callable[[str, int], TradeColumns]
    waiting: dict[int, Event] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)


Faults = Sequence[Placed[EventFault] | Placed[End]]


def distorted(events: Iterable[Event], faults: Faults, way: Way) -> list[Event]:
    """What goes over the wire instead of the events."""
    events = list(events)
    for placed in faults:
        if isinstance(placed.fault, Swap):
            events = _swapped(events, placed, way)
        else:
            make = _MAKE[type(placed.fault)]
            events = [made for event in events for made in _hit(event, placed, way, make)]
    gone = way.waiting.keys() - {placed.number for placed in faults}
    return [*(way.waiting.pop(number) for number in sorted(gone)), *events]


def _hit(event: Event, placed: Placed[Any], way: Way, make: "_Make") -> Sequence[Event]:
    is_meant = event.is_sound or _is_mute(placed.fault)
    if not is_meant or not placed.takes(event.symbol, event.trade_id, event.time_ms):
        return (event,)
    made = make(event, placed, way)
    if len(made) != 1 or made[0] is not event:
        placed.hit()
    return made


def _is_mute(fault: EventFault | End) -> bool:
    """Whether nothing at all is to come, trade or not."""
    return isinstance(fault, Drop) and fault.first_id is None and fault.last_id is None and fault.share == 1


def _swapped(events: Iterable[Event], placed: Placed[Any], way: Way) -> list[Event]:
    """An event that goes second waits for its successor, over slices if need be."""
    out: list[Event] = []
    for event in events:
        waiting = way.waiting.get(placed.number)
        if waiting is not None and waiting.symbol == event.symbol:
            out += [event, way.waiting.pop(placed.number)]
        elif waiting is None and placed.takes(event.symbol, event.trade_id, event.time_ms):
            way.waiting[placed.number] = event
            placed.hit()
        else:
            out.append(event)
    return out


# -- one fault, one event ----------------------------------------------------------------------------------


def _drop(_event: Event, _placed: Placed[Drop], _way: Way) -> Sequence[Event]:
    return ()


def _duplicate(event: Event, placed: Placed[Duplicate], _way: Way) -> Sequence[Event]:
    return (event,) * (1 + placed.fault.times)


def _conflict(event: Event, _placed: Placed[Conflict], _way: Way) -> Sequence[Event]:
    """The second one says another price, less volume, and other trades behind it."""
    said = event_of(event.payload)
    ids = {name: said[name] + 1_000_000 for name in ("f", "l")}
    other = edited(event.payload, p=f"{2 * Decimal(said['p']):.8f}", q="0.00100000", **ids)
    return event, replace(event, payload=other, is_sound=False)


def _stale(event: Event, placed: Placed[Stale], way: Way) -> Sequence[Event]:
    older_id = event.trade_id - placed.fault.back
    if not placed.fault.again:
        return (replace(event, payload=edited(event.payload, a=older_id), is_sound=False),)
    older = way.streamed(event.symbol, older_id)
    if len(older) == 0:
        return ()
    said = event_of(event.payload)
    (text,) = agg_trade_events(event.symbol, older, said["E"])
    if said["T"] >= 10**15:
        text = edited(text.encode(), T=msgspec.json.decode(text)["T"] * 1000).decode()
    if way.form.combined:
        text = combined(stream_name(event.symbol), text)
    return (replace(event, payload=text.encode(), is_sound=False),)


def _misroute(event: Event, placed: Placed[Misroute], way: Way) -> Sequence[Event]:
    other = placed.fault.stream_of
    if not way.form.combined:
        return (replace(event, payload=edited(event.payload, s=other.upper()), is_sound=False),)
    message = msgspec.json.decode(event.payload)
    message["stream"] = stream_name(other)
    return (replace(event, payload=msgspec.json.encode(message), is_sound=False),)


def _event_time(event: Event, placed: Placed[EventTime], _way: Way) -> Sequence[Event]:
    said = event_of(event.payload)
    scale = 1000 if said["T"] >= 10**15 else 1
    return (replace(event, payload=edited(event.payload, E=said["E"] + placed.fault.ms * scale)),)


def _malformed(event: Event, placed: Placed[Malformed], _way: Way) -> Sequence[Event]:
    kind = placed.fault.kind
    bad = replace(event, payload=malformed(kind, event.payload), is_binary=kind == "binary", is_sound=False)
    return (bad,) if placed.fault.instead else (bad, event)


def _unknown(event: Event, placed: Placed[Unknown], way: Way) -> Sequence[Event]:
    made = []
    if placed.fault.events:
        made += [replace(event, payload=text, is_sound=False) for text in _strangers(event, way)]
    payload = edited(event.payload, Z={"future": [1, None]}) if placed.fault.fields else event.payload
    return *made, replace(event, payload=payload)


def _strangers(event: Event, way: Way) -> list[bytes]:
    """A block trade, which has ids of its own, a candle, and an event of a type that is not invented yet."""
    time_ms, symbol = event.time_ms, event.symbol
    events: dict[str, dict[str, Any]] = {
        "blockTrade": {"s": symbol, "t": 582, "p": "1.00000000", "q": "5.00000000", "T": time_ms, "m": True},
        "kline": {"s": symbol, "k": {"t": time_ms - time_ms % 60_000, "i": "1m", "c": "1.0", "x": False}},
        "futureEvent": {"s": symbol, "a": {"deep": True}},
    }
    texts = []
    for kind, fields in events.items():
        text = msgspec.json.encode({"e": kind, "E": time_ms, **fields})
        name = "kline_1m" if kind == "kline" else kind
        texts.append(
            combined(f"{symbol.lower()}@{name}", text.decode()).encode() if way.form.combined else text
        )
    return texts


def _end(event: Event, placed: Placed[End], way: Way) -> Sequence[Event]:
    """Only an ending that names its trade: the others come by the clock."""
    fault = placed.fault
    if fault.first_id is None or placed.number in way.ended:
        return (event,)
    way.ended.add(placed.number)
    return (replace(event, ending=Ending(fault.how, fault.code, fault.reason)),)


_Make = Callable[[Event, Placed[Any], Way], Sequence[Event]]
_MAKE: dict[type, _Make] = {
    Drop: _drop,
    Duplicate: _duplicate,
    Conflict: _conflict,
    Stale: _stale,
    Misroute: _misroute,
    EventTime: _event_time,
    Malformed: _malformed,
    Unknown: _unknown,
    End: _end,
}
