"""get_volume_profile: where value is, by the exact trades of the window."""

from decimal import ROUND_CEILING, Decimal
from functools import partial
from typing import Any

from pydantic import Field

from analytics.nodes import Node
from analytics.profile import ValueAreaMethod, VolumeProfile, volume_profile
from server.tools.answers import (
    Answer,
    Detail,
    Meta,
    Shape,
    Truncated,
    at_step,
    first_caveats,
    head_of,
    lacking,
    opening,
    plain,
    significant,
)
from server.tools.arguments import choice_of, iso, number_of
from server.tools.profile_tables import DevelopingShape, developing_shape, row_table
from server.tools.tape import Question

VERSION = "v1"
MOST_NODES = {"summary": 2, "full": 5}
NOT_ORDERS = "Traded volume, not resting orders; descriptive, not a forecast."
NO_CHART = "No chart: this version draws none."


class Poc(Shape):
    low: str
    high: str
    tick: str | None = Field(description="heaviest exact tick inside the row; with detail=full")
    volume: str
    share_pct: float
    contested: str | None = Field(
        description="low price of a rival row that holds >= 90 % of the POC's volume"
    )


class Levels(Shape):
    poc: Poc
    vah: str
    val: str
    value_area_pct_actual: float
    vwap: str
    vwap_sigma: str
    last: str
    high: str
    low: str


class NodeShape(Shape):
    price: str = Field(description="lowest price of the row")
    volume: str
    prominence_ratio: float


class NodesShape(Shape):
    """Rows that stand out, the most prominent first."""

    high_volume: list[NodeShape]
    low_volume: list[NodeShape]
    truncated: Truncated | None


class Sample(Shape):
    trades: int
    min_trades: int
    reliable: bool
    rate_per_s: float
    ready_at: str | None = Field(description="when min_trades will be reached at this rate")


class ProfileAnswer(Answer):
    """A volume profile: prices and volumes are decimal strings in `meta.units`."""

    meta: Meta
    total_volume: str
    buy_volume: str
    sell_volume: str
    delta: str
    levels: Levels
    nodes: NodesShape
    developing: DevelopingShape | None = Field(description="with detail=full")
    rows: str | None = Field(
        description="CSV price_low,volume,buy,sell,trades; highest price first; with detail=full"
    )
    rows_row_size: str | None = Field(description="price step of the lines in rows")
    low_sample: bool
    sample: Sample
    caveats: list[str]
    no_other_levels: bool


def profile_answer(
    question: Question,
    *,
    row_size: Any,
    value_area_pct: Any,
    value_area_method: Any,
    min_trades: Any,
    detail: Any,
    include_chart: Any,
) -> ProfileAnswer:
    """The answer to the question; raises `Refusal` or the analysis' own for what cannot be answered."""
    level = choice_of(detail, "detail", Detail)
    full = level == "full"
    analyse = partial(
        volume_profile,
        tick=question.instrument.tick,
        lot=question.instrument.lot,
        row_size=None if row_size is None else number_of(row_size, "row_size", "ROW_SIZE_INVALID"),
        value_area_pct=number_of(value_area_pct, "value_area_pct"),
        method=choice_of(value_area_method, "value_area_method", ValueAreaMethod),
        last=question.last,
    )
    profile = question.over_prices(analyse, exact=full)
    sample = _sample(question, int(number_of(min_trades, "min_trades")))
    rows, table = row_table(question, profile) if full else (None, None)
    return ProfileAnswer(
        summary=_summary(question, profile, sample),
        meta=head_of(
            question,
            level,
            method=f"{profile.method}/{plain(profile.value_area_pct)}/{VERSION}",
            rows=profile.rows,
        ),
        total_volume=f"{profile.total_volume:f}",
        buy_volume=f"{profile.buy_volume:f}",
        sell_volume=f"{profile.sell_volume:f}",
        delta=f"{profile.delta:f}",
        levels=_levels(profile, question.last, full=full),
        nodes=_nodes(profile, MOST_NODES[level], full=full),
        developing=developing_shape(question, profile) if full else None,
        rows=table,
        rows_row_size=None if rows is None else at_step(rows.row_size, rows.tick),
        low_sample=profile.low_sample,
        sample=sample,
        caveats=first_caveats(
            [
                lacking(question.coverage),
                _few(profile, sample),
                NOT_ORDERS,
                NO_CHART if include_chart else None,
            ]
        ),
        no_other_levels=True,
    )


def _levels(profile: VolumeProfile, last: Decimal, *, full: bool) -> Levels:
    poc, tick = profile.poc, profile.rows.tick
    return Levels(
        poc=Poc(
            low=f"{poc.low:f}",
            high=f"{poc.high:f}",
            tick=f"{poc.tick:f}" if full and poc.tick is not None else None,
            volume=f"{poc.volume:f}",
            share_pct=significant(poc.share_pct),
            contested=None if poc.contested is None else f"{poc.contested:f}",
        ),
        vah=f"{profile.vah:f}",
        val=f"{profile.val:f}",
        value_area_pct_actual=significant(profile.value_area_pct_actual),
        vwap=f"{profile.vwap:f}",
        vwap_sigma=f"{profile.vwap_sigma:f}",
        last=at_step(last, tick),
        high=f"{profile.high:f}",
        low=f"{profile.low:f}",
    )


def _nodes(profile: VolumeProfile, most: int, *, full: bool) -> NodesShape:
    high, low = profile.nodes.high_volume, profile.nodes.low_volume
    shown, total = len(high[:most]) + len(low[:most]), len(high) + len(low)
    more = "a larger row_size leaves the main ones" if full else "detail=full"
    return NodesShape(
        high_volume=[_node(node) for node in high[:most]],
        low_volume=[_node(node) for node in low[:most]],
        truncated=Truncated(shown=shown, total=total, more=more) if shown < total else None,
    )


def _node(node: Node) -> NodeShape:
    return NodeShape(
        price=f"{node.price:f}",
        volume=f"{node.volume:f}",
        prominence_ratio=significant(node.prominence_ratio),
    )


def _sample(question: Question, min_trades: int) -> Sample:
    """How far the sample carries: the rate is over the covered part of the window."""
    trades = question.coverage.trades
    covered_ms = max(question.window.end_ms - question.window.start_ms - question.coverage.uncovered_ms, 1)
    window_ms = question.window.end_ms - question.window.start_ms
    lacking_ms = (Decimal(min_trades - trades) * covered_ms / trades).to_integral_value(ROUND_CEILING)
    # A window that slides along fully covered holds no more later than now.
    grows = trades < min_trades <= trades * window_ms // covered_ms and question.window.live
    return Sample(
        trades=trades,
        min_trades=min_trades,
        reliable=trades >= min_trades,
        rate_per_s=significant(trades * 1000 / covered_ms),
        ready_at=iso(question.window.end_ms + int(lacking_ms)) if grows else None,
    )


def _few(profile: VolumeProfile, sample: Sample) -> str | None:
    if not sample.reliable:
        when = f"; {sample.min_trades} at about {sample.ready_at}" if sample.ready_at else ""
        return (
            f"Only {sample.trades} trades ({sample.rate_per_s:g} a second), below {sample.min_trades}: "
            f"not a reliable profile yet{when}."
        )
    return "Fewer than 3 rows: too narrow for a profile." if profile.low_sample else None


def _summary(question: Question, profile: VolumeProfile, sample: Sample) -> str:
    start = opening(question.instrument, question.market, question.window, question.coverage)
    last = at_step(question.last, profile.rows.tick)
    volume = f"{plain(profile.total_volume)} {question.instrument.base}"
    parts = [
        f"{start}: POC {profile.poc.low:f}-{profile.poc.high:f}, value area {profile.val:f}-{profile.vah:f} "
        f"holds {profile.value_area_pct_actual:.1f} % of {volume}.",
        f"Last {last}, {_place(question.last, profile)}.",
        lacking(question.coverage) or (None if sample.reliable else f"Only {sample.trades} trades."),
    ]
    return " ".join(part for part in parts if part)


def _place(last: Decimal, profile: VolumeProfile) -> str:
    if last > profile.vah:
        return "above value"
    return "below value" if last < profile.val else "inside value"
