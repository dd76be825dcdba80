"""The tables of get_volume_profile with detail=full: its rows, and how its levels developed.

Invariant: a table holds what was traded and changed, merged or cut to what an answer can hold, and says so.
"""

from functools import partial

from pydantic import Field

from analytics.developing import DevelopingLevels, developing_levels
from analytics.profile import VolumeProfile
from analytics.rows import Rows, on_ticks, row_ladder, rows_of
from server.tools.answers import Shape, Truncated, iso_seconds, tokens_of
from server.tools.tape import Question
from storage.histograms import PriceHistogram
from storage.trades import Instrument

MOST_TABLE_ROWS = 120
# Tokens of the row table: what the levels, nodes and changes leave of an answer's 4,000.
MOST_TABLE_TOKENS = 2_300
MOST_CHANGES = 12


class DevelopingShape(Shape):
    """How POC and value area came about, from the window's start."""

    changes: str = Field(
        description="CSV time,poc_low,val,vah, newest first: the levels from that minute on, until the next "
        "change; where not all changes are listed, moves of the POC come before others"
    )
    poc_moves: int = Field(description="how often the POC became another row")
    truncated: Truncated


def developing_shape(question: Question, profile: VolumeProfile) -> DevelopingShape:
    levels = developing_levels(
        question.trades(),
        profile.rows,
        start_ms=question.window.start_ms,
        end_ms=question.window.end_ms,
        value_area_pct=profile.value_area_pct,
        method=profile.method,
    )
    shown = telling_changes(levels)
    rows = profile.rows
    lines = [
        f"{iso_seconds(int(levels.time_ms[i]))},{rows.low(int(levels.poc[i])):f},"
        f"{rows.low(int(levels.val[i])):f},{rows.high(int(levels.vah[i])):f}"
        for i in reversed(shown)
    ]
    more = "the POC's newest moves come first; a window that ends earlier shows those before"
    return DevelopingShape(
        changes="\n".join(["time,poc_low,val,vah", *lines]),
        poc_moves=max(int(levels.poc_moved.sum()) - 1, 0),  # the first one is where it began
        truncated=Truncated(
            shown=len(shown), total=len(levels), more=more if len(shown) < len(levels) else None
        ),
    )


def telling_changes(levels: DevelopingLevels) -> list[int]:
    """Which changes to list, in order: the newest moves of the POC, then the newest of the others."""
    moved = levels.poc_moved
    newest_last = sorted(range(len(levels)), key=lambda i: (moved[i], i))
    return sorted(newest_last[-MOST_CHANGES:])


def row_table(question: Question, profile: VolumeProfile) -> tuple[Rows, str]:
    """The profile's rows as CSV, or larger ones where it has more than an answer can hold."""
    if len(profile.rows) <= MOST_TABLE_ROWS and _is_short(table := _csv(profile.rows)):
        return profile.rows, table
    return question.over_prices(partial(_merged_table, question.instrument, profile.rows.row_ticks))


def _merged_table(instrument: Instrument, row_ticks: int, histogram: PriceHistogram) -> tuple[Rows, str]:
    ticks = on_ticks(histogram, instrument.tick, instrument.lot)
    merged = (rows_of(ticks, row_ticks * factor) for factor in row_ladder())
    tables = ((rows, _csv(rows)) for rows in merged if len(rows) <= MOST_TABLE_ROWS)
    return next((rows, table) for rows, table in tables if _is_short(table))


def _is_short(table: str) -> bool:
    return tokens_of(table) <= MOST_TABLE_TOKENS


def _csv(rows: Rows) -> str:
    """`price_low,volume,buy,sell,trades`, highest price first."""
    lines = [
        f"{rows.low(i):f},{rows.quantity(int(rows.volume[i])):f},{rows.quantity(int(rows.buy[i])):f},"
        f"{rows.quantity(int(rows.sell[i])):f},{rows.trades[i]}"
        for i in reversed(range(len(rows)))
    ]
    return "\n".join(["price_low,volume,buy,sell,trades", *lines])
