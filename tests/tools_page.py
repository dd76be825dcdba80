"""Writes docs/tools.md: every tool with its parameters and one real answer, from a demo started for it.

`python -m tests.tools_page`, or `make docs`. A test holds the page to the tools' schemas.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from mcp import Client
from mcp_types import TextContent, Tool

from tests import processes

PAGE = Path(__file__).parents[1] / "docs" / "tools.md"
SHOWN_URL = "http://127.0.0.1:8000"
WITHIN_S = 300
HEAD = (
    "# Tools\n\nEvery tool as a model sees it, with one real answer of a demo (`make demo`: a simulated "
    "market, whose numbers are not the market's). The text that comes with an answer is its summary and the "
    "same structure as JSON; here the structure alone. Made by `make docs`.\n\nWhat the numbers mean: "
    "[analytics.md](analytics.md), and `search` for a word. How to connect: [clients.md](clients.md).\n"
)
# What is asked of a tool that needs more than a symbol.
ASKED: dict[str, dict[str, Any]] = {
    "get_liquidity_vacuums": {"symbol": "BTCUSDT", "stop_hint": "both"},
    "search": {"query": "bitcoin value area"},
    "fetch": {"id": "definitions/value-area-vah-val"},
}


def arguments_of(tool: Tool) -> dict[str, Any]:
    return ASKED.get(tool.name, {"symbol": "BTCUSDT"})


def section(tool: Tool, answer: dict[str, Any]) -> str:
    """A tool's part of the page."""
    description = (tool.description or "").partition(" Recorded: ")[0]
    rows = [
        f"| `{name}` | {json.dumps(schema['default']) if 'default' in schema else 'required'} "
        f"| {schema.get('description', '')} |"
        for name, schema in tool.input_schema["properties"].items()
    ]
    table = "\n".join(["| parameter | default | |", "|---|---|---|", *rows])
    asked = json.dumps(arguments_of(tool))
    shown = json.dumps(answer, indent=1, ensure_ascii=False)
    return f"\n## `{tool.name}`\n\n{description}\n\n{table}\n\nAsked `{asked}`:\n\n```json\n{shown}\n```\n"


async def answers(url: str) -> list[tuple[Tool, dict[str, Any]]]:
    """Each tool and its answer, once the demo's history is here."""
    async with Client(f"{url}/mcp") as client:

        async def ask(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
            result = await client.call_tool(name, arguments)
            content = result.content[0]
            assert isinstance(content, TextContent)
            assert result.structured_content is not None, content.text
            text = json.dumps(result.structured_content).replace(url, SHOWN_URL)
            answer: dict[str, Any] = json.loads(text)
            return answer

        async with asyncio.timeout(WITHIN_S):
            while (await ask("get_data_coverage", {}))["summary"].startswith("PARTIAL"):  # noqa: ASYNC110
                await asyncio.sleep(1)
        tools = (await client.list_tools()).tools
        return [(tool, await ask(tool.name, arguments_of(tool))) for tool in tools]


def main() -> None:
    with processes.start(sys.executable, "-m", "server.cli", "demo", "--port=0", "--seed=1") as demo:
        url = demo.until("MCP over Streamable HTTP", within_s=60).split()[-1].removesuffix("/mcp")
        found = asyncio.run(answers(url))
        demo.child.terminate()
        demo.wait(20)
    PAGE.write_text(HEAD + "".join(section(tool, answer) for tool, answer in found))


if __name__ == "__main__":
    main()
