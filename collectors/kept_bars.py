"""Bars in a file beside the ledger, so that neither a restart nor a second process forgets one.

Invariant: whoever asks looks at the file first, once a second at most.
"""

from pathlib import Path

import structlog

from collectors.bars import LONGEST_MS, Bar, Bars, What
from collectors.clock import Clock, moment
from collectors.kept_file import KeptFile
from storage.ledger_files import BARS

log = structlog.get_logger()

LOOK_MS = 1_000


class KeptBars:
    """The bars of this process, and with a `directory` those of whoever shares it, before and beside it."""

    def __init__(self, clock: Clock, directory: Path | None = None) -> None:
        self._clock = clock
        self._bars = Bars()
        self._looked_ms: int | None = None
        path = None if directory is None else directory / BARS
        self._file = KeptFile(path, "bars", list[Bar], self._holding)

    def left_ms(self, what: What, host: str) -> int:
        """How long a host still is to be left alone; 0 where it may be asked."""
        now_ms = self._clock.steady_ms()
        if self._looked_ms is None or now_ms - self._looked_ms >= LOOK_MS:
            self._looked_ms = now_ms
            self._look()
        return self._bars.left_ms(what, host, now_ms)

    def bar(self, what: What, host: str, seconds: float, status: int) -> None:
        """The host asked for silence."""
        now, asked_ms = moment(self._clock), min(round(seconds * 1000), LONGEST_MS)
        if self._bars.learn(Bar(what, host, status, asked_ms, now.utc_ms + asked_ms), now):
            self._file.keep()

    def retry(self) -> None:
        """Begin to write what a disk has refused so far."""
        self._file.retry()

    async def written(self) -> None:
        """Wait until the file says what is known."""
        await self._file.written()

    def _look(self) -> None:
        """Learn what another process has met, or this one before it was restarted."""
        now = moment(self._clock)
        for bar in self._file.news() or ():
            if self._bars.learn(bar, now):
                seconds = round(self._bars.left_ms(bar.what, bar.host, now.steady_ms) / 1000)
                log.warning("still barred", what=bar.what, host=bar.host, status=bar.status, seconds=seconds)

    def _holding(self) -> list[Bar]:
        self._look()  # what another process has put there stays
        return self._bars.holding(self._clock.steady_ms())
