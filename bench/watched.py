"""The servers that are measured, each a process of its own: ours with a watch on its event loop, and the
SDK's own SSE app with a tool that does nothing.

`python bench/watched.py ours|echo` prints its address; settings come from the environment.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
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
    """How late the event loop wakes a sleeper, and the CPU of its longest callback, in milliseconds, since it
    was last asked.

    No more of a lateness can be the process' own than the CPU that all its threads took meanwhile (`own`);
    the rest is that of others on the machine.
    """

    def __init__(self) -> None:
        self._late_ms: list[float] = []
        self._own_ms = 0.0
        self._cpu_ms = 0.0
        self._run_plainly = asyncio.Handle._run
        asyncio.Handle._run = self._timed()  # type: ignore[assignment, method-assign]

    def _timed(self) -> Callable[[asyncio.Handle], None]:
        def run(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            self._run_plainly(handle)
            self._cpu_ms = max(self._cpu_ms, (time.thread_time() - began) * 1000)

        return run

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, began = loop.time() + TICK_S, time.process_time()
            await asyncio.sleep(TICK_S)
            late_ms, busy_ms = (loop.time() - due) * 1000, (time.process_time() - began) * 1000
            self._late_ms.append(late_ms)
            self._own_ms = max(self._own_ms, min(late_ms, busy_ms))

    async def tell(self, _: Request) -> Response:
        """GET /gaps: the figures, and a new beginning."""
        late, self._late_ms = np.array(self._late_ms or [0.0]), []
        cpu_ms, self._cpu_ms = self._cpu_ms, 0.0
        own_ms, self._own_ms = self._own_ms, 0.0
        figures = {"ticks": len(late), "p99_ms": float(np.percentile(late, 99)), "max_ms": float(late.max())}
        figures |= {"callback_cpu_max_ms": cpu_ms, "own_max_ms": own_ms}
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
