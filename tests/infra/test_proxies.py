"""Sessions of the official client through each proxy as shipped: nothing is held back or cut off."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from tests import processes
from tests.access.people import HASH, Dance
from tests.access.served import bearer
from tests.infra.proxies import HOST, Front, caddy, nginx, trusting

FRONTS = [pytest.param(nginx, id="nginx"), pytest.param(caddy, id="caddy")]
TRANSPORTS = ["sse", "mcp"]


@contextmanager
def recording(data_dir: Path, **settings: object) -> Iterator[str]:
    """A server that records two simulated symbols, with six minutes of history; host and port."""
    symbols = {"SYMBOLS": "BTCUSDT,ETHUSDT", "WARMUP_HOURS": "0.1"}
    with (
        processes.exchange() as urls,
        processes.server(urls, data_dir, **(symbols | settings)) as (_, url),
    ):
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that answers to the public name; host and port."""
    with recording(tmp_path_factory.mktemp("named"), ALLOWED_HOSTS=HOST, INSECURE_LISTEN=1) as server:
        yield server


@pytest.fixture(autouse=True)
def the_name_is_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = socket.getaddrinfo

    def resolved(host: Any, *more: Any, **options: Any) -> Any:
        return asked("127.0.0.1" if host in (HOST, HOST.encode()) else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


def trusting_client(context: ssl.SSLContext, **options: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(verify=context, trust_env=False, **options)


@asynccontextmanager
async def connected(url: str, transport: str, context: ssl.SSLContext) -> AsyncIterator[Client]:
    """The official client by the public name."""
    if transport == "sse":
        target = sse_client(f"{url}/sse", timeout=60, httpx_client_factory=partial(trusting_client, context))
        async with Client(target) as client:
            yield client
    else:
        async with (
            trusting_client(context, timeout=60) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            yield client


async def newest_trade(client: Client, behind: int = 0) -> int:
    """The id of the newest trade that an answer is made of, once that is beyond `behind`."""
    async with asyncio.timeout(60):
        while True:
            result = await client.call_tool("get_volume_profile", {"symbol": "BTCUSDT", "duration_hours": 1})
            answer = result.structured_content
            if answer and answer["meta"]["coverage"]["last_id"] > behind:
                return int(answer["meta"]["coverage"]["last_id"])
            assert answer or "WARMING_UP" in str(result.content)


async def session(url: str, transport: str, context: ssl.SSLContext, idle_s: list[float]) -> None:
    """Ask, fall silent, ask again in the same session, for what is newer."""
    async with connected(url, transport, context) as client:
        newest = await newest_trade(client)
        for seconds in idle_s:
            await asyncio.sleep(seconds)  # to be idle is what is tested
            newest = await newest_trade(client, behind=newest)


async def sessions(url: str, context: ssl.SSLContext, idle_s: list[float]) -> None:
    """One over each transport, at the same time."""
    await asyncio.gather(*(session(url, transport, context, idle_s) for transport in TRANSPORTS))


@pytest.mark.parametrize("front", FRONTS)
def test_sessions_pass_through_and_the_rest_is_kept_out(tmp_path: Path, named: str, front: Front) -> None:
    with front(tmp_path, named) as port:
        url, context = f"https://{HOST}:{port}", trusting(tmp_path)
        asyncio.run(sessions(url, context, [1.0]))
        with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
            assert client.get(f"{url}/healthz").json() == {"status": "ok"}
            for path, word in (("/metrics", "tapedeck_"), ("/status", "uptime_s")):
                assert word in httpx.get(f"http://{named}{path}", trust_env=False, timeout=60).text
                kept_in = client.get(f"{url}{path}")
                assert (kept_in.status_code, word in kept_in.text) == (404, False)
            direct = httpx.get(f"http://{named}/.well-known/x", trust_env=False, timeout=60)
            through = client.get(f"{url}/.well-known/oauth-protected-resource")
            assert (through.status_code, through.text) == (direct.status_code, direct.text)
            assert "max-age" in through.headers["strict-transport-security"]
            foreign = client.get(f"{url}/sse", headers={"Host": "evil.example"})
            assert foreign.status_code == 421 or not foreign.text  # tapedeck's word, or none at all
            with client.stream("GET", f"{url}/sse", timeout=60) as stream:
                first = next(stream.iter_text())  # while the stream stays open: nothing waits for more
                assert first.startswith("event: endpoint")
                assert stream.headers["content-type"].startswith("text/event-stream")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that lets people in by a passphrase; host and port."""
    way_in = {
        "PUBLIC_URL": f"https://{HOST}",
        "TRUSTED_PROXIES": "127.0.0.1",
        "OAUTH_PASSPHRASE": HASH,
    }
    with recording(tmp_path_factory.mktemp("guarded"), **way_in) as server:
        yield server


class ByName(httpx.AsyncHTTPTransport):
    """To the proxy's port, whatever the address says: it has the usual one only where it is installed."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self._port = port

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url, headers = request.url.copy_with(port=self._port), request.headers
        there = httpx.Request(request.method, url, headers=headers, stream=request.stream)
        there.extensions = request.extensions
        return await super().handle_async_request(there)


@pytest.mark.parametrize("front", FRONTS)
def test_a_client_finds_the_way_in_and_goes_it(tmp_path: Path, guarded: str, front: Front) -> None:
    url = f"https://{HOST}"

    async def dance(port: int) -> None:
        transport = ByName(port, trusting(tmp_path))
        async with httpx.AsyncClient(base_url=url, transport=transport, timeout=60) as http:
            refused = await http.get("/sse")
            assert refused.status_code == 401
            metadata = f"{url}/.well-known/oauth-protected-resource"
            assert f'resource_metadata="{metadata}"' in refused.headers["www-authenticate"]
            resource = (await http.get(metadata)).json()
            assert (resource["resource"], resource["authorization_servers"]) == (url, [url])
            server = (await http.get("/.well-known/oauth-authorization-server")).json()
            assert (server["issuer"], server["token_endpoint"]) == (url, f"{url}/token")
            assert (await http.options("/token", headers={"Origin": "https://evil.test"})).status_code == 403
            mine = Dance(http, url)
            tokens = await mine.tokens()
            assert await mine.may_ask(tokens["access_token"])
            assert (await http.get("/readyz")).status_code == 401
            assert (await http.get("/pages", headers={"X-Forwarded-For": "127.0.0.1"})).status_code == 401
            prefixed = bearer(tokens["access_token"]) | {"X-Forwarded-Prefix": "/elsewhere"}
            pages = await http.get("/pages", headers=prefixed)
            assert (pages.status_code, "/elsewhere" in pages.text) == (200, False)

    with front(tmp_path, guarded) as port:
        asyncio.run(dance(port))


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("front", FRONTS)
def test_sessions_of_three_minutes_outlive_long_silences(tmp_path: Path, named: str, front: Front) -> None:
    async def run(url: str, context: ssl.SSLContext) -> None:
        await asyncio.gather(
            *(session(url, transport, context, [5, 65, 110]) for transport in TRANSPORTS),
            comments(url, context, 11),
        )

    with front(tmp_path, named) as port:
        asyncio.run(run(f"https://{HOST}:{port}", trusting(tmp_path)))


async def comments(url: str, context: ssl.SSLContext, count: int) -> None:
    """So many of the comments that keep a silent stream alive, each within 20 s of the one before."""
    async with trusting_client(context, timeout=60) as http, http.stream("GET", f"{url}/sse") as stream:
        texts = stream.aiter_text()
        while count:
            async with asyncio.timeout(20):
                count -= (await anext(texts)).startswith(": ping")
