"""REST as a script has it: late, holed, short, wrong, limited; over real HTTP."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from collectors.exchange import Exchange, GeneratedMarket, Limits
from collectors.exchange.faults import (
    ClockSkew,
    Listing,
    RestFloor,
    RestHide,
    RestLag,
    RestLimit,
    RestRepeat,
    RestReply,
    RestReset,
    RestShort,
    RestSlow,
)

from .conftest import Clock
from .sockets import DEADLINE_S, client_of, connect, page_of, received, until

pytestmark = pytest.mark.anyio
AGG_TRADES = "/api/v3/aggTrades?symbol=BTCUSDT"


@pytest.fixture
async def client(exchange: Exchange) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(exchange) as client:
        yield client


def head(exchange: Exchange, clock: Clock) -> int:
    return exchange.market.first_id_from("BTCUSDT", clock() + 1) - 1


# -- which rows are shown


async def test_rest_lags_behind_the_stream(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    seen = exchange.market.first_id_from("BTCUSDT", clock() - 30_000 + 1) - 1
    newest = head(exchange, clock)
    exchange.inject(RestLag(ms=30_000))
    assert (await page_of(client, fromId=seen - 1)) == [seen - 1, seen]
    assert (await page_of(client, limit=3)) == [seen - 2, seen - 1, seen]
    assert (await page_of(client, startTime=clock() - 20_000)) == []
    clock.advance(30_000)
    assert (await page_of(client, fromId=newest)) == [newest]


async def test_rest_can_show_the_head_before_what_is_below_it(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    seen = exchange.market.first_id_from("BTCUSDT", clock() - 10_000 + 1) - 1
    newest = head(exchange, clock)
    exchange.inject(RestLag(ms=10_000, head_first=True, until_s=5))
    assert newest > seen + 1
    assert (await page_of(client, fromId=seen, limit=1)) == [seen]
    assert exchange.report().faults_hit["rest_lag"] == 0  # no head above what is hidden
    assert (await page_of(client, fromId=seen)) == [seen, newest]
    assert exchange.report().faults_hit["rest_lag"] == 1
    assert (await page_of(client, fromId=seen + 1)) == [newest]
    assert (await page_of(client, fromId=seen, limit=1)) == [seen]
    assert (await page_of(client, fromId=newest + 1)) == []
    clock.advance(5_000)
    assert (await page_of(client, fromId=seen, limit=3)) == [seen, seen + 1, seen + 2]


async def test_ids_can_be_hidden_for_a_while_and_pages_stay_full(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    first = head(exchange, clock) - 2_000
    exchange.inject(RestHide(symbols=("BTCUSDT",), first_id=first + 5, last_id=first + 14, until_s=600))
    page = await page_of(client, fromId=first, limit=1000)
    assert page == [*range(first, first + 5), *range(first + 15, first + 1010)]
    clock.advance(600_000)
    assert (await page_of(client, fromId=first, limit=1000)) == [*range(first, first + 1000)]


async def test_a_floor_is_jumped_ahead_to(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    floor = head(exchange, clock) - 100
    exchange.inject(RestFloor(floor_id=floor, symbols=("BTCUSDT",)))
    assert (await page_of(client, fromId=1, limit=2)) == [floor, floor + 1]


async def test_pages_can_be_short_or_come_again(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    first = head(exchange, clock) - 1_000
    exchange.inject(RestShort(rows=7, count=1))
    assert (await page_of(client, fromId=first, limit=10)) == [*range(first, first + 7)]
    page = await page_of(client, fromId=first, limit=10)
    exchange.inject(RestRepeat(count=1))
    assert (await page_of(client, fromId=first + 10, limit=10)) == page
    assert (await page_of(client, fromId=first + 10, limit=10)) != page


async def test_a_limit_over_1000_can_be_refused(market: GeneratedMarket, clock: Clock) -> None:
    limits = Limits(refuses_large_limit=True)
    async with Exchange(market, clock=clock, limits=limits) as exchange, client_of(exchange) as client:
        assert (await client.get(f"{AGG_TRADES}&limit=1001")).json()["code"] == -1130
        assert len(await page_of(client, limit=1000)) == 1000


# -- replies that are none


@pytest.mark.parametrize(
    ("fault", "status", "holds"),
    [
        (RestReply(), 500, '"code":-1000'),
        (RestReply(status=503, code=-1008), 503, '"code":-1008'),
        (RestReply(status=504, code=-1007, msg="Timeout waiting for response"), 504, '"code":-1007'),
        (RestReply(status=403, body="html"), 403, "<html>"),
        (RestReply(status=200, body="html"), 200, "<html>"),
        (RestReply(status=200, body="empty_object"), 200, "{}"),
        (RestReply(status=200, body="empty"), 200, ""),
    ],
)
async def test_a_reply_can_be_another(
    exchange: Exchange, client: httpx.AsyncClient, fault: RestReply, status: int, holds: str
) -> None:
    exchange.inject(fault)
    response = await client.get(AGG_TRADES)
    assert response.status_code == status
    assert holds in response.text
    assert response.headers["X-MBX-USED-WEIGHT-1M"] == "4"


async def test_the_used_weight_stands_under_any_spelling_of_its_name(
    exchange: Exchange, client: httpx.AsyncClient
) -> None:
    replies = [await client.get(AGG_TRADES) for _ in range(6)]
    written = [name for reply in replies for name, _ in reply.headers.raw if b"weight" in name.lower()]
    assert len(written) == 6
    assert set(written) == {b"X-MBX-USED-WEIGHT-1M", b"x-mbx-used-weight-1m", b"X-Mbx-Used-Weight-1M"}


async def test_a_packed_body_can_be_cut(exchange: Exchange, client: httpx.AsyncClient) -> None:
    exchange.inject(RestReply(status=200, body="truncated_gzip"))
    response = await client.get(AGG_TRADES)
    assert not response.text.endswith("]")


async def test_faults_add_up(exchange: Exchange, client: httpx.AsyncClient) -> None:
    for fault in (RestReply(status=200, body="html"), RestShort(rows=3), RestRepeat(), RestReset()):
        exchange.inject(fault)
    with pytest.raises(httpx.TransportError):
        await client.get(AGG_TRADES)
    assert exchange.report().statuses == {"200": 1}


async def test_a_fault_can_be_about_one_address_alone(exchange: Exchange, client: httpx.AsyncClient) -> None:
    exchange.inject(RestReply(path="/aggTrades"))
    assert (await client.get("/api/v3/time")).status_code == 200
    assert (await client.get(AGG_TRADES)).status_code == 500
    assert exchange.report().statuses == {"200": 1, "500": 1}


@pytest.mark.parametrize("mid_body", [True, False])
async def test_a_connection_can_be_reset(
    exchange: Exchange, client: httpx.AsyncClient, mid_body: bool
) -> None:
    exchange.inject(RestReset(mid_body=mid_body, count=1))
    with pytest.raises(httpx.TransportError):
        await client.get(AGG_TRADES)
    assert (await client.get(AGG_TRADES)).status_code == 200


async def test_a_reply_can_take_longer_than_a_client_waits(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    exchange.inject(RestSlow(delay_s=11, count=1))
    with pytest.raises(httpx.ReadTimeout):
        await client.get(AGG_TRADES, timeout=httpx.Timeout(DEADLINE_S, read=0.1))
    await until(lambda: exchange.report().faults_hit == {"rest_slow": 1})
    clock.advance(11_000)
    assert (await client.get(AGG_TRADES)).status_code == 200


async def test_a_slow_reply_is_that_of_the_moment_at_which_it_was_asked_for(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    """A refusal that another request has got since does not concern it."""
    exchange.inject(RestSlow(delay_s=4, count=1))
    slow = asyncio.create_task(client.get(AGG_TRADES))
    await until(lambda: exchange.report().requests == {"/api/v3/aggTrades": 1})
    exchange.inject(RestLimit(seconds=30))
    assert (await client.get(AGG_TRADES)).status_code == 429
    clock.advance(4_000)
    assert (await slow).status_code == 200
    assert exchange.report().self_inflicted == []


# -- limits


async def test_an_imposed_limit_is_over_to_the_second(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    exchange.inject(RestLimit(seconds=30))
    for _ in range(2):  # the second one may have been under way
        limited = await client.get(AGG_TRADES)
        assert (limited.status_code, limited.headers["Retry-After"]) == (429, "30")
    clock.advance(30_000)
    assert (await client.get(AGG_TRADES)).status_code == 200
    assert exchange.report().self_inflicted == []


async def test_asking_on_while_limited_is_a_ban_of_ones_own(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    exchange.inject(RestLimit(seconds=30))
    await client.get(AGG_TRADES)
    clock.advance(29_999)
    banned = await client.get("/api/v3/time")
    assert (banned.status_code, banned.headers["Retry-After"]) == (418, "120")
    assert "IP banned until" in banned.json()["msg"]
    assert [p.breach for p in exchange.report().self_inflicted] == ["weight ban"]


async def test_a_scripted_ban_is_nobodys_doing_until_it_is_ignored(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    exchange.inject(RestLimit(status=418, seconds=120))
    async with connect(exchange, "/ws/btcusdt@aggTrade") as link:
        banned = await client.get(AGG_TRADES)
        assert (banned.status_code, banned.headers["Retry-After"]) == (418, "120")
        assert exchange.report().bans == []
        clock.advance(1_000)
        assert await received(link, 1)  # streams go on
    await client.get(AGG_TRADES)
    assert [p.breach for p in exchange.report().bans] == ["weight ban"]


async def test_a_ban_can_end_links_too(market: GeneratedMarket, clock: Clock) -> None:
    limits = Limits(weight_per_minute=0, ban_ends_links=True)
    async with (
        Exchange(market, clock=clock, limits=limits) as exchange,
        connect(exchange, "/ws"),
        client_of(exchange) as client,
    ):
        assert (await client.get("/api/v3/time")).status_code == 429
        clock.advance(1_000)
        assert (await client.get("/api/v3/time")).status_code == 418
        await until(lambda: exchange.links == 0)


# -- what is said of time and listings


async def test_the_exchanges_clock_can_be_wrong(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    exchange.inject(ClockSkew(ms=-5_000))
    assert (await client.get("/api/v3/time")).json() == {"serverTime": clock() - 5_000}
    async with connect(exchange, "/ws/btcusdt@aggTrade") as link:
        clock.advance(10_000)
        texts = await received(link, 1)
        assert '"E":' in str(texts[0])


async def test_a_listing_can_change_and_go(
    exchange: Exchange, clock: Clock, client: httpx.AsyncClient
) -> None:
    exchange.inject(Listing(symbols=("BTCUSDT",), status="HALT", tick="0.10", from_s=10))

    async def listed() -> httpx.Response:
        return await client.get("/api/v3/exchangeInfo?symbol=BTCUSDT")

    assert (await listed()).json()["symbols"][0]["status"] == "TRADING"
    clock.advance(10_000)
    symbol = (await listed()).json()["symbols"][0]
    ticks = [f["tickSize"] for f in symbol["filters"] if f["filterType"] == "PRICE_FILTER"]
    assert (symbol["status"], ticks) == ("HALT", ["0.10000000"])
    exchange.inject(Listing(symbols=("BTCUSDT",), delisted=True))
    assert (await listed()).json()["code"] == -1121
    assert (await client.get(AGG_TRADES)).json()["code"] == -1121


async def test_what_this_host_does_not_serve_is_404(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v3/historicalTrades?symbol=BTCUSDT")).status_code == 404
