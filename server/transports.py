"""SSE and Streamable HTTP on one app.

Invariant: the SDK's private names are used in this file alone (mcp is pinned to 2.3 for it), and no
endpoint answers a foreign Host or Origin.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp.server import MCPServer
from mcp.server.runner import serve_dual_era_loop
from mcp.server.sse import SseServerTransport
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

SSE_PATH = "/sse"
MESSAGES_PATH = "/messages"
HTTP_PATH = "/mcp"
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def security(hosts: Sequence[str], origins: Sequence[str]) -> TransportSecuritySettings:
    """Loopback, and what the operator named."""
    loopback_origins = [f"http://{host}:*" for host in LOOPBACK_HOSTS]
    return TransportSecuritySettings(
        allowed_hosts=[name for host in (*LOOPBACK_HOSTS, *hosts) for name in (host, f"{host}:*")],
        allowed_origins=[*(f"http://{host}" for host in LOOPBACK_HOSTS), *loopback_origins, *origins],
    )


class Transports:
    """Both transports of one MCP server; `routes` for the app, `running` around its life."""

    def __init__(self, mcp: MCPServer, security_settings: TransportSecuritySettings) -> None:
        self._mcp = mcp
        http = mcp.streamable_http_app(streamable_http_path=HTTP_PATH, transport_security=security_settings)
        self._sse = SseEndpoint(mcp, security_settings)
        self.routes: list[BaseRoute] = [
            Route(SSE_PATH, self._sse, methods=["GET"]),
            Route(MESSAGES_PATH, MessagesEndpoint(self._sse.transport), methods=["POST"]),
            *http.routes,
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sessions live within this."""
        async with self._mcp.session_manager.run():
            self._sse.lifespan_state = self._mcp.session_manager._lifespan_state
            yield


class SseEndpoint:
    """GET /sse: one MCP session a connection.

    An ASGI endpoint of our own: the SDK's answers twice when a stream ends.
    """

    def __init__(self, mcp: MCPServer, security_settings: TransportSecuritySettings) -> None:
        self._server = mcp._lowlevel_server
        self.transport = SseServerTransport(MESSAGES_PATH, security_settings=security_settings)
        self.lifespan_state: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = _Response(send)
        try:
            async with self.transport.connect_sse(scope, receive, response.send) as (incoming, outgoing):
                await serve_dual_era_loop(
                    self._server,
                    incoming,
                    outgoing,
                    lifespan_state=self.lifespan_state,
                    init_options=self._server.create_initialization_options(),
                )
        except ValueError:
            # A foreign Host or Origin: the transport has answered 421 or 403 already.
            return
        await response.end()


class _Response:
    """A response that is brought to its end: a stream cut short by a shutdown lacks its last chunk."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._open = False

    async def send(self, message: Message) -> None:
        await self._send(message)
        self._open = message["type"] == "http.response.start" or bool(message.get("more_body"))

    async def end(self) -> None:
        if self._open:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})


class MessagesEndpoint:
    """POST /messages: what a client says in its session."""

    def __init__(self, transport: SseServerTransport) -> None:
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._transport.handle_post_message(scope, receive, send)


async def health(_: Request) -> Response:
    """GET /healthz: the process serves."""
    return Response('{"status":"ok"}', media_type="application/json")
