"""`tapedeck backfill`: days of the past into the ledger, its own or a running server's.

Invariant: no row that is held is changed; a day is told of in one line.
"""

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from collectors.archive import Archive, ArchiveError
from collectors.binance import start_of
from collectors.clock import Clock
from collectors.history import Day, History, OtherTape, days_between
from collectors.kept_bars import KeptBars
from collectors.request_weight import SHARE
from collectors.rest import BinanceRest, RestError
from collectors.rest_bodies import ExchangeInfo
from server.progress import Bars
from server.settings import PREFIX, Settings
from server.tools.arguments import iso
from storage.absences import span
from storage.checkpoints import readable
from storage.errors import StoreUnavailable, VenueMismatch
from storage.held_ids import HeldIds, Run
from storage.imports import OfferedIntake
from storage.intake import Intake, OwnIntake
from storage.keys import HOUR_MS
from storage.ledger import TradeLedger
from storage.ledger_files import is_locked
from storage.trades import Instrument

# Of the REST weight of this address, of which a running server spends up to five sixths itself.
SHARE_BESIDE_A_SERVER = 0.4
SHOWN = 3
# A first ban lasts two minutes; for a longer one the command says when to come again.
PATIENCE_S = 150.0


@dataclass(frozen=True, slots=True)
class _Ledger:
    """Where the rows go, and at the beginning what is held and what the exchange is certified to lack."""

    intake: Intake
    runs: tuple[Run, ...]
    certified: tuple[Run, ...]
    venue: str


class BackfillRefused(Exception):
    """Days that cannot be asked for, and why."""


def backfill(symbol: str, first: date, past: date | None, settings: Settings, clock: Clock) -> int:
    """Bring the days from `first` to before `past`; 1 where ids of theirs are still missing that the exchange
    is not certified to lack."""
    try:
        _check_retention(first, settings, clock())
        if past is not None and past <= first:
            raise BackfillRefused(f"--to {past} is not after --from {first}; it is exclusive")
        return asyncio.run(_bring(symbol, first, past, settings, clock))
    except (BackfillRefused, ArchiveError, RestError, OtherTape) as error:
        print(f"tapedeck: {error}", file=sys.stderr)
        return 1


def _check_retention(first: date, settings: Settings, now_ms: int) -> None:
    """A day that would be deleted again is refused."""
    if settings.retention_ms is None or start_of(first) >= now_ms - settings.retention_ms:
        return
    needed = -(-(now_ms - start_of(first)) // HOUR_MS)
    raise BackfillRefused(
        f"{first} is older than what {PREFIX}RETENTION_HOURS={settings.retention_hours} keeps (from "
        f"{iso(now_ms - settings.retention_ms)}); set it to {needed} or more, or 0 to keep everything"
    )


async def _bring(symbol: str, first: date, past: date | None, settings: Settings, clock: Clock) -> int:
    share = SHARE_BESIDE_A_SERVER if is_locked(settings.data_dir) else SHARE
    async with (
        Archive(settings.archive_url) as archive,
        BinanceRest(
            settings.rest_url,
            clock,
            share=share,
            bars=KeptBars(clock, settings.data_dir),
            patience_s=PATIENCE_S,
        ) as rest,
    ):
        exchange = await rest.exchange_info([symbol])
        with _taking_rows(settings, symbol, exchange, clock()) as ledger, Bars(symbol) as bars:
            past = past or _meeting(ledger.runs, clock())
            history = History(
                archive,
                rest,
                ledger.intake,
                symbol,
                ledger.runs,
                clock,
                venue=ledger.venue,
                progress=bars,
            )
            days = [await _tell_day(history, day, ledger.certified) for day in days_between(first, past)]
    if not days:
        print(f"{symbol}: nothing to do, {first} is not before {past}")
    _tell_gaps(symbol, HeldIds([*history.runs, *ledger.certified]).runs)
    return 1 if any(_uncertified(day.missing, ledger.certified) for day in days) else 0


def _uncertified(missing: Iterable[Run], certified: Iterable[Run]) -> tuple[Run, ...]:
    """The missing ids of which nobody has shown that the exchange lacks them."""
    left = HeldIds(missing)
    for run in certified:
        left.remove(run)
    return left.runs


async def _tell_day(history: History, day: date, certified: Sequence[Run]) -> Day:
    done = await history.fill(day)
    print(_line_of(done), flush=True)
    for malformed in done.malformed[:SHOWN]:
        print(f"  skipped: {malformed.reason}: {malformed.text!r}", flush=True)
    for run in done.missing[:SHOWN]:
        known = "" if _uncertified([run], certified) else ", as certified before"
        print(f"  neither dump nor REST has ids {run.first_id} to {run.last_id}{known}", flush=True)
    return done


def _line_of(done: Day) -> str:
    if done.complete_before:
        return f"{done.day}: complete already"
    source = "no dump" if done.in_dump is None else f"{done.in_dump} trades in the dump"
    facts = [
        source,
        f"{done.over_rest} over REST",
        f"{done.taken.new} new",
        f"{done.taken.held} held already",
    ]
    for number, what in (
        (done.taken.conflicts, "held with other content"),
        (done.repeated, "repeated in the dump"),
        (len(done.malformed), "lines skipped"),
        (done.missing_ids, "missing"),
    ):
        if number:
            facts.append(f"{number} {what}")
    return f"{done.day}: {', '.join(facts)}"


def _meeting(runs: tuple[Run, ...], now_ms: int) -> date:
    """The end that leaves no gap: after the day of the oldest id held; after yesterday where none is."""
    if not runs:
        return _day_of(now_ms)
    return _day_of(runs[0].first_ms) + timedelta(days=1)


def _day_of(time_ms: int) -> date:
    return datetime.fromtimestamp(time_ms / 1000, UTC).date()


def _tell_gaps(symbol: str, runs: tuple[Run, ...]) -> None:
    """What is missing between the days brought and what is held otherwise."""
    for before, after in pairwise(runs):
        print(
            f"{symbol}: ids {before.last_id + 1} to {after.first_id - 1} are missing "
            f"({iso(before.last_ms)} to {iso(after.first_ms)}); a running server fetches them over REST"
        )


@contextmanager
def _taking_rows(settings: Settings, symbol: str, exchange: ExchangeInfo, now_ms: int) -> Iterator[_Ledger]:
    """The ledger itself where nobody has it open, else its owner."""
    path = settings.data_dir
    with ExitStack() as stack:
        if is_locked(path):
            with readable(path) as copy, TradeLedger.open(copy, create=False) as ledger:
                venue, runs, certified = ledger.venue, ledger.runs(symbol), _certified(ledger, symbol)
            _check_venue(settings, venue, exchange)
            yield _Ledger(OfferedIntake(path, exchange.venue), runs, certified, exchange.venue)
            return
        os.umask(0o077)  # LevelDB makes its files itself, later and from threads of its own
        own = stack.enter_context(TradeLedger.open(path))
        if own.venue is None:
            # Whether the stream's addresses are this venue's, the recorder finds out.
            own.claim(exchange.venue)
        _check_venue(settings, own.venue, exchange)
        instrument: Instrument | None = exchange.instruments.get(symbol)
        if instrument is not None:
            own.keep_instrument(instrument, now_ms)
        certified = _certified(own, symbol)
        yield _Ledger(OwnIntake(own, now_ms), own.runs(symbol), certified, exchange.venue)


def _certified(ledger: TradeLedger, symbol: str) -> tuple[Run, ...]:
    return tuple(span(absence) for absence in ledger.absences(symbol) if absence.state == "certified")


def _check_venue(settings: Settings, venue: str | None, exchange: ExchangeInfo) -> None:
    if venue is None:
        raise StoreUnavailable(f"the server has not found out yet which exchange {settings.rest_url} is")
    if venue != exchange.venue:
        raise VenueMismatch(
            f"{settings.data_dir} holds the tape of {venue!r} and {settings.rest_url} is {exchange.venue!r}; "
            f"choose another {PREFIX}DATA_DIR or {PREFIX}REST_URL"
        )
