"""The recorder's writes, and what is told of a disk that refuses them.

Invariant: failures in a row are one failure, whose beginning and end are logged; none is raised. Writes wait
for no other work off the event loop, such as the look-up of names.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from collectors.clock import Clock
from storage.errors import LedgerError
from storage.held_ids import Run, latest
from storage.ledger import TradeLedger
from storage.tapes import MOST_UNWRITTEN

log = structlog.get_logger()


class Disk:
    """`flush_took_s` is how long the last write took; `durable_lag_ms` how old a symbol's newest trade was
    when the write that took it in had ended, the greatest of all symbols."""

    def __init__(self, ledger: TradeLedger, clock: Clock, symbols: Callable[[], Sequence[str]]) -> None:
        self.flush_took_s = 0.0
        self.durable_lag_ms: int | None = None
        self._ledger = ledger
        self._clock = clock
        self._symbols = symbols
        self._durable: dict[str, Run] = {}
        # How many trades had been refused when the failure began; None while the disk writes.
        self._refused_before: int | None = None
        self._awaiting = 0
        self._thread = ThreadPoolExecutor(1, "ledger")

    async def flush(self) -> None:
        """Write what awaits it, off the event loop."""
        loop = asyncio.get_running_loop()
        began_s, heads = loop.time(), self._heads()
        try:
            await loop.run_in_executor(self._thread, self._ledger.flush)
        except LedgerError as error:
            self._note_failure(error)
        else:
            self._note_success(heads)
        self.flush_took_s = loop.time() - began_s

    async def close(self) -> None:
        """Write what awaits it; nothing is written any more then."""
        await self.flush()
        self._thread.shutdown(wait=False)

    def _note_failure(self, error: LedgerError) -> None:
        condition = self._ledger.condition
        if self._refused_before is None:
            log.error(
                "flush failed", error=str(error), awaiting_disk=condition.unwritten, most=MOST_UNWRITTEN
            )
            self._refused_before = condition.refused
        self._awaiting = condition.unwritten

    def _heads(self) -> dict[str, Run]:
        """The run of each symbol that has its newest trade."""
        runs = ((symbol, latest(self._ledger.runs(symbol))) for symbol in self._symbols())
        return {symbol: newest for symbol, newest in runs if newest is not None}

    def _note_success(self, heads: dict[str, Run]) -> None:
        new_ms = [head.last_ms for symbol, head in heads.items() if self._is_new(symbol, head)]
        if new_ms:
            self.durable_lag_ms = self._clock() - min(new_ms)
        self._durable = heads
        if self._refused_before is not None:
            refused = self._ledger.condition.refused - self._refused_before
            log.info("disk writes again", awaited_disk=self._awaiting, refused=refused)
        self._refused_before = None

    def _is_new(self, symbol: str, head: Run) -> bool:
        durable = self._durable.get(symbol)
        return durable is not None and head.last_ms > durable.last_ms
