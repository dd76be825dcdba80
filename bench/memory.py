"""The memory of a process that serves a week of two symbols and has answered every kind of question.

Invariant: a process of its own that imports what a question needs and nothing of the rivals.
"""

import argparse
import json
from pathlib import Path

from bench.asking import odd_row_size, profile_of, tick_rows
from bench.measure import Figures, anonymous_mb, peak_mb
from bench.windows import WEEK_SYMBOLS, WINDOWS_H, window_of
from server.runtime import tune
from storage.ledger import TradeLedger


def of_ledger(path: Path) -> Figures:
    """RssAnon in MB after the imports, and what opening and all the answers added to it."""
    imports = anonymous_mb()
    with TradeLedger.open(path, create=False) as ledger:
        opened = anonymous_mb()
        with peak_mb() as peak:
            for symbol in WEEK_SYMBOLS:
                ask_everything(ledger, symbol)
        answered = anonymous_mb()
    return {
        "memory_mb_imports": imports,
        "memory_mb_opened_over_imports": opened - imports,
        "memory_mb_over_imports": answered - imports,
        "memory_mb_peak_over_imports": peak[0] - imports,
    }


def ask_everything(ledger: TradeLedger, symbol: str) -> None:
    for hours in WINDOWS_H:
        window = window_of(hours)
        profile = profile_of(ledger, symbol, *window)
        tick_rows(ledger, symbol, *window)
        profile_of(ledger, symbol, *window, odd_row_size(profile))


def main() -> None:
    parser = argparse.ArgumentParser(description="RssAnon of a serving process, as JSON.")
    parser.add_argument("ledger", type=Path)
    given = parser.parse_args()
    tune()
    print(json.dumps(of_ledger(given.ledger)))


if __name__ == "__main__":
    main()
