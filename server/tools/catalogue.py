"""The tools as a model sees them: names, descriptions, parameters, and what runs behind each.

Invariant: a schema is wide and the tool checks ranges itself, so that a caller reads a coded error and not a
validator's; every tool only reads.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

import structlog
from anyio import CapacityLimiter, to_thread
from mcp.server import MCPServer
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import Field, WithJsonSchema

from analytics.errors import Refused
from server.tools.answers import result_of
from server.tools.coverage import CoverageAnswer, coverage_answer
from server.tools.profile import ProfileAnswer, profile_answer
from server.tools.refusals import Refusal
from server.tools.tape import Question, Tape
from server.tools.vacuums import VacuumsAnswer, vacuums_answer
from storage.errors import LedgerError

log = structlog.get_logger()

READ_ONLY = ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
# Questions decode in worker threads; more of them at once would only wait for Python's lock.
AT_ONCE = 2

NUMBER = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}]})
NUMBER_OR_NULL = WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string"}, {"type": "null"}]})
TEXT = WithJsonSchema({"type": "string"})
TEXT_OR_NULL = WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]})

Symbol = Annotated[Any, TEXT, Field(description="recorded symbol as people write it: BTCUSDT, btc/usdt, btc")]
DurationHours = Annotated[
    Any,
    NUMBER,
    Field(
        description="window length in hours up to end_time, 0.0167 (a minute) to 168; ignored with start_time"
    ),
]
StartTime = Annotated[
    Any, TEXT_OR_NULL, Field(description="window start, ISO-8601 UTC such as 2026-11-22T12:00:00Z")
]
EndTime = Annotated[Any, TEXT_OR_NULL, Field(description="window end (exclusive), ISO-8601 UTC; default now")]
Session = Annotated[
    Any,
    TEXT_OR_NULL,
    Field(
        description="instead of times: today, yesterday, or the latest asia (00-08 UTC), london (08-16), "
        "new_york (13:30-20)"
    ),
]
RowSize = Annotated[
    Any,
    NUMBER_OR_NULL,
    Field(
        description="height of a price row in quote units, a multiple of the tick; default fits the window"
    ),
]
DetailLevel = Annotated[Any, TEXT, Field(description="summary, or full for tables and more entries")]
IncludeChart = Annotated[
    Any, WithJsonSchema({"type": "boolean"}), Field(description="reserved: this version draws no chart")
]

PROFILE = (
    "Where volume traded by price: point of control (POC), value area (VAH, VAL), VWAP with sigma, high and "
    "low volume nodes (HVN, LVN), volume and delta of a window, from every recorded trade of the exchange; "
    "with detail=full also its rows and how POC and value area developed. Use it for 'where is value', 'fair "
    "price', 'high volume level'. Traded volume, not the order book and not a forecast. meta.coverage says "
    "which trades the answer is made of; a summary that begins with PARTIAL: is incomplete."
)
VACUUMS = (
    "Price ranges in which little was traded in a window (liquidity vacuums), nearest to the last price "
    "first, with how thin each is and when it last traded. Use it for 'where is it thin', 'gaps', 'air "
    "pockets', or where a stop would not sit in one. Traded volume, not the order book and not a forecast: "
    "thin does not mean that price will move fast."
)
COVERAGE = (
    "What is kept: recorded symbols, first and last trade of each, whether every trade is there, gaps by id, "
    "history still being fetched and when it will be here, how far the recording lags. Use it for 'what data "
    "do you have', 'since when', 'why PARTIAL', or, with detail=full, to compare sealed hours with another "
    "recording by SHA-256. Not for prices or volumes: each other tool gives these with its own coverage."
)

Answer = TypeVar("Answer", ProfileAnswer, VacuumsAnswer, CoverageAnswer)


def add_tools(mcp: MCPServer, tape: Tape) -> None:
    """Give the server its tools, answering from `tape`."""
    threads = CapacityLimiter(AT_ONCE)

    async def answer(window: dict[str, Any], analyse: Callable[[Question], Answer]) -> CallToolResult:
        return await result(partial(_analysed, tape, window, analyse))

    async def result(make: Callable[[], Answer]) -> CallToolResult:
        try:
            return await to_thread.run_sync(partial(_answer, make), limiter=threads)
        except Refusal as refusal:
            return refusal.result()

    @mcp.tool(title="Volume profile", description=PROFILE, annotations=READ_ONLY)
    async def get_volume_profile(
        symbol: Symbol,
        duration_hours: DurationHours = 24,
        start_time: StartTime = None,
        end_time: EndTime = None,
        session: Session = None,
        row_size: RowSize = None,
        value_area_pct: Annotated[
            Any, NUMBER, Field(description="share of volume in the value area, 50 to 95 percent")
        ] = 70,
        value_area_method: Annotated[
            Any, TEXT, Field(description="two_row (CBOT, TradingView) or one_row")
        ] = "two_row",
        min_trades: Annotated[
            Any, NUMBER, Field(description="trades below which the profile is called not reliable")
        ] = 1000,
        detail: DetailLevel = "summary",
        include_chart: IncludeChart = False,
    ) -> Annotated[CallToolResult, ProfileAnswer]:
        window = _window(symbol, duration_hours, start_time, end_time, session)
        return await answer(
            window,
            partial(
                profile_answer,
                row_size=row_size,
                value_area_pct=_or(value_area_pct, 70),
                value_area_method=_or(value_area_method, "two_row"),
                min_trades=_or(min_trades, 1000),
                detail=_or(detail, "summary"),
                include_chart=include_chart,
            ),
        )

    @mcp.tool(title="Liquidity vacuums", description=VACUUMS, annotations=READ_ONLY)
    async def get_liquidity_vacuums(
        symbol: Symbol,
        duration_hours: DurationHours = 24,
        start_time: StartTime = None,
        end_time: EndTime = None,
        session: Session = None,
        row_size: RowSize = None,
        rule: Annotated[
            Any, TEXT, Field(description="thin (mean baseline, smoothed) or origin (median baseline)")
        ] = "thin",
        threshold_pct: Annotated[
            Any,
            NUMBER_OR_NULL,
            Field(
                description="a row is thin below this share of the baseline; default 10 (thin), 20 (origin)"
            ),
        ] = None,
        stop_hint: Annotated[
            Any,
            TEXT,
            Field(description="none, long, short or both: where a stop would not sit inside a vacuum"),
        ] = "none",
        detail: DetailLevel = "summary",
        include_chart: IncludeChart = False,
    ) -> Annotated[CallToolResult, VacuumsAnswer]:
        window = _window(symbol, duration_hours, start_time, end_time, session)
        return await answer(
            window,
            partial(
                vacuums_answer,
                rule=_or(rule, "thin"),
                threshold_pct=threshold_pct,
                row_size=row_size,
                stop_hint=_or(stop_hint, "none"),
                detail=_or(detail, "summary"),
                include_chart=include_chart,
            ),
        )

    @mcp.tool(title="Data coverage", description=COVERAGE, annotations=READ_ONLY)
    async def get_data_coverage(
        symbol: Annotated[
            Any,
            TEXT_OR_NULL,
            Field(description="recorded symbol as people write it, in detail; default an overview of all"),
        ] = None,
        duration_hours: Annotated[
            Any,
            NUMBER_OR_NULL,
            Field(
                description="window length in hours up to end_time, 0.0167 (a minute) to 168; "
                "with no window at all, everything that is kept"
            ),
        ] = None,
        start_time: StartTime = None,
        end_time: EndTime = None,
        session: Session = None,
        detail: Annotated[
            Any, TEXT, Field(description="summary, or full for the SHA-256 of each sealed hour of a symbol")
        ] = "summary",
    ) -> Annotated[CallToolResult, CoverageAnswer]:
        return await result(
            partial(
                coverage_answer,
                tape,
                symbol=symbol,
                duration_hours=duration_hours,
                start_time=start_time,
                end_time=end_time,
                session=session,
                detail=_or(detail, "summary"),
            )
        )


def _or(written: Any, default: Any) -> Any:
    """Some clients send null for every option that was not chosen."""
    return default if written is None else written


def _window(symbol: Any, duration_hours: Any, start_time: Any, end_time: Any, session: Any) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "duration_hours": _or(duration_hours, 24),
        "start_time": start_time,
        "end_time": end_time,
        "session": session,
    }


def _analysed(tape: Tape, window: dict[str, Any], analyse: Callable[[Question], Answer]) -> Answer:
    """Load and analyse."""
    with tape.question(**window) as question:
        return analyse(question)


def _answer(make: Callable[[], Answer]) -> CallToolResult:
    """Make and present; whatever has no answer leaves as a coded error."""
    try:
        answer = make()
    except Refused as refused:
        raise Refusal(refused.code, str(refused)) from refused
    except LedgerError as error:
        log.error("store unavailable", error=str(error))  # noqa: TRY400  the traceback says nothing more
        raise Refusal(
            "STORE_UNAVAILABLE", f"{error}; the recorder keeps running; try another window or ask again"
        ) from error
    return result_of(answer, answer.summary)
