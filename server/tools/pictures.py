"""From what the analyses found to what a picture of it shows; each tool adds its marks to one frame.

Invariant: a picture labels the prices that its answer gives and no others.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal

import numpy as np

from analytics.bars import CLOCK_WIDTHS_MS, DAY_MS, SECOND_MS, Bars, bars, bars_of_trades
from analytics.levels import PlacedLevel
from analytics.nodes import Node
from analytics.profile import VolumeProfile
from analytics.rows import Rows
from analytics.sweeps import Stroke
from analytics.thin import thin_zones
from analytics.vacuums import LiquidityVacuums
from server.charts.picture import (
    Kind,
    LargePrint,
    Mark,
    Picture,
    PriceBars,
    PriceRows,
    Role,
    Span,
)
from server.tools.answers import at_step, iso_seconds, plain, significant, window_words
from server.tools.arguments import choice_of
from server.tools.tape import Question
from storage.candles import MINUTE_MS
from storage.trades import IntArray

MOST_BARS = 100
MOST_GAPS = 200
MOST_LEVELS = 24
SECONDS_MS = tuple(seconds * SECOND_MS for seconds in (1, 2, 5, 10, 15, 30))
SUBJECTS: dict[Kind, str] = {
    "profile": "volume profile",
    "vacuums": "liquidity vacuums",
    "levels": "key levels",
    "flow": "order flow",
}
# A session's date, which its name makes plain: each is the latest one of its name.
DATED = re.compile(r"(?<=[a-z]) \d{4}-\d\d-\d\d$")
ROLES: dict[str, Role] = {
    "POC": "poc",
    "naked POC": "poc",
    "VAH": "value",
    "VAL": "value",
    "VWAP": "vwap",
    "vacuum": "vacuum",
    "HVN": "hvn",
    "LVN": "lvn",
}


def wants_chart(written: Any) -> bool:
    """Whether the caller asked for a picture; raises `Refusal` for what is neither yes nor no."""
    return bool(choice_of(written, "include_chart", Literal["false", "true"]) == "true")


def profile_picture(question: Question, profile: VolumeProfile, thin: Rows, *, few: bool) -> Picture:
    """Price beside its profile: POC, value area, VWAP, nodes, thin ranges."""
    poc = profile.poc
    rows_low, row = profile.rows.low, profile.rows.row_size
    nodes: tuple[tuple[Role, tuple[Node, ...]], ...] = (
        ("hvn", profile.nodes.high_volume[:2]),
        ("lvn", profile.nodes.low_volume[:2]),
    )
    volume = f"{significant(float(profile.total_volume)):g} {question.instrument.base}"
    return _picture(
        question,
        "profile",
        f"value area holds {profile.value_area_pct_actual:.1f} % of {volume} · {_rows_words(question, row)}",
        profile.rows,
        [
            *_thin_marks(question, thin),
            _range(question, "poc", poc.low, poc.high, f"POC {poc.low:f}"),
            _line("value", profile.vah, f"VAH {profile.vah:f}"),
            _line("value", profile.val, f"VAL {profile.val:f}"),
            _line("vwap", profile.vwap, f"VWAP {profile.vwap:f}"),
            *(
                _range(question, role, rows_low(node.row), profile.rows.high(node.row),
                       f"{role.upper()} {node.price:f}" if node.row != poc.row else "")
                for role, found in nodes for node in found
            ),
        ],
        few=few or profile.low_sample,
    )  # fmt: skip


def vacuums_picture(question: Question, found: LiquidityVacuums, sides: str, shown: int) -> Picture:
    """Price beside fine rows: the vacuums that the answer lists, the other thin ranges, stop hints."""
    hints = (("long", found.stop_long), ("short", found.stop_short))
    base = float(found.baseline_row_volume)
    threshold = float(found.threshold_pct)
    return _picture(
        question,
        "vacuums",
        f"{_found_words(found, shown)} · {_rows_words(question, found.rows.row_size)}",
        found.rows,
        [
            *(_range(question, "tail", tail.low, tail.high) for tail in found.edge_tails),
            *(
                _range(question, "vacuum", each.low, each.high,
                       f"{each.low:f}–{each.high:f} {each.impact}" if n < shown else "")
                for n, each in enumerate(found.vacuums)
            ),
            *(
                _line("stop", hint.price, f"stop of a {side} {hint.price:f}")
                for side, hint in hints if hint is not None and sides in (side, "both")
            ),
        ],
        few=found.low_sample,
        limits=(base, base * threshold / 100),
        limits_words=f"dotted: {'mean' if found.rule == 'thin' else 'median'} row, {threshold:g} % of it",
    )  # fmt: skip


def _found_words(found: LiquidityVacuums, listed: int) -> str:
    if found.total == 0:
        return f"none found by rule {found.rule}"
    shown = "" if listed == found.total else f", the nearest {listed} with prices"
    return f"{found.total} found by rule {found.rule}{shown}"


def levels_picture(
    question: Question, profile: VolumeProfile, levels: Sequence[PlacedLevel], listed: int
) -> Picture:
    """The levels nearest to the price as labelled lines."""
    shown = levels[: min(listed, MOST_LEVELS)]
    prices = [price for each in shown for price in (each.level.low, each.level.high)]
    near = min(*prices, question.last), max(*prices, question.last)
    return _picture(
        question,
        "levels",
        f"the {len(shown)} nearest of {len(levels)} levels",
        profile.rows,
        list(_level_marks(question, shown)),
        few=profile.low_sample,
        focus=focus(near, (profile.low, profile.high)),
    )


def focus(near: tuple[Decimal, Decimal], window: tuple[Decimal, Decimal]) -> tuple[float, float]:
    """A range widened to at least half of the window's, and within that as far as it is itself."""
    (low, high), (lowest, highest) = near, window
    width = max(high - low, (highest - lowest) / 2)
    begin = max((low + high - width) / 2, min(low, lowest))
    begin = min(begin, max(high, highest) - width)
    return float(begin), float(begin + width)


def _level_marks(question: Question, shown: Sequence[PlacedLevel]) -> Iterator[Mark]:
    """One for each price of a name, whatever it is a level of."""
    tick = question.instrument.tick
    of: dict[tuple[str, Decimal, Decimal], list[str]] = {}
    for each in shown:
        owner = DATED.sub("", each.level.of).replace("_", " ")
        of.setdefault((each.level.name, each.level.low, each.level.high), []).append(owner)
    for (name, low, high), owners in of.items():
        price = at_step(low, tick) + (f"–{at_step(high, tick)}" if name == "vacuum" else "")
        role, label = ROLES.get(name, "level"), f"{price}  {name} {', '.join(owners)}"
        is_row = role in ("poc", "hvn", "lvn", "vacuum")
        yield _range(question, role, low, high, label) if is_row else _line(role, low, label)


def flow_picture(
    question: Question, rows: Rows, large: Iterable[Stroke], delta: str, *, few: bool
) -> Picture:
    """Price and its large prints, delta by price beside it, delta and CVD below it."""
    strokes = tuple(large)
    most = max((float(one.notional) for one in strokes), default=1.0)
    return _picture(
        question,
        "flow",
        f"delta {delta} {question.instrument.base} · {_rows_words(question, rows.row_size)}",
        rows,
        [],
        few=few,
        flow_end=f"{delta} {question.instrument.base}",
        prints=tuple(
            LargePrint(one.time_ms, float(one.last_price), one.side, float(one.notional) / most)
            for one in strokes
        ),
    )


def _picture(
    question: Question, kind: Kind, found: str, rows: Rows, marks: Sequence[Mark], *, few: bool, **more: Any
) -> Picture:
    """The frame that all have in common, with the marks of one."""
    last, tick = question.last, question.instrument.tick
    subject = f"{question.instrument.symbol} {SUBJECTS[kind]}"
    as_of = question.coverage.last_ms
    assert as_of is not None  # a question has at least one trade
    price_bars = _bars(question)
    return Picture(
        kind=kind,
        title=f"{subject} · {question.market} · {_words(window_words(question.window))}",
        subtitle=f"as of {_words(iso_seconds(as_of))} · {found}",
        warnings=tuple(_warnings(question, few=few)),
        start_ms=question.window.start_ms,
        end_ms=question.window.end_ms,
        as_of_ms=as_of,
        decimals=question.decimals,
        volume_unit=question.instrument.base,
        bars=_price_bars(price_bars, question),
        rows=_price_rows(rows),
        marks=(*marks, _line("last", last, f"last {at_step(last, tick)}")),
        gaps=tuple(_gaps(question)),
        **more,
    )


def _rows_words(question: Question, row_size: Decimal) -> str:
    return f"rows of {plain(row_size)} {question.instrument.quote}"


def _words(iso: str) -> str:
    """A time for people."""
    return iso.replace("T", " ").replace("Z", " UTC")


def _warnings(question: Question, *, few: bool) -> Iterator[str]:
    coverage = question.coverage
    if not coverage.complete:
        yield f"PARTIAL: {coverage.covered_pct:.2f} % covered"
    parts = [
        f"{coverage.missing} trades missing" if coverage.missing else None,
        f"LOW SAMPLE: {coverage.trades} trades" if few else None,
    ]
    if any(parts):
        yield ", ".join(part for part in parts if part)


def _gaps(question: Question) -> Iterator[Span]:
    """What is not known of the window, and where trades of a moment are missing."""
    window = question.window
    moments = (
        (min(gap.after_ms, gap.before_ms), max(gap.after_ms, gap.before_ms))
        for gap in question.coverage.gaps_in("open")
        if gap.before_ms <= gap.after_ms + 1
    )
    stretches = [*question.uncovered(), *moments]
    for start_ms, end_ms in merged(stretches, (window.end_ms - window.start_ms) // MOST_GAPS):
        yield Span(max(start_ms, window.start_ms), min(end_ms, window.end_ms))


def merged(stretches: Iterable[tuple[int, int]], apart_ms: int) -> list[tuple[int, int]]:
    """The stretches in order, those as one that are less than so far apart: nobody could tell them apart."""
    found: list[tuple[int, int]] = []
    for start_ms, end_ms in sorted(stretches):
        if found and start_ms - found[-1][1] < apart_ms:
            start_ms, end_ms = found[-1][0], max(end_ms, found.pop()[1])
        found.append((start_ms, end_ms))
    return found


def _bars(question: Question) -> Bars:
    """At most `MOST_BARS` bars of the window, of seconds where minutes were too few."""
    window = question.window
    width_ms = next(
        width
        for width in (*SECONDS_MS, *CLOCK_WIDTHS_MS, 2 * DAY_MS)
        if width * MOST_BARS >= window.end_ms - window.start_ms
    )
    if width_ms % MINUTE_MS:
        return bars_of_trades(question.view.trades(window.start_ms, window.end_ms), width_ms)
    return bars(question.candles(), width_ms)


def _price_bars(found: Bars, question: Question) -> PriceBars:
    prices = {
        name: _floats(getattr(found, name), found.price_exp) for name in ("open", "high", "low", "close")
    }
    return PriceBars(
        found.width_ms,
        tuple(found.start_ms.tolist()),
        **prices,
        delta=_floats(found.delta, found.quantity_exp),
    )


def _price_rows(rows: Rows) -> PriceRows:
    return PriceRows(
        float(rows.low(0)),
        float(rows.row_size),
        _floats(rows.buy, rows.quantity_exp),
        _floats(rows.sell, rows.quantity_exp),
    )


def _floats(values: IntArray, exponent: int) -> tuple[float, ...]:
    return tuple((values / np.float64(10) ** exponent).tolist())


def _thin_marks(question: Question, rows: Rows) -> Iterator[Mark]:
    """Where little was traded, without labels: get_liquidity_vacuums lists it."""
    for zone in thin_zones(rows.volume, ticks_per_row=rows.row_ticks).zones:
        if zone.kind == "interior":
            yield _range(question, "vacuum", rows.low(zone.first), rows.high(zone.last))


def _line(role: Role, price: Decimal, label: str) -> Mark:
    return Mark(role, float(price), float(price), label)


def _range(question: Question, role: Role, low: Decimal, high: Decimal, label: str = "") -> Mark:
    """Rows, up to the upper edge of the highest tick."""
    return Mark(role, float(low), float(high + question.instrument.tick), label)
