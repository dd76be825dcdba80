"""How long libraries of the field take for the levels of the same trades; runs in their environment alone.

Invariant: they get what they are best with: finmlkit integers and one footprint, marketprofile a data frame.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUNDS = 5


def median_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """By CPU, warmed up once: the first call compiles."""
    work()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description="Milliseconds of finmlkit and marketprofile, as JSON.")
    parser.add_argument("trades", type=Path)
    given = parser.parse_args()
    from tests.crosscheck.libraries import finmlkit_levels, marketprofile_levels

    trades = np.load(given.trades)
    columns = trades["time_ms"], trades["price_int"], trades["quantity_int"], trades["buyer_is_maker"]
    row_ticks = int(trades["row_ticks"])
    figures = {
        "finmlkit_from_trades_ms": median_ms(lambda: finmlkit_levels(*columns, row_ticks=row_ticks)),
        "marketprofile_from_trades_ms": median_ms(
            lambda: marketprofile_levels(*columns, row_ticks=row_ticks)
        ),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
