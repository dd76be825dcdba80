"""Hours of recording in seconds: connections that are replaced, end, fall mute or behind.

In each of them nothing is missed in the end and no rule of the exchange is broken: `day` sees to that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from collectors.exchange import Limits
from collectors.exchange.faults import (
    AnyFault,
    Deaf,
    Delay,
    Drop,
    End,
    Freeze,
    Hold,
    Refuse,
    Shutdown,
    Trickle,
)

from .days import ETERNAL, LIMITS, TIMING, Day, day

THREE = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
HOURLY = 1 / (18 * 3_600)  # BTCUSDT, once an hour
Log = Sequence[Mapping[str, Any]]


def lived(path: Path, live: Callable[[Day], Awaitable[None]], **options: Any) -> Log:
    """The log of a day that ends with everything held."""

    async def run() -> None:
        async with day(path, **options) as it:
            await it.until(lambda: all(it.ledger.runs(symbol) for symbol in it.recorder.symbols))
            await live(it)
            await it.is_complete()

    with capture_logs() as logs:
        asyncio.run(run())
    return logs


def named(logs: Log, event: str) -> list[Mapping[str, Any]]:
    return [line for line in logs if line["event"] == event]


def test_planned_replacements_lie_apart_lose_nothing_and_need_no_rest(tmp_path: Path) -> None:
    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 2)
        asked = it.asked()
        await it.passed(70)
        await it.until(lambda: it.opened() >= 4 and it.exchange.links == 2)
        assert it.asked() == asked
        opened = [link.opened_ms for link in it.exchange.report().links[1:]]
        assert all(later - sooner > 5 * 60_000 for sooner, later in pairwise(opened))

    logs = lived(tmp_path, live, symbols=THREE)
    assert len(named(logs, "link replaced")) >= 2
    assert not named(logs, "link ended")


def test_an_announced_shutdown_is_met_by_a_successor_before_it_happens(tmp_path: Path) -> None:
    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 2)
        asked = it.asked()
        it.exchange.inject(Shutdown(links=(1, 2), close_after_s=3_600))
        await it.until(lambda: it.opened() == 4)
        await it.until(lambda: it.exchange.links == 2)
        assert it.asked() == asked
        # The exchange's times: sooner than ours of what is opened, later of what is closed.
        *old, one, other = it.exchange.report().links
        both_ms = min(one.opened_ms, other.opened_ms) + TIMING.overlap_s * 1000
        assert all((link.closed_ms or 0) >= both_ms for link in old)

    logs = lived(tmp_path, live, symbols=THREE, timing=ETERNAL)
    assert len(named(logs, "link replaced")) == 2
    assert not named(logs, "link ended")


def test_links_that_end_by_age_are_opened_again_and_the_other_covers_meanwhile(tmp_path: Path) -> None:
    """24 h are over, or sooner; one of the two had been opened a while later."""

    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 2)
        await it.passed(10)
        it.exchange.inject(End(links=(1,)))
        await it.until(lambda: it.opened() == 3)
        asked = it.asked()
        await it.until(lambda: it.opened() >= 6)
        assert it.asked() == asked

    ends = [End(age_s=1_800, from_s=60, until_s=10**6, code=1001)]
    logs = lived(tmp_path, live, faults=ends, timing=ETERNAL)
    assert {line["code"] for line in named(logs, "link ended")} == {1001}


@pytest.mark.parametrize("symbols", [THREE, ("ETHUSDT",)])
def test_what_is_mute_on_one_link_is_replaced_without_rest(tmp_path: Path, symbols: tuple[str, ...]) -> None:
    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 2)
        asked, muted_ms = it.asked(), it.clock()
        it.exchange.inject(Drop(links=(1,), symbols=symbols))
        await it.until(lambda: it.opened() == 3)
        assert it.clock() - muted_ms < 2 * TIMING.mute_s * 1000
        await it.until(lambda: it.exchange.links == 2)
        assert it.asked() == asked

    logs = lived(tmp_path, live, symbols=THREE, timing=ETERNAL)
    (replaced,) = named(logs, "link is being replaced")
    assert (replaced["why"], replaced["symbol"] in symbols) == ("mute", True)
    assert replaced["lacking"] > 0


def test_with_one_link_rest_shows_that_a_stream_is_mute_and_what_it_lacks(tmp_path: Path) -> None:
    async def live(it: Day) -> None:
        await it.passed(5)
        it.exchange.inject(Drop(links=(1,), symbols=("ETHUSDT",)))
        await it.until(lambda: it.opened() == 2)
        await it.until(lambda: it.exchange.links == 1)

    logs = lived(tmp_path, live, symbols=THREE, timing=ETERNAL, links=1)
    assert {line["symbol"] for line in named(logs, "link is being replaced")} == {"ETHUSDT"}


def test_a_symbol_that_trades_once_an_hour_makes_no_link_flap_and_wastes_no_weight(tmp_path: Path) -> None:
    hours = 5

    async def live(it: Day) -> None:
        asked = it.asked()
        await it.passed(hours * 60)
        assert it.asked() - asked <= 2 * hours
        assert it.opened() == 1

    logs = lived(tmp_path, live, rate=HOURLY, links=1, timing=ETERNAL, speed=6_000)
    assert not named(logs, "link is being replaced")


def test_a_successor_that_is_mute_is_given_up_and_another_one_takes_over(tmp_path: Path) -> None:
    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 2)
        asked = it.asked()
        it.exchange.inject(Drop(links=(3,), symbols=("SOLUSDT",)))
        it.exchange.inject(Shutdown(links=(1,), close_after_s=None))
        await it.until(lambda: it.opened() == 4)
        await it.until(lambda: it.exchange.links == 2)
        assert it.asked() == asked

    logs = lived(tmp_path, live, symbols=THREE, timing=ETERNAL)
    assert [line["symbol"] for line in named(logs, "successor given up")] == ["SOLUSDT"]
    assert len(named(logs, "link replaced")) == 1


def test_where_the_old_link_ends_first_the_successor_takes_over(tmp_path: Path) -> None:
    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 1)
        it.exchange.inject(Hold(links=(2,), until_s=600))
        it.exchange.inject(Shutdown(links=(1,), close_after_s=300))
        await it.until(lambda: it.opened() == 2)
        await it.passed(15)
        assert it.opened() == 2

    logs = lived(tmp_path, live, timing=ETERNAL, links=1)
    assert len(named(logs, "link ended")) == 1


STALLS: list[tuple[AnyFault, int]] = [
    (Freeze(links=(1,)), 3),
    (Trickle(links=(1,), bytes_per_s=0.1), 3),
    (Delay(links=(1,), ms=600_000), 2),
    (Hold(links=(1,), until_s=600), 2),
]


@pytest.mark.parametrize(("stall", "opened"), STALLS, ids=lambda value: type(value).__name__)
def test_a_link_that_stalls_is_replaced_and_one_that_is_late_is_not(
    tmp_path: Path, stall: AnyFault, opened: int
) -> None:
    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 2)
        asked = it.asked()
        it.exchange.inject(stall)
        await it.until(lambda: it.opened() == opened)
        await it.passed(30)
        assert (it.opened(), it.asked()) == (opened, asked)

    lived(tmp_path, live, symbols=THREE, timing=ETERNAL)


def test_a_link_whose_pongs_are_lost_is_ended_by_the_exchange_and_opened_again(tmp_path: Path) -> None:
    limits = Limits(ping_interval_s=300, pong_timeout_s=900, messages_per_s=1_000)

    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 2)
        asked = it.asked()
        it.exchange.inject(Deaf(links=(1,), to="pongs"))
        await it.until(lambda: it.opened() == 3)
        assert it.asked() == asked

    logs = lived(tmp_path, live, limits=limits, timing=ETERNAL)
    assert [line["code"] for line in named(logs, "link ended")] == [1008]


def test_links_that_are_ended_at_once_again_and_again_are_held_back(tmp_path: Path) -> None:
    """They connect and bring data each time."""

    async def live(it: Day) -> None:
        fault = it.exchange.inject(End(from_s=0, age_s=2))
        await it.passed(8)
        await it.until(lambda: it.exchange.report().most_connects_in_5_min > 10)
        assert it.exchange.report().most_connects_in_5_min < 300
        it.exchange.clear(fault)

    lived(tmp_path, live, timing=ETERNAL, speed=200, limits=LIMITS)


def test_a_host_that_asks_for_silence_gets_it(tmp_path: Path) -> None:
    async def live(it: Day) -> None:
        await it.until(lambda: it.exchange.links == 2)
        asked_ms = it.clock()
        it.exchange.inject(Refuse(status=429, retry_after_s=1_200, count=1))
        it.exchange.inject(End())
        await it.until(lambda: it.opened() == 4)
        opened_ms = it.exchange.report().links[-1].opened_ms
        assert opened_ms - asked_ms >= 1_200_000

    lived(tmp_path, live, timing=ETERNAL)
