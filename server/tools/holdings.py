"""What is kept of a symbol: its range, what is missing from it, how far the recording has come.

Invariant: range, coverage and digests of a holding are of one instant, and over the whole range that is kept
nothing is decoded for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from server.tools.arguments import Window, symbol_name, symbol_of, window_of
from server.tools.tape import Tape, WarmupProgress, vouched_until
from server.tools.work import step
from storage.held_ids import Run, latest
from storage.rollups import Rollup
from storage.trades import Coverage
from storage.view import LedgerView

TRADING = "TRADING"


@dataclass(frozen=True, slots=True)
class AskedWindow:
    """A window as the caller wrote it."""

    duration_hours: Any
    start_time: Any
    end_time: Any
    session: Any

    @property
    def everything(self) -> bool:
        """Whether no window was named, so that the whole range kept is meant."""
        return self == AskedWindow(None, None, None, None)


@dataclass(frozen=True, slots=True, eq=False)
class Holding:
    """A symbol as of `as_of_ms`: `first` and `last` run of all that is kept, and coverage of the window.

    `status` is the exchange's word on it as last seen, with since when it was seen so. `known_ms` is the
    time up to which a live link vouches for the symbol. `sealed` are the sealed hours that touch the window,
    newest first, each part with its rollup.
    """

    symbol: str
    as_of_ms: int
    recording: bool
    known_ms: int | None
    first: Run | None
    last: Run | None
    window: Window
    coverage: Coverage
    warmup: WarmupProgress | None
    sealed: tuple[tuple[int, Rollup], ...]
    status: tuple[str, int] | None

    @property
    def trades(self) -> bool:
        """Whether the exchange lets it be traded, as far as is known."""
        return self.status is None or self.status[0] == TRADING

    @property
    def complete(self) -> bool:
        return self.coverage.complete

    @property
    def lag_ms(self) -> int | None:
        """How long ago the last event was that a live link vouches for; a clock behind it is no lead."""
        return None if self.known_ms is None else max(0, self.as_of_ms - self.known_ms)

    @property
    def ready_ms(self) -> int | None:
        """When the history will be here at the present rate."""
        if self.warmup is None or not self.warmup.missing or not self.warmup.per_s:
            return None
        return self.as_of_ms + int(self.warmup.missing / self.warmup.per_s * 1000)


def holdings(tape: Tape, symbol: Any, asked: AskedWindow) -> list[Holding]:
    """The symbol that is meant, or with None each one that is recorded or kept, in order of their names.

    Raises `Refusal`: SYMBOL_UNKNOWN, WINDOW_INVALID.
    """
    return [_holding(tape, name, asked) for name in _names(tape, symbol)]


def _names(tape: Tape, written: Any) -> Iterator[str]:
    known = {*tape.recording.symbols, *tape.ledger.symbols}
    if written is None:
        yield from sorted(known)
    elif symbol_name(written) in known:
        yield symbol_name(written)
    else:
        yield symbol_of(written, tape.ledger.instruments, tape.recording.symbols)


def _holding(tape: Tape, symbol: str, asked: AskedWindow) -> Holding:
    recording = symbol in tape.recording.symbols
    known_ms = tape.recording.live_until_ms(symbol) if recording else None
    with tape.ledger.view(symbol, step) as view:
        now_ms = tape.now_ms()
        window, coverage = _coverage(view, asked, now_ms, known_ms, recording=recording)
        return Holding(
            symbol,
            now_ms,
            recording,
            known_ms,
            first=view.runs[0] if view.runs else None,
            last=latest(view.runs),
            window=window,
            coverage=coverage,
            warmup=tape.recording.warmup(symbol) if recording else None,
            sealed=tuple(view.sealed_hours(window.start_ms, window.end_ms)),
            status=tape.ledger.status(symbol),
        )


def _coverage(
    view: LedgerView, asked: AskedWindow, now_ms: int, known_ms: int | None, *, recording: bool
) -> tuple[Window, Coverage]:
    """The window that is meant and what is held of it.

    The whole range reaches up to now where the symbol is recorded; of nothing it is the last 24 h.
    """
    newest = latest(view.runs)
    window = window_of(
        duration_hours=24 if asked.duration_hours is None else asked.duration_hours,
        start_time=asked.start_time,
        end_time=asked.end_time,
        session=asked.session,
        now_ms=now_ms,
        newest_ms=None if newest is None else newest.last_ms,
    )
    known_ms = vouched_until(known_ms, window)
    if asked.everything and (coverage := view.coverage_of_all(window.end_ms if recording else 0, known_ms)):
        return Window(coverage.start_ms, coverage.end_ms, live=recording), coverage
    return window, view.coverage(window.start_ms, window.end_ms, known_ms)
