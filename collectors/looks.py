"""Looks at REST for what is newer than all that is held: was something missed, and is a stream mute?

The links alone cannot say so: not before they have brought a trade of a symbol, and not while all of them are
silent on it.

Invariant: what REST shows is in the ledger before anything is concluded from it; looks wait for REST's leave,
and nothing else waits for them.
"""

import structlog

from collectors.clock import Clock
from collectors.clock_check import ClockCheck
from collectors.filling import Filling
from collectors.instruments import REST_AWAY_S
from collectors.plausibility import Mark
from collectors.posting import Posting
from collectors.recording import Recording
from collectors.recordings import Recordings
from collectors.rest import PAGE, RestAway, RestRefused
from collectors.sifting import Sifting
from collectors.symbol_filling import Newer
from collectors.timing import Timing
from collectors.watch import Watch
from storage.held_ids import latest
from storage.ledger import TradeLedger

log = structlog.get_logger()

# REST lags behind the stream by up to half a minute: what it does not show for so long did not happen.
REST_LAG_MS = 35_000
# How often REST is asked what is newest of a symbol that has printed nothing since the links came up.
LOOK_MS = 3_000


class Looks:
    def __init__(
        self,
        ledger: TradeLedger,
        filling: Filling,
        recordings: Recordings,
        posting: Posting,
        sifting: Sifting,
        watch: Watch,
        clock_check: ClockCheck,
        clock: Clock,
        timing: Timing,
        rest_lag_ms: int,
    ) -> None:
        self._ledger = ledger
        self._filling = filling
        self._recordings = recordings
        self._posting = posting
        self._sifting = sifting
        self._watch = watch
        self._clock_check = clock_check
        self._clock = clock
        self._timing = timing
        self._rest_lag_ms = rest_lag_ms
        self._fails = False

    async def at_silences(self) -> None:
        """What is silent on all links is looked for over REST, which may have to wait for its leave."""
        while True:
            await self._clock.sleep(self._timing.watch_s)
            if not self._ledger.is_behind:
                await self._at_silence()

    async def _at_silence(self) -> None:
        """A symbol of which no connection has brought anything for long: REST says whether it is mute."""
        asked_ms = self._clock.steady_ms()
        symbol = self._watch.to_look_at(asked_ms, self._may_be_asked)
        if symbol is None:
            return
        try:
            offered = await self._catch_up(symbol)
        except (RestAway, RestRefused) as error:
            tell = log.debug if self._fails else log.warning
            tell("silence not looked into", symbol=symbol, error=str(error))
            self._fails = True
            self._watch.look_failed(symbol, self._clock.steady_ms())
            return
        self._fails = False
        if offered is None:
            self._watch.look_failed(symbol, self._clock.steady_ms())
        elif offered == 0:
            self._watch.looked(symbol, self._clock.steady_ms(), asked_ms - self._rest_lag_ms)

    def _may_be_asked(self, symbol: str) -> bool:
        """Whether a connection brings it that may be mute, and REST can be asked for what is newer."""
        return self._recordings.of(symbol).up_since_ms is not None and bool(self._ledger.runs(symbol))

    async def at_head(self, symbol: str) -> None:
        """Of a symbol for as long as it is recorded: while the links cannot say that nothing was missed."""
        while symbol in self._recordings.symbols:
            try:
                pause_s = await self._at_head(symbol)
            except (RestAway, RestRefused) as error:
                log.debug("rest away", symbol=symbol, error=str(error), retry_s=REST_AWAY_S)
                pause_s = REST_AWAY_S
            await self._clock.sleep(pause_s)

    async def _at_head(self, symbol: str) -> float:
        """A symbol that printed nothing since the links came up, or whose stream may be mute on all of them,
        or of which all that comes cannot be: ask REST whether it missed something. How many seconds to wait
        then."""
        recording, pause_ms = self._recordings.of(symbol), min(LOOK_MS, self._rest_lag_ms)
        if self._ledger.is_behind or not (
            recording.plausibility.is_contested or self._is_unsure(recording, pause_ms)
        ):
            return self._timing.flush_s
        offered = await self._catch_up(symbol)
        return 0 if offered is not None and offered >= PAGE else pause_ms / 1000

    def _is_unsure(self, recording: Recording, settled_ms: int) -> bool:
        """Whether links that are up for so long have not said whether something was missed."""
        since_ms = recording.up_since_ms
        if since_ms is None or self._clock.steady_ms() - since_ms < settled_ms:
            return False
        return not recording.is_synced

    async def _catch_up(self, symbol: str) -> int | None:
        """Ask REST for what is newer than all that is held, and draw the conclusions; how many rows it has,
        None where that is not known."""
        asked_ms, exchange = self._clock.steady_ms(), self._clock_check.exchange
        asked_exchange_ms, recording = exchange(), self._recordings.of(symbol)
        head = self._head(recording)
        if head is None:
            return None
        newer = await self._filling.catch_up(symbol, head)
        if newer is not None and newer.added.offered:
            self._note_shown(recording, newer)
            return newer.added.offered
        if recording.plausibility.is_contested and not await self._is_right(recording):
            return None
        # By a clock of ours that is ahead, what has not been traded yet would count as known.
        if newer is None or not exchange.told.is_set():
            return None
        recording.shown(asked_ms - self._rest_lag_ms, asked_exchange_ms - self._rest_lag_ms)
        return 0

    def _head(self, recording: Recording) -> Mark | None:
        """The newest trade known: what links brought, else what is held."""
        if recording.head is not None:
            return recording.head
        newest = latest(self._ledger.runs(recording.symbol))
        return None if newest is None else Mark(newest.last_id, newest.last_ms)

    async def _is_right(self, recording: Recording) -> bool:
        """Whether the newest id known can be, by the newest that REST has; where that is of the count that
        links bring, the ids begin anew there."""
        rows = await self._filling.newest(recording.symbol)
        head = recording.head
        if head is None or not len(rows):
            return False
        newest = Mark(int(rows.id[-1]), int(rows.time_ms[-1]))
        if head.leads_to_one(newest):
            recording.plausibility.confirm()
            return True
        if (
            recording.plausibility.is_what_comes(newest)
            and not self._filling.add(recording.symbol, rows).added.refused
        ):
            self._sifting.begin_anew(recording.symbol, rows)
        return False

    def _note_shown(self, recording: Recording, newer: Newer) -> None:
        """REST has rows that no connection had brought when it was asked. That there are none beyond them it
        does not say: a page may be short."""
        at, now_ms = int(newer.rows.id.argmax()), self._clock.steady_ms()
        newest_id, newest_ms = int(newer.rows.id[at]), int(newer.rows.time_ms[at])
        self._watch.note(recording.symbol, newest_id, newest_ms, now_ms, shown_by_rest=True)
        if newer.added.refused:  # by a full memory: they are neither held nor in a gap
            return
        self._posting.remember(recording.symbol, newer.rows)
        if newer.added.new:
            recording.doubt(newest_ms)
        recording.reach(min(newest_ms, self._sifting.latest_ms))
