"""What the log says once a minute: what came of each symbol, and how much more was not kept as it came.

Invariant: each trade is in one line's count; many symbols take turns.
"""

import structlog

from collectors.clock import Clock
from collectors.oddities import Oddities
from collectors.recording import Recording
from collectors.recordings import Recordings
from collectors.turn import Turn
from storage.ledger import TradeLedger

log = structlog.get_logger()

EVERY_S = 60


class Summary:
    def __init__(self, ledger: TradeLedger, recordings: Recordings, oddities: Oddities, clock: Clock) -> None:
        self._ledger = ledger
        self._recordings = recordings
        self._oddities = oddities
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began_ms = self._clock.steady_ms()
            await self._clock.sleep(EVERY_S)
            await self._tell((self._clock.steady_ms() - began_ms) / 1000)

    async def _tell(self, over_s: float) -> None:
        turn = Turn()
        for recording in self._recordings:
            self._tell_of(recording, over_s)
            await turn.give_way()
        self._oddities.tell_more()

    def _tell_of(self, recording: Recording, over_s: float) -> None:
        now, trades = recording.figures(), recording.take_trades()
        runs = self._ledger.runs(now.symbol)
        log.info(
            "recorded",
            symbol=now.symbol,
            trades=trades,
            per_s=round(trades / over_s, 1),
            lag_ms=now.lag_ms,
            head=runs[-1].last_id if runs else None,
            missing=self._ledger.missing(now.symbol),
        )
