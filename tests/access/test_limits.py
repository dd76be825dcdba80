"""Names, web pages, sizes and rates: what is refused before anybody looks at it, on every endpoint."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Scope

from server.access.addresses import address_of, is_local
from server.access.rates import RateLimit
from server.bounds import Bounds
from tests.access.served import (
    ELSEWHERE,
    OTHER,
    PROXIED,
    TOKEN,
    TOKENS,
    bearer,
    client,
    initialized,
    served,
)

pytestmark = pytest.mark.anyio
GETS = ["/sse", "/mcp", "/pages", "/readyz", "/metrics", "/.well-known/x", "/nothing"]
POSTS = ["/mcp", "/messages?session_id=x", "/pages", "/nothing"]
INSPECTOR = "http://localhost:6274"
PUBLIC: dict[str, Any] = {
    "public_url": "https://tape.test",
    "trusted_proxies": ["127.0.0.1"],
    "auth_tokens": TOKENS,
}
TO_PUBLIC = ELSEWHERE | {"Host": "tape.test", "X-Forwarded-Proto": "https"}


@pytest.fixture(autouse=True)
def no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def preflight(origin: str, method: str = "POST", headers: str = "authorization") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": headers,
    }


# Host and Origin


async def test_a_foreign_host_or_origin_is_refused_on_every_path_but_healthz(tmp_path: Path) -> None:
    async with served(tmp_path, auth_tokens=TOKENS) as it, client(it.url, headers=bearer(TOKEN)) as http:
        for method, paths in (("GET", GETS), ("POST", POSTS), ("OPTIONS", GETS), ("DELETE", ["/mcp"])):
            for path in paths:
                for host in ("evil.test", "127.0.0.1.evil.test"):
                    refused = await http.request(method, path, headers={"Host": host})
                    assert refused.status_code == 421, (method, path, host)
                for origin in ("https://evil.test", "null", "http://localhost.evil.test"):
                    refused = await http.request(method, path, headers={"Origin": origin})
                    assert refused.status_code == 403, (method, path, origin)
                    assert "access-control-allow-origin" not in refused.headers
        assert (await http.get("/healthz", headers={"Host": "10.0.0.1"})).status_code == 200


async def test_a_name_is_the_same_in_any_case(tmp_path: Path) -> None:
    named = PUBLIC | {"public_url": "https://Tape.test:443"}
    async with served(tmp_path, **named) as it, client(it.url, headers=bearer(TOKEN)) as http:
        for host in ("tape.test", "TAPE.test", "Tape.Test:443"):
            page = {"Host": host, "Origin": "https://tape.test"}
            assert (await http.get("/pages", headers=TO_PUBLIC | page)).status_code == 200, host


async def test_a_page_of_this_machine_may_ask_a_server_on_loopback_alone(tmp_path: Path) -> None:
    async with served(tmp_path, **PUBLIC) as it, client(it.url, headers=bearer(TOKEN)) as http:
        assert (await http.get("/pages", headers={"Origin": INSPECTOR})).status_code == 200
        public = await http.get("/pages", headers=TO_PUBLIC | {"Origin": INSPECTOR})
        assert public.status_code == 403
        own = await http.get("/pages", headers=TO_PUBLIC | {"Origin": "https://tape.test"})
        assert own.status_code == 200
        assert (
            await http.get("/pages", headers=TO_PUBLIC | {"Origin": "http://tape.test"})
        ).status_code == 403


@pytest.mark.parametrize(
    "origin", [INSPECTOR, "http://127.0.0.1:6274", "http://[::1]:1", "https://chat.test"]
)
async def test_a_page_that_is_named_may_ask_and_read_what_it_needs(tmp_path: Path, origin: str) -> None:
    async with (
        served(tmp_path, allowed_origins=["https://chat.test"], auth_tokens=TOKENS) as it,
        client(it.url) as http,
    ):
        for path in ("/mcp", "/sse", "/messages"):
            asked = await http.options(
                path, headers=preflight(origin, headers="authorization,mcp-protocol-version,mcp-session-id")
            )
            assert asked.status_code == 200, asked.text
            assert asked.headers["access-control-allow-origin"] == origin
            assert {"POST", "GET", "DELETE"} <= set(asked.headers["access-control-allow-methods"].split(", "))
            allowed = asked.headers["access-control-allow-headers"]
            assert {"authorization", "mcp-protocol-version", "mcp-session-id"} <= set(allowed.split(","))
            assert "access-control-allow-credentials" not in asked.headers
        opened = await initialized(http, Origin=origin, **bearer(TOKEN))
        refused = await initialized(http, Origin=origin)
        for response, status in ((opened, 200), (refused, 401)):
            assert response.status_code == status
            assert response.headers["access-control-allow-origin"] == origin
            shown = response.headers["access-control-expose-headers"].lower()
            assert {"mcp-session-id", "www-authenticate"} <= set(shown.split(", "))


async def test_a_foreign_page_is_told_no_before_it_asks(tmp_path: Path) -> None:
    async with served(tmp_path) as it, client(it.url) as http:
        assert (await http.options("/mcp", headers=preflight("https://evil.test"))).status_code == 403


# Sizes


def large(size: int) -> AsyncIterator[bytes]:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(0, size, 1024):
            yield b" " * 1024

    return parts()


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_beyond_the_bound_is_refused_on_every_endpoint(tmp_path: Path, chunked: bool) -> None:
    bounds = Bounds(body_bytes=4096)
    async with (
        served(tmp_path, bounds, auth_tokens=TOKENS) as it,
        client(it.url, headers=bearer(TOKEN) | {"Content-Type": "application/json"}) as http,
    ):
        asked = [("POST", path) for path in POSTS] + [("GET", path) for path in GETS] + [("DELETE", "/mcp")]
        for method, path in asked:
            body: Any = large(8192) if chunked else b" " * 8192
            refused = await http.request(method, path, content=body)
            assert (refused.status_code, "4096 bytes" in refused.text) == (413, True), (method, path)
        assert (await http.post("/nothing", content=large(4096))).status_code == 404
        assert (await initialized(http)).status_code == 200


async def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    async with served(tmp_path, Bounds(body_s=0.1)) as it:
        host = it.url.removeprefix("http://")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(f"POST /pages HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n{{".encode())
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 20)
        writer.close()


# Rates


async def test_a_caller_beyond_this_machine_has_so_many_requests_a_minute(tmp_path: Path) -> None:
    async with (
        served(tmp_path, rate_limit=5, auth_tokens=TOKENS, **PROXIED) as it,
        client(it.url) as http,
    ):
        alice, bob = ELSEWHERE | bearer(TOKEN), ELSEWHERE | bearer(OTHER)
        assert {(await http.get("/pages", headers=alice)).status_code for _ in range(5)} == {200}
        refused = await http.get("/pages", headers=alice)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 12
        # The other token is another caller, and so is who guesses at tokens from the same address.
        assert (await http.get("/pages", headers=bob)).status_code == 200
        guessed = [(await http.get("/pages", headers=ELSEWHERE | bearer("x"))).status_code for _ in range(7)]
        assert guessed == [401] * 5 + [429] * 2
        assert (await http.get("/pages", headers=bob)).status_code == 200
        other = {"X-Forwarded-For": "203.0.113.10"}
        assert (await http.get("/pages", headers=other)).status_code == 401
        assert (await http.get("/healthz", headers=ELSEWHERE)).status_code == 200


async def test_this_machine_has_no_limit_and_a_limit_of_0_is_none(tmp_path: Path) -> None:
    async with served(tmp_path, rate_limit=2, **PROXIED) as it, client(it.url) as http:
        assert {(await http.get("/pages")).status_code for _ in range(5)} == {200}
        forged = {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"}
        assert [(await http.get("/pages", headers=forged)).status_code for _ in range(3)] == [403, 403, 429]
    async with (
        served(tmp_path / "0", rate_limit=0, insecure_listen=True, **PROXIED) as it,
        client(it.url) as http,
    ):
        assert {(await http.get("/.well-known/x", headers=ELSEWHERE)).status_code for _ in range(125)} == {
            404
        }


async def test_an_address_that_nobody_trusted_says_is_not_believed(tmp_path: Path) -> None:
    async with served(tmp_path, rate_limit=2, insecure_listen=True) as it, client(it.url) as http:
        answers = [await http.get("/pages", headers={"X-Forwarded-For": f"203.0.113.{i}"}) for i in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(
    burst=st.integers(1, 9),
    steps=st.lists(st.tuples(st.integers(0, 40), st.sampled_from("ab")), max_size=60),
)
def test_no_caller_gets_more_than_the_burst_and_the_rate(burst: int, steps: list[tuple[int, str]]) -> None:
    clock = Clock()
    limit = RateLimit(burst, 6, clock)  # one every 10 s
    let_in: dict[str, list[float]] = {"a": [], "b": []}
    for passed, caller in steps:
        clock.now += passed
        wait_s = limit.asked(caller)
        if not wait_s:
            let_in[caller].append(clock.now)
        else:
            # Waiting so long, and not less, is enough.
            assert limit.wait_s(caller) == wait_s
            clock.now += wait_s
            assert limit.wait_s(caller) == 0
    for times in let_in.values():
        for i, first in enumerate(times):
            for j, last in enumerate(times[i:], 1):
                assert j <= burst + (last - first) / 10 + 1e-6


def test_callers_are_forgotten_when_they_are_quiet_or_too_many() -> None:
    clock = Clock()
    limit = RateLimit(2, 60, clock, most=100)
    for i in range(1_000):
        limit.asked(str(i))
    assert len(limit) == 100
    clock.now += 2
    limit.asked("x")
    assert len(limit) == 1


# Addresses


def scope_of(host: str | None, *headers: tuple[str, str], to: str = "127.0.0.1:8000") -> Scope:
    pairs = [("host", to), *headers]
    return {
        "type": "http",
        "client": (host, 1) if host is not None else None,
        "headers": [(name.encode(), value.encode()) for name, value in pairs],
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", None])
def test_loopback_is_this_machine_unless_something_was_forwarded(host: str | None) -> None:
    assert is_local(scope_of(host))
    assert is_local(scope_of(host, to="[::1]:8000"))
    assert not is_local(scope_of(host, ("x-forwarded-for", "127.0.0.1")))
    assert not is_local(scope_of(host, to="tape.test"))


def test_a_request_of_the_old_version_comes_from_a_proxy() -> None:
    # As nginx passes it on that has nothing but `proxy_pass http://127.0.0.1:8000`.
    assert is_local({**scope_of("127.0.0.1"), "http_version": "1.1"})
    assert not is_local({**scope_of("127.0.0.1"), "http_version": "1.0"})


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.2", "::ffff:10.0.0.1", "fe80::1", "0.0.0.0"])
def test_other_addresses_are_not(host: str) -> None:
    assert not is_local(scope_of(host))


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
    ],
)
def test_an_address_is_counted_by_who_has_it(host: str, counted: str) -> None:
    assert address_of(scope_of(host)) == counted
