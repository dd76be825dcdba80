"""The built-in authorization server: the dance with the official client, and what may go wrong."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
import pytest

from server.access.grant_store import GrantStore
from server.access.grants import ACCESS_S
from server.settings import ConfigurationInvalid, load_settings
from tests.access.people import (
    BUILT_IN,
    PASSPHRASE,
    REDIRECT,
    Clock,
    Person,
    answered,
    connected,
    dance,
    posted,
)
from tests.access.served import ELSEWHERE, PROXIED, TOKEN, TOKENS, bearer, client, initialized, served

pytestmark = pytest.mark.anyio
TRANSPORTS = ["sse", "mcp"]


@pytest.fixture(autouse=True)
def no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# The whole dance


@pytest.mark.parametrize("method", ["none", "client_secret_post", "client_secret_basic", None])
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_official_client_gets_in_by_the_passphrase(
    tmp_path: Path, transport: str, method: str | None
) -> None:
    async with served(tmp_path, **BUILT_IN) as it:
        person = Person(method=method)
        async with connected(it.url, transport, person) as asking:
            assert not (await asking.call_tool("get_data_coverage", {})).is_error
        # What it remembers is enough for the other transport, without asking again.
        async with connected(it.url, "mcp" if transport == "sse" else "sse", person) as asking:
            assert not (await asking.call_tool("get_data_coverage", {})).is_error
        assert person.asked == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_tokens_survive_a_restart(tmp_path: Path, transport: str) -> None:
    person = Person()
    async with served(tmp_path, **BUILT_IN) as it, connected(it.url, transport, person):
        port = it.settings.port
    async with served(tmp_path, port=port, **BUILT_IN) as it, connected(it.url, transport, person) as asking:
        assert not (await asking.call_tool("get_data_coverage", {})).is_error
    assert person.asked == 1


async def test_a_client_whose_token_has_expired_refreshes_it_by_itself(tmp_path: Path) -> None:
    person, clock = Person(), Clock()
    async with served(tmp_path, clock=clock, **BUILT_IN) as it:
        async with connected(it.url, "mcp", person):
            pass
        first = person.kept.tokens
        assert first is not None
        assert first.expires_in == ACCESS_S
        clock.ahead_s = ACCESS_S + 1
        async with client(it.url) as http:
            assert (await initialized(http, **bearer(first.access_token))).status_code == 401
        provider = person.provider(f"{it.url}/mcp")
        await provider._initialize()
        provider.context.token_expiry_time = 1.0
        async with httpx2.AsyncClient(auth=provider, timeout=20, trust_env=False) as http2:
            answer = await http2.get(f"{it.url}/pages")
        assert answer.status_code == 200
        assert person.asked == 1
        assert person.kept.tokens != first


# Step by step


async def test_the_metadata_says_what_clients_need(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        resource = (await http.get("/.well-known/oauth-protected-resource")).json()
        assert resource["resource"] == it.url
        assert resource["authorization_servers"] == [it.url]
        found = (await http.get("/.well-known/oauth-authorization-server")).json()
        assert found == (await http.get("/.well-known/openid-configuration")).json()
        assert found["issuer"] == it.url
        for name, path in (
            ("authorization_endpoint", "/authorize"),
            ("token_endpoint", "/token"),
            ("registration_endpoint", "/register"),
            ("revocation_endpoint", "/revoke"),
        ):
            assert found[name] == it.url + path
        assert found["code_challenge_methods_supported"] == ["S256"]
        assert "none" in found["token_endpoint_auth_methods_supported"]
        assert found["authorization_response_iss_parameter_supported"] is True
        refused = await http.get("/sse")
        assert (
            f'resource_metadata="{it.url}/.well-known/oauth-protected-resource"'
            in refused.headers["www-authenticate"]
        )


async def test_the_page_is_plain_and_shows_who_asks_and_where_access_goes(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register(client_name='<script>alert("x")</script>', redirect_uris=["https://evil.test/cb"])
        page = await mine.page(redirect_uri="https://evil.test/cb")
        assert "<script" not in page.text
        assert "&lt;script&gt;" in page.text
        assert "<strong>evil.test</strong>" in page.text
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["cache-control"] == "no-store"
        denied = await posted(http, page, "", "deny")
        assert denied.headers["location"].startswith("https://evil.test/cb?error=access_denied&state=s")
        assert (await posted(http, page, PASSPHRASE)).status_code == 400


async def test_a_code_is_good_for_one_exchange_and_a_second_ends_the_first(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        code = await mine.code()
        tokens = (await mine.exchange(code)).json()
        assert await mine.may_ask(tokens["access_token"])
        again = await mine.exchange(code)
        assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
        assert not await mine.may_ask(tokens["access_token"])
        assert (await mine.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"


async def test_of_two_exchanges_at_once_one_succeeds_at_most(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        code = await mine.code()
        answers = await asyncio.gather(*(mine.exchange(code) for _ in range(4)))
        assert sum(answer.status_code == 200 for answer in answers) <= 1


async def test_a_code_expires_soon(tmp_path: Path) -> None:
    clock = Clock()
    async with served(tmp_path, clock=clock, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        code = await mine.code()
        clock.ahead_s = 121
        assert (await mine.exchange(code)).json()["error"] == "invalid_grant"


async def test_a_code_needs_its_verifier_its_client_and_its_redirect(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine, other = dance(it, http), dance(it, http)
        await mine.register()
        await other.register()
        code = await mine.code()
        for wrong in (
            {"code_verifier": "x" * 43},
            {"client_id": other.client_id},
            {"redirect_uri": f"{REDIRECT}/x"},
        ):
            refused = await mine.exchange(code, **wrong)
            assert refused.status_code in (400, 401), wrong
        assert (await mine.exchange(code)).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"code_challenge": None},
        {"code_challenge": "short"},
        {"code_challenge_method": "plain"},
        {"response_type": "token"},
        {"resource": "https://other.test/mcp"},
        {"resource": "https://[x"},
        {"state": "x" * 2_049},
    ],
)
async def test_a_request_that_is_not_as_it_should_be_goes_back_to_the_client(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        refused = await http.get(mine.link(**wrong))
        assert refused.status_code == 302
        assert refused.headers["location"].startswith(f"{REDIRECT}?error=")


async def test_what_a_request_names_of_this_server_is_bounded(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        for length, where in ((500, it.url), (501, REDIRECT)):
            resource = f"{it.url}/".ljust(length, "x")
            asked = await http.get(mine.link(resource=resource))
            assert asked.status_code == 302
            assert asked.headers["location"].startswith(where)


async def test_of_too_many_requests_of_a_client_the_oldest_end(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine, other = dance(it, http), dance(it, http)
        await mine.register()
        await other.register()
        others = await other.page(state="x" * 2_048)
        pages = [await mine.page() for _ in range(22)]
        still = [(await http.get(str(page.url))).status_code for page in [others, *pages]]
        assert still == [200] + [400] * 2 + [200] * 20


@pytest.mark.parametrize("path", ["/authorize", "/token", "/revoke", "/login"])
@pytest.mark.parametrize("kind", ["multipart/form-data", "application/json", ""])
async def test_only_forms_are_read_where_oauth_sends_forms(tmp_path: Path, path: str, kind: str) -> None:
    async with served(tmp_path, **BUILT_IN) as server, client(server.url) as http:
        refused = await http.post(path, content=b"client_id=a", headers={"content-type": kind})
        assert (refused.status_code, refused.json()["error"]) == (415, "invalid_request")


async def test_a_person_whose_client_is_gone_is_told_what_to_do(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        mine.client_id = "<b>gone"
        for page in (await mine.page(), await http.post("/authorize", data={"client_id": "gone"})):
            assert (page.status_code, "add it again" in page.text, "gone" in page.text) == (400, True, False)
            assert page.headers["content-type"].startswith("text/html")


async def test_a_token_that_oauth_gave_is_no_password(tmp_path: Path) -> None:
    browser = {"Accept": "text/html"}
    async with served(tmp_path, auth_tokens=TOKENS, **BUILT_IN) as it, client(it.url) as http:
        token = (await dance(it, http).tokens())["access_token"]
        assert (await http.get("/pages", headers=browser, auth=("me", token))).status_code == 401
        assert (await http.get("/pages", headers=browser, auth=("me", TOKEN))).status_code == 200


async def test_a_redirect_without_a_path_is_the_one_with_a_slash(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register(redirect_uris=["http://localhost:3000"])
        for redirect in ("http://localhost:3000", "http://localhost:3000/"):
            assert (await mine.page(redirect_uri=redirect)).status_code == 200, redirect


@pytest.mark.parametrize("path", ["/authorize", "/login"])
async def test_no_form_is_read_for_a_request_without_an_answer(tmp_path: Path, path: str) -> None:
    part = b'--x\r\ncontent-disposition: form-data; name="client_id"\r\n\r\na\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x; charset=punycode"
    async with served(tmp_path, **BUILT_IN) as server, client(server.url) as http:
        refused = await http.request("HEAD", path, content=part, headers={"content-type": kind})
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, POST")


async def test_a_redirect_that_was_not_registered_is_never_used(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        for redirect in (
            "https://evil.test/",
            "http://localhost:3030/other",
            "http://localhost.evil.test/callback",
        ):
            refused = await http.get(mine.link(redirect_uri=redirect))
            assert (refused.status_code, "location" in refused.headers) == (400, False), redirect
        # The port of a program on the person's machine is another each time.
        assert (await mine.page(redirect_uri="http://localhost:9/callback")).status_code == 200


@pytest.mark.parametrize(
    "redirect",
    [
        "http://evil.test/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://user:pw@evil.test/",
        "https://x.test/#f",
    ],
)
async def test_a_client_may_not_register_an_unsafe_redirect(tmp_path: Path, redirect: str) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        refused = await dance(it, http).register(redirect_uris=[redirect])
        assert refused.status_code == 400


@pytest.mark.parametrize("redirect", ["https://claude.ai/api/mcp/auth_callback", "cursor://x/callback"])
async def test_what_products_register_is_understood(tmp_path: Path, redirect: str) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        more = {"grant_types": ["authorization_code", "refresh_token"], "scope": "tape:read offline_access"}
        registered = await mine.register(redirect_uris=[redirect], response_types=["code"], **more)
        assert registered.status_code == 201, registered.text
        assert "client_secret" not in {n for n, v in registered.json().items() if v}
        sent = await answered(
            http,
            mine.link(redirect_uri=redirect, scope="tape:read other", resource=f"HTTP{it.url[4:]}/mcp"),
            PASSPHRASE,
        )
        assert sent.startswith(f"{redirect}?code=")
        page = await mine.page(redirect_uri=redirect)
        assert f" {redirect.partition(':')[0]}:;" in page.headers["content-security-policy"]


async def test_a_clients_secret_is_asked_for(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        secret = (await mine.register(token_endpoint_auth_method="client_secret_post")).json()[
            "client_secret"
        ]
        code = await mine.code()
        for wrong in ({}, {"client_secret": "x"}):
            refused = await mine.exchange(code, **wrong)
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        assert (await mine.exchange(code, client_secret=secret)).status_code == 200


async def test_a_client_may_be_named_by_basic_authentication_alone(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        told = (await mine.register(token_endpoint_auth_method="client_secret_basic")).json()
        basic = (told["client_id"], told["client_secret"])
        form = {"grant_type": "authorization_code", "code": await mine.code(), "redirect_uri": REDIRECT}
        form["code_verifier"] = mine.verifier
        for wrong in ((basic[0], "x"), ("x", basic[1])):
            assert (await http.post("/token", data=form, auth=wrong)).status_code == 401
        unreadable = await http.post("/token", data=form, headers={"Authorization": "Basic !"})
        assert (unreadable.status_code, unreadable.json()["error"]) == (401, "invalid_client")
        tokens = (await http.post("/token", data=form, auth=basic)).json()
        again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        renewed = (await http.post("/token", data=again, auth=basic)).json()
        assert await mine.may_ask(renewed["access_token"])
        revoked = await http.post("/revoke", data={"token": renewed["access_token"]}, auth=basic)
        assert (revoked.status_code, await mine.may_ask(renewed["access_token"])) == (200, False)


async def test_registrations_are_slowed_whoever_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.access.authorization.REGISTRATIONS", (3, 30.0))
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        statuses = [(await mine.register(client_name="\x1b[2J mine")).status_code for _ in range(4)]
        assert statuses == [201, 201, 201, 400]
        kept = GrantStore(tmp_path / "ledger").current()
        assert {each.name for each in kept.clients.values()} == {"[2J mine"}


async def test_one_address_does_not_use_up_the_registrations_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.access.oauth_routes.ONE_ADDRESS", (3, 30.0))
    async with (
        served(tmp_path, rate_limit=0, **BUILT_IN, **PROXIED) as it,
        client(it.url, headers=ELSEWHERE) as http,
    ):
        json = {"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none"}
        answers = [await http.post("/register", json=json) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
        assert int(answers[-1].headers["retry-after"]) >= 1
        assert answers[0].headers["cache-control"] == "no-store"
        other = {"X-Forwarded-For": "203.0.113.10"}
        assert (await http.post("/register", json=json, headers=other)).status_code == 201


async def test_a_registration_and_what_is_said_of_a_wrong_one_are_short(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        large = await http.post("/register", json={"redirect_uris": [REDIRECT], "client_name": "x" * 16_385})
        assert (large.status_code, large.json()["error"]) == (413, "invalid_client_metadata")
        wrong = await http.post("/register", json={"redirect_uris": ["x" * 100] * 100})
        assert (wrong.status_code, wrong.json()["error"]) == (400, "invalid_client_metadata")
        assert 0 < len(wrong.json()["error_description"]) <= 500
        assert wrong.headers["cache-control"] == "no-store"


# Guessing


async def test_guesses_from_many_addresses_do_not_keep_the_owner_out(tmp_path: Path) -> None:
    async with served(tmp_path, rate_limit=0, **BUILT_IN, **PROXIED) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        page = await mine.page()
        for i in range(31):
            guess = await posted(http, page, "a guess", **{"X-Forwarded-For": f"198.51.100.{i}"})
            assert guess.status_code == 403
        assert (await posted(http, page, PASSPHRASE, **ELSEWHERE)).status_code == 303


async def test_guessing_the_passphrase_is_slowed_by_address(tmp_path: Path) -> None:
    async with served(tmp_path, rate_limit=0, **BUILT_IN, **PROXIED) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        page = await mine.page()
        guesses = [(await posted(http, page, f"guess {i}", **ELSEWHERE)).status_code for i in range(6)]
        assert guesses == [403] * 5 + [429]
        refused = await posted(http, page, PASSPHRASE, **ELSEWHERE)
        assert (refused.status_code, int(refused.headers["retry-after"]) > 30) == (429, True)
        assert (
            await posted(http, page, PASSPHRASE, **{"X-Forwarded-For": "203.0.113.10"})
        ).status_code == 303


async def test_a_page_elsewhere_cannot_answer_for_a_person(tmp_path: Path) -> None:
    async with served(tmp_path, **BUILT_IN) as it, client(it.url) as http:
        mine = dance(it, http)
        await mine.register()
        page = await mine.page()
        assert (await posted(http, page, PASSPHRASE, Origin="https://evil.test")).status_code == 403
        assert (await posted(http, page, PASSPHRASE, Origin="null")).status_code == 403


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"oauth_passphrase": "short"}, "at least 12 characters"),
        ({"oauth_passphrase": "scrypt:1:x:y"}, "tapedeck access hash"),
        ({"oauth_passphrase": PASSPHRASE, "oauth_issuer": "https://idp.test"}, "one authorization server"),
        ({"oauth_passphrase": PASSPHRASE, "host": "0.0.0.0"}, "TAPEDECK_PUBLIC_URL"),
        ({"oauth_passphrase": PASSPHRASE, "public_url": "http://tape.test"}, "https://"),
    ],
)
def test_settings_that_are_not_safe_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=words) as wrong:
        load_settings(**settings)
    assert PASSPHRASE not in str(wrong.value)
