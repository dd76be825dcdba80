"""A server over a ledger, asked through the official client in memory."""

import asyncio
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mcp import Client
from mcp.server import MCPServer
from mcp_types import CallToolResult, TextContent, Tool

from server.tools.catalogue import add_tools
from server.tools.tape import Tape
from storage.ledger import TradeLedger
from storage.trades import Instrument
from tests.tapes import START_MS

HOUR_MS = 3_600_000
END_MS = START_MS - START_MS % HOUR_MS + 24 * HOUR_MS
BTCUSDT = Instrument("BTCUSDT", "binance spot", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))

FLOW_TOOLS = ("get_candles", "get_order_flow", "get_footprint", "get_key_levels")


@dataclass
class FakeWarmup:
    missing: int = 500
    per_s: float = 100.0
    held: int = 7


@dataclass
class FakeRecording:
    """A recorder's word: up to date as of END_MS, with or without history on its way."""

    warming: bool = False
    symbols: tuple[str, ...] = ("BTCUSDT",)

    def live_until_ms(self, symbol: str) -> int | None:
        return END_MS

    def warmup(self, symbol: str) -> FakeWarmup | None:
        return FakeWarmup() if self.warming else None


@dataclass
class Desk:
    """A server over a ledger with a day of trades."""

    ledger: TradeLedger
    recording: FakeRecording
    retention_hours: float | None = None
    _made: tuple[FakeRecording, float | None, MCPServer] | None = None

    def _server(self) -> MCPServer:
        """Made once for what it is over: describing all tools takes more time than most questions."""
        match self._made:
            case (recording, hours, mcp) if recording is self.recording and hours == self.retention_hours:
                return mcp
        mcp = MCPServer("test")
        add_tools(mcp, Tape(self.ledger, self.recording, lambda: END_MS, self.retention_hours))
        self._made = self.recording, self.retention_hours, mcp
        return mcp

    def call(self, tool: str, **arguments: Any) -> CallToolResult:
        async def run() -> CallToolResult:
            async with Client(self._server()) as client:
                return await client.call_tool(tool, arguments)

        return asyncio.run(run())

    def answer(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structure of an answer, which is also in its text."""
        result = self.call(tool, **arguments)
        text = text_of(result)
        assert not result.is_error, text
        summary, _, structure = text.partition("\n")
        assert json.loads(structure) == result.structured_content
        answer: dict[str, Any] | None = result.structured_content
        assert answer is not None
        assert answer["summary"] == summary
        return answer

    def tools(self) -> dict[str, Tool]:
        """The tools as a client sees them, by name."""

        async def run() -> list[Tool]:
            async with Client(self._server()) as client:
                return (await client.list_tools()).tools

        return {tool.name: tool for tool in asyncio.run(run())}

    def refusal(self, tool: str, **arguments: Any) -> str:
        result = self.call(tool, **arguments)
        assert result.is_error
        return text_of(result)


def text_of(result: CallToolResult) -> str:
    content = result.content[0]
    assert isinstance(content, TextContent)
    return content.text
