"""How a link behaves at a moment: what the faults that last say, put together.

Invariant: no I/O, no clock; without faults it is the manner that the limits give.
"""

from dataclasses import dataclass, replace
from typing import Literal

from collectors.exchange.faults import (
    Acks,
    Deaf,
    Delay,
    Fragment,
    Freeze,
    Hold,
    LinkFault,
    Pings,
    Trickle,
)
from collectors.exchange.script import FaultScript


@dataclass(frozen=True, slots=True)
class Manner:
    """`bytes_per_s` None is as fast as the socket takes them, `ack_delay_s` None never answers."""

    delay_ms: int = 0
    holds: bool = False
    bytes_per_s: float | None = None
    deaf_to: Literal["pongs", "all"] | None = None
    parts: int = 1
    ping_interval_s: float | None = 20.0
    ping_jitter_s: float = 0.0
    ack_delay_s: float | None = 0.0

    @property
    def is_frozen(self) -> bool:
        return self.bytes_per_s == 0

    @property
    def hinders(self) -> bool:
        """Whether a client may miss a ping, or its pong get lost, without any doing of its own."""
        return self.bytes_per_s is not None or self.deaf_to is not None


def manner(script: FaultScript, link: int, now_ms: int, ping_interval_s: float) -> Manner:
    found = Manner(ping_interval_s=ping_interval_s)
    for placed in script.lasting(LinkFault, now_ms, link=link):
        placed.hit_link(link)
        found = _with(found, placed.fault)
    return found


def _with(found: Manner, fault: LinkFault) -> Manner:
    match fault:
        case Delay(ms=ms):
            return replace(found, delay_ms=ms)
        case Hold():
            return replace(found, holds=True)
        case Freeze():
            return replace(found, bytes_per_s=0)
        case Trickle(bytes_per_s=rate):
            return replace(found, bytes_per_s=rate)
        case Deaf(to=to):
            return replace(found, deaf_to=to)
        case Fragment(parts=parts):
            return replace(found, parts=parts)
        case Pings(interval_s=interval_s, jitter_s=jitter_s):
            return replace(found, ping_interval_s=interval_s, ping_jitter_s=jitter_s)
        case Acks(delay_s=delay_s):
            return replace(found, ack_delay_s=delay_s)
    return found
