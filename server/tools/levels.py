"""get_key_levels: the levels around the last price, nearest first, and where it stands among them."""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, Literal, TypeVar

from pydantic import Field

from analytics.errors import NoTrades
from analytics.levels import (
    Level,
    Place,
    PlacedLevel,
    levels_of_session,
    nodes_around,
    place_in_value,
    placed,
    vacuums_around,
)
from analytics.sessions import (
    Session,
    SessionLevels,
)
from server.tools.answers import (
    Answer,
    Detail,
    Meta,
    Shape,
    Truncated,
    at_step,
    csv_or_none,
    first_caveats,
    fitting,
    head_of,
    lacking,
    opening,
    significant,
)
from server.tools.arguments import choice_of
from server.tools.pictures import levels_picture, wants_chart
from server.tools.sessions import HOUR_MS, opens_of, profile_of, sessions_of, thin_rows_of
from server.tools.tape import Question
from storage.histograms import PriceHistogram

VERSION = "v1"
MOST_LEVELS = {"summary": 12, "full": 80}
# The window of the vacuums and nodes, as the other tools have it by default.
AROUND_HOURS = 24
TRADED = "Levels of traded volume, not resting orders; descriptive, not a forecast."


Against = Literal["above", "at", "below"]
T = TypeVar("T")


class StandingShape(Shape):
    """Where the last price stands; null where the session is not within the window."""

    value_today: Place | None
    value_yesterday: Place | None
    vwap_today: Against | None
    day_open: Against | None
    week_open: Against | None


class LevelsAnswer(Answer):
    """Levels by distance from the last price: prices are decimal strings in `meta.units`."""

    meta: Meta
    last: str
    standing: StandingShape
    levels: str | None = Field(
        description="CSV name,of,low,high,side,distance_pct,age_h; high is empty for a single price, age_h "
        "counts from the session's end"
    )
    truncated: Truncated
    caveats: list[str]
    no_other_levels: bool


def levels_answer(question: Question, *, detail: Any, include_chart: Any = False) -> LevelsAnswer:
    """The answer to the question; raises `Refusal` or the analysis' own for what cannot be answered."""
    level = choice_of(detail, "detail", Detail)
    charted = wants_chart(include_chart)
    sessions = sessions_of(question)
    opens = opens_of(question)
    ranked = placed(_levels(question, sessions, opens, full=level == "full"), question.last)

    def answer(shown: int) -> LevelsAnswer:
        return LevelsAnswer(
            summary=_summary(question, sessions, ranked),
            meta=head_of(question, level, method=f"two_row/70/sessions-utc/{VERSION}"),
            last=_price(question, question.last),
            standing=_standing(question.last, sessions, opens),
            levels=csv_or_none(
                "name,of,low,high,side,distance_pct,age_h", [_line(question, each) for each in ranked[:shown]]
            ),
            truncated=_truncated(shown, len(ranked), full=level == "full"),
            caveats=first_caveats([lacking(question.coverage), _partial(sessions), TRADED]),
            no_other_levels=True,
        )

    made = fitting(answer, level, min(MOST_LEVELS[level], len(ranked)))
    if not charted:
        return made
    profile = question.over_prices(profile_of(question))
    return made.pictured(levels_picture(question, profile, ranked, made.truncated.shown))


def _levels(
    question: Question, sessions: dict[str, SessionLevels], opens: dict[str, Decimal], *, full: bool
) -> Iterator[Level]:
    """All levels that are to be ranked; each family of them is a line here.

    Of days before yesterday the naked POCs alone, unless `full`.
    """
    for of, levels in sessions.items():
        for level in levels_of_session(levels, of, question.window.end_ms):
            if full or level.name == "naked POC" or _is_recent(of, levels.session):
                yield level
    for of, price in opens.items():
        yield Level("open", of, price, price)
    around = f"{AROUND_HOURS} h"
    yield from vacuums_around(_around(question, thin_rows_of(question)), question.last, around)
    yield from nodes_around(_around(question, profile_of(question)), question.last, around)


def _is_recent(of: str, session: Session) -> bool:
    return session.name != "day" or of in ("today", "yesterday")


def _around(question: Question, analyse: Callable[[PriceHistogram], T]) -> T:
    """An analysis of the last 24 h, or of the window where that is shorter."""
    window = question.window
    start_ms = max(window.start_ms, window.end_ms - AROUND_HOURS * HOUR_MS)
    try:
        return question.over_prices_of(start_ms, window.end_ms, analyse)
    except NoTrades:
        return question.over_prices(analyse)


def _standing(last: Decimal, sessions: dict[str, SessionLevels], opens: dict[str, Decimal]) -> StandingShape:
    today, yesterday = sessions.get("today"), sessions.get("yesterday")
    return StandingShape(
        value_today=None if today is None else place_in_value(last, today),
        value_yesterday=None if yesterday is None else place_in_value(last, yesterday),
        vwap_today=None if today is None else _against(last, today.vwap),
        day_open=_against(last, opens.get("today")),
        week_open=_against(last, opens.get("this week")),
    )


def _against(last: Decimal, price: Decimal | None) -> Against | None:
    if price is None:
        return None
    if last == price:
        return "at"
    return "above" if last > price else "below"


def _price(question: Question, price: Decimal) -> str:
    return at_step(price, question.instrument.tick)


def _line(question: Question, each: PlacedLevel) -> tuple[object, ...]:
    level = each.level
    return (
        level.name,
        level.of,
        _price(question, level.low),
        "" if level.low == level.high else _price(question, level.high),
        each.side,
        f"{significant(each.distance_pct):g}",
        "" if level.age_h is None else f"{significant(level.age_h, 3):g}",
    )


def _truncated(shown: int, total: int, *, full: bool) -> Truncated:
    more = "ask with an earlier end_time" if full else "detail=full lists farther ones, all of earlier days"
    return Truncated(shown=shown, total=total, more=more if shown < total or not full else None)


def _partial(sessions: dict[str, SessionLevels]) -> str | None:
    lacking = [of for of, levels in sessions.items() if levels.partial]
    return f"Not all trades are known of: {', '.join(lacking)}." if lacking else None


def _summary(question: Question, sessions: dict[str, SessionLevels], ranked: list[PlacedLevel]) -> str:
    start = opening(question.instrument, question.market, question.window, question.coverage)
    parts = [f"{start}: last {_price(question, question.last)}"]
    for of in ("today", "yesterday", "window"):
        if levels := sessions.get(of):
            value = f"{_price(question, levels.val)}-{_price(question, levels.vah)}"
            parts.append(f", {place_in_value(question.last, levels)} value of {of} ({value})")
    parts.append(".")
    for side in ("at", "below", "above"):
        near = next((each for each in ranked if each.side == side), None)
        if near is not None:
            parts.append(f" {_nearest_words(question, near)}.")
    missing = lacking(question.coverage)
    return "".join(parts) + (f" {missing}" if missing else "")


def _nearest_words(question: Question, near: PlacedLevel) -> str:
    level = near.level
    price = _price(question, level.low)
    price = price if level.low == level.high else f"{price}-{_price(question, level.high)}"
    if near.side == "at":
        return f"Inside {level.name} {price} ({level.of})"
    return f"Nearest {near.side}: {level.name} {level.of} {price}, {significant(near.distance_pct, 2):g} %"
