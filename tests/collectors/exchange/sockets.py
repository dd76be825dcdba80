"""Raw clients of the exchange: the websockets library with nothing of its own keeping."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_websocket
from websockets.exceptions import ConnectionClosed

from collectors.exchange import Exchange
from collectors.stream_frames import parse_messages
from storage.trades import TradeColumns

DEADLINE_S = 10.0


def connect(exchange: Exchange, target: str, **options: Any) -> connect_websocket:
    # Unread frames must not pause reading, or the closing handshake waits behind them.
    options = {"proxy": None, "ping_interval": None, "max_queue": None} | options
    return connect_websocket(exchange.stream_url + target, **options)


async def received(link: ClientConnection, count: int) -> list[str | bytes]:
    async with asyncio.timeout(DEADLINE_S):
        return [await link.recv() for _ in range(count)]


async def asked(link: ClientConnection, method: str, *params: Any) -> Any:
    await link.send(json.dumps({"method": method, "params": params, "id": 1}))
    return json.loads((await received(link, 1))[0])


async def ended(link: ClientConnection) -> ConnectionClosed:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                await link.recv()
            except ConnectionClosed as closed:
                return closed


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  what is waited for is the exchange's state
            await asyncio.sleep(0.005)


def assert_same(texts: Sequence[str | bytes], truth: TradeColumns, symbol: str = "BTCUSDT") -> None:
    got, want = parse_messages(texts).trades[symbol], truth.at_exponents(8, 8)
    for name in ("id", "time_ms", "price_int", "quantity_int", "first_id", "last_id", "buyer_is_maker"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)


def ids_of(texts: Sequence[str | bytes]) -> list[int]:
    """The aggregate ids in payloads, bare or combined, in the order in which they came."""
    return [json.loads(text).get("data", json.loads(text))["a"] for text in texts]


def client_of(exchange: Exchange) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=exchange.rest_url, trust_env=False, timeout=DEADLINE_S)


async def page_of(client: httpx.AsyncClient, **query: Any) -> list[int]:
    """The ids in a page of /api/v3/aggTrades."""
    response = await client.get("/api/v3/aggTrades", params={"symbol": "BTCUSDT", **query})
    assert response.status_code == 200, response.text
    return [row["a"] for row in response.json()]
