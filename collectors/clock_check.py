"""Our clock against the exchange's, at the start and every few minutes.

Invariant: an offset is told of and counted with; no trade's time is ever corrected by it.
"""

import asyncio
from dataclasses import dataclass

import structlog

from collectors.clock import Clock
from collectors.rest import BinanceRest, RestError

log = structlog.get_logger()

EVERY_S = 300.0
AWAY_S = 10.0
# Beyond it windows that end now, lags and ages are visibly wrong.
MOST_MS = 1_000


@dataclass(frozen=True, slots=True)
class Offset:
    """How far the exchange's clock is ahead of ours, give or take half of the round trip."""

    offset_ms: int
    round_trip_ms: int

    @property
    def is_large(self) -> bool:
        """Whether the clocks differ by more than `MOST_MS` beyond doubt."""
        return abs(self.offset_ms) - self.round_trip_ms / 2 > MOST_MS


class ExchangeClock:
    """The exchange's time as far as it has told it, no later than it is; ours before that. It goes on when
    ours is set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms: int | None = None  # of our steady one
        self.steady_ms = clock.steady_ms
        self.sleep = clock.sleep
        self.told = asyncio.Event()

    def __call__(self) -> int:
        return self._clock() if self._ahead_ms is None else self.steady_ms() + self._ahead_ms

    def tell(self, ahead_ms: int) -> None:
        """The exchange's clock is so far ahead of our steady one."""
        self._ahead_ms = ahead_ms
        self.told.set()


class ClockCheck:
    """Asks REST what time it is; its minutes count for the request weight."""

    def __init__(self, rest: BinanceRest, clock: Clock) -> None:
        self._rest = rest
        self._clock = clock
        self.exchange = ExchangeClock(clock)
        self._round_trip_ms = 0
        self._was_large = False

    @property
    def offset(self) -> Offset | None:
        """Of now: it changes when our clock is set. None before the exchange was asked."""
        return self._offset() if self.exchange.told.is_set() else None

    def _offset(self) -> Offset:
        return Offset(self.exchange() + self._round_trip_ms // 2 - self._clock(), self._round_trip_ms)

    async def run(self) -> None:
        """Compare until it is cancelled."""
        while True:
            try:
                await self.compare()
            except RestError as error:
                log.debug("clock not compared", error=str(error))
                await self._clock.sleep(AWAY_S)
            else:
                await self._clock.sleep(EVERY_S)

    async def compare(self) -> Offset:
        """Raises `RestError`."""
        told = await self._rest.server_time()
        # As if it had been told as the answer came: what is known, and a minute's weight, never runs ahead.
        self.exchange.tell(told.time_ms - told.came_ms)
        self._rest.budget.offset_ms = told.time_ms - told.came_ms
        self._round_trip_ms = told.came_ms - told.sent_ms
        offset = self._offset()
        self._tell(offset)
        return offset

    def _tell(self, offset: Offset) -> None:
        was_large, self._was_large = self._was_large, offset.is_large
        facts = {"offset_ms": offset.offset_ms, "round_trip_ms": offset.round_trip_ms}
        if offset.is_large and not was_large:
            log.warning("clock differs from the exchange's", **facts, fix="set this machine's clock, by NTP")
        elif was_large and not offset.is_large:
            log.info("clock agrees with the exchange's again", **facts)
