"""Where real recordings are, on machines that have them: `RECORDINGS`, or `shared/data` beside the tree."""

import csv
import gzip
import os
from decimal import Decimal
from pathlib import Path

import pytest

from tests.analytics.oracle import Print

RECORDINGS = Path(os.environ.get("RECORDINGS") or Path(__file__).parents[2] / "shared" / "data")


def recorded_prints(symbol: str) -> list[Print]:
    """Ten minutes around midnight of 2024-08-09, or the test is skipped."""
    path = RECORDINGS / "binance-spot-2024-08-08" / f"derived-{symbol}-aggTrades.csv.gz"
    if not path.exists():
        pytest.skip("the recordings are not part of the project: their licence is not settled")
    with gzip.open(path, "rt", newline="") as file:
        return [
            Print(Decimal(price), Decimal(quantity), int(time), maker == "True")
            for _, price, quantity, _, _, time, maker, _ in csv.reader(file)
        ]
