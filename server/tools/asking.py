"""From a question to a result: loaded and analysed in a worker thread, or refused with a code.

Invariant: whatever has no answer leaves as a coded error that a model can correct itself by.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from anyio import CapacityLimiter, to_thread
from mcp_types import CallToolResult, ImageContent, ToolAnnotations

from analytics.errors import Refused
from server.charts.picture import Picture
from server.charts.worker import ChartFailed, Charts
from server.tools.answers import Answer, result_of
from server.tools.refusals import Refusal
from server.tools.tape import Question, Tape
from server.tools.work import left_s
from storage.errors import LedgerError

log = structlog.get_logger()

READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
# Questions decode in worker threads; more of them at once would only wait for Python's lock.
AT_ONCE = 2
PNG = "image/png"
# Of the time that a call has, what is kept for answering without a picture.
ANSWERS_WITHIN_S = 1.0

# symbol, duration_hours, start_time, end_time and session as the caller wrote them.
WindowArguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """Where the tools take their questions: to the tape, so many of them at once."""

    tape: Tape
    charts: Charts | None = None
    threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(AT_ONCE))

    async def about(self, window: WindowArguments, analyse: Callable[[Question], Answer]) -> CallToolResult:
        """The result of an analysis of a window."""
        return await self.result(partial(_analysed, self.tape, window, analyse))

    async def result(self, make: Callable[[], Answer]) -> CallToolResult:
        """The result of what is made, in a thread since it may read the disk."""
        try:
            answer, result = await to_thread.run_sync(partial(_presented, make), limiter=self.threads)
        except Refusal as refusal:
            return refusal.result()
        return result if answer.picture is None else await self._illustrated(answer, answer.picture, result)

    async def _illustrated(self, answer: Answer, picture: Picture, result: CallToolResult) -> CallToolResult:
        """The result with its picture behind it, or with a sentence why there is none."""
        try:
            png = await self._png(picture)
        except ChartFailed as failed:
            return result_of(answer.without_picture(str(failed)))
        image = ImageContent(type="image", data=b64encode(png).decode(), mime_type=PNG)
        return result.model_copy(update={"content": [*result.content, image]})

    async def _png(self, picture: Picture) -> bytes:
        if self.charts is None:
            raise ChartFailed("this server draws none")
        within_s = left_s() - ANSWERS_WITHIN_S
        if within_s <= 0:
            raise ChartFailed("the answer took all the time that there was")
        return await self.charts.png(picture, within_s)


def _analysed(tape: Tape, window: WindowArguments, analyse: Callable[[Question], Answer]) -> Answer:
    """Load and analyse."""
    with tape.question(**window) as question:
        return analyse(question)


def _presented(make: Callable[[], Answer]) -> tuple[Answer, CallToolResult]:
    """Make and present; whatever has no answer leaves as a coded error."""
    try:
        answer = make()
        return answer, result_of(answer)
    except Refused as refused:
        raise Refusal(refused.code, str(refused)) from refused
    except LedgerError as error:
        log.error("store unavailable", error=str(error))  # noqa: TRY400  the traceback says nothing more
        raise Refusal(
            "STORE_UNAVAILABLE", f"{error}; the recorder keeps running; try another window or ask again"
        ) from error
