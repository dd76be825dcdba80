"""How long a profile takes from the ledger and from its rivals, and what a trade costs on the way there.

A synthetic week of BTCUSDT and ETHUSDT at their real rates (10.9 and 7.2 M trades) and a day of 20 symbols,
recorded and sealed as a server does it. Everything is measured in one run; implementations that disagree on
an integer end it. Exit status 0 whether the goals are met or not.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this directory has files named as packages are

from bench.filling import fill, sealed_bytes
from bench.many import many
from bench.measure import Figures, Spent, directory_bytes, in_a_fresh_process
from bench.parquet import write_parquet
from bench.profiles import (
    Case,
    beside_a_busy_thread,
    cases_of,
    first,
    rivals_over,
    vacuums,
    warm,
)
from bench.report import print_report
from bench.rivals import Floor
from bench.synthetic import SyntheticTape, week_of
from bench.windows import SYMBOL, WEEK_H, WEEK_SYMBOLS, WINDOWS_H, window_of
from storage.ledger import TradeLedger


def main() -> None:
    parser = argparse.ArgumentParser(description="Profiles from the ledger beside DuckDB, pandas, polars.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    given = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tapedeck-bench-") as directory:
        figures, cases = measured(Path(directory))
    figures["run_s"] = time.perf_counter() - began
    print_report(figures, cases)
    if given.json is not None:
        given.json.write_text(json.dumps(figures, indent=2) + "\n")


def measured(directory: Path) -> tuple[Figures, list[Case]]:
    ledger, parquet = directory / "week", directory / "week.parquet"
    tell("ingest")
    figures = in_a_fresh_process("bench.ingest", "bulk") | in_a_fresh_process("bench.ingest", "steady")
    tell("filling a week of two symbols")
    tapes = [week_of(symbol) for symbol in WEEK_SYMBOLS]
    figures |= filled_week(ledger, parquet, tapes)
    floor = Floor(tapes[0].all())
    figures |= {f"trades_{hours}h": trades_in(tapes[0], hours) for hours in WINDOWS_H}
    trades = sum(map(len, tapes))
    del tapes
    found, cases = asked(ledger, parquet, floor)
    figures |= found
    figures["directory_after_bytes_per_trade"] = directory_bytes(ledger) / trades
    tell("a day of twenty symbols")
    return figures | many(directory / "many"), cases


def filled_week(ledger: Path, parquet: Path, tapes: list[SyntheticTape]) -> Figures:
    filled = fill(ledger, tapes)
    write_parquet(parquet, tapes[0])
    sizes = {symbol: sealed_bytes(ledger, symbol) for symbol in WEEK_SYMBOLS}
    return {
        "bytes_per_trade": sizes[SYMBOL] / filled.sealed[SYMBOL],
        "bytes_per_trade_all": sum(sizes.values()) / sum(filled.sealed.values()),
        "parquet_bytes_per_trade": parquet.stat().st_size / len(tapes[0]),
        "directory_bytes_per_trade": filled.directory_bytes_a_trade,
        "seal_ms_an_hour": filled.seal_ms_an_hour,
        "seal_us_per_trade": filled.seal_us_a_trade,
    }


def asked(path: Path, parquet: Path, floor: Floor) -> tuple[Figures, list[Case]]:
    """All that is asked of the week: of fresh processes first, then of one that keeps running."""
    with TradeLedger.open(path, create=False) as ledger:
        cases = cases_of(ledger)
    figures: Figures = {}
    tell("memory, and first questions of fresh processes")
    figures |= in_a_fresh_process("bench.memory", path)
    for case in cases:
        figures |= first(path, parquet, case)
    opening = Spent()
    with opening.counting():
        ledger = TradeLedger.open(path, create=False)
    figures["open_ms"] = opening.wall_s * 1000
    with ledger:
        rivals = rivals_over(parquet, floor)
        for case in cases:
            tell(f"{case.hours} h, {case.kind} rows")
            figures |= warm(ledger, rivals, case)
        figures |= beside_a_busy_thread(ledger, longest(cases)) | vacuums(ledger)
    return figures, cases


def longest(cases: list[Case]) -> Case:
    return next(case for case in cases if (case.hours, case.kind) == (WEEK_H, "default"))


def trades_in(tape: SyntheticTape, hours: int) -> int:
    return sum(len(rows.within(*window_of(hours))) for rows in tape.hours.values())


def tell(stage: str) -> None:
    """What is being done, for who waits; not part of the report."""
    print(f"{time.strftime('%H:%M:%S')}  {stage}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
