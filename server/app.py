"""The composition root: settings to ledger, recorder, tools and one Starlette app.

Invariant: the ledger is flushed and closed whenever the app ends.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import structlog
from mcp.server.subscriptions import InMemorySubscriptionBus
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from collectors.instruments import NoSymbols
from collectors.kept_attempts import KeptAttempts
from collectors.kept_bars import KeptBars
from collectors.recorder import Recorder
from collectors.rest import BinanceRest
from collectors.tasks import start
from server.access.setup import access_of
from server.bounds import Bounds
from server.charts.worker import Charts
from server.connections import BoundedApp
from server.face import TapeServer
from server.health import READY_PATH, ReadyEndpoint
from server.logs import set_up_logs
from server.loop_gap import LoopGap
from server.metrics import METRICS_PATH, LedgerMetrics, MetricsEndpoint
from server.process_metrics import ProcessMetrics
from server.proxies import TrustedProxies
from server.recorder_metrics import RecorderMetrics
from server.rest_metrics import RestMetrics
from server.runtime import settle, tune
from server.settings import ConfigurationInvalid, Settings, given_names, load_settings, unknown_names
from server.shutdown import Closing
from server.site import PagesEndpoint, pages_routes
from server.status import Server, StatusEndpoint
from server.status_parts import STATUS_PATH
from server.tools.tape import Tape
from server.transport_metrics import TransportMetrics
from server.transports import Transports, health, security
from server.upkeep import Limits, Upkeep
from server.wall_clock import wall_clock
from storage.errors import LedgerError
from storage.ledger import TradeLedger

log = structlog.get_logger()


def create_app(settings: Settings, bounds: Bounds | None = None) -> Starlette:
    """The app: routes, and a lifespan in which the recorder runs. Opens the ledger; raises `LedgerError`."""
    bounds = bounds or Bounds()
    answered = security(settings.answered_hosts, settings.answered_origins)
    access = access_of(settings, answered, bounds, wall_clock)
    os.umask(0o077)  # LevelDB makes its files itself, later and from threads of its own
    ledger = TradeLedger.open(settings.data_dir)
    rest = BinanceRest(settings.rest_url, wall_clock, bars=KeptBars(wall_clock, settings.data_dir))
    recorder = Recorder(
        ledger,
        rest,
        symbols=settings.symbols,
        stream_urls=settings.stream_urls,
        warmup_ms=settings.warmup_ms,
        clock=wall_clock,
        retention_ms=settings.retention_ms,
        attempts=KeptAttempts(wall_clock, settings.data_dir),
    )
    limits = Limits(settings.retention_ms, settings.max_disk)
    upkeep = Upkeep(ledger, settings.data_dir, limits, wall_clock)
    bus = InMemorySubscriptionBus()
    tape = Tape(ledger, recorder, wall_clock, retention_hours=float(settings.retention_hours) or None)
    charts = Charts()
    mcp = TapeServer(tape, settings.public_url, settings.local_url, charts=charts, subscriptions=bus)
    closing = Closing(bounds.grace_s)
    transports = Transports(mcp, mcp.pages, bus, answered, closing, bounds)
    loop_gap = LoopGap()
    running_server = Server(tape, recorder, transports, settings.data_dir, started_ms=wall_clock())
    metrics = [
        LedgerMetrics(ledger),
        RestMetrics(recorder),
        RecorderMetrics(recorder.figures),
        ProcessMetrics(settings.data_dir),
        transports.calls.metrics,
        TransportMetrics(transports, bounds),
        loop_gap,
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.callback(_close, ledger)
            await stack.enter_async_context(rest)
            settle()  # before anything arrives: it takes a moment
            await stack.enter_async_context(recording(recorder))
            await stack.enter_async_context(running(upkeep))
            await stack.enter_async_context(charts)
            await stack.enter_async_context(transports.running())
            await stack.enter_async_context(access.running())
            stack.enter_context(closing.noticing_signals())
            stack.enter_context(loop_gap.watching())
            yield
        log.info("stopped", data_dir=str(settings.data_dir))

    return BoundedApp(
        closing,
        bounds,
        routes=[
            Route("/healthz", health),
            Route(READY_PATH, ReadyEndpoint(ledger, recorder, wall_clock, answered), methods=["GET"]),
            *pages_routes(PagesEndpoint(mcp.pages, answered, transports.calls.within)),
            Route(METRICS_PATH, MetricsEndpoint(metrics, answered), methods=["GET"]),
            Route(STATUS_PATH, StatusEndpoint(running_server, answered), methods=["GET"]),
            *transports.routes,
            *access.routes,
        ],
        middleware=[
            Middleware(PlainStartFailure),
            Middleware(TrustedProxies, settings.trusted_proxies, settings.public_url),
            *access.middleware,
        ],
        lifespan=lifespan,
    )


def _close(ledger: TradeLedger) -> None:
    try:
        ledger.close()
    except LedgerError as error:
        unwritten = ledger.condition.unwritten
        log.error("closed with trades unwritten", trades=unwritten, error=str(error), fix="REST brings them")  # noqa: TRY400  one clear line


@asynccontextmanager
async def recording(recorder: Recorder) -> AsyncIterator[None]:
    """Record while the body runs; on leaving, all that has arrived is on disk."""
    try:
        await recorder.prepare()
    except (NoSymbols, LedgerError) as error:
        log.error("cannot record", error=str(error))  # noqa: TRY400  one clear line for the operator
        raise StartRefused from error
    async with recorder.recording():
        yield


@asynccontextmanager
async def running(upkeep: Upkeep) -> AsyncIterator[None]:
    """Upkeep while the body runs."""
    task = start("upkeep", upkeep.run)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class StartRefused(Exception):
    """The app cannot start, and the log says why."""


class PlainStartFailure:
    """A start that was refused ends without the framework's traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if isinstance(sys.exception(), StartRefused):
                message = {"type": message["type"], "message": ""}
            await send(message)

        await self._app(scope, receive, tell if scope["type"] == "lifespan" else send)


def prepared_app(settings: Settings) -> Starlette:
    """The app in a process tuned for it, its log set up; warns of TAPEDECK_ names that are no setting."""
    tune()
    set_up_logs(settings)
    for name in unknown_names(given_names()):
        log.warning("unknown setting", name=name)
    return create_app(settings)


def from_env() -> Starlette:
    """The app by the environment's settings: `uvicorn --factory server.app:from_env`."""
    try:
        return prepared_app(load_settings())
    except (LedgerError, ConfigurationInvalid) as error:
        raise SystemExit("\n".join(f"tapedeck: {line}" for line in str(error).splitlines())) from error
