"""A server with access control on a real socket, in the test's own event loop and recording nothing."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from mcp.server.subscriptions import InMemorySubscriptionBus
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from server.access.setup import Access, access_of
from server.bounds import Bounds
from server.connections import BoundedApp
from server.face import TapeServer
from server.proxies import TrustedProxies
from server.settings import Settings
from server.shutdown import Closing
from server.site import PagesEndpoint, pages_routes
from server.tools.tape import Tape
from server.transports import Transports, health, security
from storage.ledger import TradeLedger
from tests.access.listening import WITHIN_S, listening
from tests.clock import wall_ms
from tests.server.faces import Recorded

TOKEN = "alice-0123456789-abcdefghij"
OTHER = "bob-9876543210-zyxwvutsrqpo"
TOKENS = f"alice={TOKEN},bob={OTHER}"
# What a proxy on this machine says of a client elsewhere.
ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}
PROXIED: dict[str, Any] = {"trusted_proxies": ["127.0.0.1"]}


@dataclass
class Served:
    url: str
    transports: Transports
    access: Access
    settings: Settings


@asynccontextmanager
async def served(
    path: Path, bounds: Bounds | None = None, clock: Callable[[], int] | None = None, **chosen: Any
) -> AsyncIterator[Served]:
    """The endpoints of the product behind the access control that the settings ask for."""
    bounds = bounds or Bounds()
    listener = socket.create_server(("127.0.0.1", chosen.get("port", 0)))
    settings = Settings(**{"data_dir": path / "ledger", "port": listener.getsockname()[1]} | chosen)
    with TradeLedger.open(path / "ledger") as ledger:
        app = _app(settings, ledger, bounds, clock or wall_ms)
        async with listening(app.starlette, listener, app.closing.begin) as url:
            yield Served(url, app.transports, app.access, settings)


@dataclass
class _App:
    starlette: Starlette
    transports: Transports
    access: Access
    closing: Closing


def _app(settings: Settings, ledger: TradeLedger, bounds: Bounds, clock: Callable[[], int]) -> _App:
    bus = InMemorySubscriptionBus()
    mcp = TapeServer(Tape(ledger, Recorded([]), clock, 168.0), settings.public_url, subscriptions=bus)
    answered = security(settings.answered_hosts, settings.answered_origins)
    access, closing = access_of(settings, answered, bounds, clock), Closing(bounds.grace_s)
    transports = Transports(mcp, mcp.pages, bus, answered, closing, bounds)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with transports.running(), access.running():
            yield

    app = BoundedApp(
        closing,
        bounds,
        routes=[
            Route("/healthz", health),
            Route("/readyz", _operators),
            Route("/metrics", _operators),
            Route("/status", _operators),
            *transports.routes,
            *pages_routes(PagesEndpoint(mcp.pages, answered, transports.calls.within)),
            *access.routes,
        ],
        middleware=[
            Middleware(TrustedProxies, settings.trusted_proxies, settings.public_url),
            *access.middleware,
        ],
        lifespan=lifespan,
    )
    return _App(app, transports, access, closing)


async def _operators(_: Request) -> Response:
    return PlainTextResponse("for the operator")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def client(url: str, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=WITHIN_S, trust_env=False, **options)


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "0"},
    },
}
SPEAKS = {"Accept": "application/json, text/event-stream"}


async def initialized(http: httpx.AsyncClient, **headers: str) -> httpx.Response:
    """The answer to the first request of a session of Streamable HTTP."""
    return await http.post("/mcp", json=INITIALIZE, headers=SPEAKS | headers)
