"""The stand-in's data.binance.vision: a zip of the day's aggTrades and its CHECKSUM, from the market's truth.

Invariant: as `Habits` has it by default, a dump holds every trade of its day, in id order and exact.
"""

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

import numpy as np

from collectors.binance import DAY_MS, dump_path, start_of
from collectors.exchange.market import Market
from collectors.exchange.replies import Reply
from collectors.exchange.texts import columns_as_written
from storage.trades import TradeColumns

# Files of this day and later have times in microseconds.
MICROSECONDS_SINCE = date(2025, 1, 1)
HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker,is_best_match"
CACHED_FILES = 4

_PATH = re.compile(
    r"/data/spot/daily/aggTrades/([A-Z0-9]+)/\1-aggTrades-([0-9]{4}-[0-9]{2}-[0-9]{2})\.zip(\.CHECKSUM)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How the archive's files look; the defaults are Binance's for spot.

    `microseconds` None goes by the day. `kept` is the share of a day's rows that its file has, from the day's
    beginning. `published_after_ms` is how long after a day's end its file is there.
    """

    header: bool = False
    truth: tuple[str, str] = ("False", "True")
    microseconds: bool | None = None
    wrong_checksum: bool = False
    kept: float = 1.0
    shuffled: bool = False
    published_after_ms: int = 0


def is_archive_address(target: str) -> bool:
    return target.startswith("/data/")


class StandInArchive:
    """Answers requests for dumps; a day's file takes seconds to make, so call it from a worker thread."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._making = threading.Lock()
        self._file = lru_cache(CACHED_FILES)(self._made)

    def respond(self, target: str, now_ms: int, habits: Habits) -> Reply:
        match = _PATH.fullmatch(target)
        day = _day(match[2]) if match else None
        if match is None or day is None or match[1] not in self._market.symbols:
            return _NOT_FOUND
        if start_of(day) + DAY_MS + habits.published_after_ms > now_ms:
            return _NOT_FOUND
        with self._making:  # asked twice, a file is made once
            body = self._file(match[1], day, habits)
        if body is None:
            return _NOT_FOUND
        if match[3]:
            return Reply(200, _checksum(dump_path(match[1], day), body, habits), _TEXT)
        return Reply(200, body, {"Content-Type": "application/zip"})

    def _made(self, symbol: str, day: date, habits: Habits) -> bytes | None:
        """The zip of a day; None where the symbol had no trade."""
        start_ms = start_of(day)
        trades = self._market.trades(symbol, start_ms, start_ms + DAY_MS)
        if not len(trades):
            return None
        name = dump_path(symbol, day).rpartition("/")[2].removesuffix(".zip")
        return zipped(f"{name}.csv", dump_csv(trades, day, habits))


def dump_csv(trades: TradeColumns, day: date, habits: Habits) -> bytes:
    """A day's rows as the archive writes them."""
    trades = trades.take(slice(0, round(len(trades) * habits.kept)))
    if habits.shuffled:
        trades = trades.take(np.random.default_rng(day.toordinal()).permutation(len(trades)))
    microseconds = habits.microseconds if habits.microseconds is not None else day >= MICROSECONDS_SINCE
    rows = _rows(trades, 1000 if microseconds else 1, habits.truth)
    return "".join(([HEADER + "\n"] if habits.header else []) + rows).encode()


def _rows(trades: TradeColumns, time_scale: int, truth: Sequence[str]) -> list[str]:
    makers = [truth[maker] for maker in trades.buyer_is_maker.tolist()]
    cells = zip(*columns_as_written(trades, time_scale), makers, strict=True)
    return [f"{a},{p},{q},{f},{last},{time},{m},{truth[1]}\n" for a, p, q, f, last, time, m in cells]


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def _checksum(path: str, body: bytes, habits: Habits) -> bytes:
    digest = hashlib.sha256(body + b"replaced" if habits.wrong_checksum else body).hexdigest()
    return f"{digest}  {path.rpartition('/')[2]}\n".encode()


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


_TEXT = {"Content-Type": "text/plain"}
_NOT_FOUND = Reply(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
