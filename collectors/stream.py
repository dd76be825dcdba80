"""The stream's way into the ledger: texts to columns, columns to one order by id, and that into the memory of
the ledger; with it, up to when each symbol is known.

Invariant: nothing here waits, for disk, REST or a reader; a text that cannot be read loses itself alone, and
a symbol that may have missed something counts as up to date again only once an id or REST has shown it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import structlog

from collectors.binance import Parsed, parse_messages
from collectors.clock import Clock
from collectors.links import Ring
from collectors.sequencer import Sequencer
from storage.ledger import TradeLedger
from storage.trades import TradeColumns

log = structlog.get_logger()

# An event time further ahead of our clock than this is wrong, and vouches for nothing.
CLOCK_SKEW_MS = 5_000


@dataclass(slots=True)
class _Recording:
    """What is known of one symbol while it is recorded."""

    sequencer: Sequencer
    synced: bool = False
    verified_ms: int | None = None
    trades: int = 0


@dataclass(slots=True)
class _Counts:
    """What the links brought that was not kept, since the last summary."""

    malformed: int = 0
    dropped: int = 0
    refused: int = 0


class Stream:
    """What the links bring of some symbols, on its way from `ring` to the ledger."""

    def __init__(self, ledger: TradeLedger, ring: Ring, symbols: Iterable[str], clock: Clock) -> None:
        self._ledger = ledger
        self._ring = ring
        self._clock = clock
        self._recordings: dict[str, _Recording] = {}
        for symbol in symbols:
            runs = ledger.runs(symbol)
            self._recordings[symbol] = _Recording(Sequencer(runs[-1].last_id if runs else None))
        self._newest_event_ms: int | None = None
        self._counts = _Counts()
        # When the doubt began in which symbols are that are not up to date; None before the first link.
        self.doubted_since_ms: int | None = None

    @property
    def symbols(self) -> list[str]:
        return list(self._recordings)

    def is_synced(self, symbol: str) -> bool:
        """Whether nothing can have been missed of the symbol unseen; what is missing is in gaps."""
        recording = self._recordings.get(symbol)
        return recording is not None and recording.synced

    def live_until_ms(self, symbol: str) -> int | None:
        """The time up to which a link vouches that no trade of the symbol is unknown; None before any."""
        recording = self._recordings.get(symbol)
        return recording.verified_ms if recording else None

    def drop(self, symbol: str) -> None:
        """The symbol is recorded no more."""
        self._recordings.pop(symbol, None)

    def take(self, limit: int) -> int:
        """Parse and append up to `limit` texts; how many there were."""
        texts = self._ring.take(limit)
        if not texts:
            return 0
        dropped = self._ring.take_dropped()
        self._counts.dropped += dropped
        parsed = parse_messages(texts)
        self._note_oddities(parsed)
        for symbol, rows in parsed.trades.items():
            recording = self._recordings.get(symbol)
            if recording is not None:
                self._append(symbol, recording.sequencer.accept(rows))
        if parsed.newest_event_ms is not None:
            possible_ms = min(parsed.newest_event_ms, self._clock() + CLOCK_SKEW_MS)
            self._newest_event_ms = max(self._newest_event_ms or 0, possible_ms)
        if parsed.malformed or dropped:
            self.doubt()
        self._verify()
        return len(texts)

    def settle(self) -> None:
        """Stop waiting for what was waited for at the last call already."""
        for symbol, recording in list(self._recordings.items()):
            self._append(symbol, recording.sequencer.settle())

    def doubt(self) -> None:
        """Trades may have passed unseen: a symbol counts as up to date again once something has shown it."""
        self.drain()
        for recording in self._recordings.values():
            recording.synced = False
        self.doubted_since_ms = self._clock()

    def trust(self, symbol: str) -> None:
        """REST has shown that nothing was missed of the symbol."""
        self._recordings[symbol].synced = True
        self._verify()

    def drain(self) -> None:
        """Wait no more for what is missing: all that came goes to the ledger."""
        for symbol, recording in self._recordings.items():
            self._append(symbol, recording.sequencer.drain())

    def _note_oddities(self, parsed: Parsed) -> None:
        self._counts.malformed += len(parsed.malformed)
        for malformed in parsed.malformed:
            log.warning("message skipped", reason=malformed.reason, text=malformed.text)
        for error in parsed.errors:
            log.error("exchange refused", code=error.code, reason=error.msg)

    def _append(self, symbol: str, rows: TradeColumns) -> None:
        if len(rows) == 0:
            return
        recording = self._recordings[symbol]
        added = self._ledger.append(symbol, rows)
        recording.trades += added.new
        if added.refused:
            self._note_refused(symbol, rows, added.refused)
            return
        synced, recording.synced = recording.synced, True
        for gap in added.opened:
            # The first rows after a start or a reconnection lie beyond what was missed: that is no news.
            tell = log.warning if synced else log.info
            tell("gap opened", symbol=symbol, first_id=gap.first_id, last_id=gap.last_id, missing=gap.missing)

    def _note_refused(self, symbol: str, rows: TradeColumns, refused: int) -> None:
        """Too much awaits the disk: these ids are missing until it writes again and REST brings them."""
        if not self._counts.refused:
            log.error(
                "trades refused",
                symbol=symbol,
                first_id=int(rows.id[0]),
                last_id=int(rows.id[-1]),
                refused=refused,
                awaiting_disk=self._ledger.condition.unwritten,
                fix="make room on the disk; REST brings them then",
            )
        self._counts.refused += refused
        self._recordings[symbol].synced = False
        # What REST may not show yet proves nothing: a look at it counts only a while from now.
        self.doubted_since_ms = self._clock()

    def _verify(self) -> None:
        """Every symbol that is up to date with the links is known up to their newest event."""
        for recording in self._recordings.values():
            if recording.synced and not recording.sequencer.waiting:
                recording.verified_ms = self._newest_event_ms

    def summarise(self) -> None:
        """One line a symbol of what came since the last call."""
        for symbol, recording in self._recordings.items():
            log.info(
                "recorded",
                symbol=symbol,
                trades=recording.trades,
                head=recording.sequencer.head,
                duplicates=recording.sequencer.duplicates,
                conflicts=recording.sequencer.conflicts,
                missing=sum(gap.missing for gap in self._ledger.gaps(symbol)),
            )
            recording.trades = 0
        if any(asdict(self._counts).values()):
            log.warning("skipped", **asdict(self._counts))
        self._counts = _Counts()
