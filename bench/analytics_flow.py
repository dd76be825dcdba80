"""Candles, order flow, footprints and key levels: CPU time and memory from a ledger's week to the answer.

Invariant: a process of its own, so that memory is theirs; the first question of each kind warms up.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from analytics.bars import default_width_ms
from analytics.flow import order_flow
from analytics.footprint import footprint
from analytics.rows import on_ticks, profile_row_ticks, rows_of
from analytics.sweeps import tape_strokes
from analytics.toxicity import vpin
from analytics.volatility import realised_volatility
from bench.analytics_profile import cpu_ms
from bench.goals import Goal
from bench.measure import Figures, anonymous_mb, peak_mb
from bench.windows import DAY_H, NOW_MS, SYMBOL, WEEK_H
from server.runtime import tune
from server.tools.arguments import iso
from server.tools.candles import candles_answer
from server.tools.flow import flow_answer
from server.tools.footprint import footprint_answer
from server.tools.levels import levels_answer
from server.tools.tape import Question, Tape, WarmupProgress
from storage.ledger import TradeLedger

MOST_MB = 40.0

Way = Callable[[Question], object]


class UpToDate:
    """A recorder that has brought everything up to `NOW_MS`."""

    symbols: tuple[str, ...] = (SYMBOL,)

    def live_until_ms(self, symbol: str) -> int | None:
        return NOW_MS

    def warmup(self, symbol: str) -> WarmupProgress | None:
        return None


@dataclass(frozen=True, slots=True)
class Case:
    """A way to an answer, and the milliseconds of CPU that it may take for 24 h and 168 h."""

    name: str
    way: Way
    most_ms: tuple[float, float]

    def figure(self, what: str) -> str:
        return f"{self.name}_{what}"

    @property
    def goals(self) -> list[Goal]:
        title = self.name.replace("_", " ")
        return [
            *(
                Goal(f"{title}, {hours} h", self.figure(f"{hours}h_cpu_ms"), at_most=most, unit="ms of CPU")
                for hours, most in zip((DAY_H, WEEK_H), self.most_ms, strict=True)
            ),
            Goal(f"{title}, 168 h, memory", self.figure("168h_peak_mb"), at_most=MOST_MB, unit="MB"),
        ]


# What candles and histograms suffice for, and what needs each trade.
LIGHT, HEAVY = (25.0, 100.0), (150.0, 1_500.0)


def flow_of_candles(question: Question) -> object:
    window = question.window
    return order_flow(question.candles(), start_ms=window.start_ms, end_ms=window.end_ms)


def volatility(question: Question) -> object:
    return realised_volatility(question.candles(), question.window.start_ms, question.window.end_ms)


def strokes(question: Question) -> object:
    return tape_strokes(question.trades(), question.candles())


def buckets(question: Question) -> object:
    window = question.window
    return vpin(question.trades(), question.candles(), start_ms=window.start_ms, end_ms=window.end_ms)


def cells(question: Question) -> object:
    window, instrument = question.window, question.instrument
    ticks = question.over_prices(partial(on_ticks, tick=instrument.tick, lot=instrument.lot))
    return footprint(
        question.trades(),
        question.candles(),
        rows_of(ticks, profile_row_ticks(ticks)),
        width_ms=default_width_ms(window.end_ms - window.start_ms),
        start_ms=window.start_ms,
        end_ms=window.end_ms,
    )


def get_footprint(question: Question) -> object:
    return footprint_answer(question, row_size=None, bar=None, imbalance_ratio=3, detail="summary")


def get_order_flow(question: Question, *, detail: str) -> object:
    return flow_answer(question, row_size=None, bar=None, imbalance_ratio=3, min_notional=None, detail=detail)


CASES = (
    Case("delta", flow_of_candles, LIGHT),
    Case("volatility", volatility, LIGHT),
    Case("candles", partial(candles_answer, interval=None, detail="summary"), LIGHT),
    Case("candles_full", partial(candles_answer, interval=None, detail="full"), LIGHT),
    Case("key_levels", partial(levels_answer, detail="summary"), LIGHT),
    Case("key_levels_full", partial(levels_answer, detail="full"), LIGHT),
    Case("strokes", strokes, HEAVY),
    Case("vpin", buckets, HEAVY),
    Case("footprint", cells, HEAVY),
    Case("footprint_answer", get_footprint, HEAVY),
    Case("order_flow", partial(get_order_flow, detail="summary"), HEAVY),
    Case("order_flow_full", partial(get_order_flow, detail="full"), HEAVY),
)


GOALS = tuple(goal for case in CASES for goal in case.goals)


def measured(path: Path) -> Figures:
    figures: Figures = {}
    with TradeLedger.open(path, create=False) as ledger:
        tape = Tape(ledger, UpToDate(), lambda: NOW_MS)
        for case in CASES:
            before = anonymous_mb()
            with peak_mb() as peak:
                asked(tape, case.way, WEEK_H)
            figures[case.figure("168h_peak_mb")] = peak[0] - before
            for hours in (DAY_H, WEEK_H):
                figures[case.figure(f"{hours}h_cpu_ms")] = cpu_ms(partial(asked, tape, case.way, hours))
    return figures


def asked(tape: Tape, way: Way, hours: int) -> object:
    """One question, as a tool answers it: from the snapshot to the answer."""
    window: dict[str, Any] = {"duration_hours": hours, "start_time": None, "end_time": iso(NOW_MS)}
    with tape.question(symbol=SYMBOL, session=None, **window) as question:
        return way(question)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU and memory of flow, footprints and levels, as JSON.")
    parser.add_argument("ledger", type=Path)
    given = parser.parse_args()
    tune()
    print(json.dumps(measured(given.ledger)))


if __name__ == "__main__":
    main()
