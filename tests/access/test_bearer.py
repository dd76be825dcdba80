"""Bearer tokens: who has one may ask, whatever the endpoint; who has none is told so and nothing else."""

import asyncio
import hmac
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from structlog.testing import capture_logs

from infra import smoke_test
from server.access import token_file
from server.access.setup import access_of
from server.access.token_file import TokensInForce
from server.access.tokens import TokenUnusable, holder, named_tokens, new_token
from server.bounds import Bounds
from server.cli import main
from server.settings import ConfigurationInvalid, Settings, load_settings
from server.transports import security
from tests.access.served import (
    ELSEWHERE,
    OTHER,
    PROXIED,
    SPEAKS,
    TOKEN,
    TOKENS,
    bearer,
    client,
    initialized,
    served,
)
from tests.clock import wall_ms
from tests.serving import RawSse

pytestmark = pytest.mark.anyio
CLOSED = ["/sse", "/mcp", "/pages", "/nothing"]
OPERATORS = ["/readyz", "/metrics", "/status"]


@pytest.fixture(autouse=True)
def no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def test_without_access_control_this_machine_alone_may_ask(tmp_path: Path) -> None:
    async with served(tmp_path, **PROXIED) as it, client(it.url) as http:
        assert (await initialized(http)).status_code == 200
        assert (await http.get("/pages")).status_code == 200
        for path in [*CLOSED, *OPERATORS]:
            refused = await http.get(path, headers=ELSEWHERE)
            assert (refused.status_code, "docs/security.md" in refused.text) == (403, True), path
        assert (await http.get("/healthz", headers=ELSEWHERE)).status_code == 200


async def test_a_proxy_that_nobody_trusts_makes_its_clients_foreign(tmp_path: Path) -> None:
    async with served(tmp_path) as it, client(it.url) as http:
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto"):
            assert (await http.get("/pages", headers={header: "127.0.0.1"})).status_code == 403, header


async def test_a_trusted_proxy_that_says_not_for_whom_makes_its_clients_foreign(tmp_path: Path) -> None:
    async with served(tmp_path, **PROXIED) as it, client(it.url) as http:
        assert (await http.get("/pages", headers={"X-Forwarded-Proto": "https"})).status_code == 403
        assert (await http.get("/pages", headers={"X-Forwarded-For": "127.0.0.1"})).status_code == 200
        for forged in ("127.0.0.1, 203.0.113.9", "unknown", "_hidden"):
            assert (await http.get("/pages", headers={"X-Forwarded-For": forged})).status_code == 403, forged


async def test_a_request_to_the_public_name_is_not_local(tmp_path: Path) -> None:
    async with served(tmp_path, allowed_hosts=["tape.test"]) as it, client(it.url) as http:
        assert (await http.get("/pages", headers={"Host": "tape.test"})).status_code == 403


async def test_insecure_listen_lets_anybody_ask(tmp_path: Path) -> None:
    async with served(tmp_path, insecure_listen=True, **PROXIED) as it, client(it.url) as http:
        assert (await http.get("/pages", headers=ELSEWHERE)).status_code == 200
        for path in OPERATORS:
            assert (await http.get(path)).status_code == 200
            assert (await http.get(path, headers=ELSEWHERE)).status_code == 403


@pytest.mark.parametrize("path", [*CLOSED, "/messages?session_id=x"])
async def test_with_tokens_a_request_without_one_is_refused(tmp_path: Path, path: str) -> None:
    method = "POST" if path.startswith("/messages") else "GET"
    async with served(tmp_path, auth_tokens=TOKENS) as it, client(it.url) as http:
        missing = await http.request(method, path)
        assert missing.status_code == 401
        # Nothing was offered, so no error is named (RFC 6750 section 3.1).
        assert missing.headers["www-authenticate"] == 'Bearer realm="tapedeck"'
        for wrong in (TOKEN[:-1], f"{TOKEN}x", "unheard", f"alice={TOKEN}"):
            refused = await http.request(method, path, headers=bearer(wrong))
            assert refused.status_code == 401
            assert 'error="invalid_token"' in refused.headers["www-authenticate"]
            assert wrong not in refused.text + refused.headers["www-authenticate"]
        basic = await http.request(method, path, headers={"Authorization": f"Basic {TOKEN}"})
        assert basic.status_code == 401
        query = await http.request(method, path, params={"access_token": TOKEN, "token": TOKEN})
        assert query.status_code == 401


async def test_a_browser_reads_pages_with_a_token_for_the_password(tmp_path: Path) -> None:
    browser = {"Accept": "text/html,*/*;q=0.8"}
    async with served(tmp_path, auth_tokens=TOKENS) as it, client(it.url, headers=browser) as http:
        for path in ("/pages", "/pages/x"):
            asked = await http.get(path)
            assert (asked.status_code, asked.headers["www-authenticate"][:5]) == (401, "Basic")
            found = await http.get(path, auth=("anybody", TOKEN))
            assert found.status_code == (200 if path == "/pages" else 404)
            assert (await http.head(path, auth=("", OTHER))).status_code == found.status_code
            assert "frame-ancestors 'none'" in found.headers["content-security-policy"]
            assert found.headers["cross-origin-resource-policy"] == "same-origin"
            for wrong in (("alice", TOKEN[:-1]), (TOKEN, ""), ("alice", "")):
                refused = await http.get(path, auth=wrong)
                assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer")
            program = await http.get(path, headers={"Accept": "*/*"})
            assert (program.status_code, program.headers["www-authenticate"][:6]) == (401, "Bearer")


async def test_what_a_browser_remembers_opens_nothing_but_pages(tmp_path: Path) -> None:
    async with (
        served(tmp_path, auth_tokens=TOKENS, **PROXIED) as it,
        client(it.url, auth=("alice", TOKEN), headers=ELSEWHERE | {"Accept": "text/html"}) as http,
    ):
        asked = [("GET", path) for path in ("/sse", "/mcp", "/pagesx", "/nothing", *OPERATORS)]
        for method, path in [*asked, ("POST", "/mcp"), ("POST", "/pages"), ("DELETE", "/mcp")]:
            refused = await http.request(method, path)
            assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer"), path


async def test_the_operators_pages_are_open_on_this_machine_and_to_tokens(tmp_path: Path) -> None:
    async with served(tmp_path, auth_tokens=TOKENS, **PROXIED) as it, client(it.url) as http:
        for path in OPERATORS:
            assert (await http.get(path)).status_code == 200
            assert (await http.get(path, headers=ELSEWHERE)).status_code == 401
            assert (await http.get(path, headers=ELSEWHERE | bearer(OTHER))).status_code == 200
        assert (await http.get("/healthz", headers=ELSEWHERE)).status_code == 200


@pytest.mark.parametrize("token", [TOKEN, OTHER])
async def test_each_named_token_may_ask_over_both_transports(tmp_path: Path, token: str) -> None:
    async with served(tmp_path, auth_tokens=TOKENS) as it:
        async with (
            create_mcp_http_client(headers=bearer(token)) as http,
            Client(streamable_http_client(f"{it.url}/mcp", http_client=http)) as asking,
        ):
            assert not (await asking.call_tool("get_data_coverage", {})).is_error
        async with Client(sse_client(f"{it.url}/sse", headers=bearer(token), timeout=60)) as asking:
            assert not (await asking.call_tool("get_data_coverage", {})).is_error


async def test_a_session_is_its_credentials_alone(tmp_path: Path) -> None:
    async with served(tmp_path, auth_tokens=TOKENS) as it, client(it.url) as http:
        opened = await initialized(http, **bearer(TOKEN))
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]} | SPEAKS
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        assert (await http.post("/mcp", json=ping, headers=session | bearer(TOKEN))).status_code == 200
        assert (await http.post("/mcp", json=ping, headers=session | bearer(OTHER))).status_code == 404
        assert (await http.post("/mcp", json=ping, headers=session)).status_code == 401
        assert (await http.delete("/mcp", headers=session | bearer(OTHER))).status_code == 404
        async with RawSse(it.url, headers=bearer(TOKEN)) as stream:
            messages = await stream.event()
            assert (await http.post(messages, json=ping, headers=bearer(OTHER))).status_code == 404
            assert (await http.post(messages, json=ping)).status_code == 401
            assert (await http.post(messages, json=ping, headers=bearer(TOKEN))).status_code == 202


def test_a_comparison_looks_at_every_token_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    known = named_tokens([f"n{i}={new_token()}" for i in range(9)] + [f"alice={TOKEN}"])
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    orders = [known, known[::-1]]
    for order in orders:
        for offered in (TOKEN, TOKEN[:-1], "", "x" * 10_000):
            compared.clear()
            found = holder(offered, order)
            assert (found is not None and found.name == "alice") == (offered == TOKEN)
            assert [other for _, other in compared] == [token.digest for token in order]
            # What is compared is as long and as random whatever was offered.
            assert {len(one) for one, _ in compared} == {32}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("short", "token1"),
        ("alice=short", "alice"),
        ("a" * 40, "too easily guessed"),
        ("alice=abcabcabcabcabcabcabcabcabcabc", "too easily guessed"),
        (f"alice={TOKEN},alice={OTHER}", "two tokens are named"),
        (f"alice={TOKEN},bob={TOKEN}", "another's too"),
        (f"alice={TOKEN} {TOKEN}", "visible ASCII"),
    ],
)
def test_tokens_that_are_too_weak_are_refused_by_name_and_never_shown(given: str, words: str) -> None:
    with pytest.raises(ConfigurationInvalid) as wrong:
        load_settings(auth_tokens=given)
    said = str(wrong.value)
    assert said.startswith("TAPEDECK_AUTH_TOKENS: ")
    assert words in said
    assert TOKEN not in said
    assert "short" not in said


def test_a_token_without_a_name_is_called_by_its_place() -> None:
    padded = "QUJDREVGR0hJSktMTU5PUA=="
    assert [token.name for token in named_tokens([TOKEN, padded])] == ["token1", "token2"]
    assert holder(padded, named_tokens([TOKEN, padded])) is not None


def test_settings_show_no_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert TOKEN not in repr(Settings(auth_tokens=TOKENS))
    assert main(["check-config", "--auth-tokens", TOKENS, "--data-dir", str(tmp_path)]) == 0
    assert TOKEN not in capsys.readouterr().out


def test_a_new_token_is_strong_and_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token"]) == 0
    assert main(["token", "alice"]) == 0
    plain, named = capsys.readouterr().out.split()
    assert len(plain) == 43
    assert [token.name for token in named_tokens([plain, named])] == ["token1", "alice"]
    assert main(["token", "a b"]) == 1


# The file of tokens


def written(path: Path, *lines: str, mode: int = 0o600) -> Path:
    """The file anew, as an editor replaces it."""
    fresh = path.with_suffix(".new")
    fresh.write_text("\n".join(lines) + "\n")
    fresh.chmod(mode)
    fresh.replace(path)
    return path


async def test_a_file_of_tokens_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = written(tmp_path / "tokens", "# people", f"alice={TOKEN}", "")
    async with served(tmp_path, auth_tokens_file=path) as it, client(it.url) as http:
        assert (await http.get("/pages", headers=bearer(TOKEN))).status_code == 200
        assert (await http.get("/pages", headers=bearer(OTHER))).status_code == 401
        written(path, f"bob={OTHER}")
        assert (await http.get("/pages", headers=bearer(TOKEN))).status_code == 401
        assert (await http.get("/pages", headers=bearer(OTHER))).status_code == 200
        path.unlink()
        assert (await http.get("/pages", headers=bearer(OTHER))).status_code == 401


@pytest.mark.parametrize("wrong", ["bob=short", f"alice={OTHER}"])
def test_a_file_that_is_wrong_leaves_the_tokens_before_it(tmp_path: Path, wrong: str) -> None:
    path = written(tmp_path / "tokens", f"bob={OTHER}")
    known = TokensInForce(named_tokens([f"alice={TOKEN}"]), path)
    written(path, wrong)
    assert [token.name for token in known.current] == ["alice", "bob"]
    written(path, f"bob={OTHER}", mode=0o640)
    assert [token.name for token in known.current] == ["alice", "bob"]
    written(path)
    assert [token.name for token in known.current] == ["alice"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused_at_the_start(
    tmp_path: Path, mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "tokens", f"alice={TOKEN}", mode=mode)
    with pytest.raises(TokenUnusable, match="chmod 600"):
        TokensInForce((), path)
    flags = ["--auth-tokens-file", str(path), "--data-dir", str(tmp_path / "ledger")]
    for command in ("check-config", "serve"):
        assert main([command, *flags]) == 1
        assert "TAPEDECK_AUTH_TOKENS_FILE" in capsys.readouterr().err


async def test_a_hangup_reads_the_tokens_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "tokens", f"alice={TOKEN}")
    read = asyncio.Event()
    tokens_of = token_file.tokens_of

    def telling(path: Path) -> Any:
        read.set()
        return tokens_of(path)

    monkeypatch.setattr(token_file, "tokens_of", telling)
    async with served(tmp_path, auth_tokens_file=path) as it, client(it.url) as http:
        read.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(read.wait(), 10)
        assert (await http.get("/pages", headers=bearer(TOKEN))).status_code == 200


@pytest.mark.parametrize("named", [{"auth_tokens": TOKENS}, {"auth_tokens_file": "tokens"}])
def test_listening_beyond_this_machine_is_allowed_with_access_control(named: dict[str, str]) -> None:
    assert Settings(host="0.0.0.0", **named).host == "0.0.0.0"  # type: ignore[arg-type]
    with pytest.raises(ConfigurationInvalid, match="TAPEDECK_AUTH_TOKENS"):
        load_settings(host="0.0.0.0")


def test_an_open_server_says_so() -> None:
    def said(**chosen: Any) -> list[str]:
        with capture_logs() as lines:
            access_of(Settings(**chosen), security([], []), Bounds(), wall_ms)
        return [line["event"] for line in lines if line["log_level"] == "warning"]

    assert said(host="0.0.0.0", insecure_listen=True) == ["anybody who reaches the port may ask"]
    assert said(host="0.0.0.0", auth_tokens=TOKENS) == [
        "tokens travel unencrypted unless a proxy is in front"
    ]
    public = {"public_url": "https://tape.test", "auth_tokens": TOKENS}
    assert said(**public) == ["whoever comes through the proxy counts as one caller"]
    assert said(**public, **PROXIED) == said(auth_tokens=TOKENS) == said() == []


async def test_the_smoke_test_knows_a_guarded_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with served(tmp_path, auth_tokens=TOKENS) as it:
        await smoke_test.check(it.url, 20, must_have_trades=False)
        assert "asks for credentials" in capsys.readouterr().out
        monkeypatch.setenv("SMOKE_TOKEN", TOKEN)
        await smoke_test.check(it.url, 20, must_have_trades=False)
        assert capsys.readouterr().out.count("smoke test over ") == 2
