"""Attempts to open a link outlive their process: restarts together stay below what the exchange allows."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from collectors.attempts import MOST_ATTEMPTS, MOST_TO_REPLACE, WINDOW_MS, Attempts
from collectors.clock import Clock, Moment
from collectors.exchange import Exchange, VirtualClock
from collectors.kept_attempts import KeptAttempts
from collectors.recorder import Recorder
from collectors.rest import BinanceRest
from collectors.timing import REAL
from storage.ledger import TradeLedger
from storage.ledger_files import ATTEMPTS
from storage.whole_files import put
from tests.clock import SteppedClock, wall_ms

from .acceptance import FAST_LIMITS, START_MS, at_rates, running
from .test_recorder import until

MINUTE_MS = 60_000


def kept(path: Path, *made_ms: int) -> None:
    (path / ATTEMPTS).write_text(json.dumps(made_ms))


def recalled(clock: Clock, path: Path) -> KeptAttempts:
    """Those of a process that starts now."""
    attempts = KeptAttempts(clock, path)
    attempts.recall()
    return attempts


# What is recalled


@given(st.lists(st.integers(-2 * WINDOW_MS, 2 * WINDOW_MS), max_size=50), st.integers(-(2**40), 2**40))
def test_attempts_count_for_five_minutes_from_when_they_were_made(ages_ms: list[int], steady_ms: int) -> None:
    """Whatever the steady clock counts from; of the future are those that no small step back explains."""
    attempts, now = Attempts(), Moment(START_MS, steady_ms)
    of_the_future = attempts.recall((START_MS - age_ms for age_ms in ages_ms), now)
    assert of_the_future == sum(age_ms <= -WINDOW_MS for age_ms in ages_ms)
    for later_ms in (0, 1, MINUTE_MS, WINDOW_MS - 1, WINDOW_MS):
        counted = [age for age in ages_ms if age > -WINDOW_MS and max(age, 0) + later_ms < WINDOW_MS]
        assert len(attempts.recent(steady_ms + later_ms)) == len(counted)


def test_a_restart_knows_what_was_attempted_and_when_it_is_free_again(tmp_path: Path) -> None:
    async def run() -> None:
        clock = VirtualClock(START_MS, speed=0)
        before = recalled(clock, tmp_path)
        for _ in range(MOST_TO_REPLACE):
            await before.make()
        clock.advance(MINUTE_MS)
        between = recalled(clock, tmp_path)
        assert between.in_window() == MOST_TO_REPLACE
        assert between.wait_ms(replacing=True) == WINDOW_MS - MINUTE_MS
        for _ in range(MOST_ATTEMPTS - MOST_TO_REPLACE):
            assert between.wait_ms() < 0
            await between.make()
        clock.advance(MINUTE_MS)
        after = recalled(clock, tmp_path)
        assert after.in_window() == MOST_ATTEMPTS
        assert after.wait_ms() == WINDOW_MS - 2 * MINUTE_MS
        clock.advance(WINDOW_MS - 2 * MINUTE_MS)
        assert after.in_window() == recalled(clock, tmp_path).in_window() == MOST_ATTEMPTS - MOST_TO_REPLACE

    with capture_logs() as logs:
        asyncio.run(run())
    assert [(line["log_level"], line["event"], line["attempts"], line["seconds"]) for line in logs] == [
        ("warning", "attempts used up", MOST_ATTEMPTS, 180)
    ]


def test_the_file_has_the_worlds_time_and_no_attempt_that_is_over(tmp_path: Path) -> None:
    async def run() -> None:
        clock = SteppedClock(VirtualClock(START_MS, speed=0))
        attempts = recalled(clock, tmp_path)
        await attempts.make()
        clock.step_ms = -3_600_000  # the time is set: those before move with it
        await attempts.make()
        assert json.loads((tmp_path / ATTEMPTS).read_bytes()) == [START_MS - 3_600_000] * 2
        assert recalled(clock, tmp_path).in_window() == 2

    asyncio.run(run())
    clock = VirtualClock(START_MS, speed=0)
    kept(tmp_path, START_MS - WINDOW_MS, START_MS - WINDOW_MS + 1)
    attempts = recalled(clock, tmp_path)
    asyncio.run(attempts.make())
    assert json.loads((tmp_path / ATTEMPTS).read_bytes()) == [START_MS - WINDOW_MS + 1, START_MS]


def test_a_file_of_the_future_is_told_of_and_stops_nothing(tmp_path: Path) -> None:
    kept(tmp_path, *[START_MS + 3_600_000] * 1_000, START_MS - 1)
    with capture_logs() as logs:
        attempts = recalled(VirtualClock(START_MS, speed=0), tmp_path)
    assert attempts.in_window() == 1
    assert attempts.wait_ms() < 0
    assert [(line["event"], line["attempts"], line["log_level"]) for line in logs] == [
        ("attempts not believed", 1_000, "warning")
    ]


@pytest.mark.parametrize("damage", ["text", "directory", "full disk"])
def test_whatever_becomes_of_the_file_attempts_go_on(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if damage == "text":
        (tmp_path / ATTEMPTS).write_bytes(b"[170000")
    elif damage == "directory":
        (tmp_path / ATTEMPTS / "in the way").mkdir(parents=True)
    else:
        monkeypatch.setattr("collectors.kept_file.put", full)

    async def run() -> None:
        attempts = recalled(VirtualClock(START_MS, speed=0), tmp_path)
        for _ in range(MOST_ATTEMPTS):
            assert attempts.wait_ms() < 0
            await attempts.make()
        assert attempts.wait_ms() == WINDOW_MS

    with capture_logs() as logs:
        asyncio.run(run())
    assert len([line for line in logs if line["log_level"] == "warning"]) == 1


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


# Recorders that are restarted


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a busy disk."""
    monkeypatch.setattr("collectors.kept_attempts.WRITE_S", 60)


@asynccontextmanager
async def recording(
    path: Path, clock: Clock, stream_urls: list[str], rest_url: str
) -> AsyncIterator[Recorder]:
    """As a `serve` does from its start to its end."""
    with TradeLedger.open(path) as ledger:
        async with BinanceRest(rest_url, clock) as rest:
            recorder = Recorder(
                ledger,
                rest,
                symbols=["BTCUSDT"],
                stream_urls=stream_urls,
                warmup_ms=0,
                clock=clock,
                timing=replace(REAL, flush_s=0.01),
                attempts=KeptAttempts(clock, path),
            )
            async with running(recorder):
                yield recorder


def is_as_far(recorder: Recorder, *, lines: int, links: int) -> bool:
    """Its lines are laid, and so many of them have a link."""
    figures = recorder.figures()
    return (figures.lines, len(figures.links)) == (lines, links)


@pytest.mark.usefixtures("patience")
def test_a_recorder_restarted_all_the_time_stays_below_what_the_exchange_allows(tmp_path: Path) -> None:
    """Twenty starts of twenty links within a minute; then time passes, and all of them come up."""

    async def run() -> None:
        clock, links = VirtualClock(START_MS, speed=1), 20
        async with Exchange(at_rates(BTCUSDT=5), clock=clock, poll_s=0.01, limits=FAST_LIMITS) as exchange:
            path, urls = tmp_path / "ledger", [exchange.stream_url] * links
            for start in range(20):
                may_open = links if start < MOST_ATTEMPTS // links else 0
                async with recording(path, clock, urls, exchange.rest_url) as recorder:
                    await until(partial(is_as_far, recorder, lines=links, links=may_open), 60)
            assert clock() - START_MS < WINDOW_MS
            assert exchange.report().most_connects_in_5_min == MOST_ATTEMPTS
            async with recording(path, clock, urls, exchange.rest_url):
                clock.speed = 100
                await until(lambda: exchange.links == links, 60)
                assert clock() - START_MS >= WINDOW_MS
            report = exchange.report()
            assert MOST_ATTEMPTS <= report.most_connects_in_5_min < 300
            assert report.self_inflicted == []

    asyncio.run(run())


@pytest.mark.usefixtures("patience")
def test_an_attempt_is_in_the_file_before_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a kill at any moment forgets none; by a disk that is slow."""
    counted: list[int] = []

    def put_slowly(path: Path, contents: bytes, *, private: bool) -> None:
        time.sleep(0.1)
        put(path, contents, private=private)

    monkeypatch.setattr("collectors.kept_file.put", put_slowly)

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = tmp_path / ATTEMPTS
        counted.append(len(json.loads(path.read_bytes())) if path.exists() else 0)
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with (
                Exchange(at_rates(BTCUSDT=5), clock=wall_ms, poll_s=0.01) as exchange,
                recording(tmp_path, wall_ms, [url] * 2, exchange.rest_url),
            ):
                await until(lambda: len(counted) >= 6, 60)

    asyncio.run(run())
    assert all(in_file >= nth for nth, in_file in enumerate(counted, 1))
