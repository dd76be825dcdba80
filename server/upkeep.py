"""What an open ledger needs done: sealing, deleting what is too old or too much, checkpoints asked for,
rows of the past offered.

Invariant: each piece of work runs in a worker thread, one at a time; a disk that refuses delays it, no more.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import structlog

from server.tools.arguments import iso
from storage.checkpoints import make_wanted
from storage.errors import LedgerError
from storage.held_ids import latest
from storage.imports import take_offered
from storage.intake import Taken
from storage.keys import HOUR_MS
from storage.ledger import TradeLedger
from storage.retention import Expired

log = structlog.get_logger()

TICK_S = 1.0
SEAL_TICKS = 5
LIMIT_TICKS = 60


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept: by trade time, and by the size of the ledger's files; None keeps everything."""

    retention_ms: int | None
    most_bytes: int | None


class Upkeep:
    """Does its rounds from `run` until it is cancelled."""

    def __init__(
        self,
        ledger: TradeLedger,
        path: Path,
        limits: Limits,
        now_ms: Callable[[], int],
        *,
        tick_s: float = TICK_S,
    ) -> None:
        self._ledger = ledger
        self._path = path
        self._limits = limits
        self._now_ms = now_ms
        self._tick_s = tick_s
        self._hour: int | None = None
        self._failed: dict[str, str] = {}
        self._taken: dict[str, Taken] = {}
        self._troubles: set[str] = set()

    async def run(self) -> None:
        """Every second a look for requests, every 5 s the sealing, once a minute what is too much, once a
        clock hour what is too old."""
        ticks = 0
        while True:
            if ticks % SEAL_TICKS == 0:
                await self._guarded("sealing", self._seal)
                await self._guarded("retention", self._each_hour)
            if ticks % LIMIT_TICKS == 0:
                await self._guarded("size limit", self._limit)
                await self._guarded("reserve", self._reserve)
            await self._guarded("checkpoint", self._checkpoint)
            await self._guarded("rows offered", self._take_rows)
            await asyncio.sleep(self._tick_s)
            ticks += 1

    async def _guarded(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Work that fails is logged once for each reason, and done at the next opportunity.

        That the disk takes no writes is one reason, whatever it says each time.
        """
        try:
            await work()
            self._failed.pop(name, None)
        except LedgerError as error:
            waits = self._ledger.condition.error is not None
            reason = "disk" if waits else str(error)
            if self._failed.get(name) != reason:
                tell = log.warning if waits else log.error
                tell("upkeep waits for the disk" if waits else "upkeep failed", work=name, error=str(error))
            self._failed[name] = reason

    async def _seal(self) -> None:
        sealed = await asyncio.to_thread(self._ledger.seal, self._now_ms())
        for damage in self._ledger.take_damage():
            log.error("damaged record", what=damage)
        for hour in sealed:
            log.debug(
                "hour sealed", symbol=hour.symbol, hour=iso(hour.hour_ms), rows=hour.rows, bytes=hour.size
            )

    async def _each_hour(self) -> None:
        """What is too old goes, then the space of it and of sealed seconds comes back."""
        now_ms = min(self._now_ms(), self._newest_ms() + HOUR_MS)
        if now_ms // HOUR_MS == self._hour:
            return
        if self._limits.retention_ms is not None:
            before_ms = now_ms - self._limits.retention_ms
            await asyncio.to_thread(self._ledger.expire, before_ms, partial(_tell, "retention"))
        await asyncio.to_thread(self._ledger.compact_seconds)
        self._hour = now_ms // HOUR_MS

    def _newest_ms(self) -> int:
        """When the newest trade held was made: a clock that was set far ahead deletes nothing."""
        newest = (latest(self._ledger.runs(symbol)) for symbol in self._ledger.symbols)
        return max((run.last_ms for run in newest if run is not None), default=0)

    async def _limit(self) -> None:
        most = self._limits.most_bytes
        if most is None:
            return
        await asyncio.to_thread(self._ledger.shrink, most, partial(_tell, "size limit"))
        size = self._ledger.bytes_on_disk
        self._warn("ledger above its size limit", trouble=size > most, bytes=size, limit=most)

    async def _reserve(self) -> None:
        if self._ledger.condition.error is None:
            kept = await asyncio.to_thread(self._ledger.keep_reserve)
            self._warn("no space set aside for a full disk", trouble=not kept, data_dir=str(self._path))

    def _warn(self, event: str, *, trouble: bool, **facts: object) -> None:
        """A trouble that lasts is logged when it begins."""
        if trouble and event not in self._troubles:
            log.warning(event, **facts)
        self._troubles = self._troubles | {event} if trouble else self._troubles - {event}

    async def _checkpoint(self) -> None:
        for name in await asyncio.to_thread(make_wanted, self._ledger, self._path):
            log.info("checkpoint made", name=name)

    async def _take_rows(self) -> None:
        """Rows of the past that `tapedeck backfill` offers; told of once no more come."""
        now_ms, retention_ms = self._now_ms(), self._limits.retention_ms
        kept_from_ms = None if retention_ms is None else now_ms - retention_ms
        taken = await asyncio.to_thread(take_offered, self._ledger, self._path, now_ms, kept_from_ms)
        for symbol, part in taken:
            self._taken[symbol] = self._taken.get(symbol, Taken()) + part
        if not taken:
            for symbol, total in self._taken.items():
                log.info("rows of the past taken", symbol=symbol, **asdict(total))
            self._taken.clear()


def _tell(reason: str, what: Expired) -> None:
    log.info(
        "hours deleted",
        reason=reason,
        symbol=what.symbol,
        first=iso(what.first_hour_ms),
        end=iso(what.end_ms),
        hours=what.hours,
        trades=what.rows,
    )
