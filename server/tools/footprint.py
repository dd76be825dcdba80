"""get_footprint: the bars and cells of a footprint themselves, most telling first."""

from typing import Any

import numpy as np
from pydantic import Field

from analytics.profile import poc_row
from server.tools.answers import (
    Answer,
    Detail,
    Meta,
    Truncated,
    at_step,
    csv_or_none,
    first_caveats,
    fitting,
    head_of,
    lacking,
    opening,
)
from server.tools.arguments import choice_of, iso_minutes
from server.tools.marked import MarkedFootprint, marked_footprint, options_of
from server.tools.tape import Question

MOST_CELLS = {"summary": 12, "full": 60}
# So many lines of cells for one of bars.
CELLS_A_BAR = 3
NOT_ORDERS = "Traded at these prices, not resting orders; marks describe, random walks have them too."

# A cell of the footprint: bar and row.
Cell = tuple[int, int]


class FootprintAnswer(Answer):
    """Cells of a footprint: prices and volumes are decimal strings in `meta.units`."""

    meta: Meta
    bar: str
    last: str
    bars: str | None = Field(
        description="CSV bar,volume,delta,poc_low,close_low,buy_imbalances,sell_imbalances; largest absolute "
        "delta first"
    )
    bars_truncated: Truncated
    cells: str | None = Field(
        description="CSV bar,price_low,buy,sell,marks; stacked imbalances first, then absorbed, then other "
        "imbalances, then the rest, each by volume"
    )
    cells_truncated: Truncated
    min_imbalance_volume: str
    caveats: list[str]


def footprint_answer(
    question: Question, *, row_size: Any, bar: Any, imbalance_ratio: Any, detail: Any
) -> FootprintAnswer:
    """The answer to the question; raises `Refusal` or the analysis' own for what cannot be answered."""
    level = choice_of(detail, "detail", Detail)
    options = options_of(row_size=row_size, bar=bar, imbalance_ratio=imbalance_ratio)
    marked = marked_footprint(question, question.candles(), options)
    footprint = marked.footprint
    marks = marks_of(marked)
    cells, bars = ranked_cells(marked, marks), ranked_bars(marked)
    # Of the cells no more than an answer could ever hold are ranked, but all are counted.
    total_cells = int(np.count_nonzero(footprint.volume))

    def answer(shown: int) -> FootprintAnswer:
        shown_bars = min(-(-shown // CELLS_A_BAR), len(bars))
        return FootprintAnswer(
            summary=_summary(question, marked, bars),
            meta=head_of(question, level, method=marked.method, rows=footprint.rows),
            bar=marked.bar,
            last=at_step(question.last, question.instrument.tick),
            bars=csv_or_none(
                "bar,volume,delta,poc_low,close_low,buy_imbalances,sell_imbalances",
                [_bar(marked, bar) for bar in bars[:shown_bars]],
            ),
            bars_truncated=_truncated(shown_bars, len(bars)),
            cells=csv_or_none(
                "bar,price_low,buy,sell,marks",
                [_cell(marked, cell, marks.get(cell, [])) for cell in cells[:shown]],
            ),
            cells_truncated=_truncated(min(shown, total_cells), total_cells),
            min_imbalance_volume=f"{marked.least:f}",
            caveats=first_caveats([lacking(question.coverage), NOT_ORDERS]),
        )

    return fitting(answer, level, min(MOST_CELLS[level], total_cells))


def marks_of(marked: MarkedFootprint) -> dict[Cell, list[str]]:
    """What the definitions find in each marked cell, the most telling first."""
    footprint, found = marked.footprint, marked.imbalances
    marks: dict[Cell, list[str]] = {}
    for stack in marked.stacks:
        bar = stack.bar_ms // footprint.width_ms - footprint.first_bar
        for row in range(stack.first, stack.last + 1):
            marks.setdefault((bar, row), []).append(f"{stack.side}_stack")
    for one in marked.absorptions.absorbed:
        bar = one.bar_ms // footprint.width_ms - footprint.first_bar
        row = int(one.low / footprint.rows.row_size) - footprint.rows.first
        marks.setdefault((bar, row), []).append(f"{one.side}_absorbed")
    masks = {"buy_imbalance": found.buy, "sell_imbalance": found.sell, "vs_zero": found.vs_zero}
    for name, mask in masks.items():
        for bar, row in np.argwhere(mask).tolist():
            marks.setdefault((bar, row), []).append(name)
    return marks


def ranked_cells(marked: MarkedFootprint, marks: dict[Cell, list[str]]) -> list[Cell]:
    """The cells that come first in an answer: stacks, absorbed, imbalances, then the largest of all."""
    volume = marked.footprint.volume
    bars, rows = np.nonzero(volume)
    largest = np.lexsort((rows, bars, -volume[bars, rows]))[: MOST_CELLS["full"]]
    candidates = {*marks, *zip(bars[largest].tolist(), rows[largest].tolist(), strict=True)}
    return sorted(candidates, key=lambda cell: (_rank(marks.get(cell)), -int(volume[cell]), cell))


def _rank(marks: list[str] | None) -> int:
    if marks is None:
        return 3
    kinds = ("stack", "absorbed", "imbalance")
    return min(at for at, kind in enumerate(kinds) if any(kind in mark for mark in marks))


def ranked_bars(marked: MarkedFootprint) -> list[int]:
    """The bars with a trade, largest absolute delta first, of equals the older."""
    footprint = marked.footprint
    traded = np.flatnonzero(footprint.volume.any(axis=1)).tolist()
    delta = (footprint.buy - footprint.sell).sum(axis=1)
    return sorted(traded, key=lambda bar: (-abs(int(delta[bar])), bar))


def _bar(marked: MarkedFootprint, bar: int) -> tuple[object, ...]:
    footprint = marked.footprint
    rows, volume = footprint.rows, footprint.volume[bar]
    return (
        iso_minutes(footprint.bar_ms(bar)),
        f"{rows.quantity(int(volume.sum())):f}",
        f"{rows.quantity(int((footprint.buy[bar] - footprint.sell[bar]).sum())):f}",
        f"{rows.low(poc_row(volume)):f}",
        f"{rows.low(int(footprint.close_row[bar])):f}",
        int(marked.imbalances.buy[bar].sum()),
        int(marked.imbalances.sell[bar].sum()),
    )


def _cell(marked: MarkedFootprint, cell: Cell, marks: list[str]) -> tuple[object, ...]:
    footprint = marked.footprint
    return (
        iso_minutes(footprint.bar_ms(cell[0])),
        f"{footprint.rows.low(cell[1]):f}",
        f"{footprint.rows.quantity(int(footprint.buy[cell])):f}",
        f"{footprint.rows.quantity(int(footprint.sell[cell])):f}",
        " ".join(marks),
    )


def _truncated(shown: int, total: int) -> Truncated:
    more = "a shorter window, a larger row_size or bar, or detail=full" if shown < total else None
    return Truncated(shown=shown, total=total, more=more)


def _summary(question: Question, marked: MarkedFootprint, bars: list[int]) -> str:
    start = opening(question.instrument, question.market, question.window, question.coverage)
    footprint, found = marked.footprint, marked.imbalances
    first = bars[0]
    delta = footprint.rows.quantity(int((footprint.buy[first] - footprint.sell[first]).sum()))
    parts = [
        f"{start}: footprint of {len(bars)} bars of {marked.bar} in rows of {footprint.rows.row_size:f}; "
        f"largest delta {delta:+f} {question.instrument.base} in the bar of "
        f"{iso_minutes(footprint.bar_ms(first))}; {int(found.buy.sum())} buy and {int(found.sell.sum())} "
        f"sell imbalances, {len(marked.stacks)} stacks, {len(marked.absorptions.absorbed)} cells absorbed.",
        lacking(question.coverage),
    ]
    return " ".join(part for part in parts if part)
