"""Real processes: the whole dance against each way to serve, and nothing of it that is secret in the log."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.access.people import PASSPHRASE, Dance, Person, connected, posted
from tests.access.served import OTHER, TOKEN, bearer, client, initialized
from tests.ports import free_port

PORT_PLACE = "{port}"
WAYS = {
    "serve": ("-m", "server.cli", "serve"),
    "uvicorn": (
        *("-m", "uvicorn", "--factory", "server.app:from_env", "--access-log"),
        *("--port", PORT_PLACE, "--log-level", "trace"),
    ),
}
# Arguments of tools that nobody else needs to know.
SEARCHED = "whatisoughtfor"
SYMBOL = "MYSECRETCOIN"
WRONG_PHRASE = "incorrect horse battery staple"
STRANGE = "a-name-that-fills-the-log.test"
FORGED = "tda.0123456789abcdef.notatokenthatanybodyhas"


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, object]]:
    with processes.exchange("--rate=0.2", "--history-hours=1") as found:
        yield found


@pytest.mark.parametrize("way", list(WAYS))
def test_nothing_secret_is_ever_logged(tmp_path: Path, urls: dict[str, object], way: str) -> None:
    port = str(free_port())
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice={TOKEN}\n")
    tokens.chmod(0o600)
    credentials = {"AUTH_TOKENS": f"bob={OTHER}", "AUTH_TOKENS_FILE": tokens, "OAUTH_PASSPHRASE": PASSPHRASE}
    environment = processes.environment_for(
        urls, tmp_path / "ledger", PORT=port, LOG_LEVEL="debug", **credentials
    )
    command = [part.replace(PORT_PLACE, port) for part in WAYS[way]]
    with processes.start(sys.executable, *command, environment=environment) as process:
        process.until("MCP over SSE" if way == "serve" else "Uvicorn running")
        secrets = asyncio.run(everything(f"http://127.0.0.1:{port}"))
        process.child.send_signal(signal.SIGHUP)
        process.until("tokens reloaded")
        process.child.terminate()
        process.wait(20)
    log = "".join(process.lines)
    # The log was on: it tells what happened, without the secrets.
    assert all(words in log for words in ("access granted", "passphrase refused", "code offered again"))
    assert {secret: secret in log for secret in secrets} == dict.fromkeys(secrets, False)
    kept = (tmp_path / "ledger" / "access" / "grants.json").read_text()
    assert not any(secret in kept for secret in secrets - {SEARCHED})


def test_a_failure_shows_nothing_of_the_request_that_met_it(tmp_path: Path, urls: dict[str, object]) -> None:
    port = free_port()
    settings = {"PORT": port, "LOG_FORMAT": "console", "OAUTH_PASSPHRASE": PASSPHRASE}
    environment = processes.environment_for(urls, tmp_path / "ledger", **settings)
    with processes.start(sys.executable, *WAYS["serve"], environment=environment) as process:
        process.until("MCP over SSE")
        blocked = tmp_path / "ledger" / "access" / "grants.json"
        secrets = asyncio.run(failing(f"http://127.0.0.1:{port}", blocked))
        process.child.terminate()
        process.wait(20)
    log = "".join(process.lines)
    assert "IsADirectoryError" in log
    assert {secret: secret in log for secret in secrets} == dict.fromkeys(secrets, False)


async def failing(url: str, blocked: Path) -> set[str]:
    """An exchange whose result cannot be written, and a stranger's request; what no line should hold."""
    async with client(url) as http:
        mine = Dance(http, url)
        await mine.register()
        code = await mine.code()
        assert (await http.get("/sse", headers={"Host": STRANGE})).status_code == 421
        await asyncio.to_thread(blocked.unlink)
        await asyncio.to_thread(blocked.mkdir)
        assert (await mine.exchange(code)).status_code == 500
        return {PASSPHRASE, code, mine.verifier, STRANGE}


async def everything(url: str) -> set[str]:
    """All that a client and its owner do, rightly and wrongly; the secrets in it."""
    secrets = {PASSPHRASE, WRONG_PHRASE, TOKEN, OTHER, FORGED, SEARCHED, SYMBOL}
    for transport in ("sse", "mcp"):
        person = Person(method="client_secret_basic")
        async with connected(url, transport, person) as asking:
            await asking.call_tool("search", {"query": SEARCHED})
            await asking.call_tool("get_volume_profile", {"symbol": SYMBOL})
        assert person.kept.tokens is not None
        assert person.kept.client is not None
        kept = person.kept.tokens
        secrets |= {
            kept.access_token,
            kept.refresh_token or "",
            person.kept.client.client_secret or "",
            *person.codes,
        }
    async with client(url) as http:
        mine = Dance(http, url)
        await mine.register()
        page = await mine.page()
        await posted(http, page, WRONG_PHRASE)
        code = await mine.code()
        tokens = (await mine.exchange(code)).json()
        renewed = (await mine.refresh(tokens["refresh_token"])).json()
        await mine.exchange(code)
        await mine.refresh(renewed["refresh_token"])
        await http.post("/revoke", data={"client_id": mine.client_id, "token": renewed["access_token"]})
        for token in (TOKEN, OTHER, FORGED, renewed["access_token"]):
            await initialized(http, **bearer(token))
        await http.get("/sse", params={"access_token": FORGED})
        secrets |= {code, mine.verifier}
        secrets |= {each[name] for each in (tokens, renewed) for name in ("access_token", "refresh_token")}
    return secrets - {""}
