"""Pictures beside answers, as a client gets them: what comes, what comes in its place, at whose cost."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image

from server.chart_command import AtRest
from server.charts.worker import Charts
from server.tools.catalogue import add_tools
from server.tools.tape import Tape
from server.tools.work import Work
from storage.ledger import TradeLedger
from tests.charts.examples import END_MS, ledger_of, tape

ROOT = Path(__file__).parents[2]
TOOLS = ("get_volume_profile", "get_liquidity_vacuums", "get_key_levels", "get_order_flow")
WITHIN_S = 60
DIES = (sys.executable, "-c", "pass")


@dataclass
class Drawn:
    """An answer and its picture, or why there is none."""

    result: CallToolResult

    @property
    def images(self) -> list[ImageContent]:
        return [part for part in self.result.content if isinstance(part, ImageContent)]

    @property
    def answer(self) -> dict[str, Any]:
        text = self.result.content[0]
        assert isinstance(text, TextContent)
        assert not self.result.is_error, text.text
        summary, _, structure = text.text.partition("\n")
        answer: dict[str, Any] = json.loads(structure)
        assert answer == self.result.structured_content
        assert answer["summary"] == summary
        return answer


@pytest.fixture(scope="module")
def ledger() -> Iterator[TradeLedger]:
    with ledger_of(tape(25)) as made:
        yield made


def server(ledger: TradeLedger, charts: Charts | None) -> MCPServer:
    mcp = MCPServer("test")
    add_tools(mcp, Tape(ledger, AtRest(ledger.symbols), lambda: END_MS), charts)
    return mcp


def asked(ledger: TradeLedger, tool: str, charts: Charts | None, **arguments: Any) -> Drawn:
    async def call() -> CallToolResult:
        async with Client(server(ledger, charts)) as client:
            if charts is None:
                return await client.call_tool(tool, {"symbol": "btc", **arguments})
            async with charts:
                return await client.call_tool(tool, {"symbol": "btc", **arguments})

    return Drawn(asyncio.run(asyncio.wait_for(call(), WITHIN_S)))


def test_a_picture_stands_beside_the_same_answer(ledger: TradeLedger) -> None:
    async def all_tools() -> dict[str, Drawn]:
        async with Charts(limit_s=WITHIN_S) as charts, Client(server(ledger, charts)) as client:
            charted = {"symbol": "btc", "include_chart": True}
            return {tool: Drawn(await client.call_tool(tool, charted)) for tool in TOOLS}

    for tool, drawn in asyncio.run(asyncio.wait_for(all_tools(), WITHIN_S)).items():
        (image,) = drawn.images
        png = Image.open(BytesIO(base64.b64decode(image.data)))
        assert (image.mime_type, png.format) == ("image/png", "PNG")
        assert png.size[0] <= 1_000
        assert png.size[1] <= 700
        plain = asked(ledger, tool, None)
        assert plain.images == []
        assert drawn.answer == plain.answer


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("charts", "why"),
    [(None, "this server draws none"), (DIES, "the process that draws ended")],
)
def test_a_picture_that_fails_leaves_the_answer_and_a_sentence(
    ledger: TradeLedger, tool: str, charts: tuple[str, ...] | None, why: str
) -> None:
    plain = asked(ledger, tool, None).answer
    drawn = asked(ledger, tool, None if charts is None else Charts(charts), include_chart="true")
    assert drawn.images == []
    assert drawn.answer == plain | {"summary": f"{plain['summary']} No chart: {why}."}


def test_a_picture_gets_only_the_time_that_its_call_has_left(ledger: TradeLedger) -> None:
    with Work(limit_s=30, clock=iter([0.0, *[29.5] * 10_000]).__next__).begun():
        drawn = asked(ledger, TOOLS[0], Charts(), include_chart=True)
    assert drawn.answer["summary"].endswith("No chart: the answer took all the time that there was.")


def test_whether_a_picture_is_wanted_is_yes_or_no(ledger: TradeLedger) -> None:
    assert asked(ledger, TOOLS[0], None, include_chart="False").images == []
    refused = asked(ledger, TOOLS[0], None, include_chart="maybe").result
    assert refused.is_error
    assert isinstance(refused.content[0], TextContent)
    assert refused.content[0].text.startswith("OPTION_INVALID: include_chart 'maybe'")


def test_a_refused_question_has_no_picture(ledger: TradeLedger) -> None:
    refused = asked(ledger, TOOLS[0], Charts(DIES), include_chart=True, row_size="0.001").result
    assert refused.is_error
    assert len(refused.content) == 1


SERVING = """
import asyncio, sys
from pathlib import Path
import server.cli
from server.app import create_app
from server.charts.worker import Charts
from server.chart_command import AtRest
from server.settings import Settings
from server.tools.catalogue import add_tools
from server.tools.tape import Tape
from collectors.exchange import GeneratedMarket
from storage.ledger import TradeLedger
from mcp import Client
from mcp.server import MCPServer

END_MS = 1_764_111_600_000
create_app(Settings(data_dir=Path(sys.argv[1]) / "app"))
market = GeneratedMarket(1, symbols=["BTCUSDT"], rate=0.01)

async def main():
    with TradeLedger.open(Path(sys.argv[1]) / "ledger") as ledger:
        ledger.keep_instrument(market.instruments["BTCUSDT"], 0)
        ledger.append("BTCUSDT", market.trades("BTCUSDT", END_MS - 3_600_000, END_MS))
        ledger.flush()
        mcp = MCPServer("test")
        async with Charts(limit_s=60) as charts, Client(mcp) as client:
            add_tools(mcp, Tape(ledger, AtRest(["BTCUSDT"]), lambda: END_MS), charts)
            result = await client.call_tool("get_volume_profile", {"symbol": "btc", "include_chart": True})
            print(len(result.content), "matplotlib" in sys.modules, "PIL" in sys.modules)

asyncio.run(main())
"""


def test_the_serving_process_never_imports_what_draws(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVING, str(tmp_path)],
        capture_output=True, text=True, cwd=ROOT, timeout=100, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["2 False False"], done.stderr
