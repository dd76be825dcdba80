"""An MCP server on a real socket in the test's own event loop, so that what it holds can be looked at."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import uvicorn
from mcp import Client
from mcp.client.sse import sse_client
from mcp.server import MCPServer
from mcp.server.streamable_http import EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from server.bounds import Bounds
from server.connections import BoundedApp
from server.face import TapeServer
from server.pages import Pages
from server.proxies import TrustedProxies
from server.serve_commands import KEEP_ALIVE_S
from server.shutdown import Closing
from server.site import PagesEndpoint, pages_routes
from server.transports import Transports, health, security

WITHIN_S = 60
INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "0"},
}


@dataclass
class Served:
    """A server that answers."""

    url: str
    transports: Transports
    closing: Closing
    bus: InMemorySubscriptionBus


@asynccontextmanager
async def served(
    mcp: MCPServer,
    bounds: Bounds | None = None,
    *,
    bus: InMemorySubscriptionBus | None = None,
    trusted: tuple[str, ...] = (),
    public_url: str | None = None,
    hosts: tuple[str, ...] = (),
    event_store: EventStore | None = None,
) -> AsyncIterator[Served]:
    """Both transports of `mcp`, as the product serves them."""
    bounds = bounds or Bounds()
    closing, bus = Closing(bounds.grace_s), bus or InMemorySubscriptionBus()
    pages = mcp.pages if isinstance(mcp, TapeServer) else Pages(mcp, list)
    answered = security(hosts, [])
    transports = Transports(mcp, pages, bus, answered, closing, bounds, event_store)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with transports.running():
            yield

    app = BoundedApp(
        closing,
        bounds,
        routes=[
            Route("/healthz", health),
            *transports.routes,
            *pages_routes(PagesEndpoint(pages, answered, transports.calls.within)),
        ],
        middleware=[Middleware(TrustedProxies, trusted, public_url)],
        lifespan=lifespan,
    )
    config = uvicorn.Config(
        app, port=0, log_config=None, ws="none", proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_S
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    async with asyncio.timeout(WITHIN_S):
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", transports, closing, bus)
    finally:
        closing.begin()
        server.should_exit = True
        async with asyncio.timeout(WITHIN_S):
            await task


@asynccontextmanager
async def connected(url: str, transport: str, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
    """The official client over SSE or Streamable HTTP; `mode` legacy, auto or 2026-07-28."""
    target: Any = sse_client(f"{url}/sse", timeout=60) if transport == "sse" else f"{url}/mcp"
    async with Client(target, mode=mode, **options) as client:
        yield client


class RawSse:
    """A client of GET /sse that reads only when it is told to."""

    def __init__(self, url: str, path: str = "/sse", headers: dict[str, str] | None = None) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address = host, int(port)
        self._path = path
        self._headers = {"Host": f"{host}:{port}", "Accept": "text/event-stream"} | (headers or {})

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(*self._address, limit=1 << 16)
        lines = [f"GET {self._path} HTTP/1.1", *(f"{name}: {value}" for name, value in self._headers.items())]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.head = (await self.line_until("\r\n")).decode()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    async def line_until(self, words: str) -> bytes:
        """All up to a line that is `words`."""
        read = b""
        async with asyncio.timeout(WITHIN_S):
            while True:
                line = await self.reader.readline()
                read += line
                if not line or line.decode() == words:
                    return read

    async def event(self) -> str:
        """The data of the next event; chunk sizes of HTTP are passed over."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                line = (await self.reader.readline()).decode()
                if line in ("", "0\r\n"):
                    raise EOFError
                if line.startswith("data: "):
                    return line.removeprefix("data: ").strip()

    async def line(self) -> str:
        async with asyncio.timeout(WITHIN_S):
            return (await self.reader.readline()).decode()

    def vanish(self) -> None:
        """End with a reset, as a killed client does."""
        self.writer.transport.abort()


def request(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def call(number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    return request(number, "tools/call", name=tool, arguments=arguments)


def dumped(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()
