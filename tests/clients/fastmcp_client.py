"""What fastmcp's client sees of a server, over both transports; prints one JSON object.

Runs in an environment of its own: `python fastmcp_client.py URL sse|mcp`.
"""

import asyncio
import json
import sys

from fastmcp import Client
from fastmcp.client.transports import SSETransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError


async def seen(url: str, kind: str) -> dict[str, object]:
    transport = SSETransport(f"{url}/sse") if kind == "sse" else StreamableHttpTransport(f"{url}/mcp")
    progress: list[float] = []

    async def hear(done: float, total: float | None, message: str | None) -> None:
        progress.append(done)

    async with Client(transport, progress_handler=hear) as client:
        profile = await client.call_tool("get_volume_profile", {"symbol": "btc/usdt"})
        try:
            await client.call_tool("get_volume_profile", {"symbol": "NOSUCH"})
            refused = ""
        except ToolError as error:
            refused = str(error)
        resource = await client.read_resource("tapedeck://BTCUSDT/profile/24h")
        prompt = await client.get_prompt("morning_brief", {"symbol": "BTCUSDT"})
        return {
            "tools": [tool.name for tool in await client.list_tools()],
            "profile": profile.structured_content["summary"],
            "progress": progress,
            "refused": [True, refused],
            "resource": resource[0].text,
            "prompt": prompt.messages[0].content.text,
        }


print(json.dumps(asyncio.run(seen(*sys.argv[1:3]))))
