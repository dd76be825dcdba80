"""get_liquidity_vacuums: where little was traded, and how sure that is."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from analytics.impact import STABLE
from analytics.placed import StopHint
from analytics.thin import Rule
from analytics.vacuums import EdgeTail, LiquidityVacuums, Vacuum, liquidity_vacuums
from server.tools.answers import (
    Answer,
    Detail,
    Meta,
    Shape,
    Truncated,
    at_step,
    first_caveats,
    fits,
    head_of,
    lacking,
    opening,
    plain,
    significant,
    significant_or_none,
)
from server.tools.arguments import choice_of, iso, number_of
from server.tools.profile import NO_CHART
from server.tools.tape import Question

VERSION = "v1"
SHOWN = {"summary": 3, "full": 10}
MOST_TAILS = 4
THIN_NOT_FAST = "Thin, with no proven effect: little was traded there; not the order book, not a forecast."

StopSide = Literal["none", "long", "short", "both"]


class VacuumShape(Shape):
    id: str
    low: str
    high: str
    kind: str
    flags: list[str] = Field(description="gap, jump, single_print")
    side: Literal["above", "below", "inside"]
    distance_pct: float
    width: str
    width_pct: float
    width_sigma15m: float | None
    volume_deficit_pct: float
    volume: str
    delta: str
    impact: Literal["Low", "Medium", "High", "Critical"]
    visits: int = Field(description="of which through and rejected; those that the window cuts are neither")
    through: int
    rejected: int
    median_cross_s: float | None
    speed_ratio: float | None = Field(
        description="median crossing time over a random walk's; 1 is a walk, small is fast"
    )
    jumps: int
    last_traded: str | None
    age_h: float | None
    stability: float | None = Field(
        description="share of 200 resamples of the window in which it stays thin; under 0.9 may be chance"
    )
    grid_check: str = Field(description="k/n: found on k of n other row grids")


class EdgeTailShape(Shape):
    low: str
    high: str


class StopHintShape(Shape):
    price: str
    distance_pct: float
    vacuum_id: str


class StopHints(Shape):
    """Where a stop would not sit inside a vacuum."""

    long: StopHintShape | None
    short: StopHintShape | None


class VacuumsAnswer(Answer):
    """Thin price ranges, nearest first: prices and volumes are decimal strings in `meta.units`."""

    meta: Meta
    rule: Rule
    baseline_row_volume: str
    threshold_pct: float
    last: str
    vacuums: list[VacuumShape]
    edge_tails: list[EdgeTailShape] = Field(
        description="thin ends of the range, the outermost: bounds only, never ranked"
    )
    edge_tails_total: int
    stop_hint: StopHints | None
    truncated: Truncated
    low_sample: bool
    caveats: list[str]
    no_other_levels: bool


def vacuums_answer(
    question: Question,
    *,
    rule: Any,
    threshold_pct: Any,
    row_size: Any,
    stop_hint: Any,
    detail: Any,
    include_chart: Any,
) -> VacuumsAnswer:
    """The answer to the question; raises `Refusal` or the analysis' own for what cannot be answered."""
    level = choice_of(detail, "detail", Detail)
    sides = choice_of(stop_hint, "stop_hint", StopSide)
    analyse = partial(
        liquidity_vacuums,
        symbol=question.instrument.symbol,
        tick=question.instrument.tick,
        lot=question.instrument.lot,
        last=question.last,
        start_ms=question.window.start_ms,
        end_ms=question.window.end_ms,
        rule=choice_of(rule, "rule", Rule),
        threshold_pct=None if threshold_pct is None else number_of(threshold_pct, "threshold_pct"),
        row_size=None if row_size is None else number_of(row_size, "row_size", "ROW_SIZE_INVALID"),
    )
    found = question.over_prices(lambda histogram: analyse(histogram, question.trades()))
    answer = partial(_presented, question, found, level, sides, include_chart=bool(include_chart))
    answers = (answer(shown) for shown in range(SHOWN[level], 0, -1))
    return next((made for made in answers if fits(made, level)), answer(0))


def _presented(
    question: Question,
    found: LiquidityVacuums,
    level: Detail,
    sides: StopSide,
    shown: int,
    *,
    include_chart: bool,
) -> VacuumsAnswer:
    tick = found.rows.tick
    return VacuumsAnswer(
        summary=_summary(question, found),
        meta=head_of(
            question,
            level,
            method=f"{found.rule}/{plain(found.threshold_pct)}/{VERSION}",
            rows=found.rows,
        ),
        rule=found.rule,
        baseline_row_volume=f"{found.baseline_row_volume:.{found.rows.quantity_exp}f}",
        threshold_pct=float(found.threshold_pct),
        last=at_step(found.last, tick),
        vacuums=[_shape(vacuum) for vacuum in found.vacuums[:shown]],
        edge_tails=[
            EdgeTailShape(low=f"{tail.low:f}", high=f"{tail.high:f}") for tail in _outermost(found.edge_tails)
        ],
        edge_tails_total=len(found.edge_tails),
        stop_hint=_stop_hints(found, sides),
        truncated=_truncated(found, shown),
        low_sample=found.low_sample,
        caveats=first_caveats(
            [
                lacking(question.coverage),
                "Few trades a row: thin rows may be chance." if found.low_sample else None,
                THIN_NOT_FAST,
                NO_CHART if include_chart else None,
            ]
        ),
        no_other_levels=True,
    )


def _shape(vacuum: Vacuum) -> VacuumShape:
    flags = {"gap": vacuum.gap, "jump": vacuum.jump, "single_print": vacuum.single_print}
    return VacuumShape(
        id=vacuum.id,
        low=f"{vacuum.low:f}",
        high=f"{vacuum.high:f}",
        kind=vacuum.kind,
        flags=[name for name, holds in flags.items() if holds],
        side=vacuum.side,
        distance_pct=significant(vacuum.distance_pct),
        width=f"{vacuum.width:f}",
        width_pct=significant(vacuum.width_pct),
        width_sigma15m=significant_or_none(vacuum.width_sigma15m),
        volume_deficit_pct=significant(vacuum.volume_deficit_pct),
        volume=f"{vacuum.volume:f}",
        delta=f"{vacuum.delta:f}",
        impact=vacuum.impact,
        visits=vacuum.visits,
        through=vacuum.through,
        rejected=vacuum.rejected,
        median_cross_s=significant_or_none(vacuum.median_cross_s),
        speed_ratio=significant_or_none(vacuum.speed_ratio),
        jumps=vacuum.jumps,
        last_traded=None if vacuum.last_traded_ms is None else iso(vacuum.last_traded_ms),
        age_h=significant_or_none(vacuum.age_h),
        stability=significant_or_none(vacuum.stability),
        grid_check=str(vacuum.grid_check),
    )


def _outermost(tails: Sequence[EdgeTail]) -> Sequence[EdgeTail]:
    """The tails at the two ends, where there are more than an answer needs."""
    return tails if len(tails) <= MOST_TAILS else [*tails[: MOST_TAILS // 2], *tails[-(MOST_TAILS // 2) :]]


def _truncated(found: LiquidityVacuums, shown: int) -> Truncated:
    count = min(shown, len(found.vacuums))
    more = None
    if found.total > count:
        more = "detail=full lists up to 10" if shown <= SHOWN["summary"] else "ask for a shorter window"
    return Truncated(shown=count, total=found.total, more=more)


def _stop_hints(found: LiquidityVacuums, sides: StopSide) -> StopHints | None:
    if sides == "none":
        return None
    return StopHints(
        long=_stop_hint(found.stop_long) if sides in ("long", "both") else None,
        short=_stop_hint(found.stop_short) if sides in ("short", "both") else None,
    )


def _stop_hint(hint: StopHint | None) -> StopHintShape | None:
    if hint is None:
        return None
    return StopHintShape(
        price=f"{hint.price:f}", distance_pct=significant(hint.distance_pct), vacuum_id=hint.vacuum_id
    )


def _summary(question: Question, found: LiquidityVacuums) -> str:
    start = opening(question.instrument, question.market, question.window, question.coverage)
    last = at_step(found.last, found.rows.tick)
    count = f"{found.total} liquidity vacuum{'' if found.total == 1 else 's'}"
    parts = [f"{start}: {count} (rule {found.rule}), last {last}."]
    if found.vacuums:
        nearest = found.vacuums[0]
        where = (
            "around the price" if nearest.side == "inside" else f"{nearest.distance_pct:.2g} % {nearest.side}"
        )
        parts.append(
            f"Nearest {nearest.low:f}-{nearest.high:f}, {where}, "
            f"{nearest.volume_deficit_pct:.1f} % below the usual volume of a row, impact {nearest.impact}"
            f"{_how_sure(nearest)}."
        )
    if missing := lacking(question.coverage):
        parts.append(missing)
    return " ".join(parts)


def _how_sure(vacuum: Vacuum) -> str:
    """What the summary says of a zone's stability."""
    if vacuum.stability is None:
        return ", stability unknown"
    stable = vacuum.stability >= STABLE
    return f", stability {vacuum.stability:.2f}" + ("" if stable else ": may be chance")
