"""get_order_flow: who was aggressive, how that went beside the price, and what stood out on the tape."""

from decimal import Decimal
from typing import Any

from pydantic import Field

from analytics.bars import bars
from analytics.errors import OptionInvalid
from analytics.flow import Agreement, Divergence, OrderFlow, Pace, order_flow
from analytics.sweeps import StrokePass, TapeStrokes
from analytics.toxicity import VpinPass
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
from server.tools.arguments import choice_of, iso_minutes, number_of
from server.tools.flow_tables import (
    AbsorptionShape,
    ImbalancesShape,
    LargePrintsShape,
    SweepsShape,
    absorption_shape,
    came_back,
    imbalances_shape,
    large_prints_shape,
    lots,
    price_of,
    sizes_csv,
    sweeps_shape,
)
from server.tools.marked import MarkedFootprint, marked_footprint, options_of
from server.tools.pictures import flow_picture, wants_chart
from server.tools.tape import Question
from server.tools.toxicity import ToxicityShape, toxicity_of
from storage.candles import MinuteCandles

MOST_LISTED = {"summary": 3, "full": 10}
FEW_TRADES = 1_000
NOT_SIGNALS = (
    "Describes trading; random walks show divergence, imbalances and absorption too. No signal, no forecast."
)
DIVERGENCE_WORDS: dict[Divergence, str] = {
    "higher_high_lower_cvd": "price went above its earlier high, CVD stayed under its own",
    "lower_low_higher_cvd": "price went below its earlier low, CVD stayed over its own",
}
AGREEMENT_WORDS: dict[Agreement, str] = {
    "same": "the same way as",
    "opposite": "the other way than",
    "flat": "beside",
}


class CvdShape(Shape):
    """The running sum of delta from 0 at the window's start, at the ends of minutes; it ends at `delta`."""

    high: str
    high_at: str
    low: str
    low_at: str
    path: str | None = Field(description="CSV bar,delta,cvd,close by bar of meta.method; with detail=full")


class PaceShape(Shape):
    """Base asset, and trades, a second."""

    buy_per_s: float
    sell_per_s: float
    trades_per_s: float


class FlowAnswer(Answer):
    """Aggression in a window: prices and volumes are decimal strings in `meta.units`."""

    meta: Meta
    bar: str
    last: str
    buy_volume: str
    sell_volume: str
    delta: str
    delta_pct: float
    price_change_pct: float
    agreement: Agreement = Field(description="whether price and delta went the same way")
    cvd: CvdShape
    divergences: list[Divergence] = Field(description="last quarter of the window against what came before")
    pace: PaceShape
    pace_15m: PaceShape = Field(description="last 15 minutes")
    large_prints: LargePrintsShape
    sweeps: SweepsShape
    imbalances: ImbalancesShape
    absorption: AbsorptionShape
    sizes: str | None = Field(
        description="CSV quote_from,quote_below,buys,sells,buy_quote,sell_quote; with detail=full"
    )
    toxicity: ToxicityShape | None = Field(description="with detail=full")
    truncated: Truncated
    caveats: list[str]


def flow_answer(
    question: Question,
    *,
    row_size: Any,
    bar: Any,
    imbalance_ratio: Any,
    min_notional: Any,
    detail: Any,
    include_chart: Any = False,
) -> FlowAnswer:
    """The answer to the question; raises `Refusal` or the analysis' own for what cannot be answered."""
    level = choice_of(detail, "detail", Detail)
    full, charted = level == "full", wants_chart(include_chart)
    options = options_of(row_size=row_size, bar=bar, imbalance_ratio=imbalance_ratio)
    window, candles = question.window, question.candles()
    tape = StrokePass(candles, min_notional=_notional(min_notional))
    buckets = VpinPass(candles, start_ms=window.start_ms, end_ms=window.end_ms)
    marked = marked_footprint(question, candles, options, [tape, buckets] if full else [tape])
    flow = order_flow(candles, start_ms=window.start_ms, end_ms=window.end_ms, covered_ms=question.covered_ms)
    strokes = tape.result()
    toxicity = toxicity_of(question, candles, buckets.result()) if full else None

    def answer(shown: int) -> FlowAnswer:
        return FlowAnswer(
            summary=_summary(question, flow, strokes, marked),
            meta=head_of(question, level, method=marked.method, rows=marked.footprint.rows),
            bar=marked.bar,
            last=at_step(question.last, question.instrument.tick),
            buy_volume=lots(question, flow.buy),
            sell_volume=lots(question, flow.sell),
            delta=lots(question, flow.delta),
            delta_pct=significant(flow.delta_pct),
            price_change_pct=significant(flow.price_change_pct),
            agreement=flow.agreement,
            cvd=_cvd(question, flow, _path(question, candles, marked) if full else None),
            divergences=list(flow.divergences),
            pace=_pace(flow.window),
            pace_15m=_pace(flow.recent),
            large_prints=large_prints_shape(question, strokes, shown),
            sweeps=sweeps_shape(question, strokes, shown if full else 0),
            imbalances=imbalances_shape(question, marked, shown),
            absorption=absorption_shape(question, marked, shown),
            sizes=sizes_csv(strokes.sizes) if full else None,
            toxicity=toxicity,
            truncated=_truncated(strokes, marked, shown, full=full),
            caveats=first_caveats([lacking(question.coverage), _few(question), NOT_SIGNALS]),
        )

    made = fitting(answer, level, MOST_LISTED[level])
    if not charted:
        return made
    rows, few = marked.footprint.rows, _few(question) is not None
    return made.pictured(flow_picture(question, rows, strokes.large.largest, f"{flow.delta:+f}", few=few))


def _notional(written: Any) -> Decimal | None:
    if written is None:
        return None
    notional = number_of(written, "min_notional")
    if notional <= 0:
        raise OptionInvalid("min_notional", written, valid="above 0, in the quote asset", default=100_000)
    return notional


def _cvd(question: Question, flow: OrderFlow, path: str | None) -> CvdShape:
    return CvdShape(
        high=lots(question, flow.cvd_high.value),
        high_at=iso_minutes(flow.cvd_high.at_ms),
        low=lots(question, flow.cvd_low.value),
        low_at=iso_minutes(flow.cvd_low.at_ms),
        path=path,
    )


def _path(question: Question, candles: MinuteCandles, marked: MarkedFootprint) -> str | None:
    """Delta, running sum and close of each bar."""
    found = bars(candles, marked.footprint.width_ms)
    cvd = found.delta.cumsum()
    lines = [
        (
            iso_minutes(int(found.start_ms[i])),
            lots(question, found.quantity(int(found.delta[i]))),
            lots(question, found.quantity(int(cvd[i]))),
            price_of(question, found.price(int(found.close[i]))),
        )
        for i in range(len(found))
    ]
    return csv_or_none("bar,delta,cvd,close", lines)


def _pace(pace: Pace) -> PaceShape:
    return PaceShape(
        buy_per_s=significant(pace.buy_per_s),
        sell_per_s=significant(pace.sell_per_s),
        trades_per_s=significant(pace.trades_per_s),
    )


def _truncated(strokes: TapeStrokes, marked: MarkedFootprint, shown: int, *, full: bool) -> Truncated:
    """Of the longest of the lists; the counts beside them are of all."""
    total = max(
        strokes.large.count, strokes.sweeps.count, len(marked.stacks), len(marked.absorptions.absorbed)
    )
    more = "ask for a shorter window" if full else "detail=full lists up to 10"
    return Truncated(shown=min(shown, total), total=total, more=more if total > shown else None)


def _few(question: Question) -> str | None:
    trades = question.coverage.trades
    return f"Only {trades} trades: a few of them decide the figures." if trades < FEW_TRADES else None


def _summary(question: Question, flow: OrderFlow, strokes: TapeStrokes, marked: MarkedFootprint) -> str:
    base, quote = question.instrument.base, question.instrument.quote
    start = opening(question.instrument, question.market, question.window, question.coverage)
    parts = [
        f"{start}: takers bought {lots(question, flow.buy)} and sold {lots(question, flow.sell)} {base}, "
        f"delta {flow.delta:+f} ({significant(flow.delta_pct, 3):+g} %), "
        f"{AGREEMENT_WORDS[flow.agreement]} price ({significant(flow.price_change_pct, 3):+g} %).",
        *(f"In the last quarter {DIVERGENCE_WORDS[kind]}." for kind in flow.divergences),
        f"{strokes.large.count} large prints from {significant(float(strokes.threshold), 3):g} {quote}, "
        f"{strokes.sweeps.count} sweeps, {len(marked.stacks)} stacked imbalances "
        f"({came_back(marked)} revisited).",
        lacking(question.coverage),
    ]
    return " ".join(part for part in parts if part)
