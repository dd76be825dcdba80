"""The tape onto the links: all that becomes due by the exchange's clock, in the order in which it does.

Invariant: what a link gets depends on the truth, the script and the times in them, not on how often the
clock is looked at; a fault begins and ends between two trades, never inside a slice.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from collectors.binance import stream_name
from collectors.exchange.distort import distorted
from collectors.exchange.endings import Endings, Open
from collectors.exchange.events import Ending
from collectors.exchange.faults import End, EventFault
from collectors.exchange.limits import Limits
from collectors.exchange.link import Link
from collectors.exchange.manner import manner
from collectors.exchange.script import FaultScript
from collectors.exchange.sidelines import Sidelines
from collectors.exchange.streams import Slice
from collectors.exchange.truth import Truth

# A clock that jumps is followed in steps of this, so that sockets can drain between them.
LONGEST_SLICE_MS = 1000
# One that runs away is followed in no more steps than can be taken.
MOST_SLICES = 16


class Press:
    """`links` gives those that are open, `skew_ms` how far the clock that the exchange tells is off."""

    def __init__(
        self,
        truth: Truth,
        script: FaultScript,
        limits: Limits,
        *,
        links: Callable[[], Sequence[Link]],
        skew_ms: Callable[[], int],
    ) -> None:
        self.printed_ms = 0
        self.turned_ms = 0
        self._truth, self._script, self._limits = truth, script, limits
        self._links, self._skew_ms = links, skew_ms
        self._endings = Endings(script)

    def begin(self, now_ms: int) -> None:
        """Nothing up to now is printed."""
        self.printed_ms = self.turned_ms = now_ms

    async def print_until(self, now_ms: int) -> None:
        """Everything that is due by `now_ms`: trades, endings, pings."""
        while self.printed_ms < now_ms:
            at_ms, until_ms = self.printed_ms + 1, self._slice_end(now_ms)
            self._follow(at_ms)
            self._print_slice(self.printed_ms, until_ms)
            self.printed_ms = until_ms
            await asyncio.sleep(0)
        self._follow(now_ms)
        for link in self._links():
            link.turn(now_ms)
        self.turned_ms = now_ms

    def instruct(self, link: Link, now_ms: int) -> None:
        """The link behaves as the script has it at the moment."""
        found = manner(self._script, link.number, now_ms, self._limits.ping_interval_s)
        link.take_on(replace(found, bytes_per_s=0.0) if link.is_silent else found, now_ms)

    def _slice_end(self, now_ms: int) -> int:
        """The last millisecond that the next slice may hold; no fault changes inside it."""
        at_ms = self.printed_ms + 1
        step_ms = max(LONGEST_SLICE_MS, (now_ms - self.printed_ms) // MOST_SLICES)
        edge_ms = min(self._script.next_edge(at_ms), self._endings.next_ms() + 1) - 1
        return int(min(now_ms, self.printed_ms + step_ms, max(edge_ms, at_ms)))

    def _follow(self, now_ms: int) -> None:
        links = {link.number: link for link in self._links()}
        for link in links.values():
            self.instruct(link, now_ms)
        told = [Open(n, link.report.opened_ms, link.subscriptions.combined) for n, link in links.items()]
        for number, due in self._endings.due(told, now_ms, self._skew_ms()):
            if number not in links:
                continue
            if isinstance(due, Ending):
                links[number].finish(due)
            else:
                links[number].post([due], now_ms)

    def _print_slice(self, after_ms: int, until_ms: int) -> None:
        links = self._links()
        trades = {
            symbol: self._truth.streamed(symbol, after_ms + 1, until_ms + 1)
            for symbol in _subscribed(self._truth.symbols, links)
        }
        skew_ms = self._skew_ms()
        sidelines = Sidelines(self._truth, self._truth.streamed, after_ms, until_ms, skew_ms=skew_ms)
        slice_ = Slice(trades, after_ms, until_ms, skew_ms=skew_ms, sidelines=sidelines)
        for link in links:
            self._send(link, slice_, until_ms)

    def _send(self, link: Link, slice_: Slice, now_ms: int) -> None:
        """Through the faults, if there are any for the link; else the quick way."""
        faults = [
            placed
            for placed in self._script
            if isinstance(placed.fault, EventFault | End) and placed.on_link(link.number)
        ]
        if faults or link.is_waiting or link.way.waiting:
            link.post(distorted(slice_.events(link.subscriptions), faults, link.way), now_ms)
        elif payloads := list(slice_.frames(link.subscriptions)):
            link.post_payloads(payloads, now_ms, slice_.oldest_ms)


def _subscribed(symbols: Iterable[str], links: Iterable[Link]) -> list[str]:
    streams = set().union(*(link.subscriptions.since_ms for link in links))
    return [symbol for symbol in symbols if stream_name(symbol) in streams]
