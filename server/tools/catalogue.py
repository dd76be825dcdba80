"""The tools as a model sees them: names, descriptions, options, and what runs behind each.

Invariant: every tool only reads.
"""

from functools import partial
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp_types import CallToolResult
from pydantic import Field

from server.charts.worker import Charts
from server.tools.asking import READ_ONLY, Asking, WindowArguments
from server.tools.coverage import CoverageAnswer, coverage_answer
from server.tools.flow_catalogue import add_flow_tools
from server.tools.parameters import (
    NUMBER,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    DetailLevel,
    EndTime,
    IncludeChart,
    RowSize,
    Session,
    StartTime,
    over_window,
)
from server.tools.profile import ProfileAnswer, profile_answer
from server.tools.tape import Tape
from server.tools.vacuums import VacuumsAnswer, vacuums_answer

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


def add_tools(mcp: MCPServer, tape: Tape, charts: Charts | None = None) -> None:
    """Give the server its tools, answering from `tape`, with pictures where `charts` draws them."""
    asking = Asking(tape, charts)
    add_profile_tools(mcp, asking)
    add_flow_tools(mcp, asking)
    add_coverage_tool(mcp, asking)


def add_profile_tools(mcp: MCPServer, asking: Asking) -> None:
    """Where volume traded by price, and where it did not."""

    @mcp.tool(title="Volume profile", description=PROFILE, annotations=READ_ONLY)
    @over_window
    async def get_volume_profile(
        window: WindowArguments,
        *,
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
        return await asking.about(
            window,
            partial(
                profile_answer,
                row_size=row_size,
                value_area_pct=value_area_pct,
                value_area_method=value_area_method,
                min_trades=min_trades,
                detail=detail,
                include_chart=include_chart,
            ),
        )

    @mcp.tool(title="Liquidity vacuums", description=VACUUMS, annotations=READ_ONLY)
    @over_window
    async def get_liquidity_vacuums(
        window: WindowArguments,
        *,
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
        return await asking.about(
            window,
            partial(
                vacuums_answer,
                rule=rule,
                threshold_pct=threshold_pct,
                row_size=row_size,
                stop_hint=stop_hint,
                detail=detail,
                include_chart=include_chart,
            ),
        )


def add_coverage_tool(mcp: MCPServer, asking: Asking) -> None:
    """What is kept."""

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
        return await asking.result(
            partial(
                coverage_answer,
                asking.tape,
                symbol=symbol,
                duration_hours=duration_hours,
                start_time=start_time,
                end_time=end_time,
                session=session,
                detail="summary" if detail is None else detail,
            )
        )
