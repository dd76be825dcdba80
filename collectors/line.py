"""A line: a place in TAPEDECK_STREAM_URLS for some symbols, kept up by one connection after the other.

While a connection is being replaced the line has two of them: the old one goes only when its successor has
proven itself, and where the old one ends before, the successor takes over.

Invariant: a line decides nothing about trades; it opens, closes and counts. What it is given up for, others
say. It waits by the steady clock.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog
from websockets.exceptions import InvalidHandshake, InvalidStatus

from collectors.attempts import Backoff
from collectors.clock import Clock, sleep_unless
from collectors.kept_attempts import KeptAttempts
from collectors.kept_bars import KeptBars
from collectors.links import Connection, open_connection
from collectors.rotation import planned_end
from collectors.timing import Timing

log = structlog.get_logger()


class Line:
    """`came_up` is told of each connection before anything of it is parsed."""

    def __init__(
        self,
        url: str,
        symbols: Sequence[str],
        *,
        attempts: KeptAttempts,
        bars: KeptBars,
        clock: Clock,
        timing: Timing,
        filled: asyncio.Event,
        came_up: Callable[[Connection], None],
    ) -> None:
        self.url = url.rstrip("/")
        self.symbols = symbols
        self.rivals: Sequence[Line] = ()
        self.ends: Counter[str] = Counter()
        self.connections: list[Connection] = []
        self.host = urlsplit(url).netloc
        self._attempts = attempts
        self._bars = bars
        self._clock = clock
        self._timing = timing
        self._filled = filled
        self._came_up = came_up
        self._pause = Backoff()
        self._replace_pause = Backoff(timing.replace_delay_s, timing.longest_replace_delay_s)
        self._not_before_ms = 0.0
        self._replace_not_before_ms = 0.0
        self._replaces = False
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Keep a connection up, and a second one while it is being replaced, until cancelled."""
        while True:
            self._changed.clear()
            if not self._lacks_one:
                await self._changed.wait()
            elif (wait_ms := self._wait_ms()) > 0:
                await sleep_unless(self._changed, self._clock, wait_ms / 1000)
            else:
                await self._attempt()

    async def close(self) -> None:
        """Close what is open, and wait for it; `run` has been cancelled."""
        for connection in list(self.connections):
            self._let_go(connection)
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    def abandon(self) -> None:
        """Wait for nothing more."""
        for task in self._tasks:
            task.cancel()

    @property
    def current(self) -> Connection | None:
        """The connection that the line relies on; None while it is down."""
        return self.connections[0] if self.connections else None

    @property
    def successor(self) -> Connection | None:
        """The connection that is to take over."""
        return self.connections[1] if len(self.connections) > 1 else None

    # What is asked of it

    def replace(self, why: str, **facts: object) -> None:
        """Open a successor beside the connection, at once or after a pause where that was done of late."""
        if self._replaces or not self.connections:
            return
        self._replaces = True
        log.info("link is being replaced", host=self.host, why=why, **facts)
        self._changed.set()

    def hand_over(self) -> None:
        """The successor has proven itself: the old connection goes."""
        old, successor = self.connections
        log.info("link replaced", host=self.host, link=old.number, by=successor.number)
        self._replace_pause.reset()
        self.ends["replaced"] += 1
        self._let_go(old)

    def give_up_successor(self, why: str, **facts: object) -> None:
        """The successor is no good: another one is tried, after a pause."""
        successor = self.connections[1]
        delay_s = self._replace_pause.next()
        log.warning("successor given up", host=self.host, link=successor.number, why=why, **facts)
        self._let_go(successor)
        self._replace_not_before_ms = self._clock.steady_ms() + delay_s * 1000

    # Opening

    @property
    def _lacks_one(self) -> bool:
        return len(self.connections) < (2 if self._replaces else 1)

    def _wait_ms(self) -> float:
        now_ms, replacing = self._clock.steady_ms(), bool(self.connections)
        free_in_ms = self._attempts.wait_ms(replacing=replacing)
        pause_ms = self._replace_not_before_ms if replacing else self._not_before_ms
        return max(free_in_ms, pause_ms - now_ms, self._bars.left_ms("stream", self.host))

    async def _attempt(self) -> None:
        await self._attempts.make()
        try:
            connection = await open_connection(self.url, self.symbols, self._filled, self._clock)
        except InvalidStatus as refusal:
            status = refusal.response.status_code
            retry_after_s = _retry_after_s(refusal)
            if retry_after_s is not None:
                self._bars.bar("stream", self.host, retry_after_s, status)
            self._failed(f"status {status}")
        except (OSError, TimeoutError, InvalidHandshake) as error:
            self._failed(str(error) or type(error).__name__)
        else:
            self._add(connection)

    def _failed(self, error: str) -> None:
        self.ends["refused"] += 1
        self._wait_a_while()
        log.warning("link failed", host=self.host, error=error, retry_s=round(self._wait_ms() / 1000, 1))

    def _add(self, connection: Connection) -> None:
        lives = self._timing.least_life_s, self._timing.most_life_s
        earliest_ms, latest_ms = (connection.opened_ms + int(life_s * 1000) for life_s in lives)
        others = [other.ends_ms for rival in self.rivals for other in rival.connections]
        connection.ends_ms = planned_end(earliest_ms, latest_ms, others)
        self.connections.append(connection)
        self._came_up(connection)
        self._spawn(self._see_out(connection))
        log.info("link connected", host=self.host, link=connection.number, symbols=len(self.symbols))

    # Ends

    async def _see_out(self, connection: Connection) -> None:
        """Wait for the connection's end, and be rid of it."""
        code = await connection.ended()
        self._filled.set()
        if connection in self.connections:
            self.ends[str(code)] += 1
            log.warning("link ended", host=self.host, link=connection.number, code=code)
            self._let_go(connection)
            self._after_an_end(connection)

    def _after_an_end(self, connection: Connection) -> None:
        """One that brought something for a while is followed at once, more or less; others more slowly."""
        lived_s = connection.age_s(self._clock.steady_ms())
        if connection.received and lived_s >= self._timing.lasting_s:
            self._pause.reset()
        self._wait_a_while()

    def _wait_a_while(self) -> None:
        """Before whichever comes next: a new connection, or another successor to one that still runs."""
        until_ms = self._clock.steady_ms() + self._pause.next() * 1000
        self._not_before_ms = until_ms
        self._replace_not_before_ms = max(self._replace_not_before_ms, until_ms)

    def _let_go(self, connection: Connection) -> None:
        """It counts no more; what it receives until it is closed is parsed still."""
        self.connections.remove(connection)
        self._replaces = False
        self._spawn(connection.close())
        self._changed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _retry_after_s(refusal: InvalidStatus) -> float | None:
    value = refusal.response.headers.get("Retry-After", "")
    return float(value[:9]) if value.isascii() and value.isdigit() else None
