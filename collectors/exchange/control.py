"""The exchange's levers over HTTP: put faults in and out, move the clock, read the report and the ledger.

Invariant: nothing here that `Exchange` does not offer to Python; it is no part of what Binance plays.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collectors.binance import WireError
from collectors.exchange.clock import VirtualClock
from collectors.exchange.faults import UnknownFault, read_faults
from collectors.exchange.oracle import Difference
from collectors.exchange.script import check
from collectors.exchange.server import Exchange
from collectors.exchange.texts import agg_trades_page
from collectors.rest_bodies import parse_agg_trades

MOST_ROWS = 100_000
# Longer than clients keep a connection that they do not use: one that closes as a request is sent loses it.
KEEP_ALIVE_S = 150


def control(exchange: Exchange, clock: VirtualClock | None = None) -> Starlette:
    """An application over a running exchange; without its clock, time cannot be moved."""
    levers = _Levers(exchange, clock)
    return Starlette(
        routes=[
            Route("/control/faults", levers.faults, methods=["GET"]),
            Route("/control/faults", levers.inject, methods=["POST"]),
            Route("/control/faults", levers.clear, methods=["DELETE"]),
            Route("/control/faults/{number:int}", levers.clear, methods=["DELETE"]),
            Route("/control/report", levers.report, methods=["GET"]),
            Route("/control/clock", levers.time, methods=["GET"]),
            Route("/control/clock", levers.move, methods=["POST"]),
            Route("/control/ledger", levers.ledger, methods=["GET"]),
            Route("/control/printed", levers.printed, methods=["GET"]),
            Route("/control/holes", levers.holes, methods=["GET"]),
            Route("/control/difference", levers.difference, methods=["POST"]),
        ],
        exception_handlers={HTTPException: _refusal},
    )


@asynccontextmanager
async def serving_control(
    exchange: Exchange, clock: VirtualClock | None, *, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """The same on a port of its own; its URL."""
    config = uvicorn.Config(
        control(exchange, clock),
        host=host,
        port=port,
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    await asyncio.wait(
        [task, waiting := asyncio.create_task(server.ready.wait())], return_when="FIRST_COMPLETED"
    )
    waiting.cancel()
    if task.done():
        raise OSError(f"the control port {port} could not be opened")
    try:
        address = server.servers[0].sockets[0].getsockname()
        yield f"http://{f'[{host}]' if ':' in host else host}:{address[1]}"
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    """Says when it is ready, and leaves signals to those who run it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Levers:
    def __init__(self, exchange: Exchange, clock: VirtualClock | None) -> None:
        self._exchange, self._clock = exchange, clock

    async def faults(self, _request: Request) -> Response:
        """What is in, with its number and how often it touched something."""
        return _json(
            [
                {"number": placed.number, "hits": placed.hits, "fault": placed.fault}
                for placed in self._exchange.script
            ]
        )

    async def inject(self, request: Request) -> Response:
        """One fault or a list of them; their numbers."""
        body = await request.body()
        text = body if body.lstrip().startswith(b"[") else b"[" + body + b"]"
        try:
            faults = read_faults(text)
            for fault in faults:
                check(fault)
            return _json({"numbers": [self._exchange.inject(fault) for fault in faults]})
        except UnknownFault as error:
            raise HTTPException(400, str(error)) from error

    async def clear(self, request: Request) -> Response:
        number = request.path_params.get("number")
        if not self._exchange.clear(number) and number is not None:
            raise HTTPException(404, f"no fault has number {number}")
        return _json({})

    async def report(self, _request: Request) -> Response:
        report = self._exchange.report()
        judged = {"self_inflicted": report.self_inflicted, "bans": report.bans}
        return _json(msgspec.to_builtins(report) | msgspec.to_builtins(judged))

    async def time(self, _request: Request) -> Response:
        clock = self._virtual_clock()
        return _json({"now_ms": clock(), "speed": clock.speed})

    async def move(self, request: Request) -> Response:
        """`advance_s` moves the clock on at once, `speed` changes how fast it goes."""
        clock = self._virtual_clock()
        try:
            asked = msgspec.json.decode(await request.body(), type=_Move)
            clock.advance(asked.advance_s * 1000)
            clock.speed = clock.speed if asked.speed is None else asked.speed
        except (msgspec.DecodeError, ValueError) as error:
            raise HTTPException(400, str(error)) from error
        return _json({"now_ms": clock(), "speed": clock.speed})

    async def ledger(self, request: Request) -> Response:
        """A page of what a complete record holds, in the form of /api/v3/aggTrades."""
        first_id = _whole(request, "fromId")
        limit = min(_whole(request, "limit", 1000), MOST_ROWS)
        rows = self._exchange.ledger(self._symbol(request), first_id, first_id + limit - 1)
        return Response(agg_trades_page(rows), media_type="application/json")

    async def printed(self, request: Request) -> Response:
        """The newest id; with `id`, as soon as that one has been printed."""
        symbol = self._symbol(request)
        if "id" in request.query_params:
            await self._exchange.printed(symbol, _whole(request, "id"))
        return _json({"id": self._exchange.printed_id(symbol)})

    async def holes(self, request: Request) -> Response:
        """The ids that exist nowhere, as far as they are printed: no record has them."""
        symbol = self._symbol(request)
        newest = self._exchange.printed_id(symbol)
        ids = {
            each
            for hole in self._exchange.market.holes(symbol)
            for each in range(hole.first, min(hole.last, newest) + 1)
        }
        return _json({"ids": sorted(ids)})

    async def difference(self, request: Request) -> Response:
        """Rows in the form of /api/v3/aggTrades against the exchange's ledger, over their span of ids."""
        try:
            page = parse_agg_trades(await request.body())
        except WireError as error:
            raise HTTPException(400, str(error)) from error
        if page.malformed or not len(page.trades):
            raise HTTPException(400, f"expected rows of aggTrades, {len(page.malformed)} cannot be read")
        return _json(_told(self._exchange.difference(self._symbol(request), page.trades)))

    def _symbol(self, request: Request) -> str:
        symbol = request.query_params.get("symbol", "")
        if symbol not in self._exchange.market.instruments:
            raise HTTPException(
                400, f"symbol {symbol!r} is none of {', '.join(self._exchange.market.symbols)}"
            )
        return symbol

    def _virtual_clock(self) -> VirtualClock:
        if self._clock is None:
            raise HTTPException(409, "the exchange runs by a clock that cannot be moved")
        return self._clock


class _Move(msgspec.Struct, forbid_unknown_fields=True):
    advance_s: float = 0.0
    speed: float | None = None


def _whole(request: Request, name: str, default: int | None = None) -> int:
    text = request.query_params.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise HTTPException(400, f"{name} is {text!r}, expected a whole number")
    return int(text)


def _told(found: Difference) -> dict[str, Any]:
    return {
        "trades": found.trades,
        "missing": found.missing.tolist(),
        "extra": found.extra.tolist(),
        "other": found.other.tolist(),
    }


def _json(reply: object) -> Response:
    return Response(msgspec.json.encode(reply), media_type="application/json")


async def _refusal(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return Response(
        msgspec.json.encode({"error": error.detail}), error.status_code, media_type="application/json"
    )
