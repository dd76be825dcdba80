"""get_candles: the course of a window in bars, how much it moves, and how busy it is."""

from typing import Any

from pydantic import Field

from analytics.bars import (
    Bars,
    bars,
    bars_of_trades,
    default_width_ms,
    whole,
    width_of,
    width_words,
)
from analytics.volatility import (
    RelativeVolume,
    busy_window,
    day_before,
    realised_volatility,
    relative_volume,
)
from server.tools.answers import (
    Answer,
    Detail,
    Meta,
    Shape,
    Truncated,
    at_lot,
    at_step,
    first_caveats,
    fitting,
    head_of,
    lacking,
    opening,
    significant,
    significant_or_none,
)
from server.tools.arguments import choice_of, iso, iso_minutes
from server.tools.tape import Question
from storage.candles import MINUTE_MS, MinuteCandles

VERSION = "v1"
MOST_CANDLES = {"summary": 12, "full": 60}
# Days before the window that its volume is held against, as far as they are kept.
MOST_DAYS = 7
PAST = "What has traded; no forecast."


class WindowBar(Shape):
    """The whole window as one candle."""

    open: str
    high: str
    low: str
    close: str
    vwap: str
    volume: str
    buy_volume: str
    trades: int
    change_pct: float


class VolatilityShape(Shape):
    """Root of the sum of squared five-minute log returns, in percent of the price, not annualised."""

    sigma_15m_pct: float | None
    sigma_1h_pct: float | None
    sigma_24h_pct: float | None
    returns: int


class RelativeVolumeShape(Shape):
    """The last whole minutes, an hour at most, against the same minutes of the days before."""

    start: str
    end: str
    volume: str
    median_volume: str
    ratio: float | None
    days: int


class CandlesAnswer(Answer):
    """Candles, oldest first: prices and volumes are decimal strings in `meta.units`."""

    meta: Meta
    interval: str
    window: WindowBar
    candles: str = Field(
        description="CSV start,open,high,low,close,volume,buy,trades,vwap; the latest of the window, oldest "
        "first; an interval without a trade has no line"
    )
    last_is_unfinished: bool = Field(description="the last candle's interval ends after the window")
    truncated: Truncated
    volatility: VolatilityShape
    relative_volume: RelativeVolumeShape | None = Field(description="null where no day before is whole")
    caveats: list[str]


def candles_answer(question: Question, *, interval: Any, detail: Any) -> CandlesAnswer:
    """The answer to the question; raises `Refusal` or the analysis' own for what cannot be answered."""
    level = choice_of(detail, "detail", Detail)
    start_ms, end_ms = question.window.start_ms, question.window.end_ms
    width_ms = default_width_ms(end_ms - start_ms) if interval is None else width_of(str(interval))
    minutes = question.candles()
    listed = _latest(question, minutes, width_ms, MOST_CANDLES[level])
    one = whole(minutes)
    volatility = realised_volatility(minutes, start_ms, end_ms)
    busy = _relative_volume(question, minutes)

    def answer(shown: int) -> CandlesAnswer:
        return CandlesAnswer(
            summary=_summary(question, one, width_ms, volatility.sigma24h_pct, busy),
            meta=head_of(question, level, method=f"ohlcv/{VERSION}"),
            interval=width_words(width_ms),
            window=_window_bar(question, one),
            candles=_csv(question, listed, len(listed) - shown),
            last_is_unfinished=_end_of(listed) > end_ms,
            truncated=_truncated(question, listed, shown, width_ms),
            volatility=VolatilityShape(
                sigma_15m_pct=significant_or_none(volatility.sigma15m_pct),
                sigma_1h_pct=significant_or_none(volatility.sigma1h_pct),
                sigma_24h_pct=significant_or_none(volatility.sigma24h_pct),
                returns=volatility.returns,
            ),
            relative_volume=None if busy is None else _busy_shape(question, busy),
            caveats=first_caveats([lacking(question.coverage), PAST]),
        )

    return fitting(answer, level, len(listed))


def _latest(question: Question, minutes: MinuteCandles, width_ms: int, most: int) -> Bars:
    """The bars of the last `most` intervals of the window; those under a minute out of its trades."""
    end_ms = question.window.end_ms
    from_ms = ((end_ms - 1) // width_ms - most + 1) * width_ms
    if width_ms % MINUTE_MS:
        rows = question.view.trades(max(from_ms, question.window.start_ms), end_ms)
        return bars_of_trades(rows, width_ms)
    return bars(minutes.within(from_ms, end_ms), width_ms)


def _relative_volume(question: Question, minutes: MinuteCandles) -> RelativeVolume | None:
    window = busy_window(question.window.start_ms, question.window.end_ms)
    if window is None:
        return None
    earlier = []
    for days in range(1, MOST_DAYS + 1):
        same = day_before(window, days)
        if question.view.covers(*same):
            earlier.append(question.view.candles(*same))
    return relative_volume(window, minutes.within(*window), earlier)


def _window_bar(question: Question, one: Bars) -> WindowBar:
    tick, lot = question.instrument.tick, question.instrument.lot
    return WindowBar(
        open=at_step(one.price(int(one.open[0])), tick),
        high=at_step(one.price(int(one.high[0])), tick),
        low=at_step(one.price(int(one.low[0])), tick),
        close=at_step(one.price(int(one.close[0])), tick),
        vwap=f"{one.vwap(0, question.decimals):f}",
        volume=at_lot(one.quantity(int(one.volume[0])), lot),
        buy_volume=at_lot(one.quantity(int(one.buy[0])), lot),
        trades=int(one.trades[0]),
        change_pct=significant(_change_pct(one)),
    )


def _change_pct(one: Bars) -> float:
    return 100 * (int(one.close[0]) - int(one.open[0])) / int(one.open[0])


def _csv(question: Question, listed: Bars, skipped: int) -> str:
    lines = [
        ",".join(
            [
                _time(int(listed.start_ms[i]), listed.width_ms),
                *(
                    at_step(listed.price(int(column[i])), question.instrument.tick)
                    for column in _prices(listed)
                ),
                at_lot(listed.quantity(int(listed.volume[i])), question.instrument.lot),
                at_lot(listed.quantity(int(listed.buy[i])), question.instrument.lot),
                str(listed.trades[i]),
                f"{listed.vwap(i, question.decimals):f}",
            ]
        )
        for i in range(skipped, len(listed))
    ]
    return "\n".join(["start,open,high,low,close,volume,buy,trades,vwap", *lines])


def _prices(listed: Bars) -> tuple[Any, ...]:
    return listed.open, listed.high, listed.low, listed.close


def _time(time_ms: int, width_ms: int) -> str:
    """To the minute where bars begin on minutes."""
    return iso_minutes(time_ms) if width_ms % MINUTE_MS == 0 else iso(time_ms)[:19] + "Z"


def _end_of(listed: Bars) -> int:
    return int(listed.start_ms[-1]) + listed.width_ms if len(listed) else 0


def _truncated(question: Question, listed: Bars, shown: int, width_ms: int) -> Truncated:
    """Counted in intervals that touch the window, whether they were traded or not."""
    start_ms, end_ms = question.window.start_ms, question.window.end_ms
    total = (end_ms - 1) // width_ms - start_ms // width_ms + 1
    if shown == 0 or shown >= total:
        return Truncated(shown=shown, total=total, more=None if shown else "ask for a longer interval")
    first_ms = int(listed.start_ms[len(listed) - shown])
    if first_ms <= start_ms:
        return Truncated(shown=shown, total=total, more=None)
    return Truncated(
        shown=shown, total=total, more=f"end_time={_time(first_ms, width_ms)} gives those before"
    )


def _busy_shape(question: Question, busy: RelativeVolume) -> RelativeVolumeShape:
    return RelativeVolumeShape(
        start=iso_minutes(busy.start_ms),
        end=iso_minutes(busy.end_ms),
        volume=at_lot(busy.volume, question.instrument.lot),
        median_volume=at_lot(busy.median, question.instrument.lot),
        ratio=significant_or_none(busy.ratio),
        days=busy.days,
    )


def _summary(
    question: Question, one: Bars, width_ms: int, sigma24h_pct: float | None, busy: RelativeVolume | None
) -> str:
    start = opening(question.instrument, question.market, question.window, question.coverage)
    bar = _window_bar(question, one)
    parts = [
        f"{start}: open {bar.open}, high {bar.high}, low {bar.low}, close {bar.close} "
        f"({bar.change_pct:+g} %), VWAP {bar.vwap}, volume {bar.volume} {question.instrument.base}; "
        f"{width_words(width_ms)} candles.",
        None if sigma24h_pct is None else f"Volatility of 24 h {significant(sigma24h_pct):g} %.",
        None if busy is None or busy.ratio is None else _busy_words(busy, busy.ratio),
        lacking(question.coverage),
    ]
    return " ".join(part for part in parts if part)


def _busy_words(busy: RelativeVolume, ratio: float) -> str:
    minutes = (busy.end_ms - busy.start_ms) // MINUTE_MS
    return f"Volume of the last {minutes} min {significant(ratio, 3):g} x that of other days at this time."
