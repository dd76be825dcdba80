"""What is asked of the server, within bounds: calls at once, time, size, progress, cancellation.

Invariant: a call ends in time whatever its question is, and one that its client gave up works no further than
the record it is at.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio
from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.session import ServerSession
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolResult, TextContent

from server.bounds import CALLS, Bounds
from server.call_metrics import CallMetrics
from server.tools.refusals import Refusal
from server.tools.work import Work

# Progress is told at once to those who asked for it, and then as often as this.
PROGRESS_S = 0.5
TOOLS = "tools/call"
OTHERS = ("resources/read", "prompts/get", "completion/complete")
# Pages for a browser, which no MCP client waits for.
PAGES = "pages"

Handler = Callable[[ServerRequestContext[Any, Any], Any], Awaitable[Any]]
R = TypeVar("R")


class Calls:
    """The calls under way in one server with these tools."""

    def __init__(self, bounds: Bounds, tools: Sequence[str]) -> None:
        self._bounds = bounds
        self.metrics = CallMetrics(tools, (*OTHERS, PAGES))
        self.under_way = 0

    def guard(self, server: Server[Any]) -> None:
        """Bound what the server does for others."""
        for method in (TOOLS, *OTHERS):
            if (entry := server.get_request_handler(method)) is not None:
                server.add_request_handler(method, entry.params_type, self._bounded(method, entry.handler))

    async def within(self, answer: Callable[[], Awaitable[R]]) -> R:
        """An answer that no MCP client waits for, within the same bounds. Raises `Refusal`."""
        return await self.metrics.counted(PAGES, lambda: self._in_time(answer, None))

    def _bounded(self, method: str, handler: Handler) -> Handler:
        async def call(ctx: ServerRequestContext[Any, Any], params: Any) -> Any:
            name = params.name if method == TOOLS else method
            return await self.metrics.counted(name, lambda: answer(ctx, params))

        async def answer(ctx: ServerRequestContext[Any, Any], params: Any) -> Any:
            try:
                return self._small_enough(await self._in_time(lambda: handler(ctx, params), ctx.session))
            except Refusal as refusal:
                if method == TOOLS:
                    return refusal.result()
                raise MCPError(INTERNAL_ERROR, str(refusal)) from refusal

        return call

    async def _in_time(self, answer: Callable[[], Awaitable[R]], session: ServerSession | None) -> R:
        if self.under_way >= self._bounds.calls:
            self._bounds.reached[CALLS] += 1
            raise Refusal(
                "TOO_MANY_CALLS",
                f"{self.under_way} calls are under way, which is the most; try again in a few seconds",
            )
        self.under_way += 1
        work = Work(self._bounds.call_s)
        try:
            with work.begun(), anyio.move_on_after(self._bounds.call_s):
                return await _watched(work, answer, session)
            raise work.too_long()
        finally:
            self.under_way -= 1

    def _small_enough(self, result: R) -> R:
        """The answer, or a refusal of one that hosts would cut."""
        if isinstance(result, CallToolResult):
            size = sum(len(part.text) for part in result.content if isinstance(part, TextContent))
            if size > self._bounds.answer_chars:
                raise Refusal(
                    "ANSWER_TOO_LARGE",
                    f"the answer has {size} characters, more than the {self._bounds.answer_chars} that hosts "
                    "take; try detail=summary or a shorter window",
                )
        return result


async def _watched(work: Work, answer: Callable[[], Awaitable[R]], session: ServerSession | None) -> R:
    """The answer; a cancellation stops the work in its thread, which by itself would notice nothing."""
    failure: Exception | None = None
    if session is not None:
        await session.report_progress(0, None, "0 records read")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch, work, session)
        try:
            result = await answer()
        except Exception as error:  # raised again as it is: a task group would wrap it
            failure = error
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return result


async def _watch(work: Work, session: ServerSession | None) -> None:
    told = 0
    try:
        while True:
            if session is not None and work.steps > told:
                told = work.steps
                await session.report_progress(told, None, f"{told} records read")
            await anyio.sleep(PROGRESS_S)
    finally:
        work.stop()
