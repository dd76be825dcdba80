"""The levers over HTTP, beside the exchange that they move."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import httpx
import msgspec
import pytest

from collectors.exchange import Exchange, GeneratedMarket, Limits, VirtualClock
from collectors.exchange.control import control, serving_control
from collectors.exchange.faults import (
    AnyFault,
    Drop,
    Fault,
    Malformation,
    UnknownFault,
    read_fault,
    read_faults,
)
from collectors.rest_bodies import parse_agg_trades

from .conftest import OPENED_MS
from .sockets import client_of, connect, ended, ids_of, page_of, received

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def levers(market: GeneratedMarket) -> AsyncIterator[tuple[Exchange, httpx.AsyncClient]]:
    clock = VirtualClock(OPENED_MS, speed=0)
    async with (
        Exchange(market, clock=clock, poll_s=0.005) as exchange,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(control(exchange, clock)), base_url="http://levers"
        ) as client,
    ):
        yield exchange, client


async def test_a_fault_is_put_in_seen_and_taken_out(market: GeneratedMarket) -> None:
    async with levers(market) as (exchange, client), connect(exchange, "/ws/btcusdt@aggTrade") as link:
        response = await client.post("/control/faults", json={"fault": "drop", "links": [1], "count": 2})
        assert response.json() == {"numbers": [1]}
        assert (await client.post("/control/clock", json={"advance_s": 5})).json()[
            "now_ms"
        ] == OPENED_MS + 5_000
        first = exchange.market.first_id_from("BTCUSDT", OPENED_MS + 1)
        assert ids_of(await received(link, 1)) == [first + 2]
        (placed,) = (await client.get("/control/faults")).json()
        assert placed == {"number": 1, "hits": 2, "fault": {"fault": "drop", "links": [1], "count": 2}}
        assert (await client.delete("/control/faults/1")).status_code == 200
        assert (await client.get("/control/faults")).json() == []
        assert (await client.delete("/control/faults/1")).status_code == 404
        assert (await client.get("/control/report")).json()["faults_hit"] == {"drop": 2}


async def test_several_faults_are_put_in_at_once_and_all_taken_out(market: GeneratedMarket) -> None:
    async with levers(market) as (exchange, client), connect(exchange, "/ws") as link:
        script = [{"fault": "refuse", "status": 503}, {"fault": "end", "how": "fin"}]
        assert (await client.post("/control/faults", json=script)).json() == {"numbers": [1, 2]}
        await ended(link)
        await client.delete("/control/faults")
        async with connect(exchange, "/ws"):
            pass


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"fault": "dorp"}', "dorp"),
        ('{"fault": "drop", "speed": 3}', "speed"),
        ('{"fault": "drop", "share": 3}', "share"),
        ('{"fault": "drop", "from_s": 3, "until_s": 2}', "until_s"),
        ('{"fault": "hold", "symbols": ["BTCUSDT"]}', "whole link"),
        ('{"fault": "hole"}', "needs"),
        ('{"fault": "rest_slow", "delay_s": 1, "links": [1]}', "whole exchange"),
        ('{"fault": "refuse", "symbols": ["BTCUSDT"]}', "no symbols"),
        ('[{"fault": "drop"}, {"fault": "hole"}]', "needs"),
        ("nonsense", "malformed"),
    ],
)
async def test_a_fault_that_is_none_is_refused_with_its_reason(
    market: GeneratedMarket, body: str, says: str
) -> None:
    async with levers(market) as (exchange, client):
        response = await client.post("/control/faults", content=body)
        assert response.status_code == 400
        assert says in response.json()["error"]
        assert list(exchange.script) == []


async def test_the_report_tells_of_links_and_of_rules_that_were_broken(market: GeneratedMarket) -> None:
    async with levers(market) as (exchange, client), connect(exchange, "/ws/btcusdt@aggTrade") as link:
        for i in range(6):
            await link.pong(str(i))
        await ended(link)
        report = (await client.get("/control/report")).json()
        (one,) = report["links"]
        assert one["address"] == "/ws/btcusdt@aggTrade"
        assert one["ending"] == "1008 Too many requests"
        assert one["most_received_per_s"] == 6
        assert report["connects_in_5_min"] == 1
        assert [p["breach"] for p in report["self_inflicted"]] == ["too many requests"]
        assert report["bans"] == []


async def test_the_ledger_and_what_differs_from_it_are_told(market: GeneratedMarket) -> None:
    async with levers(market) as (exchange, client), client_of(exchange) as rest:
        await client.post("/control/clock", json={"advance_s": 60})
        await exchange.caught_up()
        first = exchange.market.first_id_from("BTCUSDT", OPENED_MS)
        hole = {"fault": "hole", "symbols": ["BTCUSDT"], "first_id": first + 1, "last_id": first + 2}
        await client.post("/control/faults", json=hole)
        ledger = await client.get(f"/control/ledger?symbol=BTCUSDT&fromId={first}&limit=100")
        ids = parse_agg_trades(ledger.content).trades.id.tolist()
        assert ids == [first, *range(first + 3, first + 100)]
        assert (await page_of(rest, fromId=first, limit=98)) == ids
        rows = [row for row in ledger.json() if row["a"] != first + 7]
        rows[0]["q"] = "1.00000000"
        found = await client.post("/control/difference?symbol=BTCUSDT", json=rows)
        assert found.json() == {"trades": 98, "missing": [first + 7], "extra": [], "other": [first]}
        newest = (await client.get("/control/printed?symbol=BTCUSDT")).json()["id"]
        assert (await client.get(f"/control/printed?symbol=BTCUSDT&id={newest}")).json() == {"id": newest}
        assert (await client.get("/control/ledger?symbol=NONE&fromId=1")).status_code == 400
        assert (await client.get("/control/ledger?symbol=BTCUSDT&fromId=x")).status_code == 400
        assert (await client.post("/control/difference?symbol=BTCUSDT", content="x")).status_code == 400


async def test_the_clock_is_moved_and_its_speed_set(market: GeneratedMarket) -> None:
    async with levers(market) as (_, client):
        assert (await client.get("/control/clock")).json() == {"now_ms": OPENED_MS, "speed": 0}
        assert (await client.post("/control/clock", json={"speed": 10})).json()["speed"] == 10
        assert (await client.post("/control/clock", json={"speed": -1})).status_code == 400
        assert (await client.post("/control/clock", json={"haste": 1})).status_code == 400


async def test_a_clock_that_is_not_ours_is_not_moved(exchange: Exchange) -> None:
    transport = httpx.ASGITransport(control(exchange))
    async with httpx.AsyncClient(transport=transport, base_url="http://levers") as client:
        assert (await client.get("/control/clock")).status_code == 409


async def test_the_levers_have_a_port_of_their_own(exchange: Exchange) -> None:
    async with serving_control(exchange, None) as url, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{url}/control/report")).json()["links"] == []


def test_the_page_shows_every_fault_with_all_its_fields() -> None:
    page = (Path(__file__).parents[3] / "docs" / "exchange.md").read_text()
    shown = {}
    for text in re.findall(r"^\| `(\{\"fault\".*?\})` \|", page, re.MULTILINE):
        shown[json.loads(text)["fault"]] = set(json.loads(text))
        read_fault(text)
    kinds = get_args(AnyFault)
    assert shown.keys() == {kind.__struct_config__.tag for kind in kinds}
    for kind in kinds:
        own = {field.name for field in msgspec.structs.fields(kind)} - set(Fault.__struct_fields__)
        assert own - {"path"} <= shown[kind.__struct_config__.tag], kind
    assert all(f"`{name}`" in page for name in (*Fault.__struct_fields__, "path"))
    assert all(f"`{kind}`" in page for kind in get_args(Malformation))


def test_the_page_shows_every_switch() -> None:
    page = (Path(__file__).parents[3] / "docs" / "exchange.md").read_text()
    for name in list(Limits.__dataclass_fields__)[-6:]:
        assert f"| `{name}` | {getattr(Limits(), name)}" in page


def test_every_fault_is_written_as_it_is_read() -> None:
    fault: AnyFault = read_fault('{"fault":"rest_lag","ms":3,"head_first":true}')
    assert read_faults('[{"fault":"drop","first_id":4}]') == [Drop(first_id=4)]
    assert fault.head_first  # type: ignore[union-attr]
    with pytest.raises(UnknownFault):
        read_faults("{}")
