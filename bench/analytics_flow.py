"""What candles, order flow, footprints and key levels cost from the ledger to the answer.

A synthetic week of BTCUSDT at its real rate (10.9 M trades), sealed as a server does it. CPU time of all
threads, medians of rounds after a first one; memory is what answering adds at most. Exit status 0 whether the
goals are met or not.
"""

import argparse
import json
import statistics
import tempfile
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
from bench.filling import fill
from bench.ledger import tell
from bench.measure import Figures, Spent, peak_mb
from bench.synthetic import week_of
from bench.windows import DAY_H, NOW_MS, SYMBOL, WEEK_H
from server.tools.arguments import iso
from server.tools.candles import candles_answer
from server.tools.flow import flow_answer
from server.tools.footprint import footprint_answer
from server.tools.levels import levels_answer
from server.tools.tape import Question, Tape, WarmupProgress
from storage.ledger import TradeLedger

ROUNDS = 7
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
    Case("delta and CVD", flow_of_candles, LIGHT),
    Case("volatility", volatility, LIGHT),
    Case("get_candles", partial(candles_answer, interval=None, detail="summary"), LIGHT),
    Case("get_candles, full", partial(candles_answer, interval=None, detail="full"), LIGHT),
    Case("get_key_levels", partial(levels_answer, detail="summary"), LIGHT),
    Case("get_key_levels, full", partial(levels_answer, detail="full"), LIGHT),
    Case("large prints and sweeps", strokes, HEAVY),
    Case("VPIN", buckets, HEAVY),
    Case("footprint", cells, HEAVY),
    Case("get_footprint", get_footprint, HEAVY),
    Case("get_order_flow", partial(get_order_flow, detail="summary"), HEAVY),
    Case("get_order_flow, full", partial(get_order_flow, detail="full"), HEAVY),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of candles, order flow, footprints, key levels.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--ledger", type=Path, help="a week that was filled before, instead of a new one")
    given = parser.parse_args()
    if given.ledger is not None:
        figures = measured(given.ledger)
    else:
        with tempfile.TemporaryDirectory(prefix="tapedeck-bench-") as directory:
            tell("filling a week")
            fill(Path(directory) / "week", [week_of(SYMBOL)])
            figures = measured(Path(directory) / "week")
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


def measured(path: Path) -> Figures:
    figures: Figures = {}
    print(f"{'CPU ms, median':<28}{'24 h':>10}{'168 h':>10}{'limits':>16}{'MB at most':>14}")
    with TradeLedger.open(path, create=False) as ledger:
        tape = Tape(ledger, UpToDate(), lambda: NOW_MS)  # type: ignore[arg-type]
        for case in CASES:
            taken = [cpu_ms(tape, case.way, hours) for hours in (DAY_H, WEEK_H)]
            added_mb = memory_mb(tape, case.way)
            figures |= {f"{case.name} {DAY_H}h": taken[0], f"{case.name} {WEEK_H}h": taken[1]}
            figures[f"{case.name} mb"] = added_mb
            _print(case, taken, added_mb)
    return figures


def _print(case: Case, taken: list[float], added_mb: float) -> None:
    met = all(ms <= most for ms, most in zip(taken, case.most_ms, strict=True)) and added_mb <= MOST_MB
    limits = "/".join(f"{most:g}" for most in case.most_ms)
    print(
        f"{case.name:<28}{taken[0]:>10.1f}{taken[1]:>10.1f}{limits:>16}{added_mb:>14.1f}"
        f"  {'met' if met else 'NOT MET'}"
    )


def asked(tape: Tape, way: Way, hours: int) -> object:
    """One question, as a tool answers it: from the snapshot to the answer."""
    window: dict[str, Any] = {"duration_hours": hours, "start_time": None, "end_time": iso(NOW_MS)}
    with tape.question(symbol=SYMBOL, session=None, **window) as question:
        return way(question)


def cpu_ms(tape: Tape, way: Way, hours: int) -> float:
    asked(tape, way, hours)
    taken = []
    for _ in range(ROUNDS if hours == DAY_H else 3):
        spent = Spent()
        with spent.counting():
            asked(tape, way, hours)
        taken.append(spent.cpu_s * 1000)
    return statistics.median(taken)


def memory_mb(tape: Tape, way: Way) -> float:
    """What answering over the week adds at most to the process, after it has answered before."""
    with peak_mb() as seen:
        before = seen[0]
        asked(tape, way, WEEK_H)
    return seen[0] - before


if __name__ == "__main__":
    main()
