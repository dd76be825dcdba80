"""The sessions of a question's window as get_key_levels sees them: their levels, and the opens.

Invariant: what is not wholly known is not given as if it were.
"""

from collections.abc import Callable
from decimal import Decimal
from functools import partial

from analytics.bars import DAY_MS
from analytics.errors import NoTrades
from analytics.profile import VolumeProfile, volume_profile
from analytics.rows import Rows, on_ticks, rows_of, vacuum_row_ticks
from analytics.sessions import (
    Session,
    SessionLevels,
    day_start_ms,
    session_levels,
    sessions_within,
    traded_within,
    week_start_ms,
)
from server.tools.tape import Question
from storage.histograms import PriceHistogram

HOUR_MS = 3_600_000


def sessions_of(question: Question) -> dict[str, SessionLevels]:
    """The levels of each day of the window and of the latest of the other sessions, by what a caller calls
    them; of a window without any, its own."""
    window = question.window
    wanted: dict[str, Session] = {}
    for session in sessions_within(window.start_ms, window.end_ms):
        if session.name == "day":
            wanted[_day_name(session, window.end_ms)] = session
        elif not any(known.name == session.name for known in wanted.values()):
            wanted[f"{session.name} {session.date}"] = session
    found = {of: _session(question, session) for of, session in wanted.items()}
    known = {of: levels for of, levels in found.items() if levels is not None}
    return known or _window_alone(question)


def _window_alone(question: Question) -> dict[str, SessionLevels]:
    window = question.window
    # As one that lasts: what has not ended is neither naked nor of an age.
    levels = _session(question, Session("window", window.start_ms, window.end_ms + 1))
    return {} if levels is None else {"window": levels}


def _day_name(session: Session, now_ms: int) -> str:
    days = (day_start_ms(now_ms - 1) - session.start_ms) // DAY_MS
    return {0: "today", 1: "yesterday"}.get(days, session.date)


def _session(question: Question, session: Session) -> SessionLevels | None:
    """The levels of a session up to the window's end; None where nothing traded in it."""
    end_ms = min(session.end_ms, question.window.end_ms)
    try:
        profile = question.over_prices_of(session.start_ms, end_ms, profile_of(question))
    except NoTrades:
        return None
    naked = _is_naked(question, session, profile)
    return session_levels(
        session, profile, naked=naked, partial=not _is_known(question, session.start_ms, session.end_ms)
    )


def _is_naked(question: Question, session: Session, profile: VolumeProfile) -> bool | None:
    """Whether nothing traded in the POC's row since the session; None while it lasts, and where nothing is
    known to have but not all since is known."""
    if session.end_ms > question.window.end_ms:
        return None
    low, high = profile.poc.low, profile.poc.high
    since = partial(traded_within, low=low, high=high, tick=question.instrument.tick)
    if question.over_prices_of(session.end_ms, question.window.end_ms, since):
        return False
    return True if _is_known(question, session.end_ms, question.window.end_ms) else None


def _is_known(question: Question, start_ms: int, end_ms: int) -> bool:
    """Whether all that traded in a part of the window, up to its last trade, is held."""
    last_ms = question.coverage.last_ms
    assert last_ms is not None  # a question has at least one trade
    end_ms = min(end_ms, last_ms + 1)
    return question.coverage.complete or start_ms >= end_ms or question.view.covers(start_ms, end_ms)


def opens_of(question: Question) -> dict[str, Decimal]:
    """The first prices of the UTC day and week, as far as they are within the window and known."""
    end_ms = question.window.end_ms - 1
    begins = {"today": day_start_ms(end_ms), "this week": week_start_ms(end_ms)}
    found = {of: _first_price(question, begin) for of, begin in begins.items()}
    return {of: price for of, price in found.items() if price is not None}


def _first_price(question: Question, begin_ms: int) -> Decimal | None:
    """The first price from a time on; None where trades may be missing before it."""
    if begin_ms < question.window.start_ms:
        return None
    if not question.view.covers(begin_ms, begin_ms + 1):
        return None
    candles = question.view.candles(begin_ms, min(begin_ms + HOUR_MS, question.window.end_ms))
    return Decimal(int(candles.open[0])).scaleb(-candles.price_exp) if len(candles) else None


def profile_of(question: Question) -> Callable[[PriceHistogram], VolumeProfile]:
    return partial(volume_profile, tick=question.instrument.tick, lot=question.instrument.lot)


def thin_rows_of(question: Question) -> Callable[[PriceHistogram], Rows]:
    """The rows in which vacuums are looked for."""

    def rows(histogram: PriceHistogram) -> Rows:
        ticks = on_ticks(histogram, question.instrument.tick, question.instrument.lot)
        return rows_of(ticks, vacuum_row_ticks(ticks))

    return rows
