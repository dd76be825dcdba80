"""Our clock against the exchange's."""

import asyncio

from structlog.testing import capture_logs

from collectors.clock_check import ClockCheck, Offset
from collectors.exchange import Exchange, GeneratedMarket
from collectors.exchange.faults import ClockSkew, RestSlow
from collectors.rest import BinanceRest
from tests.clock import wall_ms


def test_an_offset_is_measured_told_of_when_it_begins_and_ends_and_counted_with() -> None:
    async def run() -> None:
        async with (
            Exchange(GeneratedMarket(symbols=["BTCUSDT"], rate=0.01), clock=wall_ms) as exchange,
            BinanceRest(exchange.rest_url, wall_ms) as rest,
        ):
            check = ClockCheck(rest, wall_ms)
            assert check.offset is None
            agreed = await check.compare()
            assert abs(agreed.offset_ms) <= agreed.round_trip_ms / 2 + 1
            skew = exchange.inject(ClockSkew(ms=-7_000))
            for _ in range(2):
                behind = await check.compare()
                assert abs(behind.offset_ms + 7_000) <= behind.round_trip_ms / 2 + 1
            by_budget_ms = wall_ms.steady_ms() + rest.budget.offset_ms - wall_ms()
            assert -behind.round_trip_ms / 2 - 2 <= by_budget_ms - behind.offset_ms <= 2
            exchange.clear(skew)
            await check.compare()
            assert exchange.report().self_inflicted == []
            assert exchange.report().requests == {"/api/v3/time": 4}

    with capture_logs() as logs:
        asyncio.run(run())
    told = [line for line in logs if line["event"].startswith("clock")]
    assert [line["log_level"] for line in told] == ["warning", "info"]
    assert told[0]["offset_ms"] < -5_000


def test_of_a_slow_answer_the_least_that_the_exchanges_time_can_be_is_counted_with() -> None:
    """It is of when the question came, which nobody here knows."""

    async def run() -> None:
        async with (
            Exchange(
                GeneratedMarket(symbols=["BTCUSDT"], rate=0.01), clock=wall_ms, faults=[RestSlow(delay_s=0.3)]
            ) as exchange,
            BinanceRest(exchange.rest_url, wall_ms) as rest,
        ):
            check = ClockCheck(rest, wall_ms)
            found = await check.compare()
            assert found.round_trip_ms >= 300
            assert abs(found.offset_ms) <= found.round_trip_ms / 2 + 2
            late_ms = wall_ms() - check.exchange()
            assert 298 <= late_ms <= found.round_trip_ms + 2
            assert abs(wall_ms.steady_ms() + rest.budget.offset_ms - check.exchange()) <= 2

    asyncio.run(run())


def test_an_offset_within_half_of_a_slow_round_trip_is_no_offset() -> None:
    assert not Offset(2_000, 2_100).is_large
    assert Offset(2_000, 1_900).is_large
    assert Offset(-2_000, 100).is_large
