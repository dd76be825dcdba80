"""The figures as tables for people.

Invariant: what is printed is what was measured; a goal that is not met says so.
"""

import os
import platform
from collections.abc import Sequence

from bench.goals import GOALS
from bench.measure import Figures
from bench.profiles import Case

WAYS = ("first", "", "duckdb_first", "duckdb", "polars", "pandas", "floor")
HEADS = ("first", "warm", "DuckDB first", "DuckDB", "polars", "pandas", "floor")
KINDS = {"default": "default", "tick": "1 tick", "odd": "odd"}


def print_report(figures: Figures, cases: Sequence[Case]) -> None:
    machine = f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores"
    print(f"Python {platform.python_version()}, {machine}; {figures['run_s']:.0f} s in all\n")
    _print_profiles(figures, cases)
    _print_costs(figures)
    _print_goals(figures)


def _print_profiles(figures: Figures, cases: Sequence[Case]) -> None:
    print(f"{'profile, median ms':<26}{'trades':>11}" + "".join(f"{head:>13}" for head in HEADS))
    for case in cases:
        size = f"{case.hours} h, {KINDS[case.kind]} ({case.question.row_ticks / 100:g})"
        cells = (_cell(figures.get(case.figure(way))) for way in WAYS)
        print(f"{size:<26}{figures[f'trades_{case.hours}h']:>11,.0f}" + "".join(cells))
    print(NOTES)


def _cell(ms: float | None) -> str:
    return f"{'':>13}" if ms is None else f"{ms:>13.1f}"


NOTES = """
first: a fresh process, from after its imports to the answer, opening included; files in the system's cache
warm: from the ledger to the levels in one process; rows of 1 tick without levels, for all ways alike
DuckDB, polars, pandas: Parquet with delta-encoded integers and zstd; buy and sell volume alone
floor: numpy, columns in memory already; polars (its better engine) and pandas run 3 rounds, the others more
"""


def _print_costs(figures: Figures) -> None:
    f = figures
    print(
        f"vacuums, warm           {f['vacuums_1h_ms']:.1f} ms for 1 h, {f['vacuums_24h_ms']:.1f} for 24 h, "
        f"{f['vacuums_168h_ms']:.1f} for 168 h\n"
        f"168 h beside a thread   {f['profile_168h_busy_ms']:.1f} ms where it is busy half of the time\n"
        f"bytes a trade           {f['bytes_per_trade']:.2f} in sealed hours ({f['bytes_per_trade_all']:.2f} "
        f"with the second symbol), Parquet {f['parquet_bytes_per_trade']:.2f}\n"
        f"directory, bytes        {f['directory_bytes_per_trade']:.2f} a trade at most in the last day, "
        f"{f['directory_after_bytes_per_trade']:.2f} after all questions; without the server's reserve\n"
        f"ingest in bulk          {f['ingest_trades_per_s']:,.0f} trades/s by the wall on one core, "
        f"{f['ingest_trades_per_cpu_s']:,.0f} a second of CPU; sealed and synced\n"
        f"at 20/s x 2 symbols     {f['steady_core_pct']:.2f} % of a core, sealing included; "
        f"{f['steady_ms_per_s']:.1f} ms of each second with the disk\n"
        f"sealing                 {f['seal_ms_an_hour']:.0f} ms an hour of both symbols, "
        f"{f['seal_us_per_trade']:.2f} us a trade\n"
        f"opening the week        {f['open_ms']:.0f} ms\n"
        f"RssAnon, week of two    {f['memory_mb_imports']:.0f} MB after the imports; over them "
        f"{f['memory_mb_opened_over_imports']:.0f} open, {f['memory_mb_over_imports']:.0f} after all, "
        f"{f['memory_mb_peak_over_imports']:.0f} at most meanwhile\n"
        f"20 symbols x 24 h       {f['many_trades']:,.0f} trades, {f['many_bytes_per_trade']:.2f} bytes each "
        f"in sealed hours; sealing an hour {f['many_seal_ms_an_hour']:.0f} ms,\n"
        f"                        opening {f['many_open_ms']:.0f} ms, all 20 profiles of 24 h "
        f"{f['many_profile_24h_first_ms']:.0f} ms first, {f['many_profile_24h_ms']:.0f} warm\n"
    )


def _print_goals(figures: Figures) -> None:
    print(f"{'goal':<52}{'limit':>20}{'measured':>12}")
    for goal in GOALS:
        verdict = "met" if goal.is_met(figures) else "NOT MET"
        print(f"{goal.what:<52}{goal.limit:>20}{_measured(goal.value(figures)):>12}  {verdict}")


def _measured(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"
