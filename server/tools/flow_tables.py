"""The tables and counts of get_order_flow: strokes, imbalances, absorption, sizes."""

from collections.abc import Iterable
from decimal import Decimal

from pydantic import Field

from analytics.imbalances import Absorption, Stack
from analytics.sweeps import SizeBucket, Stroke, Strokes, TapeStrokes
from server.tools.answers import Shape, at_lot, at_step, csv_or_none, significant
from server.tools.arguments import iso, iso_minutes
from server.tools.marked import MarkedFootprint
from server.tools.tape import Question


class LargePrintsShape(Shape):
    """Prints of one millisecond and side taken together; notional in the quote asset."""

    min_quote: float = Field(description="notional from which a print is large")
    buys: int
    sells: int
    net_quote: float
    largest: str | None = Field(description="CSV time,side,from,to,prices,quote")


class SweepsShape(Shape):
    """Three and more prices taken in one millisecond; notional in the quote asset."""

    buys: int
    sells: int
    net_quote: float
    share_pct: float = Field(description="of all notional")
    largest: str | None = Field(description="CSV time,side,from,to,prices,quote; with detail=full")


class ImbalancesShape(Shape):
    """Cells of the footprint that outweighed the one diagonal to them."""

    min_volume: str
    buy: int
    sell: int
    vs_zero: int
    stacks: int = Field(description="three and more adjacent ones of a side in one bar")
    stacks_came_back: int
    nearest_stacks: str | None = Field(
        description="CSV bar,side,low,high,volume,returned; by distance from the last price"
    )


class AbsorptionShape(Shape):
    """Heavy cells beyond which neither their bar nor the next closed by more than a row."""

    min_volume: str
    heavy: int = Field(description="cells with the 95th percentile of aggression whose next bar has ended")
    absorbed: int
    largest: str | None = Field(description="CSV bar,side,low,high,volume,delta,next_close")


def large_prints_shape(question: Question, strokes: TapeStrokes, shown: int) -> LargePrintsShape:
    return LargePrintsShape(
        min_quote=significant(float(strokes.threshold)),
        buys=strokes.large.buys,
        sells=strokes.large.sells,
        net_quote=significant(float(strokes.large.net_notional)),
        largest=_largest(question, strokes.large, shown),
    )


def sweeps_shape(question: Question, strokes: TapeStrokes, shown: int) -> SweepsShape:
    return SweepsShape(
        buys=strokes.sweeps.buys,
        sells=strokes.sweeps.sells,
        net_quote=significant(float(strokes.sweeps.net_notional)),
        share_pct=significant(strokes.sweep_share_pct),
        largest=_largest(question, strokes.sweeps, shown),
    )


def _largest(question: Question, strokes: Strokes, shown: int) -> str | None:
    lines = [_stroke(question, stroke) for stroke in strokes.largest[:shown]]
    return csv_or_none("time,side,from,to,prices,quote", lines)


def _stroke(question: Question, stroke: Stroke) -> tuple[object, ...]:
    return (
        iso(stroke.time_ms),
        stroke.side,
        price_of(question, stroke.first_price),
        price_of(question, stroke.last_price),
        stroke.prices,
        f"{significant(float(stroke.notional)):.0f}",
    )


def imbalances_shape(question: Question, marked: MarkedFootprint, shown: int) -> ImbalancesShape:
    found = marked.imbalances
    listed = [_stack(question, one) for one in nearest(marked.stacks, question.last)[:shown]]
    return ImbalancesShape(
        min_volume=f"{marked.least:f}",
        buy=int(found.buy.sum()),
        sell=int(found.sell.sum()),
        vs_zero=int(found.vs_zero.sum()),
        stacks=len(marked.stacks),
        stacks_came_back=came_back(marked),
        nearest_stacks=csv_or_none("bar,side,low,high,volume,returned", listed),
    )


def came_back(marked: MarkedFootprint) -> int:
    return sum(stack.returned == "came_back" for stack in marked.stacks)


def nearest(stacks: Iterable[Stack], last: Decimal) -> list[Stack]:
    """By distance from the last price, of equals the newer first."""

    def distance(stack: Stack) -> tuple[Decimal, int]:
        return max(stack.low - last, last - stack.high, Decimal(0)), -stack.bar_ms

    return sorted(stacks, key=distance)


def _stack(question: Question, stack: Stack) -> tuple[object, ...]:
    back = "" if stack.returned_ms is None else f" {iso_minutes(stack.returned_ms)}"
    return (
        iso_minutes(stack.bar_ms),
        stack.side,
        f"{stack.low:f}",
        f"{stack.high:f}",
        lots(question, stack.volume),
        f"{stack.returned}{back}",
    )


def absorption_shape(question: Question, marked: MarkedFootprint, shown: int) -> AbsorptionShape:
    found = marked.absorptions
    lines = [_absorbed(question, one) for one in found.absorbed[:shown]]
    return AbsorptionShape(
        min_volume=lots(question, found.limit),
        heavy=found.heavy,
        absorbed=len(found.absorbed),
        largest=csv_or_none("bar,side,low,high,volume,delta,next_close", lines),
    )


def _absorbed(question: Question, one: Absorption) -> tuple[object, ...]:
    return (
        iso_minutes(one.bar_ms),
        one.side,
        f"{one.low:f}",
        f"{one.high:f}",
        lots(question, one.volume),
        lots(question, one.delta),
        f"{one.close:f}",
    )


def sizes_csv(sizes: Iterable[SizeBucket]) -> str | None:
    lines = [
        (
            f"{bucket.at_least:f}",
            f"{bucket.below:f}",
            bucket.buys,
            bucket.sells,
            f"{significant(float(bucket.buy_notional)):.0f}",
            f"{significant(float(bucket.sell_notional)):.0f}",
        )
        for bucket in sizes
    ]
    return csv_or_none("quote_from,quote_below,buys,sells,buy_quote,sell_quote", lines)


def lots(question: Question, quantity: Decimal) -> str:
    return at_lot(quantity, question.instrument.lot)


def price_of(question: Question, price: Decimal) -> str:
    return at_step(price, question.instrument.tick)
