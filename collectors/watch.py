"""Which connections are mute, and for which symbol REST is to be asked whether it is.

A stream is judged by what others have of its symbol, never by silence alone: a market may be quiet. What a
symbol's newest trade is, any connection shows, or REST. REST is asked when all connections are silent for
much longer than the symbol usually is, and then more and more rarely.

Invariant: a connection that brings anything new of a symbol is not mute for it, however late it is, and
whatever the time is set to. No I/O and no clock; moments are milliseconds of the caller's steady clock, and a
trade's time is taken over into it by the least lag of late.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from collectors.rotation import Span
from collectors.timing import Timing

# A trade counts for connections that came up so long before it.
SETTLED_MS = 5_000
# A silence is long at so many times the usual interval; a symbol is taken to trade once in 3 s at first.
LONG = 20
FIRST_INTERVAL_MS = 3_000.0
# How much a new interval counts.
WEIGHT = 0.1
LEAST_LAG_WINDOW_MS = 300_000
# REST that did not answer is asked again so soon.
LOOK_AGAIN_MS = 5_000


class Watched(Protocol):
    """A connection as far as it is judged."""

    @property
    def number(self) -> int: ...
    @property
    def delivered(self) -> Mapping[str, Span]: ...
    @property
    def opened_ms(self) -> int: ...
    @property
    def trade_lag_ms(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Mute:
    """A connection that is not to be relied on, and how that shows."""

    connection: int
    why: Literal["mute", "behind"]
    symbol: str | None = None
    lacking: int = 0
    for_ms: int = 0

    @property
    def facts(self) -> dict[str, object]:
        """For the log."""
        for_s = round(self.for_ms / 1000, 1)
        if self.symbol is None:
            return {"for_s": for_s}
        return {"symbol": self.symbol, "lacking": self.lacking, "for_s": for_s}


@dataclass(slots=True)
class _Newest:
    """A symbol's newest trade: its id, and when it was traded; and how often that changes.

    Nothing but silence has been since `quiet_since_ms`; REST is asked about it from `look_at_ms` on.
    """

    seen_ms: int
    quiet_since_ms: int
    id: int = -1
    traded_ms: int = 0
    interval_ms: float = FIRST_INTERVAL_MS
    looked_ms: int = 0
    look_at_ms: float = 0
    look_delay_ms: float = 0


@dataclass(slots=True)
class _Lack:
    """A connection lacks something of a symbol: since when it has brought nothing of it."""

    newest_id: int
    since_ms: int


class Watch:
    """`first_lag_ms` is from a trade's time to the steady clock's, before any trade has come."""

    def __init__(self, symbols: Iterable[str], timing: Timing, now_ms: int, first_lag_ms: int = 0) -> None:
        self._timing = timing
        self._first_lag_ms = first_lag_ms
        self._newest = {symbol: _Newest(now_ms, now_ms) for symbol in symbols}
        self._lacks: dict[tuple[int, str], _Lack] = {}
        self._least_lag = LagOfLate(min, LEAST_LAG_WINDOW_MS)  # about the difference of two clocks

    def drop(self, symbol: str) -> None:
        """The symbol is recorded no more."""
        self._newest.pop(symbol, None)

    def note_lag(self, lag_ms: int, now_ms: int) -> None:
        """A trade took so long from the exchange's clock to our steady one."""
        self._least_lag.note(lag_ms, now_ms)

    def note(
        self, symbol: str, newest_id: int, trade_ms: int, now_ms: int, *, shown_by_rest: bool = False
    ) -> None:
        """A trade of that symbol was brought by a connection, or shown by REST."""
        newest = self._newest.get(symbol)
        if newest is None or newest_id <= newest.id:
            return
        # How long no connection brought anything says nothing of how often the symbol trades.
        if not shown_by_rest:
            newest.interval_ms += WEIGHT * (now_ms - newest.seen_ms - newest.interval_ms)
        newest.id, newest.seen_ms, newest.quiet_since_ms = newest_id, now_ms, now_ms
        newest.traded_ms = self._by_our_clock(trade_ms)
        newest.look_at_ms = newest.look_delay_ms = 0

    def begin_anew(self, symbol: str) -> None:
        """What was taken for the symbol's newest trade is none."""
        newest = self._newest.get(symbol)
        if newest is not None:
            newest.id, newest.traded_ms = -1, 0

    def counts_for(self, up_since_ms: int, trade_ms: int) -> bool:
        """Whether a connection that came up then should have brought a trade of that time."""
        return _counts(self._by_our_clock(trade_ms), up_since_ms)

    def _by_our_clock(self, trade_ms: int) -> int:
        least_ms = self._least_lag.ms
        return trade_ms + (self._first_lag_ms if least_ms is None else least_ms)

    def active_since(self, symbols: Iterable[str], opened_ms: int) -> list[str]:
        """Those traded since a connection came up and had settled."""
        found = ((symbol, self._newest.get(symbol)) for symbol in symbols)
        return [symbol for symbol, newest in found if newest and _counts(newest.traded_ms, opened_ms)]

    # Whom to ask REST about

    def to_look_at(self, now_ms: int, may_be_asked: Callable[[str], bool] = lambda _: True) -> str | None:
        """The symbol whose silence is the longest by its own measure, of those where it is long enough to ask
        REST."""
        overdue = {
            symbol: (now_ms - newest.seen_ms) / self._patience_ms(newest)
            for symbol, newest in self._newest.items()
            if newest.look_at_ms <= now_ms
        }
        long = (symbol for symbol, by in overdue.items() if by >= 1 and may_be_asked(symbol))
        return max(long, key=overdue.__getitem__, default=None)

    def looked(self, symbol: str, now_ms: int, quiet_until_ms: int) -> None:
        """REST has nothing newer, up to `quiet_until_ms` as far as that says; it is asked later then, unless
        something is traded."""
        newest = self._newest.get(symbol)
        if newest is None:
            return
        longest_ms = self._timing.longest_look_s * 1000
        delay_ms = min(max(2 * newest.look_delay_ms, self._patience_ms(newest)), longest_ms)
        newest.looked_ms, newest.look_delay_ms, newest.look_at_ms = now_ms, delay_ms, now_ms + delay_ms
        newest.quiet_since_ms = max(newest.quiet_since_ms, quiet_until_ms)

    def look_failed(self, symbol: str, now_ms: int) -> None:
        """REST did not say; it is asked again."""
        newest = self._newest.get(symbol)
        if newest is not None:
            newest.look_at_ms = now_ms + LOOK_AGAIN_MS

    # What silence is worth

    def is_overdue(self, symbol: str, now_ms: int) -> bool:
        """Whether REST should have been asked about the symbol's silence by now, and was not."""
        newest = self._newest.get(symbol)
        if newest is None:
            return False
        due_ms = newest.seen_ms + self._patience_ms(newest)
        if newest.look_delay_ms:
            due_ms = newest.looked_ms + newest.look_delay_ms
        return now_ms > due_ms + self._timing.look_within_s * 1000

    def silent_ms(self, symbol: str, now_ms: int) -> int:
        """For how long the symbol has been silent and nobody has reason to wonder; 0 where somebody has."""
        newest = self._newest.get(symbol)
        if newest is None or self.is_overdue(symbol, now_ms):
            return 0
        return max(0, now_ms - newest.quiet_since_ms)

    def _patience_ms(self, newest: _Newest) -> float:
        least_ms, most_ms = self._timing.least_silence_s * 1000, self._timing.most_silence_s * 1000
        return min(max(LONG * newest.interval_ms, least_ms), most_ms)

    # Who is mute

    def judge(self, connections: Iterable[tuple[Watched, Iterable[str]]], now_ms: int) -> list[Mute]:
        """The connections not to be relied on, each with the symbol that shows it; call it regularly."""
        before, self._lacks = self._lacks, {}
        found = (self._verdict(connection, symbols, before, now_ms) for connection, symbols in connections)
        return [mute for mute in found if mute is not None]

    def _verdict(
        self,
        connection: Watched,
        symbols: Iterable[str],
        before: Mapping[tuple[int, str], _Lack],
        now_ms: int,
    ) -> Mute | None:
        least_ms = self._least_lag.ms
        if connection.trade_lag_ms is not None and least_ms is not None:
            behind_ms = connection.trade_lag_ms - least_ms
            if behind_ms > self._timing.behind_s * 1000:
                return Mute(connection.number, "behind", for_ms=behind_ms)
        verdict = None
        for symbol in symbols:
            newest = self._newest.get(symbol)
            if newest is None:
                continue
            delivered = connection.delivered.get(symbol)
            brought = -1 if delivered is None else delivered.newest_id
            if brought >= newest.id or not _counts(newest.traded_ms, connection.opened_ms):
                continue
            lack = before.get((connection.number, symbol))
            if lack is None or lack.newest_id != brought:
                lack = _Lack(brought, now_ms)
            self._lacks[connection.number, symbol] = lack
            if now_ms - lack.since_ms >= self._timing.mute_s * 1000 and verdict is None:
                lacking = newest.id - brought if brought >= 0 else 1
                verdict = Mute(connection.number, "mute", symbol, lacking, now_ms - lack.since_ms)
        return verdict


def _counts(traded_ms: int, opened_ms: int) -> bool:
    """Whether a connection that came up then should have brought a trade of that time, both by our clock."""
    return traded_ms >= opened_ms + SETTLED_MS


class LagOfLate:
    """The least or the greatest lag in the window of time that runs and the one before."""

    def __init__(self, of: Callable[[int, int], int], window_ms: int) -> None:
        self._of = of
        self._window_ms = window_ms
        self._window = 0
        self._now: int | None = None
        self._before: int | None = None

    def note(self, lag_ms: int, now_ms: int) -> None:
        window = now_ms // self._window_ms
        if window != self._window:
            self._window, self._before, self._now = window, self._now, None
        self._now = lag_ms if self._now is None else self._of(self._now, lag_ms)

    @property
    def ms(self) -> int | None:
        """As of the newest lag noted; None before any."""
        if self._now is None or self._before is None:
            return self._now
        return self._of(self._now, self._before)

    def ms_at(self, now_ms: int) -> int | None:
        """As of that moment; None where nothing has been noted of late."""
        windows_ago = now_ms // self._window_ms - self._window
        return self.ms if windows_ago <= 0 else self._now if windows_ago == 1 else None
