"""An app on a free port of loopback, in the test's own event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from server.serve_commands import KEEP_ALIVE_S

WITHIN_S = 20


@asynccontextmanager
async def listening(
    app: ASGIApp, on: socket.socket | None = None, at_end: Callable[[], None] = lambda: None
) -> AsyncIterator[str]:
    """The app's URL; on the socket, if one is given."""
    with on or socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, log_config=None, ws="none", proxy_headers=False, timeout_keep_alive=KEEP_ALIVE_S
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([listener]))
        async with asyncio.timeout(WITHIN_S):
            while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
                await asyncio.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            at_end()
            server.should_exit = True
            async with asyncio.timeout(WITHIN_S):
                await task
