"""The shape of every answer: the head that all share, and how numbers are written in it.

Invariant: a price or a quantity is a decimal string at tick or lot precision, another statistic a number of
4 significant digits with its unit in the name, a time ISO with Z, the unknown null.
"""

import json
import math
import re
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal, Protocol, TypeVar

from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, ConfigDict

from analytics.rows import Rows
from server.tools.arguments import Window, iso
from storage.trades import Coverage, Gap, Instrument, decimals_of

MOST_GAPS = {"summary": 2, "full": 5}
MOST_CAVEATS = 3
# Tokens that an answer's text may take, with some room under the 1,000 and 4,000 that are promised.
MOST_TOKENS = {"summary": 970, "full": 3_880}

Detail = Literal["summary", "full"]
AnswerT = TypeVar("AnswerT", bound="Answer")


class Shape(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="forbid")


class Answer(Shape):
    """A whole answer; it begins with what a person would quote of it."""

    summary: str


class WindowShape(Shape):
    start: str
    end: str


class GapShape(Shape):
    first_id: int
    last_id: int
    missing: int
    after: str
    before: str
    state: Literal["open", "certified"]


class CoverageShape(Shape):
    complete: bool
    trades: int
    missing: int
    certified: int
    gaps: list[GapShape]
    first: str | None
    last: str | None
    first_id: int | None
    last_id: int | None
    covered_pct: float


class Units(Shape):
    price: str
    volume: str


class Meta(Shape):
    """What the answer is made of."""

    symbol: str
    market: str
    window: WindowShape
    as_of: str
    staleness_s: float
    coverage: CoverageShape
    units: Units
    tick: str
    row_size: str | None
    method: str


class Truncated(Shape):
    shown: int
    total: int
    more: str | None


class Asked(Protocol):
    """What the head of an answer needs of its question."""

    @property
    def instrument(self) -> Instrument: ...
    @property
    def market(self) -> str: ...
    @property
    def window(self) -> Window: ...
    @property
    def coverage(self) -> Coverage: ...


def head_of(question: Asked, level: Detail, *, method: str, rows: Rows | None = None) -> Meta:
    """The head of the answer to a question, which has a trade; of one without rows, with today's tick."""
    instrument, window, coverage = question.instrument, question.window, question.coverage
    tick = instrument.tick if rows is None else rows.tick
    assert coverage.last_ms is not None
    return Meta(
        symbol=instrument.symbol,
        market=question.market,
        window=WindowShape(start=iso(window.start_ms), end=iso(window.end_ms)),
        as_of=iso(coverage.last_ms),
        staleness_s=significant((window.end_ms - coverage.last_ms) / 1000),
        coverage=coverage_shape(coverage, MOST_GAPS[level]),
        units=Units(price=instrument.quote, volume=instrument.base),
        tick=plain(tick),
        row_size=None if rows is None else at_step(rows.row_size, tick),
        method=method,
    )


def coverage_shape(coverage: Coverage, most_gaps: int) -> CoverageShape:
    """Coverage as answered: of many gaps the largest, in id order."""
    largest = sorted(coverage.gaps, key=lambda gap: -gap.missing)[:most_gaps]
    return CoverageShape(
        complete=coverage.complete,
        trades=coverage.trades,
        missing=coverage.missing,
        certified=coverage.certified,
        gaps=[_gap_shape(gap) for gap in sorted(largest, key=lambda gap: gap.first_id)],
        first=_iso_or_none(coverage.first_ms),
        last=_iso_or_none(coverage.last_ms),
        first_id=coverage.first_id,
        last_id=coverage.last_id,
        covered_pct=coverage.covered_pct,
    )


def _gap_shape(gap: Gap) -> GapShape:
    return GapShape(
        first_id=gap.first_id,
        last_id=gap.last_id,
        missing=gap.missing,
        after=iso(gap.after_ms),
        before=iso(gap.before_ms),
        state=gap.state,
    )


def _iso_or_none(time_ms: int | None) -> str | None:
    return None if time_ms is None else iso(time_ms)


def window_words(window: Window) -> str:
    """The window as a sentence names it."""
    if window.hours == window.hours.to_integral_value():
        return f"{window.hours.to_integral_value():f} h to {iso_seconds(window.end_ms)}"
    if window.hours < 1:
        return f"{significant(float(window.hours * 60)):g} min to {iso_seconds(window.end_ms)}"
    return f"{significant(float(window.hours)):g} h to {iso_seconds(window.end_ms)}"


def iso_seconds(time_ms: int) -> str:
    """ISO-8601 to the second, for sentences."""
    return iso(time_ms)[:19] + "Z"


def opening(instrument: Instrument, market: str, window: Window, coverage: Coverage) -> str:
    """How every summary begins: PARTIAL where something is missing, then symbol, market and window."""
    kind = market.rsplit(" ", 1)[-1]
    start = f"{instrument.symbol} {kind}, {window_words(window)}"
    return start if coverage.complete else f"PARTIAL: {start}"


def lacking(coverage: Coverage) -> str | None:
    """What is missing from the window, in a sentence; None when nothing is."""
    if coverage.complete:
        return None
    missing = f" and {coverage.missing} trades inside it are missing" if coverage.missing else ""
    return f"Only {coverage.covered_pct:.2f} % of the window is covered{missing}: levels may change."


def at_step(value: Decimal, step: Decimal) -> str:
    """A decimal at the precision of a tick or lot, half-even where it is rounded."""
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return f"{value.quantize(Decimal(1).scaleb(min(exponent, 0)), rounding=ROUND_HALF_EVEN):f}"


def at_lot(quantity: Decimal, lot: Decimal) -> str:
    """A quantity at the precision of a lot, or at more where older trades need more."""
    return f"{quantity.quantize(Decimal(1).scaleb(-max(decimals_of(lot), decimals_of(quantity)))):f}"


def csv_or_none(header: str, lines: Sequence[Sequence[object]]) -> str | None:
    """A table as text; None where it has no line."""
    return "\n".join([header, *(",".join(map(str, line)) for line in lines)]) if lines else None


def plain(step: Decimal) -> str:
    """A tick, lot or row size without exponent or trailing zeros."""
    return f"{step.normalize():f}"


def significant(value: float, digits: int = 4) -> float:
    """A statistic at 4 significant digits."""
    return float(f"{value:.{digits}g}")


def significant_or_none(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else significant(value)


def result_of(answer: Answer) -> CallToolResult:
    """The answer as structure, and the same as text behind its summary."""
    structured = answer.model_dump(mode="json")
    text = TextContent(type="text", text=_text(answer.summary, structured))
    return CallToolResult(content=[text], structured_content=structured)


def fitting(make: Callable[[int], AnswerT], level: Detail, most: int) -> AnswerT:
    """The answer with the longest lists, of at most `most` entries each, that a model may be given whole."""
    shown = most
    while shown > 0 and not fits(answer := make(shown), level):
        shown -= max(shown // 8, 1)
    return answer if shown > 0 else make(0)


def fits(answer: Answer, level: Detail) -> bool:
    """Whether a model may be given the whole of it, as text with its summary in front."""
    return tokens_of(_text(answer.summary, answer.model_dump(mode="json"))) <= MOST_TOKENS[level]


def tokens_of(text: str) -> int:
    """About as many tokens as models count: three digits, eight letters or three other signs make one.

    Within 3 % of o200k on the answers of these tools.
    """
    words = re.findall(r"\d{1,3}|[A-Za-z]+|[^\sA-Za-z\d]{1,3}", text)
    return sum(-(-len(word) // 8) if word.isalpha() else 1 for word in words)


def _text(summary: str, structured: object) -> str:
    return f"{summary}\n{json.dumps(structured, separators=(',', ':'), ensure_ascii=False)}"


def first_caveats(caveats: Sequence[str | None]) -> list[str]:
    """The first few that apply."""
    return [caveat for caveat in caveats if caveat][:MOST_CAVEATS]
