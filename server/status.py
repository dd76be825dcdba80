"""GET /status: how a running server stands, for `tapedeck status` and whoever else asks on the machine.

Invariant: an answer decodes no record and waits for no write; the figures of
a symbol's rows are of one instant, its reasons, rate and bytes of moments beside it.
"""

import shutil
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from collectors.figures import Figures
from server.health import Health, readiness
from server.process_metrics import memory_bytes
from server.status_parts import Disk, LinkStatus, Memory, Reason, Status, SymbolStatus, WarmUp
from server.tools.answers import iso_seconds, significant
from server.tools.arguments import iso
from server.tools.holdings import AskedWindow, Holding, holdings
from server.tools.tape import Tape
from server.transports import Transports

EVERYTHING = AskedWindow(None, None, None, None)
# Trades a second are those of the last minute.
RATE_MS = 60_000


@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """What a status is made of; `started_ms` is when the server was."""

    tape: Tape
    recorder: Health
    transports: Transports
    data_dir: Path
    started_ms: int

    def status(self) -> Status:
        ledger, now_ms = self.tape.ledger, self.tape.now_ms()
        ready, figures = readiness(ledger, self.recorder, now_ms), self.recorder.figures()
        space = shutil.disk_usage(self.data_dir)
        return Status(
            version=version("tapedeck"),
            market=ledger.venue,
            data_dir=str(self.data_dir.resolve()),
            as_of=iso(now_ms),
            uptime_s=(now_ms - self.started_ms) // 1000,
            cpu_s=round(time.process_time(), 2),
            ready=ready["ready"],
            reasons=ready["reasons"],
            clock_offset_ms=ready["clock_offset_ms"],
            links_wanted=figures.lines,
            links=_links(figures),
            sessions=self.transports.open_sessions,
            calls_under_way=self.transports.calls.under_way,
            memory=_memory(),
            disk=Disk(ledger=ledger.bytes_on_disk, free=space.free, total=space.total),
            symbols=[
                self._symbol(holding, ready["symbols"].get(holding.symbol, {}).get("reasons", []))
                for holding in holdings(self.tape, None, EVERYTHING)
            ],
        )

    def _symbol(self, holding: Holding, reasons: list[Reason]) -> SymbolStatus:
        coverage, first, last = holding.coverage, holding.first, holding.last
        held_ms = last.last_ms - first.first_ms if first is not None and last is not None else 0
        return SymbolStatus(
            symbol=holding.symbol,
            recording=holding.recording,
            trades_per_s=self._trades_per_s(holding),
            lag_s=None if holding.lag_ms is None else significant(holding.lag_ms / 1000),
            first=None if first is None else iso(first.first_ms),
            last=None if last is None else iso(last.last_ms),
            held_s=held_ms // 1000,
            trades=coverage.trades,
            complete=holding.complete,
            covered_pct=coverage.covered_pct,
            missing=coverage.missing,
            gaps=len(coverage.gaps_in("open")),
            certified=coverage.certified,
            bytes=self.tape.ledger.bytes_of(holding.symbol),
            reasons=reasons,
            warm_up=_warm_up(holding),
        )

    def _trades_per_s(self, holding: Holding) -> float:
        """Of the last minute, or of the time since the start."""
        over_ms = min(RATE_MS, max(holding.as_of_ms - self.started_ms, 1_000))
        window = (holding.as_of_ms - over_ms, holding.as_of_ms)
        return significant(self.tape.ledger.coverage(holding.symbol, *window).trades * 1000 / over_ms)


def _links(figures: Figures) -> list[LinkStatus]:
    return [
        LinkStatus(
            host=link.host,
            number=link.number,
            symbols=link.symbols,
            age_s=round(link.age_s),
            lag_s=None if link.lag_ms is None else link.lag_ms / 1000,
        )
        for link in figures.links
    ]


def _warm_up(holding: Holding) -> WarmUp | None:
    warm_up = holding.warmup
    if warm_up is None:
        return None
    ready_ms = holding.ready_ms
    return WarmUp(
        missing=warm_up.missing,
        fetched=warm_up.held,
        per_s=significant(warm_up.per_s),
        ready_at=None if ready_ms is None else iso_seconds(ready_ms),
        ready_in_s=None if ready_ms is None else (ready_ms - holding.as_of_ms) // 1000,
    )


def _memory() -> Memory:
    if sys.platform != "linux":
        return Memory(private=None, resident=None)
    return Memory(private=memory_bytes("RssAnon"), resident=memory_bytes("VmRSS"))


class StatusEndpoint:
    """GET /status, for the hosts and origins that the other endpoints answer."""

    def __init__(self, server: Server, security: TransportSecuritySettings) -> None:
        self._server = server
        self._guard = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._guard.validate_request(Request(scope))
        if response is None:
            status = await run_in_threadpool(self._server.status)
            response = Response(status.model_dump_json(), media_type="application/json")
        await response(scope, receive, send)
