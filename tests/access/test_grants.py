"""Refreshing and revoking, by client and operator, and what is kept of all that on disk."""

import asyncio
import os
import stat
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from server.access import grants
from server.access.grant_store import GrantStore, StoreDamaged
from server.access.grants import (
    ACCESS,
    MOST_CLIENTS,
    MOST_GRANTS,
    REFRESH,
    REFRESH_S,
    UNAUTHORIZED_S,
    UNUSED_S,
    Client,
    Grants,
    NoRoom,
)
from server.cli import main
from tests.access.people import BUILT_IN, PASSPHRASE, Clock, dance
from tests.access.served import TOKEN, TOKENS, bearer, client, initialized, served

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# Refreshing and revoking


async def test_a_refresh_replaces_both_tokens_and_a_used_one_ends_the_grant(tmp_path: Path) -> None:
    clock = Clock()
    async with served(tmp_path, clock=clock, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        first = await mine.tokens()
        second = (await mine.refresh(first["refresh_token"])).json()
        assert not await mine.may_ask(first["access_token"])
        assert await mine.may_ask(second["access_token"])
        clock.ahead_s = 31
        stolen = await mine.refresh(first["refresh_token"])
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
        assert not await mine.may_ask(second["access_token"])
        assert (await mine.refresh(second["refresh_token"])).status_code == 400


async def test_a_lost_answer_to_a_refresh_is_given_again(tmp_path: Path) -> None:
    clock = Clock()
    async with served(tmp_path, clock=clock, **BUILT_IN) as it, client(it.url) as http:
        mine, other = dance(it, http), dance(it, http)
        first = await mine.tokens()
        await other.register()
        second = (await mine.refresh(first["refresh_token"])).json()
        clock.ahead_s = 29
        assert (await mine.refresh(first["refresh_token"])).json() == second
        assert (await other.refresh(first["refresh_token"])).status_code == 400
        assert await mine.may_ask(second["access_token"])
        # What has been exchanged in its turn is not given again: the client had it.
        third = (await mine.refresh(second["refresh_token"])).json()
        assert (await mine.refresh(first["refresh_token"])).status_code == 400
        assert (await mine.refresh(second["refresh_token"])).json() == third


async def test_refreshes_at_once_lead_to_the_same_tokens(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        first = await mine.tokens()
        answers = await asyncio.gather(*(mine.refresh(first["refresh_token"]) for _ in range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4
        assert len({answer.text for answer in answers}) == 1
        assert await mine.may_ask(answers[0].json()["access_token"])


async def test_what_only_looks_like_a_refresh_token_ends_nothing(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        tokens = await mine.tokens()
        made_up = tokens["refresh_token"].rpartition(".")[0] + ".x"
        assert (await mine.refresh(made_up)).status_code == 400
        assert await mine.may_ask(tokens["access_token"])


async def test_what_was_revoked_is_not_given_again(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        first = await mine.tokens()
        second = (await mine.refresh(first["refresh_token"])).json()
        await http.post("/revoke", data={"client_id": mine.client_id, "token": second["access_token"]})
        assert (await mine.refresh(first["refresh_token"])).status_code == 400


async def test_a_refresh_token_is_its_clients_alone_and_ends_unused(tmp_path: Path) -> None:
    clock = Clock()
    async with served(tmp_path, clock=clock, **BUILT_IN) as it, client(it.url) as http:
        mine, other = dance(it, http), dance(it, http)
        tokens = await mine.tokens()
        await other.register()
        assert (await other.refresh(tokens["refresh_token"])).status_code == 400
        clock.ahead_s = REFRESH_S - 60
        tokens = (await mine.refresh(tokens["refresh_token"])).json()
        clock.ahead_s += REFRESH_S + 1
        assert (await mine.refresh(tokens["refresh_token"])).status_code == 400


async def test_tokens_are_not_each_other(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        tokens = await mine.tokens()
        assert not await mine.may_ask(tokens["refresh_token"])
        assert (await mine.refresh(tokens["access_token"])).status_code == 400
        assert await mine.may_ask(tokens["access_token"])


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
async def test_a_revoked_token_ends_the_grant(tmp_path: Path, which: str) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine, other = dance(it, http), dance(it, http)
        tokens = await mine.tokens()
        await other.register()
        for client_id, token in ((other.client_id, tokens[which]), (mine.client_id, "unknown")):
            answer = await http.post("/revoke", data={"client_id": client_id, "token": token})
            assert answer.status_code == 200
            assert await mine.may_ask(tokens["access_token"])
        assert (await http.post("/revoke", data={"client_id": "x", "token": "y"})).status_code == 401
        answer = await http.post("/revoke", data={"client_id": mine.client_id, "token": tokens[which]})
        assert answer.status_code == 200
        assert not await mine.may_ask(tokens["access_token"])
        assert (await mine.refresh(tokens["refresh_token"])).status_code == 400


async def test_an_operator_lists_and_revokes_beside_a_running_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = ["--data-dir", str(tmp_path / "ledger")]
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine, other = dance(it, http), dance(it, http)
        tokens, others = await mine.tokens(), await other.tokens()
        assert await asyncio.to_thread(main, ["access", "list", *data_dir]) == 0
        shown = capsys.readouterr().out
        assert mine.client_id in shown
        assert "'Mine', to localhost" in shown
        grant = tokens["access_token"].split(".")[1]
        assert grant in shown
        assert not any(
            each in shown
            for each in [*tokens.values(), *others.values()]
            if isinstance(each, str) and "." in each
        )
        assert await asyncio.to_thread(main, ["access", "revoke", *data_dir, grant, "nobody"]) == 1
        assert await mine.may_ask(tokens["access_token"])
        assert await asyncio.to_thread(main, ["access", "revoke", grant, *data_dir]) == 0
        assert not await mine.may_ask(tokens["access_token"])
        assert await mine.may_ask(others["access_token"])
        assert await asyncio.to_thread(main, ["access", "revoke", "all", *data_dir]) == 0
        assert not await mine.may_ask(others["access_token"])
        assert (await other.refresh(others["refresh_token"])).status_code == 401  # the client is gone too


async def test_a_session_outlives_its_token_and_is_its_grants_alone(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine, other = dance(it, http), dance(it, http)
        tokens, others = await mine.tokens(), await other.tokens()
        opened = await initialized(http, **bearer(tokens["access_token"]))
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        renewed = (await mine.refresh(tokens["refresh_token"])).json()
        ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
        speaks = {"Accept": "application/json, text/event-stream"} | session
        for token, status in (
            (renewed["access_token"], 200),
            (others["access_token"], 404),
            (tokens["access_token"], 401),
        ):
            answer = await http.post("/mcp", json=ping, headers=speaks | bearer(token))
            assert answer.status_code == status


async def test_static_tokens_work_beside_it(tmp_path: Path) -> None:
    async with served(tmp_path, auth_tokens=TOKENS, **BUILT_IN) as it, client(it.url) as http:
        assert (await initialized(http, **bearer(TOKEN))).status_code == 200
        assert (await initialized(http)).status_code == 401


# What is kept


async def test_the_file_has_digests_alone_and_is_its_owners(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        secret = (await mine.register(token_endpoint_auth_method="client_secret_post")).json()[
            "client_secret"
        ]
        tokens = (await mine.exchange(await mine.code(), client_secret=secret)).json()
    directory = tmp_path / "ledger" / "access"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    path = directory / "grants.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = path.read_text()
    assert mine.client_id in kept
    for hidden in (secret, tokens["access_token"], tokens["refresh_token"], PASSPHRASE):
        assert hidden.split(".")[-1] not in kept
    assert sorted(each.name for each in directory.iterdir()) == ["grants.json", "lock"]


async def test_a_damaged_file_refuses_the_start_and_changes_nothing_while_running(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger" / "access" / "grants.json"
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        tokens = await mine.tokens()
        whole = path.read_bytes()
        path.write_bytes(whole[:50])
        assert await mine.may_ask(tokens["access_token"])
    with pytest.raises(StoreDamaged, match="every client asks again"):
        GrantStore(tmp_path / "ledger")
    assert main(["access", "list", "--data-dir", str(tmp_path / "ledger")]) == 1
    assert "cannot be used" in capsys.readouterr().err


def test_a_change_begins_with_what_the_file_has(tmp_path: Path) -> None:
    store = GrantStore(tmp_path)
    store.change(lambda state: (grants.registered(state, made("a"), 0), None))
    path = tmp_path / "access" / "grants.json"
    before = path.stat()
    path.write_bytes(msgspec.json.encode(grants.registered(Grants(), made("b"), 0)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    store.change(lambda state: (grants.registered(state, made("c"), 0), None))
    assert set(GrantStore(tmp_path).current().clients) == {"b", "c"}


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = GrantStore(tmp_path)
    store.change(lambda state: (grants.registered(state, made("a"), 0), None))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.change(lambda state: (grants.registered(state, made("b"), 0), None))
    assert set(store.current().clients) == {"a"} == set(GrantStore(tmp_path).current().clients)


def test_another_user_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    GrantStore(tmp_path).change(lambda state: (grants.registered(state, made("a"), 0), None))
    monkeypatch.setattr("os.geteuid", lambda: 1_234_567)
    assert main(["access", "revoke", "all", "--data-dir", str(tmp_path)]) == 1
    assert "run this as that user" in capsys.readouterr().err
    assert set(GrantStore(tmp_path).current().clients) == {"a"}


def test_two_owners_of_the_file_see_each_other(tmp_path: Path) -> None:
    one, other = GrantStore(tmp_path), GrantStore(tmp_path)
    for i in range(20):
        store = one if i % 2 else other
        store.change(lambda state, i=i: (grants.registered(state, made(str(i)), 0), None))  # type: ignore[misc]
    assert len(one.current().clients) == len(other.current().clients) == 20


# Bounds


def made(name: str, at_s: int = 0) -> Client:
    return Client(name, name, ("https://x.test/",), at_s)


def test_clients_are_bounded_and_those_without_a_grant_make_room() -> None:
    state = Grants()
    for i in range(MOST_CLIENTS + 10):
        state = grants.registered(state, made(str(i), i), i)
    assert len(state.clients) == MOST_CLIENTS
    assert min(int(id_) for id_ in state.clients) == 10
    for id_ in list(state.clients):
        state, issued = grants.granted(state, id_, 1_000)
        assert issued is not None
    with pytest.raises(NoRoom):
        grants.registered(state, made("new"), 1_000)
    state = grants.revoked(state, ["10"])
    assert "new" in grants.registered(state, made("new"), 1_000).clients


def test_a_client_that_nobody_uses_is_forgotten() -> None:
    state = grants.registered(Grants(), made("a"), 0)
    state = grants.registered(state, made("b"), 0)
    state, issued = grants.granted(state, "a", 10)
    assert issued is not None
    assert set(grants.swept(state, UNAUTHORIZED_S).clients) == {"a"}
    assert set(grants.swept(state, 10 + REFRESH_S - 1).grants) == {issued.grant_id}
    ended = grants.swept(state, 10 + REFRESH_S)
    assert (set(ended.grants), set(ended.clients)) == (set(), {"a"})
    assert grants.swept(state, 10 + UNUSED_S).clients == {}


def test_a_client_has_so_many_grants_at_most() -> None:
    state, ids = grants.registered(Grants(), made("a"), 0), []
    for i in range(MOST_GRANTS + 3):
        state, issued = grants.granted(state, "a", i)
        assert issued is not None
        ids.append(issued.grant_id)
    assert set(state.grants) == set(ids[3:])
    assert grants.granted(state, "nobody", 0) == (state, None)


def test_a_token_names_its_grant_and_is_not_believed_for_it() -> None:
    state, issued = grants.granted(grants.registered(Grants(), made("a"), 0), "a", 0)
    assert issued is not None
    assert issued.access not in repr(issued)
    assert grants.valid(state, issued.access, ACCESS, 0) is not None
    for forged in (
        f"tda.{issued.grant_id}.x",
        f"tda.{issued.grant_id}.",
        "tda..",
        "",
        "tda.x.y.z",
        issued.refresh,
    ):
        assert grants.valid(state, forged, ACCESS, 0) is None
    assert grants.valid(state, issued.access, REFRESH, 0) is None
    orphaned = replace(state, clients={})
    assert grants.valid(orphaned, issued.access, ACCESS, 0) is None
