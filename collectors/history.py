"""Whole days of history: the archive's dump, and REST by id for what the dump lacks.

Invariant: days and the rows of a day go to the ledger newest first, so what is held grows downwards from what
was held, a run that is interrupted leaves no gap, and starting again continues it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

import structlog

from collectors.archive import Archive, Dump, NotInArchive
from collectors.binance import DAY_MS, Malformed, start_of
from collectors.rest import PAGE, BinanceRest, RestAway
from collectors.right_pages import first_id_since
from storage.difference import difference
from storage.held_ids import HeldIds, Run, runs_of
from storage.intake import MOST_AT_ONCE, Intake, Taken
from storage.trades import TradeColumns

log = structlog.get_logger()

T = TypeVar("T")

# REST pages asked for at once.
PAGES = 8
REST_ATTEMPTS = 6
REST_WAIT_S = 1.0


class OtherTape(Exception):
    """The archive and REST, or the archive and the ledger, are not of the same exchange."""


@dataclass(slots=True)
class Day:
    """What became of a day: trades `in_dump` (None where there is no dump) and `over_rest`, what the ledger
    did with them, and the ids that neither has. `complete_before` days were not asked for again."""

    day: date
    complete_before: bool = False
    in_dump: int | None = None
    over_rest: int = 0
    repeated: int = 0
    taken: Taken = field(default_factory=Taken)
    missing: list[Run] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)

    @property
    def missing_ids(self) -> int:
        return sum(run.last_id - run.first_id + 1 for run in self.missing)


class Progress:
    """Told how far a day has come; the base says nothing."""

    def begin(self, day: date) -> None: ...

    def received(self, done: int, total: int | None) -> None: ...

    def fetched(self, done: int, total: int) -> None: ...

    def put(self, done: int, total: int) -> None: ...


class History:
    """Brings days of one symbol into a ledger that holds `runs` of it."""

    def __init__(
        self,
        archive: Archive,
        rest: BinanceRest,
        intake: Intake,
        symbol: str,
        runs: Sequence[Run],
        now_ms: Callable[[], int],
        *,
        venue: str,
        progress: Progress | None = None,
    ) -> None:
        self._archive = archive
        self._rest = rest
        self._intake = intake
        self._symbol = symbol
        self._held = HeldIds(runs)
        self._now_ms = now_ms
        self._venue = venue
        self._progress = progress or Progress()
        self._first_ids: dict[int, int | None] = {}
        self._archive_known = False

    @property
    def runs(self) -> tuple[Run, ...]:
        """What is held by now."""
        return self._held.runs

    async def fill(self, day: date) -> Day:
        """Bring what a day lacks. Raises `ArchiveError`, `RestError`, `OtherTape` and `LedgerError`."""
        self._progress.begin(day)
        expected = await self._ids_of(day)
        if expected is not None and not _lacking(self._held, expected):
            return Day(day, complete_before=True)
        dump = await self._dump_of(day)
        wanted = _spanning(expected, dump)
        done = Day(day)
        if dump is None:
            async for rows in self._fetched(_lacking(self._held, wanted)):
                await self._put(rows)
                done.over_rest += len(rows)
        else:
            done.in_dump, done.repeated, done.malformed = len(dump.trades), dump.repeated, dump.malformed
            known = HeldIds([*self._held.runs, *runs_of(dump.trades)])
            rest = [rows async for rows in self._fetched(_lacking(known, wanted))]
            done.over_rest = sum(map(len, rest))
            await self._put(TradeColumns.concat([dump.trades, *rest]).by_id())
        done.missing = _lacking(self._held, wanted)
        done.taken = await asyncio.to_thread(self._intake.finish)
        return done

    # Which ids a day has

    async def _ids_of(self, day: date) -> Run | None:
        """The ids of a day as REST knows them; None where it knows of none, or not where they end."""
        start_ms = start_of(day)
        first_id = await self._first_id(start_ms)
        after_id = await self._first_id(start_ms + DAY_MS)
        if after_id is None and self._held.runs:  # nothing was traded since: up to the newest that is held
            after_id = self._held.runs[-1].last_id + 1
        if first_id is None or after_id is None or after_id <= first_id:
            return None
        return Run(first_id, after_id - 1, start_ms, start_ms + DAY_MS - 1)

    async def _first_id(self, from_ms: int) -> int | None:
        """The id of the first trade at or after a time; None where there is none yet."""
        if from_ms not in self._first_ids:
            self._first_ids[from_ms] = await _patiently(
                lambda: first_id_since(self._rest, self._symbol, from_ms)
            )
        return self._first_ids[from_ms]

    # The archive

    async def _dump_of(self, day: date) -> Dump | None:
        if start_of(day) + DAY_MS > self._now_ms():
            return None
        try:
            dump = await self._archive.dump(self._symbol, day, self._progress.received)
        except NotInArchive as error:
            log.debug("no dump", reason=str(error))
            return None
        if len(dump.trades) and not self._archive_known:
            await self._check_archive(dump.trades)
            self._archive_known = True
        return dump

    async def _check_archive(self, rows: TradeColumns) -> None:
        """A dump does not name its exchange: a page of REST must say the same of the same ids."""
        middle = int(rows.id[len(rows) // 2])
        page = await _patiently(lambda: self._rest.trades_from_id(self._symbol, middle))
        compared = difference(rows.take((rows.id >= middle) & (rows.id < middle + PAGE)), page.by_id())
        if len(compared.left) > compared.same:
            raise OtherTape(
                f"{self._archive.base_url} and {self._rest.base_url} say different things of id "
                f"{int(compared.left.id[0])}: they are not the same exchange; nothing was taken"
            )
        if compared.same:
            return
        if self._venue == "simulated":
            raise OtherTape(
                f"{self._rest.base_url} has no id near {middle} of {self._archive.base_url}: nothing says "
                "that they are the same exchange; nothing was taken"
            )
        log.warning("archive not compared", archive=self._archive.base_url, reason="REST lacks these ids")

    async def _put(self, rows: TradeColumns) -> None:
        """Hand over rows, ids ascending, the newest first."""
        for end in range(len(rows), 0, -MOST_AT_ONCE):
            part = rows.take(slice(max(0, end - MOST_AT_ONCE), end))
            await asyncio.to_thread(self._intake.put, self._symbol, part)
            for run in runs_of(part):
                self._held.add(run)
            if len(rows) > MOST_AT_ONCE:
                self._progress.put(len(rows) - end + len(part), len(rows))

    # REST

    async def _fetched(self, lacking: Sequence[Run]) -> AsyncIterator[TradeColumns]:
        """The trades of these ids by REST, newest first, some pages at a time."""
        total = sum(run.last_id - run.first_id + 1 for run in lacking)
        asked = 0
        for run in reversed(lacking):
            for end in range(run.last_id + 1, run.first_id, -PAGE * PAGES):
                begin = max(run.first_id, end - PAGE * PAGES)
                pages = [self._page(at, min(at + PAGE, end)) for at in range(begin, end, PAGE)]
                yield TradeColumns.concat(await asyncio.gather(*pages)).by_id()
                asked += end - begin
                self._progress.fetched(asked, total)

    async def _page(self, first_id: int, past_id: int) -> TradeColumns:
        rows = await _patiently(lambda: self._rest.trades_from_id(self._symbol, first_id))
        return rows.take((rows.id >= first_id) & (rows.id < past_id))


def _spanning(expected: Run | None, dump: Dump | None) -> Run | None:
    """From the first to the last id that REST or the dump count to the day."""
    ends = [(expected.first_id, expected.last_id)] if expected else []
    if dump is not None and len(dump.trades):
        ends.append((int(dump.trades.id[0]), int(dump.trades.id[-1])))
    if not ends:
        return None
    first_ids, last_ids = zip(*ends, strict=True)
    return Run(min(first_ids), max(last_ids), 0, 0)


def _lacking(held: HeldIds, wanted: Run | None) -> list[Run]:
    """The ids of `wanted` that are not held, oldest first."""
    lacking = HeldIds([wanted] if wanted else [])
    for run in held.runs:
        lacking.remove(run)
    return list(lacking.runs)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` brings; asked again after a growing while where REST is away."""
    for attempt in range(REST_ATTEMPTS - 1):
        try:
            return await ask()
        except RestAway as error:
            wait_s = REST_WAIT_S * 2**attempt
            log.info("rest away", error=str(error), retry_s=wait_s)
            await asyncio.sleep(wait_s)
    return await ask()


def days_between(first: date, past: date) -> Iterable[date]:
    """The days from `first` to before `past`, newest first."""
    return (date.fromordinal(at) for at in range(past.toordinal() - 1, first.toordinal() - 1, -1))
