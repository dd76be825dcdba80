"""GET /readyz: whether every symbol is recorded and up to date, and what keeps one from it.

Invariant: 200 only where nothing is missing that can still be had; else 503 with each reason by its code.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from collectors.clock_check import Offset
from collectors.figures import Figures
from collectors.symbol_filling import FillingState
from server.tools.answers import iso_seconds, significant
from server.tools.tape import Recording, WarmupProgress
from storage.ledger import TradeLedger

READY_PATH = "/readyz"
# The newest event that a link vouches for is seconds old at most while anything trades; where nothing does,
# silence that is usual does not count.
MOST_LAG_MS = 30_000
# From event to receipt; a stream that is later answers about a market that has moved on.
LATE_MS = 10_000


class Health(Recording, Protocol):
    """What is asked of the recorder."""

    @property
    def clock_offset(self) -> Offset | None: ...
    def filling(self, symbol: str) -> FillingState: ...
    def silent_ms(self, symbol: str) -> int: ...
    def figures(self) -> Figures: ...


def readiness(ledger: TradeLedger, recording: Health, now_ms: int) -> dict[str, Any]:
    """The body of the answer; `ready` is its sum."""
    late_ms = _lateness(recording)
    symbols = {
        symbol: _of_symbol(recording, symbol, late_ms.get(symbol, 0), now_ms) for symbol in recording.symbols
    }
    reasons = list(_of_all(ledger, recording))
    ready = not reasons and not any(symbol["reasons"] for symbol in symbols.values())
    offset = recording.clock_offset
    return {
        "ready": ready,
        "reasons": reasons,
        "clock_offset_ms": None if offset is None else offset.offset_ms,
        "symbols": symbols,
    }


def _of_all(ledger: TradeLedger, recording: Health) -> Iterator[dict[str, str]]:
    if not recording.symbols:
        yield _reason("link", "nothing is being recorded yet")
    condition = ledger.condition
    if condition.error is not None:
        yield _reason("disk", f"{condition.unwritten} trades await the disk: {condition.error}")
    offset = recording.clock_offset
    if offset is not None and offset.is_large:
        yield _reason(
            "clock", f"the exchange's clock is {offset.offset_ms} ms ahead; set this machine's clock"
        )


def _lateness(recording: Health) -> dict[str, int]:
    """How late the quickest link brings each symbol, by the exchange's clock where that is known."""
    offset = recording.clock_offset
    ahead_ms = 0 if offset is None else offset.offset_ms
    return {
        symbol.symbol: symbol.lag_ms + ahead_ms
        for symbol in recording.figures().symbols
        if symbol.lag_ms is not None
    }


def _of_symbol(recording: Health, symbol: str, late_ms: int, now_ms: int) -> dict[str, Any]:
    known_ms, filling = recording.live_until_ms(symbol), recording.filling(symbol)
    lag_ms = None if known_ms is None else max(0, now_ms - known_ms)
    warm_up = recording.warmup(symbol) if filling.history else None
    reasons = []
    if lag_ms is None:
        reasons.append(_reason("link", "no link vouches for it yet"))
    elif lag_ms - recording.silent_ms(symbol) > MOST_LAG_MS:
        reasons.append(_reason("head_age", f"known up to {lag_ms / 1000:.0f} s ago"))
    if late_ms > LATE_MS:
        reasons.append(_reason("lag", f"its events arrive {late_ms / 1000:.0f} s late"))
    if missing := filling.missing - filling.out_of_reach:
        reasons.append(_reason("gaps", f"{missing} ids are missing and asked for"))
    if filling.history:
        reasons.append(_reason("warm_up", f"{filling.history} trades of its history are still to come"))
    return {
        "reasons": reasons,
        "lag_s": None if lag_ms is None else significant(lag_ms / 1000),
        "missing": filling.missing,
        "certified": filling.certified,
        "warm_up": None if warm_up is None else _progress(warm_up, filling, now_ms),
    }


def _progress(warm_up: WarmupProgress, filling: FillingState, now_ms: int) -> dict[str, Any]:
    ready_ms = now_ms + filling.history / warm_up.per_s * 1000 if warm_up.per_s else None
    return {
        "missing": filling.history,
        "fetched": warm_up.held,
        "per_s": significant(warm_up.per_s),
        "ready_at": None if ready_ms is None else iso_seconds(int(ready_ms)),
    }


def _reason(code: str, detail: str) -> dict[str, str]:
    return {"code": code, "detail": detail}


class ReadyEndpoint:
    """GET /readyz, for the hosts and origins that the other endpoints answer."""

    def __init__(
        self,
        ledger: TradeLedger,
        recording: Health,
        now_ms: Callable[[], int],
        security: TransportSecuritySettings,
    ) -> None:
        self._ledger = ledger
        self._recording = recording
        self._now_ms = now_ms
        self._guard = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._guard.validate_request(Request(scope))
        if response is None:
            found = await run_in_threadpool(readiness, self._ledger, self._recording, self._now_ms())
            response = JSONResponse(found, status_code=200 if found["ready"] else 503)
        await response(scope, receive, send)
