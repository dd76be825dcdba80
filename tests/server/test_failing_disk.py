"""The whole server while its disk refuses: no trade is lost, questions are answered, no restart is needed."""

import asyncio
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.exchange import GeneratedMarket
from storage.ledger import TradeLedger
from tests import processes
from tests.clock import wall_ms
from tests.disks import full, small_disk
from tests.server.test_end_to_end import FAST, ask, connected, recorded, wait_for_trades
from tests.tapes import rows_of


def metric(url: str, name: str) -> float:
    """The value of a metric without labels."""
    lines = httpx.get(f"{url}/metrics", trust_env=False).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


async def until_metric(url: str, name: str, value: float, within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while await asyncio.to_thread(metric, url, name) != value:  # noqa: ASYNC110  a process of its own
            await asyncio.sleep(0.1)


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
            heads: list[int] = []
            until_ms = wall_ms() + int(refused_s * 1000)
            while wall_ms() < until_ms or heads[-1] == heads[0]:
                answer = await ask(client, "get_volume_profile", symbol="BTCUSDT", duration_hours=1)
                coverage = answer["meta"]["coverage"]
                heads.append(coverage["last_id"])
                assert coverage["missing"] == 0
                await asyncio.sleep(0.2)
            assert heads == sorted(heads)
            assert heads[-1] > heads[0]
            assert await asyncio.to_thread(metric, url, "tapedeck_ledger_unwritten_trades") > 0
            assert await asyncio.to_thread(metric, url, "tapedeck_ledger_writable") == 0
        await until_metric(url, "tapedeck_ledger_writable", 1)
        answer = await ask(client, "get_volume_profile", symbol="BTCUSDT", duration_hours=1)
        assert answer["meta"]["coverage"]["last_id"] > heads[-1]


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
    (disk / "l" / "RESERVE").unlink(missing_ok=True)
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
            await wait_for_trades(client, 1_500)  # past a flush or two
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
        assert len(ledger.trades("BTCUSDT", 0, 2 * wall_ms())) > 100
