"""The whole server while its disk refuses: no trade is lost, questions are answered, no restart is needed."""

import asyncio
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from collectors.exchange import GeneratedMarket
from storage.ledger import TradeLedger
from tests import processes
from tests.clock import wall_ms
from tests.disks import full, small_disk
from tests.levers import metrics, until, until_written
from tests.server.test_end_to_end import FAST, ask, connected, recorded, wait_for_trades
from tests.tapes import rows_of


async def metric(url: str, name: str) -> float:
    """The value of a metric without labels."""
    return (await asyncio.to_thread(metrics, url))[name]


async def until_metric(url: str, name: str, value: float) -> None:
    await asyncio.to_thread(until, lambda: metrics(url)[name] == value)


@contextmanager
def no_file_grows(pid: int) -> Iterator[None]:
    """Each write of the process to a file fails, as on a disk with errors."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


async def through_a_failure(url: str, refusing: Any, refused_s: float) -> None:
    """Asks before, during and after; the answers go on counting the newest trades."""
    async with connected(url, "sse") as client:
        await wait_for_trades(client, 500)
        with refusing:
            await until_metric(url, "tapedeck_ledger_writable", 0)
            heads = [await newest_id(client)]
            until_ms = wall_ms() + int(refused_s * 1000)
            while wall_ms() < until_ms or heads[-1] == heads[0]:
                heads.append(await newest_id(client))
                await asyncio.sleep(0.2)
            assert heads == sorted(heads)
            assert await metric(url, "tapedeck_ledger_unwritten_trades") > 0
            assert await metric(url, "tapedeck_ledger_writable") == 0
        await until_metric(url, "tapedeck_ledger_writable", 1)
        async with asyncio.timeout(60):
            while await newest_id(client) <= heads[-1]:  # noqa: ASYNC110  a process of its own
                await asyncio.sleep(0.2)


async def newest_id(client: Client) -> int:
    """Of the trades that an answer is made of, which lack none."""
    answer = await ask(client, "get_volume_profile", symbol="BTCUSDT", duration_hours=1)
    coverage = answer["meta"]["coverage"]
    assert coverage["missing"] == 0
    return int(coverage["last_id"])


def assert_nothing_lost(data_dir: Path, market: GeneratedMarket) -> None:
    held = recorded(data_dir)
    printed = market.trades("BTCUSDT", int(held.time_ms[0]), int(held.time_ms[-1]) + 1)
    printed = printed.take((printed.id >= held.id[0]) & (printed.id <= held.id[-1]))
    assert rows_of(held) == rows_of(printed)


def assert_told_once(process: processes.Process) -> None:
    said = "".join(process.lines)
    assert said.count("flush failed") == 1
    assert said.count("disk writes again") == 1
    assert said.count('"level": "error"') == 1
    assert "Traceback" not in said


@pytest.mark.timeout(240)
@pytest.mark.parametrize("full_s", [3, pytest.param(60, marks=pytest.mark.long)])
def test_a_full_disk_loses_no_trade_and_needs_no_restart(tmp_path: Path, full_s: float) -> None:
    with (
        small_disk(tmp_path / "disk") as disk,
        processes.exchange(FAST) as urls,
        processes.server(urls, disk / "l") as (process, url),
    ):
        asyncio.run(through_a_failure(url, full_without_reserve(disk), full_s))
        process.child.terminate()
        assert process.wait(30) == 0
        assert_told_once(process)
        assert_nothing_lost(disk / "l", GeneratedMarket(1, rate=500 / 18))


@contextmanager
def full_without_reserve(disk: Path) -> Iterator[None]:
    reserve = disk / "l" / "RESERVE"
    until(reserve.exists)  # it is made once, soon after the start
    reserve.unlink()
    with full(disk):
        yield


@pytest.mark.timeout(120)
def test_a_disk_with_errors_loses_no_trade_and_needs_no_restart(tmp_path: Path) -> None:
    with processes.exchange(FAST) as urls, processes.server(urls, tmp_path / "l") as (process, url):
        asyncio.run(through_a_failure(url, no_file_grows(process.child.pid), 2))
        process.child.terminate()
        assert process.wait(30) == 0
        assert_told_once(process)
    assert_nothing_lost(tmp_path / "l", GeneratedMarket(1, rate=500 / 18))


def test_a_stop_while_the_disk_refuses_is_orderly_and_names_what_is_lost(tmp_path: Path) -> None:
    async def run(process: processes.Process, url: str) -> None:
        async with connected(url, "sse") as client:
            await wait_for_trades(client, 1_500)
        await asyncio.to_thread(until_written, url)
        with no_file_grows(process.child.pid):
            await until_metric(url, "tapedeck_ledger_writable", 0)
            process.child.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 30) == 0

    with processes.exchange(FAST) as urls, processes.server(urls, tmp_path / "l") as (process, url):
        asyncio.run(run(process, url))
        said = "".join(process.lines)
        assert said.count("closed with trades unwritten") == 1
        assert "Traceback" not in said
    with TradeLedger.open(tmp_path / "l") as ledger:
        assert len(ledger.trades("BTCUSDT", 0, 2 * wall_ms())) >= 1_500
