"""What a caller wrote, as what it means: symbols, windows and numbers, checked here and nowhere else.

Invariant: whatever the value, the outcome is a checked one or a `Refusal` that says what is valid.
"""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from analytics.sessions import SESSION_TIMES
from server.tools.refusals import Refusal
from storage.trades import Instrument

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
SHORTEST_MS = MINUTE_MS
LONGEST_HOURS = 168
# Characters and decimal places beyond which a number is a mistake or an attack.
LONGEST_NUMBER = 40
MOST_PLACES = 9
# The year 2200: beyond it lies no recording, and soon no calendar.
LATEST_MS = 7_258_118_400_000
# A caller's clock may run ahead of ours by this much before its end_time counts as the future.
CLOCK_SKEW_MS = MINUTE_MS

# As a caller names them; begin and end within a UTC day.
SESSIONS: Mapping[str, tuple[timedelta, timedelta]] = {
    "today": SESSION_TIMES["day"],
    "yesterday": SESSION_TIMES["day"],
    **{name: times for name, times in SESSION_TIMES.items() if name != "day"},
}


@dataclass(frozen=True, slots=True)
class Window:
    """[start_ms, end_ms) in UTC; `live` when it ends now."""

    start_ms: int
    end_ms: int
    live: bool

    @property
    def hours(self) -> Decimal:
        return Decimal(self.end_ms - self.start_ms) / HOUR_MS


def symbol_of(written: Any, instruments: Mapping[str, Instrument], current: Collection[str] = ()) -> str:
    """The recorded symbol that is meant: BTCUSDT, btc/usdt, BTC-USDT, or btc where only one has that base.

    Of several with one base, those that are recorded at present (`current`) come first.
    """
    name = symbol_name(written)
    if name in instruments:
        return name
    of_base = sorted(symbol for symbol, known in instruments.items() if name and known.base == name)
    of_base = [symbol for symbol in of_base if symbol in current] or of_base
    if len(of_base) == 1:
        return of_base[0]
    near = of_base or difflib.get_close_matches(name, instruments, n=3)
    hint = f"try {' or '.join(near)}" if near else "try one of these"
    recorded = ", ".join(sorted(instruments)) or "none yet"
    raise Refusal("SYMBOL_UNKNOWN", f"{_shown(written)} is not recorded; recorded are {recorded}; {hint}")


def symbol_name(written: Any) -> str:
    """How the exchange writes it: btc/usdt and BTC-USDT as BTCUSDT."""
    return "".join(c for c in str(written) if c.isalnum()).upper()


def window_of(
    *, duration_hours: Any, start_time: Any, end_time: Any, session: Any, now_ms: int, newest_ms: int | None
) -> Window:
    """The window that the caller means: a session, or start and end, or a duration up to an end.

    Without an end it ends at `now_ms`, or behind the newest trade where that is later: clocks differ.
    """
    ahead = newest_ms is not None and now_ms <= newest_ms < now_ms + CLOCK_SKEW_MS
    live_end_ms = newest_ms + 1 if ahead and newest_ms is not None else now_ms
    if session is not None:
        return _session_window(session, now_ms, live_end_ms)
    end_ms = live_end_ms if end_time is None else _not_future(time_of(end_time, "end_time"), now_ms)
    window = Window(_start(start_time, duration_hours, end_ms), end_ms, live=end_time is None)
    _check_window(window)
    return window


def _start(start_time: Any, duration_hours: Any, end_ms: int) -> int:
    if start_time is not None:
        return time_of(start_time, "start_time")
    hours = number_of(duration_hours, "duration_hours", "WINDOW_INVALID")
    if not 0 < hours <= LONGEST_HOURS:
        raise Refusal(
            "WINDOW_INVALID",
            f"duration_hours {_shown(duration_hours)} is out of range; "
            f"valid are 1/60 to {LONGEST_HOURS}; try 24",
        )
    return end_ms - int(hours * HOUR_MS)


def _check_window(window: Window) -> None:
    length_ms = window.end_ms - window.start_ms
    if length_ms <= 0:
        raise Refusal(
            "WINDOW_INVALID",
            f"the window from {iso(window.start_ms)} to {iso(window.end_ms)} is empty; start_time must lie "
            "before end_time; try duration_hours=24 alone",
        )
    # A fraction such as 0.0167 stands for a minute: round up to it what is within a second.
    if not SHORTEST_MS - 1000 <= length_ms <= LONGEST_HOURS * HOUR_MS:
        raise Refusal(
            "WINDOW_INVALID",
            f"the window of {length_ms / HOUR_MS:.4g} h is out of range; "
            f"valid are 1/60 to {LONGEST_HOURS} h; try duration_hours=24",
        )


def _session_window(session: Any, now_ms: int, live_end_ms: int) -> Window:
    name = str(session).strip().lower().replace(" ", "_").replace("-", "_")
    if name not in SESSIONS:
        raise Refusal(
            "WINDOW_INVALID",
            f"session {_shown(session)} is unknown; valid are {', '.join(SESSIONS)}; try today",
        )
    begin, end = SESSIONS[name]
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if name == "yesterday" or day + begin > now:
        day -= timedelta(days=1)
    start_ms, end_ms = (int((day + part).timestamp() * 1000) for part in (begin, end))
    return Window(start_ms, max(min(end_ms, live_end_ms), start_ms + 1), live=live_end_ms < end_ms)


def _not_future(end_ms: int, now_ms: int) -> int:
    if end_ms > now_ms + CLOCK_SKEW_MS:
        raise Refusal(
            "WINDOW_INVALID",
            f"end_time {iso(end_ms)} lies in the future; it is {iso(now_ms)} now; leave end_time out for now",
        )
    return end_ms


def time_of(written: Any, name: str) -> int:
    """UTC milliseconds of an ISO-8601 time; one without an offset is UTC."""
    try:
        moment = datetime.fromisoformat(str(written).strip())
    except ValueError:
        raise Refusal(
            "WINDOW_INVALID",
            f"{name} {_shown(written)} is no ISO-8601 time; valid is a time such as 2026-11-22T12:00:00Z; "
            "try duration_hours instead",
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    time_ms = (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
    if not 0 <= time_ms < LATEST_MS:
        raise Refusal(
            "WINDOW_INVALID",
            f"{name} {_shown(written)} is out of range; valid are the years 1970 to 2199; try duration_hours",
        )
    return time_ms


def number_of(written: Any, name: str, code: str = "OPTION_INVALID") -> Decimal:
    """A number or a decimal string as a Decimal; a number counts by its shortest form."""
    text = str(written).strip()
    try:
        number = Decimal(text) if len(text) <= LONGEST_NUMBER else Decimal("nan")
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite() or abs(number.adjusted()) > MOST_PLACES:
        raise Refusal(
            code,
            f"{name} {_shown(written)} is no number; valid is a decimal number; leave it out for the default",
        )
    return number


def choice_of(written: Any, name: str, choices: Any) -> Any:
    """One of the values of a Literal type, however it is capitalised."""
    valid = get_args(choices)
    wanted = str(written).strip().lower()
    if wanted not in valid:
        raise Refusal(
            "OPTION_INVALID",
            f"{name} {_shown(written)} is unknown; valid are {', '.join(valid)}; try {valid[0]}",
        )
    return wanted


def iso(time_ms: int) -> str:
    """ISO-8601 with milliseconds and Z."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()}.{ms:03d}Z"


def iso_minutes(time_ms: int) -> str:
    """ISO-8601 to the minute, for tables."""
    return iso(time_ms)[:16] + "Z"


def _shown(written: Any) -> str:
    text = repr(written)
    return text if len(text) <= 60 else f"{text[:57]}..."
