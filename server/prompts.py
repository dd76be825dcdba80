"""Prompts that a trader picks, and what completes their arguments and those of resources.

Invariant: a prompt says which tools to call and what not to claim; it holds no numbers of its own.
"""

from collections.abc import Callable, Iterable
from typing import Annotated

from mcp.server import MCPServer
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)
from pydantic import Field

from server.pages import TOPICS, WINDOWS
from server.tools.arguments import symbol_name

HONESTLY = (
    "Quote prices exactly as the tools give them and name no level that they do not give. If a summary "
    "begins with PARTIAL:, say what is missing. Say what was traded, not what will happen."
)

Symbol = Annotated[str, Field(description="recorded symbol, such as BTCUSDT")]


def add_prompts(mcp: MCPServer, symbols: Callable[[], Iterable[str]]) -> None:
    """Give the server its prompts and completions; `symbols` are those that are recorded."""

    @mcp.prompt(title="Morning brief")
    def morning_brief(symbol: Symbol) -> str:
        """Where value is now, how it moved since yesterday, and where it is thin near the price."""
        return (
            f"Brief me on {symbol} for today. Call get_volume_profile for session=yesterday, for "
            "session=today and for duration_hours=24, and get_liquidity_vacuums for duration_hours=24. Tell "
            "me in at most ten lines: where value is today and whether it moved against yesterday (value "
            "areas higher, lower, overlapping), whether price is inside it, POC and VWAP of each, the "
            f"nearest vacuum above and below, and how sure each of them is. {HONESTLY}"
        )

    @mcp.prompt(title="Where to put a stop")
    def stop_placement(
        symbol: Symbol,
        side: Annotated[str, Field(description="long or short")],
        entry: Annotated[str, Field(description="entry price; leave empty for the last price")] = "",
    ) -> str:
        """Where a stop for a position would not sit inside a liquidity vacuum."""
        at = f" entered at {entry}" if entry else ""
        return (
            f"I have a {side} position in {symbol}{at}. Call get_liquidity_vacuums with duration_hours=24 "
            f"and stop_hint={side}, the same with duration_hours=168, and get_volume_profile with "
            "duration_hours=24. Tell me where a stop would not sit inside a vacuum by each window, how far "
            "that is from the price in percent and in multiples of width_sigma15m, and which high-volume "
            "prices stand between. The tools know nothing of my size or of what I can lose: say that, and "
            f"leave the decision to me. {HONESTLY}"
        )

    @mcp.prompt(title="Is this breakout into thin air?")
    def breakout_check(
        symbol: Symbol,
        direction: Annotated[str, Field(description="up or down")] = "up",
    ) -> str:
        """Whether price leaves value towards a range in which little was traded."""
        side = "above" if direction.lower().startswith("u") else "below"
        return (
            f"Is {symbol} breaking out {direction}, and into thin air? Call get_volume_profile with "
            "duration_hours=1 and duration_hours=24, and get_liquidity_vacuums with duration_hours=24 and "
            f"detail=full. Tell me whether the last price is {side} the 24 h value area, whether the last "
            "hour built volume there or only passed through (POC of the hour, delta), and which vacuums lie "
            f"{side}, with their stability and how often price went through or was rejected. Thin does not "
            f"mean fast: do not promise a move. {HONESTLY}"
        )

    @mcp.completion()  # type: ignore[no-untyped-call,untyped-decorator]  # the SDK's lacks types
    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        values = list(choices(argument.name, argument.value, symbols()))
        return Completion(values=values[:100], total=len(values), has_more=len(values) > 100)


def choices(name: str, begun: str, symbols: Iterable[str]) -> Iterable[str]:
    """What an argument may be, as far as it is written."""
    if name == "symbol":
        return (symbol for symbol in symbols if symbol.startswith(symbol_name(begun)))
    known = {"side": ("long", "short"), "direction": ("up", "down"), "window": WINDOWS, "topic": TOPICS}
    return (value for value in known.get(name, ()) if value.startswith(begun.lower()))
