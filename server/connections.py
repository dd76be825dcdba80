"""What every request and response goes through: bounds on its connection, and the app's stop.

Invariant: a send either ends in time or ends the connection, and a response that was begun is brought to its
end.
"""

import asyncio
import socket
from typing import Any

import structlog
from h11 import LocalProtocolError
from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

from server.bounds import READER, Bounds
from server.shutdown import Closing

log = structlog.get_logger()

# A peer that acknowledges nothing for this long is gone, though no packet says so.
VANISHED_MS = 60_000


class BoundedApp(Starlette):
    """An app whose connections are bounded and end with it.

    This is no middleware, because Starlette's outermost one hides the server's `send` from those within.
    """

    def __init__(self, closing: Closing, bounds: Bounds, **parts: Any) -> None:
        super().__init__(**parts)
        self._closing = closing
        self._bounds = bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        notice_vanished(send)
        outlet = Outlet(send, self._bounds)
        await super().__call__(scope, self._closing.receive(receive), outlet.send)
        await outlet.end()


class Outlet:
    """The way to one client: `send` in time or not at all, `end` for what was cut short."""

    def __init__(self, send: Send, bounds: Bounds) -> None:
        self._send = send
        self._bounds = bounds
        self._begun = False
        self._open = False

    async def send(self, message: Message) -> None:
        """Send, or end the connection: the server drops what it holds for it and tells of a disconnect."""
        try:
            async with asyncio.timeout(self._bounds.send_s):
                await self._send(message)
        except (TimeoutError, LocalProtocolError) as error:
            transport = _transport(self._send)
            if transport is None:
                raise
            if isinstance(error, TimeoutError):
                self._bounds.reached[READER] += 1
                log.warning("reader dropped", silent_s=self._bounds.send_s)
            transport.abort()  # a request that broke off while it was answered can have no answer
            await asyncio.sleep(0)  # the server learns of it at the loop's next turn
            self._begun, self._open = True, False
            return
        self._begun = True
        self._open = message["type"] == "http.response.start" or bool(message.get("more_body"))

    async def end(self) -> None:
        """The last chunk of a stream that a stop ended; a refusal where nothing had been answered yet."""
        if not self._begun:
            await self.send({"type": "http.response.start", "status": 503, "headers": []})
        if self._open:
            await self.send({"type": "http.response.body", "body": b"", "more_body": False})


def notice_vanished(send: Send) -> None:
    """Have the system end the connection when its peer has vanished; Linux alone can."""
    transport = _transport(send)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    connection = None if transport is None else transport.get_extra_info("socket")
    if option is not None and connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, option, VANISHED_MS)


def _transport(send: Send) -> Any:
    """uvicorn's transport, which its `send` is bound to; ASGI itself has no way to end a connection."""
    return getattr(getattr(send, "__self__", None), "transport", None)
