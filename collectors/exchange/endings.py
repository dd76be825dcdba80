"""Which links a script ends by the clock, and which hear of a shutdown before.

Invariant: a fault without an end of its own comes once, for the links that are open then; no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from collectors.exchange.events import Ending, Event
from collectors.exchange.faults import End, Shutdown
from collectors.exchange.script import FaultScript, Placed

GOING_AWAY = Ending("close", 1001, "going away")


@dataclass(frozen=True, slots=True)
class Open:
    """An open link as far as endings go."""

    number: int
    opened_ms: int
    is_combined: bool


class Endings:
    def __init__(self, script: FaultScript) -> None:
        self._script = script
        self._come: set[int] = set()
        self._done: set[tuple[int, int]] = set()
        self._announced: list[tuple[float, int]] = []

    def due(self, links: Sequence[Open], now_ms: int, skew_ms: int = 0) -> list[tuple[int, Ending | Event]]:
        """(link, ending or notice) of what has become due by the moment, in order.

        `skew_ms` is how far the clock that the exchange tells is off.
        """
        found: list[tuple[int, Ending | Event]] = []
        for placed in self._script.of(End):
            if placed.fault.first_id is None:
                ending = Ending(placed.fault.how, placed.fault.code, placed.fault.reason)
                found += [(link.number, ending) for link in self._touched(placed, links, now_ms)]
        for shutdown in self._script.of(Shutdown):
            for link in self._touched(shutdown, links, now_ms):
                found.append((link.number, _notice(link, now_ms, skew_ms)))
                if shutdown.fault.close_after_s is not None:
                    self._announced.append((now_ms + shutdown.fault.close_after_s * 1000, link.number))
        found += [(number, GOING_AWAY) for at_ms, number in self._announced if at_ms <= now_ms]
        self._announced = [(at_ms, number) for at_ms, number in self._announced if at_ms > now_ms]
        return found

    def next_ms(self) -> float:
        """When the next announced shutdown is due."""
        return min((at_ms for at_ms, _ in self._announced), default=float("inf"))

    def _touched(self, placed: Placed[Any], links: Sequence[Open], now_ms: int) -> list[Open]:
        if not placed.lasts(now_ms) or placed.number in self._come:
            return []
        age_s = placed.fault.age_s
        if placed.fault.until_s is None and age_s is None:
            self._come.add(placed.number)
        touched = [
            link
            for link in links
            if placed.on_link(link.number)
            and (placed.number, link.number) not in self._done
            and (age_s is None or now_ms - link.opened_ms >= age_s * 1000)
        ]
        for link in touched:
            self._done.add((placed.number, link.number))
            placed.hit()
        return touched


def _notice(link: Open, now_ms: int, skew_ms: int) -> Event:
    event = b'{"e":"serverShutdown","E":%d}' % (now_ms + skew_ms)
    payload = b'{"stream":"!serverShutdown","data":%b}' % event if link.is_combined else event
    return Event(payload, "", 0, now_ms, is_sound=False)
