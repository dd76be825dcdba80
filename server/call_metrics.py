"""What was asked of the server and what came of it, for Prometheus.

Invariant: labels are bounded whatever clients send: tools that do not exist share one name, errors that are
not ours share one outcome.
"""

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TypeVar

from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolResult, TextContent
from prometheus_client import Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from server.metrics import without_birth
from server.pages import UnknownPage
from server.tools.answers import tokens_of
from server.tools.refusals import CODES, Refusal

# A call may take 20 s, which the last bucket but one holds with its way out.
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
# 1,000 and 4,000 are what an answer may take by its detail.
TOKENS = (250, 500, 1_000, 2_000, 4_000, 8_000, 16_000)
UNKNOWN = "unknown"
OK, CANCELLED, INVALID, FAILED = "ok", "cancelled", "invalid", "failed"
# What the server is to blame for; each has its line from the start, so that a first one shows as an increase.
OURS = (FAILED, "STORE_UNAVAILABLE", "TIME_LIMIT", "TOO_MANY_CALLS", "ANSWER_TOO_LARGE")

R = TypeVar("R")


class CallMetrics(Collector):
    """The calls of one server since its start: of its tools, and of what else it is asked for."""

    def __init__(self, tools: Sequence[str], others: Sequence[str]) -> None:
        self._names = frozenset((*tools, *others))
        self._calls = Counter(
            "tapedeck_calls",
            "Calls by tool or other request, and by what came of them: ok, cancelled (its client gave it up, "
            "or is gone), invalid (no such tool, or arguments of another shape), failed (a defect), or the "
            "code of the refusal.",
            ["tool", "outcome"],
            registry=None,
        )
        self._seconds = Histogram(
            "tapedeck_call_seconds",
            "How long calls took, whatever came of them.",
            ["tool"],
            buckets=SECONDS,
            registry=None,
        )
        self._tokens = Histogram(
            "tapedeck_answer_tokens",
            "Tokens of the answers' text as models count them, estimated to within 3 % of o200k.",
            ["tool"],
            buckets=TOKENS,
            registry=None,
        )
        self._bytes = Counter(
            "tapedeck_answer_bytes", "Bytes of the answers' text, in UTF-8.", ["tool"], registry=None
        )
        for name in self._names:
            self._seconds.labels(name)
            for outcome in (OK, *OURS):
                self._calls.labels(name, outcome)
        for name in tools:
            self._tokens.labels(name)
            self._bytes.labels(name)

    def collect(self) -> Iterator[Metric]:
        for metric in (self._calls, self._seconds, self._tokens, self._bytes):
            yield from map(without_birth, metric.collect())

    async def counted(self, name: str, call: Callable[[], Awaitable[R]]) -> R:
        """The call, counted with its outcome, its time and the size of its answer."""
        tool = name if name in self._names else UNKNOWN
        began_s, outcome = time.perf_counter(), CANCELLED
        try:
            result = await call()
            outcome = self._answered(tool, result)
        except Exception as error:
            outcome = _outcome_of(error)
            raise
        finally:
            self._calls.labels(tool, outcome).inc()
            self._seconds.labels(tool).observe(time.perf_counter() - began_s)
        return result

    def _answered(self, tool: str, result: object) -> str:
        if not isinstance(result, CallToolResult):
            return OK
        text = "".join(part.text for part in result.content if isinstance(part, TextContent))
        if result.is_error:
            return _outcome_of_text(text)
        self._tokens.labels(tool).observe(tokens_of(text))
        self._bytes.labels(tool).inc(len(text.encode()))
        return OK


def _outcome_of(error: Exception) -> str:
    if isinstance(error, Refusal):
        return error.code
    if isinstance(error, UnknownPage):
        return _code_in(str(error)) or INVALID
    if isinstance(error, MCPError):
        return _code_in(error.message) or (INVALID if error.code == INVALID_PARAMS else FAILED)
    return FAILED


def _outcome_of_text(text: str) -> str:
    """Of a tool's error. The SDK says of a crash in a tool that there was one, and nothing more."""
    return _code_in(text) or (FAILED if re.fullmatch(r"Error executing tool \w+", text) else INVALID)


def _code_in(text: str) -> str | None:
    code = text.partition(":")[0]
    return code if code in CODES else None
