"""What the log says once a minute: each symbol's trades, and how much more was not kept as it came."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from collectors.binance import ApiError, Malformed
from collectors.exchange.clock import VirtualClock
from collectors.oddities import MOST_REFUSALS_TOLD, MOST_TOLD, Counts, Oddities
from collectors.stream_frames import Parsed
from collectors.summary import EVERY_S, Summary
from storage.conflicts import Conflict
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests.tapes import START_MS, run_of

from .parts import parts_of

PATIENCE_S = 60

Logs = Sequence[Any]


def named(logs: Logs, event: str) -> list[dict[str, Any]]:
    return [line for line in logs if line["event"] == event]


def minutes(path: Path, *brought: dict[str, TradeColumns]) -> Logs:
    """What is logged while links bring these rows, those of each part within a minute of its own."""

    async def run(logs: Logs) -> None:
        clock, symbols = VirtualClock(START_MS, speed=0), ["BTCUSDT", "ETHUSDT"]
        with TradeLedger.open(path / "l") as ledger:
            it = parts_of(symbols, ledger, clock)
            task = asyncio.create_task(Summary(ledger, it.recordings, it.oddities, clock).run())
            await asyncio.sleep(0)
            for number, part in enumerate(brought, 1):
                for symbol, rows in part.items():
                    it.posting.accept(it.recordings.of(symbol), rows)
                it.oddities.note_dropped(1, number)
                clock.advance(EVERY_S * 1000)
                async with asyncio.timeout(PATIENCE_S):
                    while len(named(logs, "recorded")) < number * len(symbols):  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with capture_logs() as logs:
        asyncio.run(run(logs))
    return logs


def test_each_minute_has_a_line_for_each_symbol_with_what_came_in_it(tmp_path: Path) -> None:
    first = {"BTCUSDT": run_of(1, 90)}
    second = {"BTCUSDT": run_of(91, 30), "ETHUSDT": run_of(7, 6)}
    lines = named(minutes(tmp_path, first, second), "recorded")
    assert [(line["log_level"], line["symbol"], line["trades"], line["per_s"]) for line in lines] == [
        ("info", "BTCUSDT", 90, 1.5),
        ("info", "ETHUSDT", 0, 0.0),
        ("info", "BTCUSDT", 30, 0.5),
        ("info", "ETHUSDT", 6, 0.1),
    ]
    assert [line["head"] for line in lines] == [90, None, 120, 12]


def test_what_is_missing_is_in_the_line(tmp_path: Path) -> None:
    with TradeLedger.open(tmp_path / "l") as ledger:
        ledger.append("BTCUSDT", run_of(1, 10))
        ledger.append("BTCUSDT", run_of(15, 10))
    first, other = named(minutes(tmp_path, {}), "recorded")
    assert (first["missing"], other["missing"]) == (4, 0)


def untold(note: Callable[[Oddities], None], times: int) -> tuple[Logs, Logs, Logs]:
    """What is logged of so many of a kind, by the minute's end, and of the next minute's first one."""
    oddities = Oddities()
    with capture_logs() as told:
        for _ in range(times):
            note(oddities)
    with capture_logs() as more:
        oddities.tell_more()
        oddities.tell_more()
    with capture_logs() as again:
        note(oddities)
    return told, more, again


def parsed(*, malformed: int = 0, errors: int = 0) -> Parsed:
    faults, refusals = [Malformed("no JSON", "{")] * malformed, [ApiError(2, "no such stream")] * errors
    return Parsed({}, {}, None, faults, refusals, shutdown=False, ignored=0)


CONFLICT = Conflict(run_of(5, 1), run_of(5, 1, start_ms=START_MS + 1))
KINDS: dict[str, tuple[Callable[[Oddities], None], str, str, int]] = {
    "dropped": (lambda it: it.note_dropped(1, 3), "messages given up", "warning", MOST_TOLD),
    "malformed": (lambda it: it.note_unread(1, parsed(malformed=1)), "message skipped", "warning", MOST_TOLD),
    "errors": (lambda it: it.note_unread(1, parsed(errors=1)), "exchange refused", "error", MOST_TOLD),
    "implausible": (
        lambda it: it.note_implausible("X", run_of(9, 2), 4),
        "trades left out",
        "warning",
        MOST_TOLD,
    ),
    "conflicts": (lambda it: it.note_conflict("X", CONFLICT, kept=True), "conflict", "warning", MOST_TOLD),
    "refused": (
        lambda it: it.note_refused("X", run_of(9, 4), 4, 70),
        "trades refused",
        "error",
        MOST_REFUSALS_TOLD,
    ),
    "shut_out": (
        lambda it: it.note_shut_out("X", run_of(9, 2)),
        "trades not kept",
        "error",
        MOST_REFUSALS_TOLD,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_each_kind_so_many_are_told_a_minute_and_then_how_many_there_were(kind: str) -> None:
    note, event, level, most = KINDS[kind]
    told, more, again = untold(note, most + 5)
    assert [(line["event"], line["log_level"]) for line in told] == [(event, level)] * most
    assert more == [{"event": "more of the same", "log_level": "warning", kind: most + 5}]
    assert [line["event"] for line in again] == [event]
    assert not untold(note, most)[1]


def test_every_one_is_counted_however_many_are_told() -> None:
    oddities = Oddities()
    for _ in range(MOST_TOLD + 5):
        for note, _event, _level, _most in KINDS.values():
            note(oddities)
    times = MOST_TOLD + 5
    assert oddities.counts == Counts(
        malformed=times,
        dropped=3 * times,
        refused=4 * times,
        errors=times,
        implausible=2 * times,
        shut_out=2 * times,
    )
