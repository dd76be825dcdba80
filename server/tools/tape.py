"""What the tools read: the ledger, the recorder's word on how up to date it is, and the clock.

Invariant: one question, one snapshot; its trades, histogram and coverage are of the same instant.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, TypeVar

from analytics.errors import BinsTooWide
from server.tools.arguments import Window, iso, symbol_of, window_of
from server.tools.refusals import Refusal
from server.tools.work import step
from storage.candles import MinuteCandles
from storage.export import in_id_order
from storage.held_ids import latest
from storage.histograms import PriceHistogram
from storage.ledger import TradeLedger
from storage.trades import Coverage, Instrument, TapeColumns, decimal_of, decimals_of
from storage.view import LedgerView


class WarmupProgress(Protocol):
    """What a symbol's history still lacks."""

    @property
    def missing(self) -> int: ...
    @property
    def per_s(self) -> float: ...
    @property
    def held(self) -> int: ...


class Recording(Protocol):
    """What the tools ask of the recorder."""

    @property
    def symbols(self) -> Sequence[str]: ...
    def live_until_ms(self, symbol: str) -> int | None: ...
    def warmup(self, symbol: str) -> WarmupProgress | None: ...


T = TypeVar("T")

# A live link that is silent for this long still counts as up to date.
GRACE_MS = 5_000


def vouched_until(known_ms: int | None, window: Window) -> int | None:
    """Up to when the window's trades are known: to its end where it ends now and the links are not late."""
    on_time = known_ms is not None and window.live and window.end_ms - known_ms <= GRACE_MS
    return window.end_ms if on_time else known_ms


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A symbol, a window with at least one valid trade, and what the ledger holds of it at one instant.

    `vouched_ms` is up to when the recorder's links vouch for it, None where none does.
    """

    instrument: Instrument
    market: str
    window: Window
    coverage: Coverage
    last: Decimal
    view: LedgerView
    vouched_ms: int | None = None

    def trades(self) -> Iterator[TapeColumns]:
        """The window's rows in id order, about an hour a chunk; decoded as they are taken."""
        chunks = self.view.tape(self.window.start_ms, self.window.end_ms)
        return in_id_order(chunks, self.view.id_spans())

    def candles(self) -> MinuteCandles:
        """The window's minute candles."""
        return self.view.candles(self.window.start_ms, self.window.end_ms)

    def uncovered(self) -> list[tuple[int, int]]:
        """The stretches of the window of which not every trade is known."""
        return self.view.uncovered(self.window.start_ms, self.window.end_ms, self.vouched_ms)

    @property
    def covered_ms(self) -> int:
        """How much of the window is known, at least a millisecond."""
        return max(self.window.end_ms - self.window.start_ms - self.coverage.uncovered_ms, 1)

    @property
    def decimals(self) -> int:
        """Those of a price."""
        return decimals_of(self.instrument.tick)

    def over_prices(self, analyse: Callable[[PriceHistogram], T], *, exact: bool = False) -> T:
        """An analysis of the window's histogram: by bins where they serve, which is faster, else in the rows
        that are asked for, else by exact price."""
        return self.over_prices_of(self.window.start_ms, self.window.end_ms, analyse, exact=exact)

    def over_prices_of(
        self, start_ms: int, end_ms: int, analyse: Callable[[PriceHistogram], T], *, exact: bool = False
    ) -> T:
        """The same of another window at the same instant."""
        row_size = None
        if not exact:
            try:
                return analyse(self.view.histogram(start_ms, end_ms, exact=False))
            except BinsTooWide as refused:
                row_size = refused.row_size
        return analyse(self.view.histogram(start_ms, end_ms, bin_size=row_size))


@dataclass(frozen=True, slots=True)
class Tape:
    """The source of every answer; `now_ms` is the wall clock in UTC milliseconds.

    `retention_hours` is how long trades are kept; None keeps everything.
    """

    ledger: TradeLedger
    recording: Recording
    now_ms: Callable[[], int]
    retention_hours: float | None = None

    @contextmanager
    def question(
        self, *, symbol: Any, duration_hours: Any, start_time: Any, end_time: Any, session: Any
    ) -> Iterator[Question]:
        """The symbol and window that are meant, answerable while the context lasts; blocks on the disk.

        Raises `Refusal`: SYMBOL_UNKNOWN, WINDOW_INVALID, NO_TRADES, WARMING_UP.
        """
        instruments = self.ledger.instruments
        name = self._symbol(symbol, instruments)
        known_ms = self.recording.live_until_ms(name)
        with self.ledger.view(name, step) as view:
            window = window_of(
                duration_hours=duration_hours,
                start_time=start_time,
                end_time=end_time,
                session=session,
                now_ms=self.now_ms(),
                newest_ms=view.runs[-1].last_ms if view.runs else None,
            )
            vouched_ms = vouched_until(known_ms, window)
            coverage = view.coverage(window.start_ms, window.end_ms, vouched_ms)
            if coverage.trades == 0:
                raise self._no_trades(name, window, coverage)
            last = view.last_trade(window.start_ms, window.end_ms)
            yield Question(
                instrument=instruments[name],
                market=self.ledger.venue or instruments[name].venue,
                window=window,
                coverage=coverage,
                last=decimal_of(int(last.price_int[0]), last.price_exp),
                view=view,
                vouched_ms=vouched_ms,
            )

    def _symbol(self, written: Any, instruments: Mapping[str, Instrument]) -> str:
        try:
            return symbol_of(written, instruments, self.recording.symbols)
        except Refusal:
            unknown_yet = set(self.recording.symbols) - instruments.keys()
            if str(written).upper() not in unknown_yet:
                raise
        raise Refusal(
            "WARMING_UP",
            f"the exchange has not told the tick of {written} yet; it is recorded; ask again soon",
        )

    def _no_trades(self, symbol: str, window: Window, coverage: Coverage) -> Refusal:
        """Why the window is empty: history on its way, nothing traded, or nothing recorded."""
        asked = f"{symbol} from {iso(window.start_ms)} to {iso(window.end_ms)}"
        if coverage.uncovered_ms == 0:
            return Refusal(
                "NO_TRADES", f"nothing traded in {asked}, which is fully covered; try a longer duration_hours"
            )
        warmup = self.recording.warmup(symbol)
        wanted_from_ms = self.ledger.warmup_from_ms(symbol)
        if warmup is not None and (wanted_from_ms is None or window.end_ms > wanted_from_ms):
            return Refusal(
                "WARMING_UP",
                f"no trade of {asked} is here yet, its history is being fetched; "
                f"{warmup.held} trades so far, {warmup.per_s:.0f} a second, {self._ready(warmup)}; "
                "ask again then",
            )
        runs = self.ledger.runs(symbol)
        newest = latest(runs)
        kept = "nothing yet" if newest is None else f"{iso(runs[0].first_ms)} to {iso(newest.last_ms)}"
        return Refusal("NO_TRADES", f"nothing is recorded of {asked}; kept is {kept}; try a window within it")

    def _ready(self, warmup: WarmupProgress) -> str:
        if not warmup.missing or not warmup.per_s:
            return "first trades expected within seconds"
        return f"complete about {iso(self.now_ms() + int(warmup.missing / warmup.per_s * 1000))}"
