"""Attempts to open a websocket in a file beside the ledger, so that a restart forgets none.

Invariant: an attempt is in the file before it is made, unless the disk refuses or takes longer than a second;
then it is made all the same. A ledger is open in one process, and so is its file.
"""

from pathlib import Path

import structlog

from collectors.attempts import Attempts
from collectors.clock import Clock, moment
from collectors.kept_file import KeptFile
from storage.ledger_files import ATTEMPTS

log = structlog.get_logger()

# Of real time: it is a real disk's.
WRITE_S = 1.0


class KeptAttempts:
    """All lines' attempts; with a `directory`, those of the processes before this one too."""

    def __init__(self, clock: Clock, directory: Path | None = None) -> None:
        self._clock = clock
        self._attempts = Attempts()
        path = None if directory is None else directory / ATTEMPTS
        self._file = KeptFile(path, "attempts", list[int], self._in_utc)

    def recall(self) -> None:
        """Take note of what was attempted before this process; before its first attempt."""
        now = moment(self._clock)
        before = self._file.news() or []
        of_the_future = self._attempts.recall(before, now)
        if of_the_future:
            log.warning("attempts not believed", attempts=of_the_future, reason="they are of the future")
        if (wait_ms := self.wait_ms()) > 0:
            log.warning("attempts used up", attempts=self.in_window(), seconds=round(wait_ms / 1000))

    def wait_ms(self, *, replacing: bool = False) -> float:
        """For how long none may be made; not above 0 means now."""
        now_ms = self._clock.steady_ms()
        return self._attempts.free_ms(now_ms, replacing=replacing) - now_ms

    async def make(self) -> None:
        """One is being made, once this returns."""
        self._attempts.made(self._clock.steady_ms())
        self._file.keep()
        await self._file.written(WRITE_S)

    def in_window(self) -> int:
        """How many were made in the last 300 s; from any thread."""
        return len(self._attempts.recent(self._clock.steady_ms()))

    def _in_utc(self) -> list[int]:
        now = moment(self._clock)
        return [now.utc_ms - now.steady_ms + made_ms for made_ms in self._attempts.recent(now.steady_ms)]
