"""The official conformance suite against our server with the suite's fixtures mounted."""

from pathlib import Path

import pytest

from tests.clients.fixtures import Remembered, add_fixtures
from tests.clients.node import module, node, run
from tests.server.faces import face
from tests.serving import served

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(400),
    # The suite tries logging, sampling and roots, which the protocol has on its way out.
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
async def test_every_scenario_that_a_revision_requires_passes(tmp_path: Path, revision: str) -> None:
    suite = module("@modelcontextprotocol", "conformance", "dist", "index.js")
    with face(tmp_path) as shown:
        async with served(shown.mcp, bus=shown.bus, event_store=Remembered()) as server:
            add_fixtures(shown.mcp)
            status, out, err = await run(
                node(), suite, "server", "--url", f"{server.url}/mcp", "--requirements", revision
            )
    print(out[-20_000:], err[-2_000:])  # noqa: T201  pytest shows it where it failed
    assert status == 0
