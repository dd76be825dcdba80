"""Profile and vacuums: CPU time and memory of their questions to a ledger of a synthetic week.

Invariant: a process of its own, so that memory is theirs; the first question of each kind warms up.
"""

import argparse
import json
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from analytics.developing import developing_levels
from analytics.profile import VolumeProfile, volume_profile
from bench.asking import profile_of, vacuums_of
from bench.goals import Goal
from bench.measure import Figures, anonymous_mb, peak_mb
from bench.windows import DAY_H, SYMBOL, WEEK_H, window_of
from server.runtime import tune
from storage.histograms import PriceHistogram
from storage.ledger import TradeLedger

ROUNDS = 5
CROSSCHECK = Path(__file__).parents[1] / ".venv-crosscheck" / "bin" / "python"

GOALS = (
    Goal("profile of 24 h", "profile_24h_cpu_ms", at_most=25, unit="ms of CPU"),
    Goal("profile of 168 h", "profile_168h_cpu_ms", at_most=100, unit="ms of CPU"),
    Goal("vacuums of 24 h", "vacuums_24h_cpu_ms", at_most=150, unit="ms of CPU"),
    Goal("vacuums of 168 h", "vacuums_168h_cpu_ms", at_most=1_500, unit="ms of CPU"),
    Goal("vacuums of 168 h, peak memory", "vacuums_168h_peak_mb", at_most=40, unit="MB"),
)


def measured(path: Path) -> Figures:
    """The figures of all questions, and of the field's libraries on the same trades."""
    figures: Figures = {}
    with TradeLedger.open(path, create=False) as ledger:
        figures |= _vacuums(ledger)
        for hours in (DAY_H, WEEK_H):
            window = window_of(hours)
            figures[f"profile_{hours}h_cpu_ms"] = cpu_ms(partial(profile_of, ledger, SYMBOL, *window))
            figures[f"developing_{hours}h_cpu_ms"] = cpu_ms(partial(_developing, ledger, *window), rounds=2)
        return figures | _libraries(ledger)


def cpu_ms(ask: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Median CPU time of a warm question, all threads together."""
    ask()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        ask()
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken)


def _vacuums(ledger: TradeLedger) -> Figures:
    """Of 168 h first: memory that an earlier question left would hide what this one needs."""
    before = anonymous_mb()
    with peak_mb() as peak:
        found = vacuums_of(ledger, SYMBOL, *window_of(WEEK_H))
    figures = {"vacuums_168h_peak_mb": peak[0] - before, "vacuums_168h_found": float(found.total)}
    for hours in (DAY_H, WEEK_H):
        window = window_of(hours)
        figures[f"vacuums_{hours}h_cpu_ms"] = cpu_ms(partial(vacuums_of, ledger, SYMBOL, *window))
    return figures


def _developing(ledger: TradeLedger, start_ms: int, end_ms: int) -> int:
    profile = profile_of(ledger, SYMBOL, start_ms, end_ms)
    with ledger.view(SYMBOL) as view:
        chunks = view.tape(start_ms, end_ms)
        return len(developing_levels(chunks, profile.rows, start_ms=start_ms, end_ms=end_ms))


def _libraries(ledger: TradeLedger) -> Figures:
    """Milliseconds from an hour's trades in memory to their levels: ours, and theirs in an environment of
    their own (`make crosscheck` sets it up); ours alone where there is none."""
    start_ms, end_ms = window_of(1)
    instrument = ledger.instruments[SYMBOL]
    with ledger.view(SYMBOL) as view:
        trades = view.trades(start_ms, end_ms).at_exponents(2, 8)

    def ours() -> VolumeProfile:
        return volume_profile(PriceHistogram.of(trades), tick=instrument.tick)

    rows = ours().rows
    figures = {"library_trades": float(len(trades)), "ours_from_trades_ms": cpu_ms(ours, rounds=20)}
    if not CROSSCHECK.exists():
        return figures
    with TemporaryDirectory(prefix="tapedeck-bench-") as directory:
        file = Path(directory) / "trades.npz"
        np.savez(
            file, time_ms=trades.time_ms, price_int=trades.price_int, quantity_int=trades.quantity_int,
            buyer_is_maker=trades.buyer_is_maker, row_ticks=rows.row_ticks,
        )  # fmt: skip
        command = [str(CROSSCHECK), "-m", "bench.analytics_libraries", str(file)]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    theirs: Figures = json.loads(found.stdout)
    return figures | theirs


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU and memory of profiles and vacuums, as JSON.")
    parser.add_argument("ledger", type=Path)
    given = parser.parse_args()
    tune()
    print(json.dumps(measured(given.ledger)))


if __name__ == "__main__":
    main()
