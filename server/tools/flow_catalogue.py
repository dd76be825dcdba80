"""The tools about time and flow as a model sees them: candles, order flow, footprint, key levels.

Invariant: every tool only reads.
"""

from functools import partial
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp_types import CallToolResult
from pydantic import Field

from server.tools.asking import READ_ONLY, Asking, WindowArguments
from server.tools.candles import CandlesAnswer, candles_answer
from server.tools.flow import FlowAnswer, flow_answer
from server.tools.footprint import FootprintAnswer, footprint_answer
from server.tools.levels import LevelsAnswer, levels_answer
from server.tools.parameters import (
    NUMBER_OR_NULL,
    TEXT_OR_NULL,
    Bar,
    DetailLevel,
    ImbalanceRatio,
    IncludeChart,
    RowSize,
    over_long_window,
    over_window,
)

CANDLES = (
    "Open, high, low, close, volume, buy volume, trades and VWAP of a window and of its candles from 1 "
    "second to 1 day, with realised volatility and how busy the last hour is against the same time on other "
    "days. Use it for 'how did price move', 'OHLC', 'how volatile', 'is volume unusual'. For where volume "
    "sits by price use get_volume_profile, for who was aggressive get_order_flow. The past, not a forecast."
)
FLOW = (
    "Who crossed the spread in a window: taker buy and sell volume, delta, cumulative delta (CVD) with its "
    "extremes and divergence from price, pace, large prints and sweeps, diagonal and stacked imbalances with "
    "whether price came back, absorption; with detail=full also the CVD by bar, sizes, VPIN, Kyle's lambda "
    "and Amihud with percentiles. Use it for 'who is aggressive', 'buying or selling pressure', 'CVD', 'big "
    "trades'. Prints are not orders, nothing here is the order book or a signal."
)
FOOTPRINT = (
    "The footprint of a window: what takers bought and sold in each bar of time and row of price, the most "
    "telling bars and cells first, with diagonal and stacked imbalances and absorption marked. Use it to "
    "look into what get_order_flow sums up, best over an hour or less. For volume by price alone use "
    "get_volume_profile. Trades, not the order book; marks describe, they are no signals."
)
LEVELS = (
    "Where the price stands: the levels nearest to the last price, of today, earlier days and the latest "
    "Asia, London and New York sessions (POC, VAH, VAL, VWAP, high, low), naked POCs with age, day and week "
    "opens, the nearest liquidity vacuums and volume nodes. Use it first, for 'where are we', 'key levels', "
    "'support and resistance'; then get_volume_profile or get_liquidity_vacuums for one of them. Traded "
    "volume, not the order book and not a forecast."
)


def add_flow_tools(mcp: MCPServer, asking: Asking) -> None:
    """What happened when, by whose aggression, and where the price stands."""

    @mcp.tool(title="Candles and volatility", description=CANDLES, annotations=READ_ONLY)
    @over_window
    async def get_candles(
        window: WindowArguments,
        *,
        interval: Annotated[
            Any,
            TEXT_OR_NULL,
            Field(description="length of a candle, 1s to 1d: 15s, 5m, 4h; default 1/48 of the window"),
        ] = None,
        detail: DetailLevel = "summary",
    ) -> Annotated[CallToolResult, CandlesAnswer]:
        return await asking.about(window, partial(candles_answer, interval=interval, detail=detail))

    @mcp.tool(title="Order flow", description=FLOW, annotations=READ_ONLY)
    @over_window
    async def get_order_flow(
        window: WindowArguments,
        *,
        row_size: RowSize = None,
        bar: Bar = None,
        imbalance_ratio: ImbalanceRatio = 3,
        min_notional: Annotated[
            Any,
            NUMBER_OR_NULL,
            Field(
                description="quote value from which a print is large; default the window's 99.9th percentile"
            ),
        ] = None,
        detail: DetailLevel = "summary",
        include_chart: IncludeChart = False,
    ) -> Annotated[CallToolResult, FlowAnswer]:
        return await asking.about(
            window,
            partial(
                flow_answer,
                row_size=row_size,
                bar=bar,
                imbalance_ratio=imbalance_ratio,
                min_notional=min_notional,
                detail=detail,
                include_chart=include_chart,
            ),
        )

    @mcp.tool(title="Footprint", description=FOOTPRINT, annotations=READ_ONLY)
    @over_window
    async def get_footprint(
        window: WindowArguments,
        *,
        row_size: RowSize = None,
        bar: Bar = None,
        imbalance_ratio: ImbalanceRatio = 3,
        detail: DetailLevel = "summary",
    ) -> Annotated[CallToolResult, FootprintAnswer]:
        return await asking.about(
            window,
            partial(
                footprint_answer, row_size=row_size, bar=bar, imbalance_ratio=imbalance_ratio, detail=detail
            ),
        )

    @mcp.tool(title="Key levels", description=LEVELS, annotations=READ_ONLY)
    @over_long_window
    async def get_key_levels(
        window: WindowArguments, *, detail: DetailLevel = "summary", include_chart: IncludeChart = False
    ) -> Annotated[CallToolResult, LevelsAnswer]:
        return await asking.about(window, partial(levels_answer, detail=detail, include_chart=include_chart))
