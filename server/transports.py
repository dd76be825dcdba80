"""SSE and Streamable HTTP on one app.

Invariant: the SDK's private names are used here and in `sse.py` alone (mcp is pinned to 2.3 for it), and no
endpoint answers a foreign Host or Origin.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from mcp.server import MCPServer, ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.streamable_http import EventStore
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import ListenHandler, SubscriptionBus
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import SubscribeRequestParams, SubscriptionsListenRequestParams, UnsubscribeRequestParams
from sse_starlette.sse import AppStatus
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from server.bounds import SESSIONS, BodyRefused, Bounds, body_of, replayed, too_many
from server.calls import Calls
from server.pages import Pages
from server.shutdown import Closing
from server.sse import MESSAGES_PATH, MessagesEndpoint, Sessions, SseEndpoint
from server.subscriptions import Subscriptions

SSE_PATH = "/sse"
HTTP_PATH = "/mcp"
# When to take a stream up again that an event store remembers. We keep none: a client asks again instead.
RETRY_MS = 100
NO_ROOM = 503
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")

# Streams of Streamable HTTP would be cut in the middle of a call; `Closing` ends them after it.
AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]


def security(hosts: Sequence[str], origins: Sequence[str]) -> TransportSecuritySettings:
    """Loopback, and what the operator named."""
    loopback_origins = [f"http://{host}:*" for host in LOOPBACK_HOSTS]
    return TransportSecuritySettings(
        allowed_hosts=[name for host in (*LOOPBACK_HOSTS, *hosts) for name in (host, f"{host}:*")],
        allowed_origins=[*(f"http://{host}" for host in LOOPBACK_HOSTS), *loopback_origins, *origins],
    )


class Transports:
    """Both transports of one MCP server; `routes` for the app, `running` around its life."""

    def __init__(
        self,
        mcp: MCPServer,
        pages: Pages,
        bus: SubscriptionBus,
        security_settings: TransportSecuritySettings,
        closing: Closing,
        bounds: Bounds,
        event_store: EventStore | None = None,
    ) -> None:
        server = mcp._lowlevel_server
        listen = ListenHandler(bus, max_subscriptions=bounds.subscriptions)
        self.subscriptions = Subscriptions(pages, bus, listen, _connection_of)
        serve = server.add_request_handler
        serve("subscriptions/listen", SubscriptionsListenRequestParams, self.subscriptions.listen)
        serve("resources/subscribe", SubscribeRequestParams, self.subscriptions.subscribe)
        serve("resources/unsubscribe", UnsubscribeRequestParams, self.subscriptions.unsubscribe)
        closing.on_begin(listen.close)
        self.calls = Calls(bounds, [tool.name for tool in mcp._tool_manager.list_tools()])
        self.calls.guard(server)
        mcp.streamable_http_app(
            streamable_http_path=HTTP_PATH,
            transport_security=security_settings,
            max_request_body_size=bounds.body_bytes,
            session_idle_timeout=bounds.idle_s,
            max_sessions=bounds.sessions,
            event_store=event_store,
            retry_interval=None if event_store is None else RETRY_MS,
        )
        self._manager = mcp.session_manager
        self.sessions = Sessions(bounds.sessions)
        self._sse = SseEndpoint(server, self.sessions, security_settings, closing, bounds)
        self.routes: list[BaseRoute] = [
            Route(SSE_PATH, self._sse, methods=["GET"]),
            Route(
                MESSAGES_PATH, MessagesEndpoint(self.sessions, security_settings, bounds), methods=["POST"]
            ),
            Route(HTTP_PATH, HttpEndpoint(self._manager, closing, bounds)),
        ]

    @property
    def http_sessions(self) -> int:
        """The sessions of Streamable HTTP that are open."""
        return len(self._manager._server_instances)

    @property
    def open_sessions(self) -> dict[str, int]:
        """The sessions that are open, by transport."""
        return {"sse": len(self.sessions), "http": self.http_sessions}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sessions live within this."""
        async with self._manager.run(), self.subscriptions.running():
            self._sse.lifespan_state = self._manager._lifespan_state
            yield


class HttpEndpoint:
    """/mcp: the SDK's transport, behind our bounds."""

    def __init__(self, manager: StreamableHTTPSessionManager, closing: Closing, bounds: Bounds) -> None:
        self._manager = manager
        self._closing = closing
        self._bounds = bounds
        self._unanswered: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if self._closing.begun.is_set():
            response = PlainTextResponse("the server is stopping", 503, {"retry-after": "5"})
            await response(scope, receive, send)
        elif request.method == "POST":
            await self._post(request, send)
        else:
            # A stream on which the server speaks by itself: no call is lost with it.
            receive = self._closing.receive(receive, self._closing.begun)
            await self._manager.handle_request(scope, receive, send)

    async def _post(self, request: Request, send: Send) -> None:
        scope, receive = request.scope, request.receive
        try:
            body = await body_of(request, self._bounds)
        except ClientDisconnect:
            return
        except BodyRefused as refused:
            await refused.response(scope, receive, send)
            return
        session = request.headers.get("mcp-session-id", "")
        # A notification may be the cancellation of a request that takes up the room.
        most = self._bounds.unanswered if session else self._bounds.calls + self._bounds.subscriptions
        if self._unanswered[session] >= most and _is_request(body):
            await too_many(most, self._bounds)(scope, receive, send)
            return
        with self._counted(session):
            await self._manager.handle_request(scope, replayed(body, receive), self._noticing_no_room(send))

    def _noticing_no_room(self, send: Send) -> Send:
        """The SDK refuses a session that there is no room for by this status, and nothing else."""

        async def noticed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == NO_ROOM:
                self._bounds.reached[SESSIONS] += 1
            await send(message)

        return noticed

    @contextmanager
    def _counted(self, session: str) -> Iterator[None]:
        self._unanswered[session] += 1
        try:
            yield
        finally:
            self._unanswered[session] -= 1
            if not self._unanswered[session]:
                del self._unanswered[session]


def _is_request(body: bytes) -> bool:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return True
    return not isinstance(message, dict) or "id" in message


def _connection_of(ctx: ServerRequestContext[Any, Any]) -> Connection:
    return ctx.session._connection


async def health(_: Request) -> Response:
    """GET /healthz: the process serves."""
    return Response('{"status":"ok"}', media_type="application/json")
