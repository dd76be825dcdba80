"""Retention: which hours of a tape go, and which of their ids still matter afterwards.

Invariant: an id that was held and has expired is never taken for missing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from storage import keys
from storage.errors import LedgerError
from storage.held_ids import HeldIds, Run, runs_of
from storage.sealing import second_keys
from storage.tape import Tape
from storage.trades import TradeColumns


@dataclass(frozen=True, slots=True)
class Expired:
    """What was deleted of a symbol: whole hours from `first_hour_ms` to before `end_ms`."""

    symbol: str
    first_hour_ms: int
    end_ms: int
    hours: int
    rows: int


@dataclass(frozen=True, slots=True)
class Expiry:
    """What is to be deleted of a symbol: the hours, their keys, and the ids that still matter."""

    what: Expired
    hours: list[int]
    removed: list[bytes]
    expired: tuple[Run, ...]


def expiry_of(
    symbol: str, tape: Tape, hours: list[int], block_rows: Callable[[int, int], TradeColumns]
) -> Expiry:
    """What becomes of a tape, settled before these hours, oldest first, when they are deleted.

    `block_rows` reads the rows of an hour's part.
    """
    end_ms = hours[-1] + keys.HOUR_MS
    # Trades up to here are deleted; nothing vouches for that time any more.
    edge_ms = max(end_ms - 1, *(run.last_ms for run in tape.state.expired), 0)
    edge = tape.held.last_up_to(tape.settled)
    expired = HeldIds() if edge is None else HeldIds([Run(edge, edge, edge_ms, edge_ms)])
    for run in _expired_runs(tape, hours, block_rows):
        if edge is None or run.last_id > edge:
            first_id = run.first_id if edge is None else max(run.first_id, edge + 1)
            expired.add(Run(first_id, run.last_id, edge_ms, edge_ms))
    removed = [*_keys_of(symbol, tape, hours), *_absences_of(symbol, tape)]
    what = Expired(symbol, hours[0], end_ms, len(hours), sum(_rows_in(tape, hour_ms) for hour_ms in hours))
    return Expiry(what, hours, removed, expired.runs)


def _expired_runs(
    tape: Tape, hours: list[int], block_rows: Callable[[int, int], TradeColumns]
) -> Iterator[Run]:
    """The runs of ids of these hours, as far as they matter, and of those that expired before."""
    yield from tape.state.expired
    for hour_ms in hours:
        for part in tape.open.get(hour_ms, ()):
            yield from runs_of(part.by_id())
        for number, rollup in tape.sealed.get(hour_ms, {}).items():
            if rollup.last_id <= tape.settled:
                continue
            if rollup.rows == rollup.last_id - rollup.first_id + 1:
                yield Run(rollup.first_id, rollup.last_id, rollup.first_ms, rollup.last_ms)
                continue
            try:
                yield from runs_of(block_rows(hour_ms, number))
            except LedgerError:
                continue  # which ids it held cannot be told: they are asked for again, and expire again


def _absences_of(symbol: str, tape: Tape) -> Iterator[bytes]:
    """The absences that nothing kept lies before."""
    return (keys.absence(symbol, each.first_id) for each in tape.absences if each.last_id <= tape.settled)


def _rows_in(tape: Tape, hour_ms: int) -> int:
    sealed = sum(rollup.rows for rollup in tape.sealed.get(hour_ms, {}).values())
    return sealed + sum(map(len, tape.open.get(hour_ms, ())))


def _keys_of(symbol: str, tape: Tape, hours: list[int]) -> Iterator[bytes]:
    for hour_ms in hours:
        for part in tape.sealed.get(hour_ms, {}):
            for key in (keys.block, keys.rollup, keys.candles):
                yield key(symbol, hour_ms, part)
        for rows in tape.open.get(hour_ms, ()):
            yield from second_keys(symbol, rows)
