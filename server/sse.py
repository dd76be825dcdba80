"""MCP over Server-Sent Events: GET /sse opens a session, POST /messages speaks in it.

Invariant: a session lives as long as its connection and holds no more than `Bounds` says; at a stop it ends
once its calls are answered. Beside `transports.py` the only file that uses private names of the SDK.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_dual_era_loop
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared._context_streams import create_context_streams
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from server.bounds import SESSIONS, BodyRefused, Bounds, body_of, too_many
from server.shutdown import Closing

MESSAGES_PATH = "/messages"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    # Neither kept nor compressed nor gathered on the way.
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),
]
KEEP_ALIVE = b": keep-alive\r\n\r\n"
GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError)


class Session:
    """One connection's session: the streams that the SDK's loop serves, and which requests await answers."""

    def __init__(self, owner: Any) -> None:
        self.id = uuid4().hex
        self.owner = owner
        self._inbox, self.incoming = create_context_streams[SessionMessage | Exception](0)
        self.outgoing, self._outbox = create_context_streams[SessionMessage](0)
        self._unanswered: set[str] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def unanswered(self) -> int:
        return len(self._unanswered)

    async def idle(self) -> None:
        """Until every request has its answer."""
        await self._idle.wait()

    async def take(self, message: JSONRPCMessage, request: Request) -> None:
        """Hand in what the client said; nothing where the session has ended meanwhile."""
        if isinstance(message, JSONRPCRequest):
            self._unanswered.add(str(message.id))
            self._idle.clear()
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            # What is cancelled is never answered.
            self._settle((message.params or {}).get("requestId"))
        with suppress(*GONE):
            await self._inbox.send(SessionMessage(message, ServerMessageMetadata(request_context=request)))

    async def write(self, send: Send, endpoint: str, keep_alive_s: float) -> None:
        """The stream of events, until the SDK's loop ends it."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send(_chunk(_event("endpoint", endpoint)))
        with suppress(anyio.EndOfStream, *GONE):
            while True:
                message = None
                with anyio.move_on_after(keep_alive_s):
                    message = (await self._outbox.receive()).message
                await send(_chunk(KEEP_ALIVE if message is None else _said(message)))
                if isinstance(message, JSONRPCResponse | JSONRPCError):
                    self._settle(message.id)

    def close(self) -> None:
        """Nothing more is said or heard: what still wants to be written fails at once."""
        for stream in (self._inbox, self._outbox, self.incoming, self.outgoing):
            stream.close()

    def _settle(self, request_id: Any) -> None:
        self._unanswered.discard(str(request_id))
        if not self._unanswered:
            self._idle.set()


def _said(message: JSONRPCMessage) -> bytes:
    return _event("message", message.model_dump_json(by_alias=True, exclude_unset=True))


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\r\ndata: {data}\r\n\r\n".encode()


def _chunk(body: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": True}


class Sessions:
    """The sessions that are open."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def full(self) -> bool:
        return len(self._open) >= self._most

    @contextmanager
    def opened(self, owner: Any) -> Iterator[Session]:
        session = Session(owner)
        self._open[session.id] = session
        try:
            yield session
        finally:
            session.close()
            del self._open[session.id]

    def of(self, request: Request) -> Session | None:
        """The session that is meant; to another than the one who opened it, it does not exist."""
        session = self._open.get(request.query_params.get("session_id", ""))
        return session if session is not None and session.owner == _owner(request) else None


def _owner(request: Request) -> Any:
    user = request.scope.get("user")
    return authorization_context(user) if isinstance(user, AuthenticatedUser) else None


class SseEndpoint:
    """GET /sse: a session, and the stream of what the server says in it."""

    def __init__(
        self,
        server: Server[Any],
        sessions: Sessions,
        security: TransportSecuritySettings,
        closing: Closing,
        bounds: Bounds,
    ) -> None:
        self._server = server
        self._sessions = sessions
        self._guard = TransportSecurityMiddleware(security)
        self._closing = closing
        self._bounds = bounds
        self.lifespan_state: Any = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refusal = await self._guard.validate_request(request) or self._no_room()
        if refusal is not None:
            await refusal(scope, receive, send)
        elif request.method == "HEAD":
            await Response(headers={"content-type": "text/event-stream"})(scope, receive, send)
        else:
            with self._sessions.opened(_owner(request)) as session:
                await self._serve(session, scope, receive, send)

    def _no_room(self) -> Response | None:
        if self._closing.begun.is_set():
            return PlainTextResponse("the server is stopping", 503, {"retry-after": "5"})
        if self._sessions.full:
            self._bounds.reached[SESSIONS] += 1
            words = f"{len(self._sessions)} sessions are open, which is the most; try again later"
            return PlainTextResponse(words, 503, {"retry-after": "60"})
        return None

    async def _serve(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """Until the client goes, or a stop finds every call answered."""
        endpoint = f"{quote(scope.get('root_path', ''))}{MESSAGES_PATH}?session_id={session.id}"
        async with anyio.create_task_group() as tasks:

            async def ending(ends: Callable[[], Awaitable[object]]) -> None:
                await ends()
                session.close()
                tasks.cancel_scope.cancel()

            async def stopped() -> None:
                await self._closing.begun.wait()
                await session.idle()

            async def written() -> None:
                await session.write(send, endpoint, self._bounds.keep_alive_s)

            for ends in (stopped, written, lambda: _gone(receive)):
                tasks.start_soon(ending, ends)
            await serve_dual_era_loop(
                self._server,
                session.incoming,
                session.outgoing,
                lifespan_state=self.lifespan_state,
                init_options=self._server.create_initialization_options(),
            )


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class MessagesEndpoint:
    """POST /messages: what a client says in its session. Answers come over the session's stream."""

    def __init__(self, sessions: Sessions, security: TransportSecuritySettings, bounds: Bounds) -> None:
        self._sessions = sessions
        self._guard = TransportSecurityMiddleware(security)
        self._bounds = bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._guard.validate_request(request, is_post=True) or await self._heard(request)
        if response is not None:
            await response(scope, receive, send)

    async def _heard(self, request: Request) -> Response | None:
        """What the client said, handed in; None where it has gone before it had finished."""
        session = self._sessions.of(request)
        if session is None:
            return _no_session(request)
        try:
            message = jsonrpc_message_adapter.validate_json(
                await body_of(request, self._bounds), by_name=False
            )
        except ClientDisconnect:
            return None
        except BodyRefused as refused:
            return refused.response
        except ValidationError:
            return PlainTextResponse("the body is no JSON-RPC message", 400)
        if isinstance(message, JSONRPCRequest) and session.unanswered >= self._bounds.unanswered:
            return too_many(session.unanswered, self._bounds)
        # Handed in before it is answered: else a client's next message might overtake this one.
        await session.take(message, request)
        return PlainTextResponse("Accepted", 202)


def _no_session(request: Request) -> Response:
    if "session_id" in request.query_params:
        return PlainTextResponse("no such session: it ended with its stream; open GET /sse again", 404)
    return PlainTextResponse("session_id is required: open GET /sse first", 400)
