"""Rows for a ledger that another process has open: its owner takes them in, offered to it as files.

Invariant: whoever may write the ledger's directory may offer, and nobody else; no port and no key is
involved. The offerer writes `imports/NAME.rows`; the owner takes the rows whose ids are not held, has them on
disk, writes `NAME.taken` with what became of them or why they were refused, and removes the offer. Both
files appear whole, by renaming.
"""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ormsgpack

from storage.blocks import decode_block, encode_block
from storage.errors import CorruptRecord, NewerFormat, RowsRefused, StoreUnavailable
from storage.intake import MOST_AT_ONCE, Taken, settle, take_in
from storage.keys import HOUR_MS
from storage.ledger import TradeLedger
from storage.ledger_files import IMPORTS, is_locked
from storage.rollups import digest_of
from storage.trades import TradeColumns

OFFER = ".rows"
ANSWER = ".taken"
VERSION = 1
# Offers that wait for the owner, so that it always finds something.
AHEAD = 16
# The owner's turn ends after so long, offers or not; and it rests as long as it works, so that questions
# find Python's lock free.
TURN_S = 1.0
POLL_S = 0.02
OWNER_ANSWERS_S = 30.0
# An owner that is silent for so long may have ended.
OWNER_LOOKED_FOR_S = 3.0


# -- the owner's side -------------------------------------------------------------------------------------


def take_offered(
    ledger: TradeLedger, path: Path, now_ms: int, kept_from_ms: int | None, *, turn_s: float = TURN_S
) -> list[tuple[str, Taken]]:
    """Take in what is offered to the ledger open in `path`; the symbols and what became of their rows.

    Rows that begin more than an hour before `kept_from_ms` are refused: they would be deleted again. Raises
    as `flush` does; the offer then waits.
    """
    taken = []
    until = time.monotonic() + turn_s
    for offer in sorted((path / IMPORTS).glob(f"*{OFFER}")):
        began = time.monotonic()
        if began >= until or ledger.is_behind:
            break
        try:
            symbol, result = _take(ledger, _read(offer), now_ms, kept_from_ms)
            answer: Mapping[str, Any] = asdict(result)
            taken.append((symbol, result))
        except RowsRefused as refusal:
            answer = {"refused": str(refusal)}
        with suppress(OSError):
            _publish(offer.with_suffix(ANSWER), ormsgpack.packb(answer))
        with suppress(OSError):
            offer.unlink()
        time.sleep(time.monotonic() - began)
    return taken


def _take(ledger: TradeLedger, offer: "_Offer", now_ms: int, kept_from_ms: int | None) -> tuple[str, Taken]:
    if offer.venue != ledger.venue:
        raise RowsRefused(f"the ledger holds the tape of {ledger.venue!r}, offered is {offer.venue!r}")
    if offer.symbol not in ledger.instruments:
        raise RowsRefused(f"{offer.symbol} is not recorded there; add it to TAPEDECK_SYMBOLS")
    result = Taken()
    if offer.rows is not None:
        _check(offer.rows, offer.sha256, now_ms, kept_from_ms)
        result = take_in(ledger, offer.symbol, offer.rows)
        ledger.flush()
    if offer.end:
        settle(ledger, now_ms)
    return offer.symbol, result


def _check(rows: TradeColumns, digest: bytes, now_ms: int, kept_from_ms: int | None) -> None:
    """Raises `RowsRefused` for rows that no archive and no exchange could have."""
    if len(rows) > MOST_AT_ONCE:
        raise RowsRefused(f"{len(rows)} rows at once, at most {MOST_AT_ONCE}")
    if digest_of(rows) != digest:
        raise RowsRefused("the rows are not those that were offered: their digest differs")
    if int(rows.id[0]) < 0 or not bool(np.all(np.diff(rows.id) > 0)):
        raise RowsRefused("ids do not ascend")
    if bool(np.any((rows.price_int < 0) | (rows.quantity_int < 0) | (rows.valid & (rows.price_int == 0)))):
        raise RowsRefused("a price or a quantity is below 0, or a price is 0")
    oldest_ms, newest_ms = int(rows.time_ms.min()), int(rows.time_ms.max())
    if newest_ms > now_ms or oldest_ms < 0:
        raise RowsRefused(f"times {oldest_ms} to {newest_ms} are not of the past")
    # Hours are deleted whole, and time has passed since the offerer looked.
    if kept_from_ms is not None and oldest_ms < kept_from_ms - HOUR_MS:
        raise RowsRefused("rows are older than TAPEDECK_RETENTION_HOURS of the running server keeps")


@dataclass(frozen=True, slots=True, eq=False)
class _Offer:
    """Rows of a symbol, or None; with `end` nothing more comes for now and what came can be sealed."""

    symbol: str
    venue: str
    rows: TradeColumns | None
    sha256: bytes
    end: bool


def _read(offer: Path) -> _Offer:
    try:
        record = ormsgpack.unpackb(offer.read_bytes())
        if record["v"] != VERSION:
            raise RowsRefused(f"offered in version {record['v']}; the running server reads {VERSION}")
        rows = decode_block(record["block"]).trades() if record["block"] else None
        return _Offer(record["symbol"], record["venue"], rows, record["sha256"], record["end"])
    except (OSError, KeyError, TypeError, ValueError, CorruptRecord, NewerFormat) as error:
        raise RowsRefused(f"{offer.name} cannot be read: {error}") from error


def _publish(path: Path, content: bytes) -> None:
    """Write a file that appears whole."""
    making = path.with_name(f"{path.name}.partial")
    making.write_bytes(content)
    making.rename(path)


# -- the offerer's side -----------------------------------------------------------------------------------


class OfferedIntake:
    """Into the ledger in `path`, which another process has open."""

    def __init__(self, path: Path, venue: str, *, within_s: float = OWNER_ANSWERS_S) -> None:
        self._path = path
        self._venue = venue
        self._within_s = within_s
        self._run = f"{os.getpid()}-{time.monotonic_ns()}"
        self._offers = 0
        self._symbol = ""
        self._waiting: list[Path] = []
        self._taken = Taken()

    def put(self, symbol: str, rows: TradeColumns) -> None:
        self._symbol = symbol
        self._offer(encode_block(rows), digest_of(rows))
        self._wait_for(AHEAD)

    def finish(self) -> Taken:
        if self._symbol:
            self._offer(b"", b"", end=True)
            self._wait_for(0)
        taken, self._taken = self._taken, Taken()
        return taken

    def _offer(self, block: bytes, digest: bytes, *, end: bool = False) -> None:
        record = {
            "v": VERSION,
            "symbol": self._symbol,
            "venue": self._venue,
            "block": block,
            "sha256": digest,
            "end": end,
        }
        self._offers += 1
        offer = self._path / IMPORTS / f"{self._run}-{self._offers:09d}{OFFER}"
        try:
            offer.parent.mkdir(mode=0o700, exist_ok=True)
            _publish(offer, ormsgpack.packb(record))
        except OSError as error:
            raise StoreUnavailable(
                f"{self._path} is open in another process, which cannot be given rows: {error.strerror}"
            ) from error
        self._waiting.append(offer)

    def _wait_for(self, most: int) -> None:
        """Until at most so many offers are unanswered."""
        asked = time.monotonic()
        while len(self._waiting) > most:
            answer = self._waiting[0].with_suffix(ANSWER)
            if answer.exists():
                self._waiting.pop(0)
                self._count(ormsgpack.unpackb(answer.read_bytes()))
                answer.unlink()
                asked = time.monotonic()
                continue
            waited = time.monotonic() - asked
            if waited > self._within_s or (waited > OWNER_LOOKED_FOR_S and not is_locked(self._path)):
                self._withdraw()
                raise StoreUnavailable(
                    f"the process that had {self._path} open has ended, or took no rows within "
                    f"{self._within_s:g} s; what it took is kept, start again"
                )
            time.sleep(POLL_S)

    def _count(self, answer: dict[str, Any]) -> None:
        if "refused" in answer:
            self._withdraw()
            raise RowsRefused(answer["refused"])
        self._taken += Taken(**answer)

    def _withdraw(self) -> None:
        for offer in self._waiting:
            with suppress(OSError):
                offer.unlink()
