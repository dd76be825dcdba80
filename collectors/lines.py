"""All lines of a recorder: one for each entry of TAPEDECK_STREAM_URLS, or several where the symbols do not
fit into one connection.

Invariant: every symbol has a line at every entry; a connection that runs is closed only for one that has
proven itself.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from collectors.binance import stream_name
from collectors.clock import Clock
from collectors.figures import LinkFigures
from collectors.kept_attempts import KeptAttempts
from collectors.kept_bars import KeptBars
from collectors.line import Line
from collectors.links import Connection
from collectors.rotation import is_proven, shards
from collectors.timing import Timing
from collectors.watch import Mute, Watch, Watched
from storage.held_ids import Run

# What the exchange serves on one connection, and what fits into a request line of 8 KiB with some room.
MOST_STREAMS = 1024
MOST_NAMES = 7_500


class Lines:
    def __init__(
        self,
        urls: Sequence[str],
        clock: Clock,
        timing: Timing,
        filled: asyncio.Event,
        bars: KeptBars,
        attempts: KeptAttempts,
    ) -> None:
        self._urls = urls
        self._clock = clock
        self._timing = timing
        self._filled = filled
        self._bars = bars
        self._lines: list[Line] = []
        self.attempts = attempts

    def __len__(self) -> int:
        return len(self._lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines)

    def lay(self, symbols: Sequence[str], came_up: Callable[[Connection], None]) -> None:
        """Make the lines for these symbols; they run when they are run."""
        self.attempts.recall()
        names = [stream_name(symbol) for symbol in symbols]
        for shard in shards(symbols, names, MOST_STREAMS, MOST_NAMES):
            lines = [
                Line(
                    url,
                    shard,
                    attempts=self.attempts,
                    bars=self._bars,
                    clock=self._clock,
                    timing=self._timing,
                    filled=self._filled,
                    came_up=came_up,
                )
                for url in self._urls
            ]
            for line in lines:
                line.rivals = [other for other in lines if other is not line]
            self._lines += lines

    async def close(self, within_s: float) -> None:
        """Close all connections; what they receive until then is in their rings."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await asyncio.gather(*(line.close() for line in self._lines))
        for line in self._lines:
            line.abandon()

    def watched(self) -> Iterable[tuple[Watched, Iterable[str]]]:
        """What is up, each with the symbols that it is to bring."""
        return [(connection, line.symbols) for line in self._lines for connection in line.connections]

    def figures(self) -> tuple[LinkFigures, ...]:
        """The connections that are up."""
        now_ms = self._clock.steady_ms()
        connections = [connection for line in self._lines for connection in list(line.connections)]
        return tuple(connection.figures(now_ms) for connection in connections)

    def ends(self) -> dict[tuple[str, str], int]:
        """How often connections ended or failed to open, by host and close code."""
        total = Counter[tuple[str, str]]()
        for line in self._lines:
            total.update({(line.host, code): count for code, count in list(line.ends.items())})
        return dict(total)

    def rotate(self, watch: Watch, runs: Callable[[str], Sequence[Run]]) -> None:
        """Have successors where connections are about to end, and let those that have proven themselves
        take over."""
        now_ms = self._clock.steady_ms()
        for line in self._lines:
            if line.current is None:
                continue
            if line.successor is None:
                if line.current.shuts_down:
                    line.replace("the exchange announced its end")
                elif now_ms >= line.current.ends_ms:
                    line.replace("its time has come", age_h=round(line.current.age_s(now_ms) / 3600, 1))
            elif line.successor.age_s(now_ms) < self._timing.overlap_s:
                continue
            elif _may_take_over(line.current, line.successor, watch, runs):
                line.hand_over()

    def act_on(self, verdicts: Iterable[Mute]) -> None:
        """Replace the connections that are not to be relied on."""
        mute = {verdict.connection: verdict for verdict in verdicts}
        for line in self._lines:
            if line.successor is not None and (verdict := mute.get(line.successor.number)):
                line.give_up_successor(verdict.why, **verdict.facts)
            elif line.current is not None and (verdict := mute.get(line.current.number)):
                line.replace(verdict.why, **verdict.facts)


def _holds(runs: Sequence[Run], wanted_id: int) -> bool:
    return any(run.first_id <= wanted_id <= run.last_id for run in reversed(runs))


def _may_take_over(
    old: Connection,
    successor: Connection,
    watch: Watch,
    runs: Callable[[str], Sequence[Run]],
) -> bool:
    active = watch.active_since(successor.symbols, successor.opened_ms)
    held = [
        symbol
        for symbol in active
        if symbol in successor.delivered and _holds(runs(symbol), successor.delivered[symbol].first_id - 1)
    ]
    return is_proven(old.delivered, successor.delivered, active, held)
