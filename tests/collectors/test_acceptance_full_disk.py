"""Acceptance: REST is barred while the disk is full, and the process is replaced before the bar is over."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from collectors.exchange import Exchange, VirtualClock
from collectors.exchange.faults import Drop, RestLimit
from collectors.kept_bars import KeptBars
from collectors.recorder import Recorder
from collectors.rest import BinanceRest
from storage.ledger import TradeLedger
from storage.ledger_files import BARS, RESERVE
from tests.clock import fast_clock
from tests.disks import full, small_disk

from .acceptance import FAST_LIMITS, START_MS, Rig, at_rates, running

SYMBOL = "BTCUSDT"
SPEED = 20
BARRED_S = 180


@asynccontextmanager
async def life(path: Path, exchange: Exchange, clock: VirtualClock) -> AsyncIterator[Rig]:
    """One process on a ledger, which ends as by SIGTERM."""
    with TradeLedger.open(path) as ledger:
        async with BinanceRest(exchange.rest_url, clock, bars=KeptBars(clock, path)) as rest:
            recorder = Recorder(
                ledger,
                rest,
                symbols=[SYMBOL],
                stream_urls=[exchange.stream_url] * 2,
                warmup_ms=0,
                clock=clock,
            )
            async with running(recorder):
                yield Rig(clock, exchange, ledger, recorder, [SYMBOL])


@pytest.mark.parametrize("status", [429, 418])
def test_a_bar_that_a_full_disk_did_not_keep_at_first_is_obeyed_over_a_restart_and_nothing_is_lost(
    tmp_path: Path, status: int
) -> None:
    async def run(path: Path) -> None:
        clock = fast_clock(START_MS, speed=SPEED)
        async with Exchange(at_rates(BTCUSDT=20), clock=clock, limits=FAST_LIMITS, poll_s=0.01) as exchange:

            def statuses(code: int) -> int:
                return exchange.report().statuses.get(str(code), 0)

            async with life(path, exchange, clock) as one:
                await one.until(lambda: one.head(SYMBOL) > 0)
                await one.pass_time(3)
                first_id = one.ledger.runs(SYMBOL)[0].first_id
                (path / RESERVE).unlink(missing_ok=True)
                with full(path.parent):
                    await one.until(lambda: one.ledger.condition.error is not None)
                    ends_ms = clock() + BARRED_S * 1000
                    soon = exchange.due_id(SYMBOL) + 300
                    one.inject(RestLimit(status=status, seconds=BARRED_S), Drop(first_id=soon, last_id=soon))  # type: ignore[arg-type]
                    await one.until(lambda: statuses(status) > 0)
                    served = statuses(200)
                    await one.pass_time(5)
                    assert not (path / BARS).exists()
                    head = one.head(SYMBOL)
                    assert one.ledger.condition.unwritten > 50
                    clock.speed = 1  # what the disk takes is the world's time
                await one.until(lambda: (path / BARS).exists() and one.ledger.condition.error is None)
                assert one.head(SYMBOL) >= head
            assert clock() < ends_ms - BARRED_S * 500
            async with life(path, exchange, clock) as two:
                await two.until(lambda: two.head(SYMBOL) > head)
                assert two.open_gaps(SYMBOL)
                clock.speed = 100
                await two.until(lambda: statuses(200) > served)
                assert clock() >= ends_ms - 1_000
                clock.speed = SPEED
                two.since[SYMBOL] = first_id
                two.late_ms = None
                await two.judged()
                assert two.held(SYMBOL).id[0] == first_id
                assert statuses(status) == 1

    with small_disk(tmp_path / "disk") as disk:
        asyncio.run(run(disk / "ledger"))
