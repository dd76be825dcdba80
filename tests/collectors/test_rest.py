"""REST within the exchange's limits, and what it says when there is no answer."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from collectors.bars import LONGEST_MS
from collectors.exchange import Exchange, GeneratedMarket, Limits, VirtualClock
from collectors.exchange.faults import RestSlow
from collectors.request_weight import GUARD_MS, WeightBudget
from collectors.rest import BinanceRest, RestAway, RestRefused
from tests.clock import wall_ms

# A minute of the budget's, as it begins.
MINUTE = 1_700_000_040_000 // 60_000 * 60_000 + GUARD_MS


def test_requests_go_until_the_share_is_spent_and_again_in_the_next_minute() -> None:
    budget = WeightBudget(limit=60, share=0.5)
    assert [budget.wait_ms(9, MINUTE) for _ in range(3)] == [0, 0, 0]
    assert budget.wait_ms(9, MINUTE + 15_000) == 45_000
    assert budget.wait_ms(9, MINUTE + 60_000) == 0


def test_the_exchanges_own_count_decides() -> None:
    budget = WeightBudget(limit=60, share=0.5)
    assert budget.wait_ms(1, MINUTE) == 0
    budget.seen(29, MINUTE)
    assert budget.used(MINUTE + 1) == 29
    assert budget.wait_ms(4, MINUTE + 1) == 59_999
    budget.seen(3, MINUTE + 60_000)
    assert budget.wait_ms(4, MINUTE + 60_001) == 0


def test_a_count_of_the_minute_before_is_not_taken_for_that_of_the_new_one() -> None:
    budget = WeightBudget(limit=60, share=0.5)
    assert budget.wait_ms(4, MINUTE + 59_900) == 0
    assert budget.wait_ms(4, MINUTE + 60_000) == 0
    budget.seen(30, MINUTE + 59_900)
    assert budget.used(MINUTE + 60_001) == 4


def test_minutes_are_those_of_the_exchanges_clock() -> None:
    budget = WeightBudget(limit=60, share=0.5)
    budget.offset_ms = -20_000
    assert budget.wait_ms(29, MINUTE + 30_000) == 0
    assert budget.wait_ms(29, MINUTE + 60_000) == 20_000


class Counted:
    """What the exchange counts, minute by minute of its own clock."""

    def __init__(self) -> None:
        self.minutes: Counter[int] = Counter()

    def takes(self, weight: int, now_ms: int) -> int:
        self.minutes[now_ms // 60_000] += weight
        return self.minutes[now_ms // 60_000]


def spent(
    budget: WeightBudget, trips_ms: Sequence[int], *, pause_ms: int, at_once: int, begin_ms: int, end_ms: int
) -> list[int]:
    """By whole minutes of the exchange's: requests of weight 4 from some moment on as soon as the budget lets
    them, so many at once, each of which takes its time to the exchange and as long back. The steady clock
    begins 30 s before a minute of the exchange's."""
    exchange, ahead_ms = Counted(), MINUTE - GUARD_MS - 30_000
    flying: list[tuple[int, int, int, bool]] = []  # when something happens, when it was sent, used, is back
    number = 0
    for now_ms in range(begin_ms, end_ms, pause_ms):
        for event in sorted(each for each in flying if each[0] <= now_ms):
            due_ms, sent_ms, used, is_back = event
            flying.remove(event)
            if is_back:
                budget.seen(used, sent_ms)
            else:
                flying.append(
                    (due_ms + due_ms - sent_ms, sent_ms, exchange.takes(4, due_ms + ahead_ms), True)
                )
        while len(flying) < at_once and budget.wait_ms(4, now_ms) == 0:
            flying.append((now_ms + trips_ms[number % len(trips_ms)], now_ms, 0, False))
            number += 1
    return [used for _, used in sorted(exchange.minutes.items())]


@given(
    st.lists(st.integers(1, 8_000), min_size=1, max_size=12),
    st.integers(0, 15_000),
    st.integers(1, 40),
    st.sampled_from([25, 90, 400]),
    st.integers(0, 60_000),
)
@example([60], 14_000, 4, 25, 31_000)
def test_by_the_least_that_the_exchanges_time_can_be_no_minute_is_overspent(
    trips_ms: list[int], told_late_ms: int, at_once: int, pause_ms: int, begin_ms: int
) -> None:
    """However long the answer took that told it, and whatever requests take over the turn of a minute: no
    more than is under way at once is spent beyond the share."""
    budget = WeightBudget(limit=600)
    budget.offset_ms = MINUTE - GUARD_MS - 30_000 - told_late_ms
    minutes = spent(
        budget, trips_ms, pause_ms=pause_ms, at_once=at_once, begin_ms=begin_ms, end_ms=begin_ms + 90_000
    )
    assert 0 < max(minutes) <= 500 + 4 * at_once


@pytest.mark.parametrize("told_late_ms", [0, 700, 14_000])
@pytest.mark.parametrize(("trips_ms", "at_once"), [([60], 4), ([1_700, 2_300, 2_000], 8)])
def test_a_slow_answer_about_the_time_has_no_minute_pay_for_the_one_before(
    told_late_ms: int, trips_ms: list[int], at_once: int
) -> None:
    """A request that the exchange counts to the minute before would spend all of the new one at once; the
    middle of a round trip, by which clocks are compared for people, could be such a moment."""
    budget = WeightBudget(limit=600)
    budget.offset_ms = MINUTE - GUARD_MS - 30_000 - told_late_ms
    minutes = spent(budget, trips_ms, pause_ms=25, at_once=at_once, begin_ms=0, end_ms=270_000)
    assert min(minutes[1:-1]) > 300


def test_a_request_heavier_than_the_share_still_goes_alone() -> None:
    budget = WeightBudget(limit=12, share=0.5)
    assert budget.wait_ms(20, MINUTE) == 0
    assert budget.wait_ms(1, MINUTE) == 60_000


def test_what_is_in_no_hurry_has_a_share_of_its_own_and_is_left_some() -> None:
    budget = WeightBudget(limit=6_000)
    assert [budget.wait_ms(1_000, MINUTE, hurried=False) for _ in range(2)] == [0, 60_000]
    spent = 1_000
    while budget.wait_ms(4, MINUTE) == 0:
        spent += 4
    assert 4_890 < spent <= 4_900
    assert budget.wait_ms(100, MINUTE, hurried=False) == 0
    assert budget.wait_ms(100, MINUTE, hurried=False) == 60_000


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 30_000), st.booleans()), max_size=60))
def test_no_minute_ever_holds_more_than_the_share(requests: list[tuple[int, int, bool]]) -> None:
    budget = WeightBudget(limit=100, share=0.5)
    now_ms, spent, ordinary = MINUTE, dict[int, int](), dict[int, int]()
    for weight, pause_ms, hurried in requests:
        now_ms += pause_ms
        while wait_ms := budget.wait_ms(weight, now_ms, hurried=hurried):
            now_ms += wait_ms
        minute = (now_ms - GUARD_MS) // 60_000
        spent[minute] = spent.get(minute, 0) + weight
        ordinary[minute] = ordinary.get(minute, 0) + (0 if hurried else weight)
    assert all(weight <= 50 for weight in spent.values())
    assert all(weight <= 20 for weight in ordinary.values())


def test_a_refusal_carries_the_exchanges_code_and_an_outage_is_told_apart() -> None:
    async def run() -> None:
        async with (
            Exchange(GeneratedMarket(symbols=["BTCUSDT"]), clock=wall_ms) as exchange,
            BinanceRest(exchange.rest_url, wall_ms) as rest,
        ):
            with pytest.raises(RestRefused) as refused:
                await rest.exchange_info(["BTCUSDT", "NOPE"])
            assert refused.value.code == -1121
            info = await rest.exchange_info(["BTCUSDT"])
            assert info.venue == "simulated"
            exchange.rest_down = True
            with pytest.raises(RestAway):
                await rest.trades_from_id("BTCUSDT", 1)
            assert rest.use.replies == {"400": 1, "200": 1, "none": 1}

    asyncio.run(run())


def test_the_announced_limit_is_never_passed() -> None:
    async def run() -> None:
        # All of it in the same minute.
        limits, clock = Limits(weight_per_minute=60), VirtualClock(MINUTE + 30_000, speed=0)
        async with (
            Exchange(GeneratedMarket(symbols=["BTCUSDT"]), clock=clock, limits=limits) as exchange,
            BinanceRest(exchange.rest_url, clock) as rest,
        ):
            await rest.exchange_info(["BTCUSDT"])
            assert rest.budget.limit == 60
            within_limit = (49 - 20) // 4
            for _ in range(within_limit):
                await rest.trades_from_time("BTCUSDT", clock() - 3_600_000)
            assert rest.budget.wait_ms(4, clock.steady_ms()) > 0
            assert exchange.weights.bans == 0

    asyncio.run(run())


@asynccontextmanager
async def saying(body: bytes, status: int = 200, headers: str = "") -> AsyncIterator[str]:
    """The address of a REST that answers everything so."""
    told = f"HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    told += f"{headers}\r\n\r\n" if headers else "\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(told.encode("latin-1") + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def test_rows_that_cannot_be_read_are_counted_each_time_that_they_come() -> None:
    good = {"a": 7, "p": "1", "q": "1", "f": 1, "l": 1, "T": 1_700_000_000_000, "m": True}

    async def run() -> None:
        page = json.dumps([good, good | {"a": "8"}, good | {"p": "1e3"}]).encode()
        async with saying(page) as url, BinanceRest(url, wall_ms) as rest:
            for _ in range(2):
                assert (await rest.trades_from_id("BTCUSDT", 7)).id.tolist() == [7]
            assert rest.use.malformed_rows == 4

    with capture_logs() as logs:
        asyncio.run(run())
    assert [(line["log_level"], line["event"], line["rows"]) for line in logs] == [
        ("warning", "rows skipped", 2)
    ] * 2


def test_a_page_without_a_row_that_can_be_read_is_no_empty_one() -> None:
    """An empty one says that nothing was traded from there on."""

    async def run() -> None:
        async with saying(b'[{"a":7}]') as url, BinanceRest(url, wall_ms) as rest:
            with pytest.raises(RestAway, match="without a readable one"):
                await rest.page_from_id("BTCUSDT", 7)
        async with saying(b"[]") as url, BinanceRest(url, wall_ms) as rest:
            assert not len((await rest.page_from_id("BTCUSDT", 7)).trades)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, "Retry-After: 7", 7),
        (429, "Retry-After: 0", 1),
        (429, "", 60),
        (418, "", 120),
        (418, "Retry-After: \u00b2", 120),
        (429, "Retry-After: " + "9" * 5_000, LONGEST_MS // 1000),
        (429, "X-MBX-USED-WEIGHT-1M: \u00b2\r\nRetry-After: 7", 7),
        (418, "Retry-After: 7.5", 120),
    ],
)
def test_whatever_a_refusal_says_it_is_obeyed_for_a_while(status: int, headers: str, seconds: int) -> None:
    """A ban lasts two minutes at least; a second that is nearly over is a second."""

    async def run() -> None:
        clock = VirtualClock(MINUTE, speed=0)
        async with saying(b"{}", status, headers) as url, BinanceRest(url, clock) as rest:
            with pytest.raises(RestAway, match=str(status)):
                await rest.newest_trades("BTCUSDT")
            assert rest.bars.left_ms("rest", url.removeprefix("http://")) == seconds * 1000

    asyncio.run(run())


def test_a_reply_is_waited_for_no_longer_than_told() -> None:
    async def run() -> None:
        market = GeneratedMarket(symbols=["BTCUSDT"])
        async with (
            Exchange(market, clock=wall_ms, faults=[RestSlow(delay_s=60)]) as exchange,
            BinanceRest(exchange.rest_url, wall_ms, reply_s=0.05) as rest,
        ):
            with pytest.raises(RestAway, match=r"(Read|Write)Timeout"):
                async with asyncio.timeout(30):
                    await rest.server_time()

    asyncio.run(run())
