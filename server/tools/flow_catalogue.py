"""The tools about time and flow as a model sees them: candles, order flow, footprint, key levels."""

from mcp.server import MCPServer

from server.tools.asking import Asking


def add_flow_tools(mcp: MCPServer, asking: Asking) -> None:
    """What happened when, by whose aggression, and where the price stands."""
