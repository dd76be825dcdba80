"""What is on its way to a link: trades as frames, whatever else was put between them, and an ending.

Invariant: immutable; a fault makes another one of it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec


@dataclass(frozen=True, slots=True)
class Ending:
    """How a link ends; `code` and `reason` are for `close`."""

    how: Literal["close", "fin", "reset", "mid_frame"]
    code: int = 1001
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One frame and the trade that it is about; `is_sound` while it says what happened.

    `ending` is what becomes of the link after it.
    """

    payload: bytes
    symbol: str
    trade_id: int
    time_ms: int
    is_sound: bool = True
    is_binary: bool = False
    ending: Ending | None = None


def edited(payload: bytes, **fields: Any) -> bytes:
    """The payload, bare or combined, with these fields of its event changed or added."""
    message = msgspec.json.decode(payload)
    event = message.get("data", message)
    event.update(fields)
    return msgspec.json.encode(message)


def without(payload: bytes, field: str) -> bytes:
    """The payload without a field of its event."""
    message = msgspec.json.decode(payload)
    del message.get("data", message)[field]
    return msgspec.json.encode(message)


def event_of(payload: bytes) -> dict[str, Any]:
    """The event in the payload, bare or combined."""
    message = msgspec.json.decode(payload)
    event: dict[str, Any] = message.get("data", message)
    return event
