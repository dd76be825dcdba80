"""What faults do to single trades on a link, seen by raw clients; the exchange's ledger says what is true."""

import json
from collections.abc import AsyncIterator
from typing import get_args

import pytest
from websockets.asyncio.client import ClientConnection

from collectors.exchange import Exchange, GeneratedMarket
from collectors.exchange.faults import (
    AnyFault,
    Conflict,
    Drop,
    Duplicate,
    EventTime,
    Hole,
    Invalid,
    Malformation,
    Malformed,
    Misroute,
    Stale,
    Swap,
    Unknown,
)
from collectors.stream_frames import parse_messages

from .conftest import OPENED_MS, Clock
from .sockets import asked, connect, ended, ids_of, received, until

pytestmark = pytest.mark.anyio
STREAM = "/stream?streams=btcusdt@aggTrade"


@pytest.fixture
async def link(exchange: Exchange) -> AsyncIterator[ClientConnection]:
    async with connect(exchange, STREAM, max_size=None) as link:
        yield link


def next_ids(exchange: Exchange, clock: Clock, symbol: str = "BTCUSDT") -> range:
    """The ids that the next five seconds will print."""
    market = exchange.market
    return range(market.first_id_from(symbol, clock() + 1), market.first_id_from(symbol, clock() + 5_001))


async def sent(
    link: ClientConnection, exchange: Exchange, clock: Clock, fault: AnyFault, more: int = 0
) -> list[str | bytes]:
    """What arrives of the next five seconds' trades, which are `more` frames more than trades."""
    ids = next_ids(exchange, clock)
    exchange.inject(fault)
    clock.advance(5_000)
    return await received(link, len(ids) + more)


async def test_a_dropped_id_is_dropped_on_its_link_alone(exchange: Exchange, clock: Clock) -> None:
    ids = next_ids(exchange, clock)
    exchange.inject(Drop(links=(1,), first_id=ids[3], last_id=ids[7]))
    async with connect(exchange, STREAM) as one, connect(exchange, STREAM) as two:
        clock.advance(5_000)
        assert ids_of(await received(two, len(ids))) == list(ids)
        assert ids_of(await received(one, len(ids) - 5)) == [*ids[:3], *ids[8:]]
    assert exchange.report().faults_hit == {"drop": 5}


async def test_what_is_dropped_for_one_symbol_comes_for_the_others(exchange: Exchange, clock: Clock) -> None:
    exchange.inject(Drop(symbols=("BTCUSDT",)))
    eth = next_ids(exchange, clock, "ETHUSDT")
    async with connect(exchange, "/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade") as link:
        clock.advance(5_000)
        assert ids_of(await received(link, len(eth))) == list(eth)
        assert await asked(link, "LIST_SUBSCRIPTIONS")  # mute, and yet alive


async def test_a_fault_lasts_for_its_time_by_the_trades_own_time(
    link: ClientConnection, exchange: Exchange, clock: Clock
) -> None:
    market, start_ms = exchange.market, clock()
    exchange.inject(Drop(from_s=1, until_s=3))
    kept = [
        *market.trades("BTCUSDT", start_ms + 1, start_ms + 1_000).id.tolist(),
        *market.trades("BTCUSDT", start_ms + 3_000, start_ms + 5_001).id.tolist(),
    ]
    clock.advance(5_000)
    assert ids_of(await received(link, len(kept))) == kept


async def test_a_share_of_the_ids_is_the_same_each_time(market: GeneratedMarket, clock: Clock) -> None:
    async def arrived() -> list[int]:
        async with (
            Exchange(market, clock=clock, poll_s=0.005, faults=[Drop(share=0.3)]) as exchange,
            connect(exchange, STREAM) as link,
        ):
            clock.now_ms = OPENED_MS + 20_000
            await until(lambda: exchange.report().links[0].events > 100)
            return ids_of(await received(link, 100))

    ids = await arrived()
    clock.now_ms = OPENED_MS
    assert ids == await arrived()
    assert 1.2 < (ids[-1] - ids[0] + 1) / len(ids) < 1.8


async def test_a_count_ends_a_fault(link: ClientConnection, exchange: Exchange, clock: Clock) -> None:
    ids = next_ids(exchange, clock)
    assert ids_of(await sent(link, exchange, clock, Drop(count=4), more=-4)) == list(ids[4:])


async def test_a_trade_can_come_twice(link: ClientConnection, exchange: Exchange, clock: Clock) -> None:
    ids = next_ids(exchange, clock)
    texts = await sent(link, exchange, clock, Duplicate(first_id=ids[2], last_id=ids[2]), more=1)
    assert texts[2] == texts[3]
    assert ids_of(texts) == [*ids[:3], *ids[2:]]


async def test_neighbours_can_be_swapped_even_over_two_slices(
    link: ClientConnection, exchange: Exchange, clock: Clock
) -> None:
    ids = next_ids(exchange, clock)
    last_ms = int(exchange.market.from_id("BTCUSDT", ids[-1], 1).time_ms[0])
    exchange.inject(Swap(first_id=ids[-1], last_id=ids[-1]))
    clock.advance(last_ms - clock())
    assert ids_of(await received(link, len(ids) - 1)) == list(ids[:-1])
    clock.advance(5_000)
    assert ids_of(await received(link, 3)) == [ids[-1] + 1, ids[-1], ids[-1] + 2]


async def test_what_waits_for_its_successor_comes_when_the_fault_is_taken_out(
    link: ClientConnection, exchange: Exchange, clock: Clock
) -> None:
    ids = next_ids(exchange, clock)
    exchange.inject(Swap(first_id=ids[-1], last_id=ids[-1]))
    clock.advance(int(exchange.market.from_id("BTCUSDT", ids[-1], 1).time_ms[0]) - clock())
    await received(link, len(ids) - 1)
    exchange.clear()
    clock.advance(5_000)
    assert ids_of(await received(link, 2)) == [ids[-1], ids[-1] + 1]


async def test_one_id_can_name_two_trades(link: ClientConnection, exchange: Exchange, clock: Clock) -> None:
    ids = next_ids(exchange, clock)
    texts = await sent(link, exchange, clock, Conflict(first_id=ids[1], last_id=ids[1]), more=1)
    one, other = (json.loads(text)["data"] for text in texts[1:3])
    assert one["a"] == other["a"] == ids[1]
    assert one["T"] == other["T"]
    assert all(one[field] != other[field] for field in "pqfl")


async def test_a_stale_server_sends_older_trades_again(
    link: ClientConnection, exchange: Exchange, clock: Clock
) -> None:
    ids = next_ids(exchange, clock)
    texts = await sent(link, exchange, clock, Stale(back=50, first_id=ids[0], last_id=ids[9]))
    assert ids_of(texts) == [*range(ids[0] - 50, ids[0] - 40), *ids[10:]]
    older = parse_messages(texts[:10]).trades["BTCUSDT"]
    assert not exchange.difference("BTCUSDT", older)


@pytest.mark.parametrize("never", [Hole, Invalid])
async def test_a_stale_server_has_no_trade_that_no_stream_ever_brought(
    link: ClientConnection, exchange: Exchange, clock: Clock, never: type[Hole | Invalid]
) -> None:
    ids = next_ids(exchange, clock)
    exchange.inject(never(symbols=("BTCUSDT",), first_id=ids[0] - 48, last_id=ids[0] - 45))
    texts = await sent(link, exchange, clock, Stale(back=50, first_id=ids[0], last_id=ids[9]), more=-4)
    assert ids_of(texts[:6]) == [i - 50 for i in (*ids[:2], *ids[6:10])]
    assert ids_of(texts[6:]) == list(ids[10:])


async def test_ids_can_jump_back_under_new_trades(
    link: ClientConnection, exchange: Exchange, clock: Clock
) -> None:
    ids = next_ids(exchange, clock)
    texts = await sent(link, exchange, clock, Stale(back=50, again=False))
    assert ids_of(texts) == [i - 50 for i in ids]
    assert exchange.difference("BTCUSDT", parse_messages(texts).trades["BTCUSDT"])


async def test_a_trade_can_come_under_another_symbols_stream(
    link: ClientConnection, exchange: Exchange, clock: Clock
) -> None:
    texts = await sent(link, exchange, clock, Misroute(stream_of="ETHUSDT", count=1))
    message = json.loads(texts[0])
    assert (message["stream"], message["data"]["s"]) == ("ethusdt@aggTrade", "BTCUSDT")


async def test_event_times_can_be_off(link: ClientConnection, exchange: Exchange, clock: Clock) -> None:
    texts = await sent(link, exchange, clock, EventTime(ms=5_000, count=1))
    first, second = (json.loads(text)["data"]["E"] for text in texts[:2])
    assert 4_000 < first - second <= 5_000 + 1_000


@pytest.mark.parametrize("kind", get_args(Malformation))
async def test_a_malformed_frame_costs_the_parser_itself_alone(
    link: ClientConnection, exchange: Exchange, clock: Clock, kind: Malformation
) -> None:
    ids = next_ids(exchange, clock)
    fault = Malformed(kind=kind, first_id=ids[4], last_id=ids[4])
    if kind == "invalid_utf8":
        await ends_with_1007(link, exchange, clock, fault)
        return
    texts = await sent(link, exchange, clock, fault, more=1)
    parsed = parse_messages(texts)
    if kind == "non_ascii_symbol":  # a symbol like any other, in a stream that is not its own
        assert "币安人生USDT" in str(texts[4])
    if kind == "binary":
        assert isinstance(texts[4], bytes)
    assert len(parsed.malformed) == (0 if kind in ("binary", "huge") else 1)
    read = parsed.trades["BTCUSDT"].by_id().id.tolist()
    assert read == [*ids, *([2**53 + 1] if kind == "huge" else [])]  # which can be read, and cannot be


async def ends_with_1007(link: ClientConnection, exchange: Exchange, clock: Clock, fault: AnyFault) -> None:
    """The client's library does not let such a text through: it ends the link."""
    exchange.inject(fault)
    clock.advance(5_000)
    closed = await ended(link)
    assert closed.sent is not None
    assert closed.sent.code == 1007


async def test_a_malformed_frame_can_take_the_trades_place(
    link: ClientConnection, exchange: Exchange, clock: Clock
) -> None:
    ids = next_ids(exchange, clock)
    texts = await sent(link, exchange, clock, Malformed(kind="null", instead=True, count=1))
    assert texts[0] == "null"
    assert ids_of(texts[1:]) == list(ids[1:])


async def test_unknown_fields_and_events_can_come_between(
    link: ClientConnection, exchange: Exchange, clock: Clock
) -> None:
    ids = next_ids(exchange, clock)
    texts = await sent(link, exchange, clock, Unknown(count=1), more=3)
    kinds = [json.loads(text)["data"]["e"] for text in texts[:4]]
    assert kinds == ["blockTrade", "kline", "futureEvent", "aggTrade"]
    assert "Z" in json.loads(texts[3])["data"]
    parsed = parse_messages(texts)
    assert parsed.trades["BTCUSDT"].id.tolist() == list(ids)
    assert (parsed.malformed, parsed.ignored) == ([], 3)
