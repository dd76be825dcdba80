"""From a question to a result: loaded and analysed in a worker thread, or refused with a code.

Invariant: whatever has no answer leaves as a coded error that a model can correct itself by.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from anyio import CapacityLimiter, to_thread
from mcp_types import CallToolResult, ToolAnnotations

from analytics.errors import Refused
from server.tools.answers import Answer, result_of
from server.tools.refusals import Refusal
from server.tools.tape import Question, Tape
from storage.errors import LedgerError

log = structlog.get_logger()

READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
# Questions decode in worker threads; more of them at once would only wait for Python's lock.
AT_ONCE = 2

# symbol, duration_hours, start_time, end_time and session as the caller wrote them.
WindowArguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """Where the tools take their questions: to the tape, so many of them at once."""

    tape: Tape
    threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(AT_ONCE))

    async def about(self, window: WindowArguments, analyse: Callable[[Question], Answer]) -> CallToolResult:
        """The result of an analysis of a window."""
        return await self.result(partial(_analysed, self.tape, window, analyse))

    async def result(self, make: Callable[[], Answer]) -> CallToolResult:
        """The result of what is made, in a thread since it may read the disk."""
        try:
            return await to_thread.run_sync(partial(_presented, make), limiter=self.threads)
        except Refusal as refusal:
            return refusal.result()


def _analysed(tape: Tape, window: WindowArguments, analyse: Callable[[Question], Answer]) -> Answer:
    """Load and analyse."""
    with tape.question(**window) as question:
        return analyse(question)


def _presented(make: Callable[[], Answer]) -> CallToolResult:
    """Make and present; whatever has no answer leaves as a coded error."""
    try:
        return result_of(make())
    except Refused as refused:
        raise Refusal(refused.code, str(refused)) from refused
    except LedgerError as error:
        log.error("store unavailable", error=str(error))  # noqa: TRY400  the traceback says nothing more
        raise Refusal(
            "STORE_UNAVAILABLE", f"{error}; the recorder keeps running; try another window or ask again"
        ) from error
