"""The part of get_order_flow about price impact and one-sidedness, held against the kept history."""

from analytics.toxicity import (
    Standing,
    Vpin,
    amihud,
    amihuds,
    earlier_windows,
    kyle_lambda,
    kyle_lambdas,
    minute_vpins,
    standing,
)
from server.tools.answers import Shape, significant_or_none
from server.tools.tape import Question
from storage.candles import MinuteCandles

HISTORY_MS = 168 * 3_600_000


class MeasureShape(Shape):
    """A measure of the window, and the share of earlier windows with a smaller one."""

    value: float | None
    percentile: float | None
    windows: int


class ToxicityShape(Shape):
    """Percentiles are among the windows of the same length within the last 168 h kept, an hour apart."""

    vpin: MeasureShape
    kyle_lambda_bps_per_million: MeasureShape
    kyle_t_stat: float | None
    amihud_bps_per_million: MeasureShape


def toxicity_of(question: Question, candles: MinuteCandles, vpin: Vpin | None) -> ToxicityShape:
    """The measures of the question's window, whose candles are given, among those of its history."""
    window = question.window.start_ms, question.window.end_ms
    history = question.view.candles(window[1] - HISTORY_MS, window[1])
    earlier = earlier_windows(history, *window)
    slope, illiquidity = kyle_lambda(candles), amihud(candles)
    by_minutes = minute_vpins(candles, [window])[0] if vpin else None
    value = None if slope is None else slope.bps_per_million
    return ToxicityShape(
        # By minutes on both sides: the exact value would stand lower among them than it is.
        vpin=_measure(
            None if vpin is None else vpin.value, standing(by_minutes, minute_vpins(history, earlier))
        ),
        kyle_lambda_bps_per_million=_measure(value, standing(value, kyle_lambdas(history, earlier))),
        kyle_t_stat=None if slope is None else significant_or_none(slope.t_stat),
        amihud_bps_per_million=_measure(illiquidity, standing(illiquidity, amihuds(history, earlier))),
    )


def _measure(value: float | None, stands: Standing) -> MeasureShape:
    return MeasureShape(
        value=significant_or_none(value),
        percentile=significant_or_none(stands.percentile),
        windows=stands.windows,
    )
