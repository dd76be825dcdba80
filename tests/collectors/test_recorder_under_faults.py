"""The recorder against scripted faults: afterwards it holds what the exchange's own ledger holds, and no
rule was broken on the way.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from collectors.certification import Rule
from collectors.exchange import Exchange
from collectors.exchange.faults import (
    AnyFault,
    Conflict,
    Drop,
    Duplicate,
    End,
    EventTime,
    Fragment,
    Hold,
    Hole,
    Invalid,
    Malformed,
    Refuse,
    RestLag,
    RestLimit,
    RestReply,
    RestReset,
    RestShort,
    Stale,
    Swap,
    Unknown,
)
from collectors.exchange.report import Report
from collectors.timing import REAL, Timing
from storage.ledger import TradeLedger
from tests.clock import fast_clock, wall_ms

from .test_recorder import fast_market, held, recording, until

Script = Callable[[int], Sequence[AnyFault]]


def recorded_under(
    script: Script, path: Path, *, trades: int = 400, links: int = 2, timing: Timing = REAL
) -> tuple[Report, int]:
    """What the exchange says in the end, and how often REST was asked for trades.

    `script` gets an id that will be printed soon, when both links are up; the run ends when the ledger is
    complete, has that id and `trades` more, and so many `links` have come up in all.
    """

    async def run() -> tuple[Report, int]:
        async with Exchange(fast_market(), clock=wall_ms) as exchange:
            with TradeLedger.open(path / "l") as ledger:
                async with recording(ledger, exchange, links=2, timing=timing):
                    await until(lambda: len(held(ledger)) > 100)
                    await until(lambda: exchange.links == 2)
                    asked = exchange.report().requests.get("/api/v3/aggTrades", 0)
                    soon = exchange.due_id("BTCUSDT") + 100
                    for fault in script(soon):
                        exchange.inject(fault)
                    await exchange.printed("BTCUSDT", soon + trades)
                    await until(lambda: int(held(ledger).id[-1]) >= soon + trades)
                    await until(lambda: not ledger.gaps("BTCUSDT"), within_s=60)
                    await until(lambda: len(exchange.report().links) >= links)
                    rows, report = held(ledger), exchange.report()
                found = exchange.difference("BTCUSDT", rows)
                assert not found, found
                assert report.self_inflicted == []
                return report, report.requests.get("/api/v3/aggTrades", 0) - asked

    return asyncio.run(run())


def test_what_one_link_drops_the_other_brings_without_rest(tmp_path: Path) -> None:
    report, asked = recorded_under(
        lambda soon: [Drop(links=(1,), first_id=soon, last_id=soon + 40)], tmp_path
    )
    assert report.faults_hit == {"drop": 41}
    assert asked == 0


def test_what_both_links_drop_is_fetched_in_one_page(tmp_path: Path) -> None:
    report, asked = recorded_under(lambda soon: [Drop(first_id=soon, last_id=soon + 40)], tmp_path)
    assert report.faults_hit == {"drop": 82}
    assert asked == 1


@pytest.mark.parametrize("how", ["close", "mid_frame"])
def test_a_link_that_ends_in_any_way_is_replaced_while_the_other_goes_on(tmp_path: Path, how: str) -> None:
    report, asked = recorded_under(
        lambda soon: [End(links=(1,), how=how, first_id=soon)],  # type: ignore[arg-type]
        tmp_path,
        links=3,
    )
    assert len(report.links) == 3
    assert asked == 0


def test_a_head_that_rest_shows_early_hides_no_hole(tmp_path: Path) -> None:
    report, _ = recorded_under(
        lambda _: [End(), Refuse(until_s=1), RestLag(ms=6_000, head_first=True, until_s=12)],
        tmp_path,
        trades=1_000,
    )
    assert report.faults_hit["rest_lag"] > 0


@pytest.mark.parametrize("status", [429, 418])
def test_a_limit_is_obeyed_to_the_second_and_streams_go_on(tmp_path: Path, status: int) -> None:
    report, _ = recorded_under(
        lambda soon: [RestLimit(status=status, seconds=5), Drop(first_id=soon, last_id=soon)],  # type: ignore[arg-type]
        tmp_path,
        timing=replace(REAL, flush_s=0.2),  # so that REST is asked at once, long before the limit is over
    )
    assert report.statuses[str(status)] == 1
    assert [link.ending for link in report.links] == [None, None]


def test_rest_replies_that_are_none_are_asked_for_again(tmp_path: Path) -> None:
    recorded_under(
        lambda soon: [
            Drop(first_id=soon, last_id=soon + 20),
            RestReset(count=1),
            RestReply(status=200, body="truncated_gzip", count=1),
            RestShort(rows=7, count=2),
        ],
        tmp_path,
    )


def test_duplicates_conflicts_neighbours_and_stale_trades_change_nothing(tmp_path: Path) -> None:
    report, _ = recorded_under(
        lambda _: [
            Conflict(share=0.1),
            Duplicate(share=0.1),
            Swap(share=0.1),
            Stale(links=(1,), back=50, share=0.1),
            Unknown(share=0.1),
        ],
        tmp_path,
    )
    assert all(report.faults_hit[kind] > 10 for kind in ("conflict", "duplicate", "swap", "stale", "unknown"))


def test_malformed_frames_lose_themselves_alone(tmp_path: Path) -> None:
    kinds = ("truncated", "empty", "array", "null", "nan", "huge", "beyond_64_bits", "missing_key",
             "string_for_int")  # fmt: skip
    report, _ = recorded_under(
        lambda soon: [
            Malformed(kind=kind, instead=True, first_id=soon + 20 * i, last_id=soon + 20 * i)  # type: ignore[arg-type]
            for i, kind in enumerate(kinds)
        ],
        tmp_path,
    )
    assert report.faults_hit == {"malformed": 2 * len(kinds)}


def test_a_hole_of_the_exchange_is_certified_while_recording_goes_on_and_filled_when_it_comes(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        clock = fast_clock(wall_ms(), speed=1)
        async with Exchange(fast_market(), clock=clock) as exchange:
            with TradeLedger.open(tmp_path / "l") as ledger:
                rule = Rule(tries=3, over_ms=1_000, again_ms=1_000)
                async with recording(ledger, exchange, links=2, rule=rule, clock=clock) as recorder:
                    await until(lambda: len(held(ledger)) > 100)
                    soon = exchange.due_id("BTCUSDT") + 100
                    exchange.inject(Hole(symbols=("BTCUSDT",), first_id=soon, last_id=soon + 9, until_s=30))
                    await until(lambda: [gap.state for gap in ledger.gaps("BTCUSDT")] == ["certified"])
                    known_ms = recorder.live_until_ms("BTCUSDT")
                    assert known_ms is not None
                    start_ms = int(held(ledger).time_ms[0])
                    coverage = ledger.coverage("BTCUSDT", start_ms, known_ms, known_ms)
                    assert (coverage.missing, coverage.certified, coverage.complete) == (0, 10, True)
                    clock.speed = 10
                    await until(lambda: not ledger.gaps("BTCUSDT"))
                assert not exchange.difference("BTCUSDT", held(ledger))
                assert ledger.absences("BTCUSDT") == ()
            assert exchange.report().self_inflicted == []

    asyncio.run(run())


def test_rows_marked_invalid_are_kept_for_their_ids(tmp_path: Path) -> None:
    recorded_under(lambda soon: [Invalid(symbols=("BTCUSDT",), first_id=soon, last_id=soon + 2)], tmp_path)


def test_messages_in_fragments_and_a_burst_after_a_stall_are_taken_in_whole(tmp_path: Path) -> None:
    """The burst is larger than what is received at a time."""
    report, asked = recorded_under(
        lambda _: [Fragment(links=(1,), parts=3), Hold(until_s=2)], tmp_path, trades=1_500
    )
    assert len(report.links) == 2
    assert asked == 0


def test_events_that_claim_to_be_of_the_future_make_no_link_look_late(tmp_path: Path) -> None:
    report, asked = recorded_under(lambda _: [EventTime(links=(1,), ms=600_000)], tmp_path)
    assert len(report.links) == 2
    assert asked == 0
