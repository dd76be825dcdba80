"""`tapedeck backfill` and `tapedeck audit`, alone and beside a running server."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import structlog

from collectors.binance import DAY_MS, start_of
from collectors.exchange import GeneratedMarket
from server import archive_commands
from server.cli import main
from server.wall_clock import wall_clock
from storage.absences import Absence, Seen
from storage.checkpoints import readable
from storage.ledger import TradeLedger
from storage.trades import TradeColumns
from tests import processes
from tests.clock import SteppedClock, wall_ms
from tests.levers import missing, until
from tests.tapes import rows_of

RATE = 0.005
TODAY = datetime.fromtimestamp(wall_ms() / 1000, UTC).date()
YESTERDAY, BEFORE = TODAY - timedelta(days=1), TODAY - timedelta(days=2)
# To the commands it was noon when the tests were read: their today stays the tests'.
NOON = SteppedClock(wall_clock)
NOON.step_ms = start_of(TODAY) + DAY_MS // 2 - wall_ms()


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, Any]]:
    with processes.exchange(f"--rate={RATE}", "--history-hours=120") as urls:
        yield urls


@pytest.fixture(scope="module")
def printed() -> dict[date, TradeColumns]:
    market = GeneratedMarket(symbols=["BTCUSDT"], rate=RATE)
    return {
        day: market.trades("BTCUSDT", start_of(day), start_of(day) + DAY_MS) for day in (BEFORE, YESTERDAY)
    }


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


def tapedeck(urls: dict[str, Any], data_dir: Path, *command: object, **settings: object) -> Ended:
    """A command run to its end, in this process: starting one takes longer than most of them."""
    environment = processes.inherited() | processes.environment_for(urls, data_dir, **settings)
    with (
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch.object(archive_commands, "wall_clock", NOON),
        redirect_stdout(StringIO()) as out,
        redirect_stderr(StringIO()) as err,
    ):
        try:
            status = main(list(map(str, command)))
        except SystemExit as refused:  # by argparse
            status = int(refused.code or 0)
        finally:
            structlog.reset_defaults()
            logging.basicConfig(handlers=[], level=logging.WARNING, force=True)
    return Ended(status, out.getvalue(), err.getvalue())


def held(data_dir: Path, day: date) -> TradeColumns:
    """The day in the ledger, whoever has it open."""
    with readable(data_dir) as path, TradeLedger.open(path, create=False) as ledger:
        return ledger.trades("BTCUSDT", start_of(day), start_of(day) + DAY_MS)


def test_days_are_brought_into_a_ledger_that_nobody_has_open(
    urls: dict[str, Any], printed: dict[date, TradeColumns], tmp_path: Path
) -> None:
    brought = tapedeck(urls, tmp_path / "l", "backfill", "btcusdt", "--from", BEFORE)
    assert (brought.returncode, brought.stderr) == (0, "")
    newest, oldest = (len(printed[day]) for day in (YESTERDAY, BEFORE))
    assert brought.stdout.splitlines() == [
        f"{YESTERDAY}: {newest} trades in the dump, 0 over REST, {newest} new, 0 held already",
        f"{BEFORE}: {oldest} trades in the dump, 0 over REST, {oldest} new, 0 held already",
    ]
    for day, trades in printed.items():
        assert rows_of(held(tmp_path / "l", day)) == rows_of(trades)
    again = tapedeck(urls, tmp_path / "l", "backfill", "BTCUSDT", "--from", BEFORE, "--to", TODAY)
    assert again.stdout == f"{YESTERDAY}: complete already\n{BEFORE}: complete already\n"
    audited = tapedeck(urls, tmp_path / "l", "audit", BEFORE)
    assert audited.returncode == 0
    assert audited.stdout.startswith(f"BTCUSDT {BEFORE}: same\n")


def test_a_gap_that_is_left_is_told_of(urls: dict[str, Any], tmp_path: Path) -> None:
    tapedeck(urls, tmp_path / "l", "backfill", "BTCUSDT", "--from", YESTERDAY, "--to", TODAY)
    three = YESTERDAY - timedelta(days=2)
    told = tapedeck(
        urls, tmp_path / "l", "backfill", "BTCUSDT", "--from", three, "--to", BEFORE
    ).stdout.splitlines()
    assert "a running server fetches them over REST" in told[-1]


def test_a_running_server_takes_the_days_in_and_goes_on_recording(
    urls: dict[str, Any], printed: dict[date, TradeColumns], tmp_path: Path
) -> None:
    with processes.server(urls, tmp_path / "l", WARMUP_HOURS="0.5") as (process, url):
        until(lambda: held_at_all(tmp_path / "l"))
        brought = tapedeck(urls, tmp_path / "l", "backfill", "BTCUSDT", "--from", BEFORE)
        assert (brought.returncode, brought.stderr) == (0, ""), process.lines
        # Today or yesterday, the day on which the warm-up begins is filled up as well.
        assert [line.split(":")[0] for line in brought.stdout.splitlines()[-2:]] == [
            str(YESTERDAY),
            str(BEFORE),
        ]
        for day, trades in printed.items():
            assert rows_of(held(tmp_path / "l", day)) == rows_of(trades)
        audited = tapedeck(urls, tmp_path / "l", "audit", YESTERDAY, "BTCUSDT")
        assert (audited.returncode, audited.stderr) == (0, ""), audited.stdout
        assert process.child.poll() is None
        until(lambda: missing(url, "BTCUSDT") == 0)
    with TradeLedger.open(tmp_path / "l") as ledger:
        [run] = ledger.runs("BTCUSDT")
        assert run.first_id == int(printed[BEFORE].id[0])
        assert run.last_id >= int(printed[YESTERDAY].id[-1])


def held_at_all(data_dir: Path) -> bool:
    with readable(data_dir) as path, TradeLedger.open(path, create=False) as ledger:
        return bool(ledger.runs("BTCUSDT"))


def test_an_audit_names_what_differs(
    urls: dict[str, Any], printed: dict[date, TradeColumns], tmp_path: Path
) -> None:
    trades = printed[BEFORE]
    quantity = trades.quantity_int.copy()
    quantity[700] += 1
    planted = replace(trades, quantity_int=quantity)
    with TradeLedger.open(tmp_path / "l") as ledger:
        ledger.append("BTCUSDT", planted.take(slice(0, 100)))
        ledger.append("BTCUSDT", planted.take(slice(103, None)))
        ledger.append("BTCUSDT", replace(trades.take(slice(-1, None)), id=trades.id[-1:] + 5))
    audited = tapedeck(urls, tmp_path / "l", "audit", BEFORE)
    assert audited.returncode == 1
    first, *lines = audited.stdout.splitlines()
    assert first == f"BTCUSDT {BEFORE}: DIFFERS"
    told = "\n".join(lines)
    assert f"3 ids in the dump, not in the ledger: {trades.id[100]}-{trades.id[102]}" in told
    assert f"1 ids in the ledger, not in the dump: {trades.id[-1] + 5}" in told
    assert "1 ids with other content" in told
    both = [line for line in lines if f"a={trades.id[700]} " in line]
    assert [line.split()[0] for line in both] == ["ledger", "dump"]
    assert both[0] != both[1]
    absent = tapedeck(urls, tmp_path / "l", "audit", TODAY + timedelta(days=2))
    assert absent.returncode == 1
    assert "not there (yet)" in absent.stdout


def test_ids_that_nobody_has_fail_a_backfill_until_they_are_certified(
    printed: dict[date, TradeColumns], tmp_path: Path
) -> None:
    trades = printed[BEFORE]
    first, last = int(trades.id[100]), int(trades.id[102])
    hole = {"fault": "hole", "symbols": ["BTCUSDT"], "first_id": first, "last_id": last}
    (tmp_path / "faults.json").write_text(json.dumps([hole]))
    command = ("backfill", "BTCUSDT", "--from", BEFORE, "--to", YESTERDAY)
    with processes.exchange(
        f"--rate={RATE}", "--history-hours=120", f"--faults={tmp_path / 'faults.json'}"
    ) as urls:
        failed = tapedeck(urls, tmp_path / "l", *command)
        assert failed.returncode == 1
        assert f"neither dump nor REST has ids {first} to {last}\n" in failed.stdout
        below, above = (Seen(int(trades.id[at]), int(trades.time_ms[at])) for at in (99, 103))
        with TradeLedger.open(tmp_path / "l") as ledger:
            ledger.keep_absence("BTCUSDT", Absence(first, last, below, above, 0, 1, 12, "certified"))
        known = tapedeck(urls, tmp_path / "l", *command)
        assert known.returncode == 0
        assert f"has ids {first} to {last}, as certified before" in known.stdout
        assert "a running server fetches them" not in known.stdout
        audited = tapedeck(urls, tmp_path / "l", "audit", BEFORE)
        assert (audited.returncode, "REST has none of them now" in audited.stdout) == (0, True)


def test_an_audit_asks_again_for_ids_certified_missing(
    urls: dict[str, Any], printed: dict[date, TradeColumns], tmp_path: Path
) -> None:
    trades = printed[BEFORE]
    below, above = (Seen(int(trades.id[at]), int(trades.time_ms[at])) for at in (99, 103))
    with TradeLedger.open(tmp_path / "l") as ledger:
        ledger.append("BTCUSDT", trades.take(slice(0, 100)))
        ledger.append("BTCUSDT", trades.take(slice(103, None)))
        ledger.keep_absence(
            "BTCUSDT", Absence(below.id + 1, above.id - 1, below, above, 0, 1, 12, "certified")
        )
    audited = tapedeck(urls, tmp_path / "l", "audit", BEFORE)
    assert audited.returncode == 1
    ids = f"{below.id + 1}-{above.id - 1}"
    assert f"3 ids in the dump, not in the ledger: {ids}" in audited.stdout
    assert f"3 ids certified missing: {ids}, asked for 12 times; REST has 3 of them now" in audited.stdout
    assert f"tapedeck backfill BTCUSDT --from {BEFORE}" in audited.stdout
    tapedeck(urls, tmp_path / "l", "backfill", "BTCUSDT", "--from", BEFORE, "--to", YESTERDAY)
    with TradeLedger.open(tmp_path / "l") as ledger:
        assert ledger.absences("BTCUSDT") == ()
        assert ledger.gaps("BTCUSDT") == ()


@pytest.mark.parametrize(
    ("command", "settings", "why"),
    [
        (
            ["backfill", "BTCUSDT", "--from", TODAY - timedelta(days=9)],
            {},
            "TAPEDECK_RETENTION_HOURS=168 keeps",
        ),
        (["backfill", "BTCUSDT", "--from", YESTERDAY, "--to", YESTERDAY], {}, "it is exclusive"),
        (["backfill", "NOPE", "--from", YESTERDAY], {}, "Invalid symbol"),
        (
            ["backfill", "BTCUSDT", "--from", YESTERDAY],
            {"REST_URL": "http://127.0.0.1:9"},
            "http://127.0.0.1:9",
        ),
        (["audit", YESTERDAY], {}, "holds no ledger"),
        (["backfill", "BTCUSDT", "--from", "yesterday"], {}, "write it as 2026-11-22"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line(
    urls: dict[str, Any], tmp_path: Path, command: list[object], settings: dict[str, str], why: str
) -> None:
    ended = tapedeck(urls, tmp_path / "l", *command, **settings)
    assert ended.returncode in (1, 2)
    assert why in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
