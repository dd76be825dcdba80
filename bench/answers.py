"""How long an answer takes, how fast trades come in, and what a trade costs on disk and in memory.

A day of the generated market (BTCUSDT, seed 1) in a temporary ledger, its hours sealed as they are under a
server. An answer is measured from the ledger's
files to the levels; its rivals, pandas and numpy, have the columns in memory already and make the rows, the
POC and the value area alone, so that the ratios say what keeping the trades on disk costs. All are measured
in interleaved rounds of one run and must agree on every level; medians are printed.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from analytics.errors import BinsTooWide
from analytics.profile import VolumeProfile, poc_row, value_area, volume_profile
from analytics.rows import Rows
from analytics.vacuums import LiquidityVacuums, liquidity_vacuums
from collectors.binance import agg_trade_events, combined, parse_messages, stream_name
from collectors.exchange import GeneratedMarket
from collectors.sequencer import Sequencer
from storage import keys
from storage.codec import by_second, encode_second_batch
from storage.ledger import TradeLedger
from storage.sealing import SEAL_GRACE_MS
from storage.trades import Instrument, IntArray, PriceHistogram, TradeColumns
from storage.view import LedgerView

T = TypeVar("T")

SYMBOL = "BTCUSDT"
SEED = 1
HOUR_MS = 3_600_000
START_MS = 20_780 * 24 * HOUR_MS  # 2026-11-23T00:00:00Z
END_MS = START_MS + 24 * HOUR_MS
ROUNDS = 7
# As the recorder takes them: parsed a thousand at a time, written once a second.
SLICE = 1_000
BURST_TRADES = 200_000
BURST_A_SECOND = 10_000


@dataclass(frozen=True, slots=True)
class Answer:
    """Median milliseconds of one question, ours and the rivals' over columns that are in memory already."""

    question: str
    trades: int
    tapedeck_ms: float
    pandas_ms: float
    numpy_ms: float


@dataclass(frozen=True, slots=True)
class Ingest:
    """From wire text to a synced ledger."""

    how: str
    trades: int
    per_s: float
    cpu_us_a_trade: float


@dataclass(frozen=True, slots=True)
class Memory:
    """RssAnon in MiB: after the imports, and at most while 24 h were answered."""

    imports_mib: float
    profile_peak_mib: float
    vacuums_peak_mib: float


@dataclass(frozen=True, slots=True)
class Report:
    python: str
    machine: str
    trades: int
    answers: list[Answer]
    ingest: list[Ingest]
    seconds_bytes_a_trade: float
    sealed_bytes_a_trade: float
    directory_bytes_a_trade: float
    open_ms: float
    seal_ms_an_hour: float
    memory: Memory


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of answers, ingest, bytes and memory a trade.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
    parser.add_argument("--memory-of", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of is not None:
        print(json.dumps(asdict(memory_of(given.memory_of))))
        return
    with tempfile.TemporaryDirectory(prefix="tapedeck-bench-") as directory:
        report = measured(Path(directory))
    print_report(report)
    if given.json is not None:
        given.json.write_text(json.dumps(asdict(report), indent=2) + "\n")


def measured(directory: Path) -> Report:
    market = GeneratedMarket(SEED, symbols=[SYMBOL])
    trades = market.trades(SYMBOL, START_MS, END_MS)
    ingest = [burst(directory / "burst", trades), live(directory / "live", trades)]
    path = directory / "day"
    with TradeLedger.open(path) as ledger:
        filled = fill(ledger, market.instruments[SYMBOL], trades)
    on_disk = directory_bytes(path)  # before the questions: many reads make LevelDB rewrite its files
    began = time.perf_counter()
    with TradeLedger.open(path) as ledger:
        open_ms = (time.perf_counter() - began) * 1000
        answers = [answer for hours in (1, 24) for answer in questions(ledger, trades, hours)]
    return Report(
        python=platform.python_version(),
        machine=f"{platform.machine()} {platform.system()}",
        trades=len(trades),
        answers=answers,
        ingest=ingest,
        seconds_bytes_a_trade=seconds_bytes(trades) / len(trades),
        sealed_bytes_a_trade=filled.sealed_bytes / len(trades),
        directory_bytes_a_trade=on_disk / len(trades),
        open_ms=open_ms,
        seal_ms_an_hour=filled.seal_ms_an_hour,
        memory=memory_in_a_process_of_its_own(path),
    )


@dataclass(frozen=True, slots=True)
class Filled:
    """What the day became: bytes of its blocks and rollups with their keys, median time to seal an hour."""

    sealed_bytes: int
    seal_ms_an_hour: float


def fill(ledger: TradeLedger, instrument: Instrument, trades: TradeColumns) -> Filled:
    """The day in the ledger, an hour a write; each is sealed when it is finished, as the recorder does."""
    ledger.keep_instrument(instrument, START_MS)
    size, taken_ms = 0, []
    for start_ms in range(START_MS, END_MS, HOUR_MS):
        ledger.append(SYMBOL, trades.within(start_ms, start_ms + HOUR_MS))
        ledger.flush()
        began = time.perf_counter()
        sealed = ledger.seal(start_ms + HOUR_MS + SEAL_GRACE_MS)
        taken_ms.append((time.perf_counter() - began) * 1000)
        ledger.compact()
        if [hour.hour_ms for hour in sealed] != [start_ms]:
            raise AssertionError(f"hour {start_ms} is not the one that was sealed: {sealed}")
        names = keys.block(SYMBOL, start_ms), keys.rollup(SYMBOL, start_ms)
        size += sealed[0].size + sum(map(len, names))
    return Filled(size, statistics.median(taken_ms))


# Answers


def profile_of(ledger: TradeLedger, instrument: Instrument, start_ms: int, end_ms: int) -> VolumeProfile:
    analyse = partial(volume_profile, tick=instrument.tick, lot=instrument.lot)
    with ledger.view(SYMBOL) as view:
        return over_prices(view, start_ms, end_ms, analyse)


def vacuums_of(ledger: TradeLedger, instrument: Instrument, start_ms: int, end_ms: int) -> LiquidityVacuums:
    analyse = partial(
        liquidity_vacuums,
        symbol=SYMBOL, tick=instrument.tick, lot=instrument.lot, start_ms=start_ms, end_ms=end_ms,
    )  # fmt: skip
    with ledger.view(SYMBOL) as view:
        return over_prices(
            view, start_ms, end_ms, lambda histogram: analyse(histogram, view.chunks(start_ms, end_ms))
        )


def over_prices(view: LedgerView, start_ms: int, end_ms: int, analyse: Callable[[PriceHistogram], T]) -> T:
    """As the server asks: by the rollups' bins where they serve, else by exact prices."""
    try:
        return analyse(view.histogram(start_ms, end_ms, exact=False))
    except BinsTooWide:
        return analyse(view.histogram(start_ms, end_ms))


def questions(ledger: TradeLedger, trades: TradeColumns, hours: int) -> Iterator[Answer]:
    instrument = ledger.instruments[SYMBOL]
    window = END_MS - hours * HOUR_MS, END_MS
    count = len(trades.within(*window))

    def profile() -> Levels:
        found = profile_of(ledger, instrument, *window)
        return Levels(found.rows.first + found.poc.row, found.rows.first + found.val_row, count)

    def vacuums() -> Levels:
        return Levels.of(vacuums_of(ledger, instrument, *window).rows, count)

    profile_rows = profile_of(ledger, instrument, *window).rows
    vacuum_rows = vacuums_of(ledger, instrument, *window).rows
    for name, ours, rows in (("volume profile", profile, profile_rows), ("vacuums", vacuums, vacuum_rows)):
        columns = Columns.of(trades, rows.row_ticks)
        ways: list[Callable[[], Levels]] = [
            ours,
            partial(by_pandas, columns.frame(), columns.row_int, window),
            partial(by_numpy, columns, window),
        ]
        yield Answer(f"{name}, {hours} h", count, *interleaved_ms(ways))


@dataclass(frozen=True, slots=True)
class Levels:
    """What all ways must agree on: rows of POC and VAL on the absolute grid, and the number of trades."""

    poc: int
    val: int
    trades: int

    @classmethod
    def of(cls, rows: Rows, trades: int) -> "Levels":
        return cls.in_volume(rows.volume, rows.first, trades)

    @classmethod
    def in_volume(cls, volume: IntArray, first_row: int, trades: int) -> "Levels":
        poc = poc_row(volume)
        return cls(first_row + poc, first_row + value_area(volume, poc, 70, "two_row")[0], trades)


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """What the rivals have in memory: (n,) columns in the order of time."""

    time_ms: IntArray
    price_int: IntArray
    quantity_int: IntArray
    row_int: int

    @classmethod
    def of(cls, trades: TradeColumns, row_ticks: int) -> "Columns":
        """The generated market's ids and times ascend alike, and its prices are whole ticks already."""
        return cls(trades.time_ms, trades.price_int, trades.quantity_int, row_ticks)

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({"price": self.price_int, "quantity": self.quantity_int}, index=self.time_ms)


def by_pandas(frame: pd.DataFrame, row_int: int, window: tuple[int, int]) -> Levels:
    """`groupby` over a frame sorted by time."""
    first, stop = frame.index.searchsorted(list(window)).tolist()
    inside = frame.iloc[first:stop]
    volume = inside["quantity"].groupby(inside["price"] // row_int).sum()
    low = int(volume.index[0])
    rows = np.zeros(int(volume.index[-1]) - low + 1, np.int64)
    rows[volume.index.to_numpy() - low] = volume.to_numpy()
    return Levels.in_volume(rows, low, len(inside))


def by_numpy(columns: Columns, window: tuple[int, int]) -> Levels:
    """One `bincount`: the floor for anything that looks at every trade."""
    first, stop = np.searchsorted(columns.time_ms, window).tolist()
    row = columns.price_int[first:stop] // columns.row_int
    low = int(row.min())
    volume = np.bincount(row - low, columns.quantity_int[first:stop]).astype(np.int64)
    return Levels.in_volume(volume, low, stop - first)


def interleaved_ms(ways: list[Callable[[], Levels]]) -> list[float]:
    """Median time of each way over rounds in which each runs once; all must agree."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS):
        answers = set()
        for way, taken in zip(ways, times, strict=True):
            began = time.perf_counter()
            answers.add(way())
            taken.append((time.perf_counter() - began) * 1000)
        if len(answers) != 1:
            raise AssertionError(f"the ways disagree: {answers}")
    return [statistics.median(taken) for taken in times]


# Ingest


def wire(trades: TradeColumns) -> list[str]:
    """The trades as the combined stream sends them."""
    stream = stream_name(SYMBOL)
    return [combined(stream, event) for event in agg_trade_events(SYMBOL, trades, END_MS)]


def burst(path: Path, trades: TradeColumns) -> Ingest:
    """10,000 trades behind every synced write: a link that catches up, or a market gone mad."""
    texts = wire(trades.take(slice(0, BURST_TRADES)))
    seconds = [texts[at : at + BURST_A_SECOND] for at in range(0, len(texts), BURST_A_SECOND)]
    return ingest(path, "10,000 trades a write", seconds)


def live(path: Path, trades: TradeColumns) -> Ingest:
    """The busiest hour of the day, a synced write for each of its seconds."""
    hours = [trades.within(at, at + HOUR_MS) for at in range(START_MS, END_MS, HOUR_MS)]
    busiest = max(hours, key=len)
    return ingest(path, "one market second a write", [wire(rows) for _, rows in by_second(busiest)])


def ingest(path: Path, how: str, seconds: list[list[str]]) -> Ingest:
    count = sum(map(len, seconds))
    with TradeLedger.open(path) as ledger:
        sequencer = Sequencer()
        began, cpu_began = time.perf_counter(), time.process_time()
        for texts in seconds:
            for at in range(0, len(texts), SLICE):
                rows = parse_messages(texts[at : at + SLICE]).trades[SYMBOL]
                ledger.append(SYMBOL, sequencer.accept(rows))
            ledger.flush()
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
        stored = sum(run.last_id - run.first_id + 1 for run in ledger.runs(SYMBOL))
    if stored != count:
        raise AssertionError(f"{count} trades came in, {stored} are stored")
    return Ingest(how, count, count / wall_s, cpu_s / count * 1e6)


# Bytes and memory


def seconds_bytes(trades: TradeColumns) -> int:
    """Keys and values alone of what is not sealed yet."""
    key_bytes = len(f"trades:{SYMBOL}:{START_MS}")
    return sum(key_bytes + len(encode_second_batch(rows)) for _, rows in by_second(trades))


def directory_bytes(path: Path) -> int:
    return sum(entry.stat().st_size for entry in path.iterdir())


def memory_in_a_process_of_its_own(path: Path) -> Memory:
    command = [sys.executable, __file__, "--memory-of", str(path)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return Memory(**json.loads(found.stdout))


def memory_of(path: Path) -> Memory:
    imports = anonymous_mib()
    with TradeLedger.open(path) as ledger:
        instrument = ledger.instruments[SYMBOL]
        profile = peak_mib(lambda: profile_of(ledger, instrument, START_MS, END_MS))
        vacuums = peak_mib(lambda: vacuums_of(ledger, instrument, START_MS, END_MS))
    return Memory(imports, profile, vacuums)


def peak_mib(work: Callable[[], object]) -> float:
    """The most anonymous memory seen while `work` ran, looked at every 2 ms."""
    peak, done = anonymous_mib(), threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous_mib())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        work()
    finally:
        done.set()
        looking.join()
    return peak


def anonymous_mib() -> float:
    """RssAnon of this process; LevelDB's mapped files are the kernel's to drop and do not count."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def print_report(report: Report) -> None:
    print(f"{report.trades:,} trades of {SYMBOL} in 24 h, Python {report.python}, {report.machine}\n")
    print(f"{'answer, median ms':<22}{'trades':>10}{'tapedeck':>10}{'pandas':>9}{'numpy':>8}{'ratios':>16}")
    for answer in report.answers:
        ratios = (
            f"{answer.tapedeck_ms / answer.pandas_ms:.1f} x {answer.tapedeck_ms / answer.numpy_ms:8.1f} x"
        )
        print(
            f"{answer.question:<22}{answer.trades:>10,}{answer.tapedeck_ms:>10.1f}{answer.pandas_ms:>9.1f}"
            f"{answer.numpy_ms:>8.1f}{ratios:>18}"
        )
    print("pandas, numpy: columns in memory already; rows, POC and value area alone\n")
    for way in report.ingest:
        print(f"ingest, {way.how:<28}{way.per_s:>10,.0f} trades/s{way.cpu_us_a_trade:>8.1f} us CPU a trade")
    print(
        f"on disk                 {report.sealed_bytes_a_trade:.2f} bytes a trade in sealed hours, "
        f"{report.seconds_bytes_a_trade:.1f} before; {report.directory_bytes_a_trade:.2f} in the directory"
    )
    print(f"sealing an hour         {report.seal_ms_an_hour:.0f} ms; opening the day {report.open_ms:.1f} ms")
    memory = report.memory
    print(
        f"RssAnon                 {memory.imports_mib:.0f} MiB after the imports; over them at most "
        f"{memory.profile_peak_mib - memory.imports_mib:.0f} for a 24 h profile, "
        f"{memory.vacuums_peak_mib - memory.imports_mib:.0f} for 24 h vacuums"
    )


if __name__ == "__main__":
    main()
