"""Silence that was asked for is kept: to the second, across restarts, and by whoever shares a directory."""

import asyncio
import json
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from collectors.bars import LONGEST_MS, Bar, Bars
from collectors.clock import Moment
from collectors.exchange import Exchange, GeneratedMarket, VirtualClock
from collectors.exchange.faults import RestLimit
from collectors.kept_bars import LOOK_MS, KeptBars
from collectors.rest import BinanceRest, RestAway
from storage.ledger import TradeLedger
from storage.ledger_files import BARS
from tests.clock import SteppedClock, fast_clock, wall_ms

NOW = Moment(1_700_000_000_000, 5_000_000)
HOUR_MS = 3_600_000
STEPS = [pytest.param(hours * HOUR_MS, id=f"{hours:+} h") for hours in (-2, 2)]


def asked(seconds: float, *, host: str = "a", status: int = 429) -> Bar:
    """REST of a host asked for so much, now."""
    return Bar("rest", host, status, round(seconds * 1000), NOW.utc_ms + round(seconds * 1000))


def later(ms: int, *, set_by_ms: int = 0) -> Moment:
    return Moment(NOW.utc_ms + ms + set_by_ms, NOW.steady_ms + ms)


# What is known of bars


def test_a_bar_holds_to_the_millisecond_and_a_shorter_one_changes_nothing() -> None:
    bars = Bars()
    assert bars.learn(asked(7), NOW)
    assert not bars.learn(asked(3), NOW)
    assert bars.left_ms("rest", "a", NOW.steady_ms + 6_999) == 1
    assert bars.left_ms("rest", "a", NOW.steady_ms + 7_000) == 0
    assert bars.holding(NOW.steady_ms + 6_999) == [asked(7)]
    assert bars.holding(NOW.steady_ms + 7_000) == []


def test_other_hosts_and_streams_are_free() -> None:
    bars = Bars()
    bars.learn(asked(7), NOW)
    assert bars.left_ms("rest", "b", NOW.steady_ms) == bars.left_ms("stream", "a", NOW.steady_ms) == 0


@given(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62), st.integers(-HOUR_MS, HOUR_MS))
def test_no_bar_holds_longer_than_it_was_asked_for_or_than_the_longest_ban(
    asked_ms: int, until_ms: int, set_by_ms: int
) -> None:
    bars, now = Bars(), later(0, set_by_ms=set_by_ms)
    holds = bars.learn(Bar("rest", "a", 418, asked_ms, until_ms), now)
    left_ms = bars.left_ms("rest", "a", now.steady_ms)
    assert 0 <= left_ms <= max(0, min(asked_ms, LONGEST_MS))
    assert holds == (left_ms > 0) == (until_ms > now.utc_ms and asked_ms > 0)


@pytest.mark.parametrize("step_ms", STEPS)
def test_the_same_bar_read_again_after_the_time_was_set_is_no_other_one(step_ms: int) -> None:
    bars = Bars()
    bars.learn(asked(600), NOW)
    assert not bars.learn(asked(600), later(1_000, set_by_ms=step_ms))
    assert bars.left_ms("rest", "a", later(1_000).steady_ms) == 599_000
    assert not bars.learn(asked(600), later(600_001, set_by_ms=step_ms))


# The file


def kept(path: Path, *bars: Bar) -> None:
    path.write_bytes(msgspec.json.encode(bars))


def left_s(bars: KeptBars, host: str = "a") -> float:
    return bars.left_ms("rest", host) / 1000


def test_a_bar_outlives_its_process_and_binds_those_beside_it(tmp_path: Path) -> None:
    async def run() -> None:
        clock = VirtualClock(NOW.utc_ms, speed=0)
        met, beside = KeptBars(clock, tmp_path), KeptBars(clock, tmp_path)
        assert left_s(beside) == 0
        met.bar("rest", "a", 40, 429)
        met.bar("stream", "b", 9, 418)
        await met.written()
        assert left_s(beside) == 0
        clock.advance(LOOK_MS)
        assert left_s(beside) == 39
        beside.bar("rest", "a", 100, 418)
        await beside.written()
        after = KeptBars(clock, tmp_path)
        assert (left_s(after), after.left_ms("stream", "b")) == (100, 8_000)
        clock.advance(100_000)
        assert left_s(after) == left_s(KeptBars(clock, tmp_path)) == 0

    with capture_logs() as logs:
        asyncio.run(run())
    told = [line for line in logs if line["event"] == "still barred"]
    assert {"rest", "stream"} == {line["what"] for line in told}
    assert {line["log_level"] for line in logs} == {"warning"}


def test_one_that_is_over_leaves_the_file_when_the_next_one_comes(tmp_path: Path) -> None:
    async def run() -> None:
        clock = VirtualClock(NOW.utc_ms, speed=0)
        bars = KeptBars(clock, tmp_path)
        bars.bar("rest", "a", 1, 429)
        await bars.written()
        clock.advance(2_000)
        bars.bar("rest", "b", 1, 429)
        await bars.written()

    asyncio.run(run())
    assert [each["host"] for each in json.loads((tmp_path / BARS).read_bytes())] == ["b"]
    assert [file.name for file in tmp_path.iterdir()] == [BARS]


def test_a_ban_that_no_exchange_gives_holds_three_days(tmp_path: Path) -> None:
    kept(tmp_path / BARS, Bar("rest", "a", 418, 2**60, 2**60))
    assert KeptBars(VirtualClock(NOW.utc_ms, speed=0), tmp_path).left_ms("rest", "a") == LONGEST_MS


@pytest.mark.parametrize("damage", ["text", "directory"])
def test_a_file_that_cannot_be_read_or_written_is_told_of_once_and_stops_nothing(
    tmp_path: Path, damage: str
) -> None:
    if damage == "text":
        (tmp_path / BARS).write_bytes(b"\0" * 40)
    else:
        (tmp_path / BARS / "in the way").mkdir(parents=True)

    async def run() -> None:
        clock = VirtualClock(NOW.utc_ms, speed=0)
        bars = KeptBars(clock, tmp_path)
        for _ in range(5):
            assert left_s(bars) == 0
            clock.advance(LOOK_MS)
        bars.bar("rest", "a", 40, 429)
        await bars.written()
        assert left_s(bars) == 40
        again = KeptBars(clock, tmp_path)
        assert left_s(again) == (40 if damage == "text" else 0)

    with capture_logs() as logs:
        asyncio.run(run())
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert warnings == ["bars not read"] * (1 if damage == "text" else 2) + ["still barred"] * (
        damage == "text"
    )


def test_a_file_that_could_not_be_read_once_is_read_again_although_it_looks_the_same(tmp_path: Path) -> None:
    """Its size, its time and its inode are what they were."""
    path, clock = tmp_path / BARS, VirtualClock(NOW.utc_ms, speed=0)
    sound = msgspec.json.encode([asked(40)])
    path.write_bytes(b"\0" * len(sound))
    before = path.stat()
    bars = KeptBars(clock, tmp_path)
    assert left_s(bars) == 0
    with path.open("r+b") as file:
        file.write(sound)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.advance(LOOK_MS)
    assert left_s(bars) == 39


def test_a_bar_that_could_not_be_written_is_written_once_the_disk_takes_it(tmp_path: Path) -> None:
    async def run() -> None:
        clock = VirtualClock(NOW.utc_ms, speed=0)
        in_the_way = tmp_path / BARS / "in the way"
        in_the_way.mkdir(parents=True)
        bars = KeptBars(clock, tmp_path)
        bars.bar("rest", "a", 40, 418)
        for _ in range(3):
            await bars.written()
            bars.retry()
        await bars.written()
        in_the_way.rmdir()
        in_the_way.parent.rmdir()
        bars.retry()
        await bars.written()
        assert left_s(KeptBars(clock, tmp_path)) == 40
        written = (tmp_path / BARS).stat()
        bars.retry()
        await bars.written()
        assert (tmp_path / BARS).stat() == written

    with capture_logs() as logs:
        asyncio.run(run())
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert warnings == ["bars not read", "still barred"]


def test_a_directory_with_nothing_but_bars_becomes_a_ledger_and_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "not there yet"

    async def run() -> None:
        bars = KeptBars(wall_ms, path)
        bars.bar("rest", "a", 600, 429)
        await bars.written()

    asyncio.run(run())
    with TradeLedger.open(path):
        assert left_s(KeptBars(wall_ms, path)) > 500


# Whoever asks


def test_the_next_process_asks_nothing_until_the_bar_of_the_one_before_is_over(tmp_path: Path) -> None:
    async def run() -> None:
        clock = fast_clock(NOW.utc_ms, speed=20)
        async with Exchange(GeneratedMarket(symbols=["BTCUSDT"]), clock=clock, poll_s=0.01) as exchange:
            exchange.inject(RestLimit(status=429, seconds=30))
            async with BinanceRest(exchange.rest_url, clock, bars=KeptBars(clock, tmp_path)) as rest:
                with pytest.raises(RestAway, match="429"):
                    await rest.newest_trades("BTCUSDT")
            again = KeptBars(clock, tmp_path)
            async with BinanceRest(exchange.rest_url, clock, bars=again, patience_s=1) as hasty:
                with pytest.raises(RestAway, match="no request in the next"):
                    await hasty.newest_trades("BTCUSDT")
            async with BinanceRest(exchange.rest_url, clock, bars=again) as rest:
                assert len(await rest.newest_trades("BTCUSDT"))
            assert clock() >= NOW.utc_ms + 30_000 - 1_000
            assert exchange.report().self_inflicted == []
            assert exchange.report().statuses == {"429": 1, "200": 1}

    asyncio.run(run())


@pytest.mark.parametrize("step_ms", STEPS)
def test_a_bar_is_neither_shortened_nor_lengthened_by_a_time_that_is_set(
    tmp_path: Path, step_ms: int
) -> None:
    async def run() -> None:
        world = fast_clock(NOW.utc_ms, speed=20)
        clock = SteppedClock(world)
        bars = KeptBars(clock, tmp_path)
        async with (
            Exchange(GeneratedMarket(symbols=["BTCUSDT"]), clock=world, poll_s=0.01) as exchange,
            BinanceRest(exchange.rest_url, clock, bars=bars) as rest,
        ):
            exchange.inject(RestLimit(status=429, seconds=40))
            with pytest.raises(RestAway, match="429"):
                await rest.newest_trades("BTCUSDT")
            ends_ms = world() + rest.bars.left_ms("rest", rest.base_url.removeprefix("http://"))
            clock.step_ms = step_ms
            async with asyncio.timeout(30):
                assert len(await rest.newest_trades("BTCUSDT"))
            assert 0 <= world() - ends_ms < HOUR_MS  # it was set by more
            for _ in range(20):
                await rest.newest_trades("BTCUSDT")
            assert exchange.report().self_inflicted == []

    asyncio.run(run())


def test_until_a_reply_has_told_what_was_used_requests_go_one_by_one() -> None:
    """Of a minute of which the process before has used all but one request's worth."""
    together = most = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal together, most
        await reader.readuntil(b"\r\n\r\n")
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.05)
        together -= 1
        told = b"X-MBX-Used-Weight-1m: 4996\r\nContent-Length: 2\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + told + b"\r\n[]")
        await writer.drain()
        writer.close()

    async def run() -> None:
        clock = VirtualClock(NOW.utc_ms // 60_000 * 60_000 + 1_000, speed=0)
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with BinanceRest(url, clock) as rest:
                asking = [asyncio.create_task(rest.newest_trades("BTCUSDT")) for _ in range(8)]
                await asyncio.wait(asking, timeout=30, return_when=asyncio.FIRST_COMPLETED)
                done, waiting = await asyncio.wait(asking, timeout=0.5)
                assert (len(done), len(waiting), most) == (1, 7, 1)
                clock.speed = 1_000
                async with asyncio.timeout(30):
                    await asyncio.gather(*asking)
                assert most > 1

    asyncio.run(run())
