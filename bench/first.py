"""The first question of a fresh process: from after the imports to the answer, opening included.

Invariant: one process, one question; the files are in the system's cache, as after a restart.
"""

import argparse
import json
import time
from decimal import Decimal
from pathlib import Path
from zlib import crc32

from bench.asking import answer
from bench.levels import Answer, Question
from bench.windows import SYMBOL
from server.runtime import tune
from storage.ledger import TradeLedger


def of_ledger(path: Path, question: Question, row_size: Decimal | None) -> tuple[float, Answer]:
    began = time.perf_counter()
    with TradeLedger.open(path, create=False) as ledger:
        found = answer(ledger, SYMBOL, question, row_size)
        return time.perf_counter() - began, found


def of_duckdb(path: Path, question: Question, _: Decimal | None) -> tuple[float, Answer]:
    from bench.duckdb_rival import DuckDB  # the ledger's process does without it

    began = time.perf_counter()
    found = Answer.of(DuckDB(path).rows(question), question)
    return time.perf_counter() - began, found


def checksum(found: Answer) -> int:
    """Of every integer of the answer."""
    sums = found.sums
    return crc32(repr((sums.first, found.levels)).encode() + sums.buy.tobytes() + sums.sell.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="Milliseconds of one first question, as JSON.")
    parser.add_argument("way", choices=["ledger", "duckdb"])
    parser.add_argument("path", type=Path)
    parser.add_argument("window", type=int, nargs=2, metavar="MS")
    parser.add_argument("row_ticks", type=int)
    parser.add_argument(
        "--row-size", type=Decimal, help="as it is asked of the ledger; left out: the default"
    )
    given = parser.parse_args()
    tune()
    start_ms, end_ms = given.window
    question = Question(start_ms, end_ms, given.row_ticks, levels=given.row_ticks > 1)
    way = of_ledger if given.way == "ledger" else of_duckdb
    taken_s, found = way(given.path, question, given.row_size)
    print(json.dumps({"ms": taken_s * 1000, "checksum": checksum(found)}))


if __name__ == "__main__":
    main()
