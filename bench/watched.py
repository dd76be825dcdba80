"""The servers that are measured, each a process of its own: ours with a watch on its event loop, and the
SDK's own SSE app with a tool that does nothing.

`python bench/watched.py ours|echo` prints its address; settings come from the environment.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # this directory has files named as packages are

import numpy as np
import uvicorn
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from server.app import prepared_app
from server.serve_commands import AnnouncingServer
from server.settings import load_settings

TICK_S = 0.005


class LoopWatch:
    """How late the event loop wakes a sleeper, in milliseconds, since it was last asked."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self._late_ms.append((loop.time() - due) * 1000)

    async def tell(self, _: Request) -> Response:
        """GET /gaps: the figures, and a new beginning."""
        late, self._late_ms = np.array(self._late_ms or [0.0]), []
        figures = {"ticks": len(late), "p99_ms": float(np.percentile(late, 99)), "max_ms": float(late.max())}
        return Response(json.dumps(figures), media_type="application/json")


def ours() -> Starlette:
    """The product's app, watched."""
    app, watch = prepared_app(load_settings()), LoopWatch()
    app.router.routes.append(Route("/gaps", watch.tell))
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def watched(starlette: Starlette) -> AsyncIterator[None]:
        async with lifespan(starlette):
            task = asyncio.create_task(watch.run())
            yield
            task.cancel()

    app.router.lifespan_context = watched
    return app


def echo() -> Starlette:
    """The SDK by itself."""
    mcp = MCPServer("echo", log_level="ERROR")

    @mcp.tool()
    async def say(words: str) -> str:
        """The words."""
        return words

    return mcp.sse_app(message_path="/messages/")


if __name__ == "__main__":
    app = {"ours": ours, "echo": echo}[sys.argv[1]]()
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=3)
    AnnouncingServer(config, lambda url: print(f"serving {url}")).run()
