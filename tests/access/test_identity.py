"""Access tokens of an outside identity provider: believed when everything about them is right."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

from server.access.identity import ProviderTokens
from server.access.key_set import (
    BELIEVED_S,
    FRESH_S,
    PAUSE_S,
    KeySet,
    KeysUnavailable,
    keys_of,
    metadata_urls,
)
from server.settings import ConfigurationInvalid, load_settings
from tests.access.providers import RESOURCE, Provider, private_key, provider
from tests.access.served import TOKEN, TOKENS, bearer, client, initialized, served

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def chosen(it: Provider, **more: Any) -> dict[str, Any]:
    return {"oauth_issuer": it.issuer, "oauth_audience": [RESOURCE], "oauth_scopes": ["tape:read"]} | more


async def test_a_token_of_the_provider_may_ask_over_both_transports(tmp_path: Path) -> None:
    async with provider() as idp, served(tmp_path, **chosen(idp)) as it:
        headers = bearer(idp.token())
        async with (
            create_mcp_http_client(headers=headers) as http,
            Client(streamable_http_client(f"{it.url}/mcp", http_client=http)) as asking,
        ):
            assert not (await asking.call_tool("get_data_coverage", {})).is_error
        async with Client(sse_client(f"{it.url}/sse", headers=headers, timeout=60)) as asking:
            assert not (await asking.call_tool("get_data_coverage", {})).is_error
        assert idp.asked == 1


Change = Callable[[Provider], str]
now = time.time
REFUSED: dict[str, Change] = {
    "expired": lambda idp: idp.token(exp=int(now()) - 60),
    "without an end": lambda idp: idp.token(exp=None),
    "not yet valid": lambda idp: idp.token(nbf=int(now()) + 600),
    "of another issuer": lambda idp: idp.token(iss="https://evil.test"),
    "without an issuer": lambda idp: idp.token(iss=None),
    "for another server": lambda idp: idp.token(aud="https://other.test"),
    "for the client alone": lambda idp: idp.token(aud=["c1"]),
    "for a longer name": lambda idp: idp.token(aud=f"{RESOURCE}.evil.test"),
    "without an audience": lambda idp: idp.token(aud=None),
    "signed by another key": lambda idp: idp.token(number=1),
    "of a key that nobody has": lambda idp: idp.token(kid="k9"),
    "with another key's algorithm": lambda idp: idp.token(algorithm="ES256"),
    "unsigned": lambda idp: jwt.encode({"iss": idp.issuer}, "", "none"),
    "no token": lambda _: "a.b.c",
    "nested deeply": lambda _: f"{base64.urlsafe_b64encode(b'[' * 9000).decode()}.e30.e30",
    "very long": lambda idp: idp.token(more="x" * 20_000),
}


async def test_a_token_that_is_not_right_in_every_way_is_refused(tmp_path: Path) -> None:
    async with provider() as idp, served(tmp_path, **chosen(idp)) as it, client(it.url) as http:
        for what, change in REFUSED.items():
            token = change(idp)
            refused = await initialized(http, **bearer(token))
            assert refused.status_code == 401, what
            challenge = refused.headers["www-authenticate"]
            assert 'error="invalid_token"' in challenge
            assert f'resource_metadata="{it.url}/.well-known/oauth-protected-resource"' in challenge
            assert token not in refused.text + challenge
        assert (await initialized(http, **bearer(idp.token()))).status_code == 200


def unpadded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


async def test_a_public_key_is_no_shared_secret(tmp_path: Path) -> None:
    """The classic confusion: HS256 with the provider's public key for its secret."""
    pem = private_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    async with provider() as idp:
        _, body, _ = idp.token().split(".")
        header = unpadded(json.dumps({"alg": "HS256", "kid": "k1"}).encode())
        signed = hmac.digest(pem, f"{header}.{body}".encode(), hashlib.sha256)
        forged = f"{header}.{body}.{unpadded(signed)}"
        tokens = ProviderTokens(idp.issuer, [RESOURCE], KeySet(idp.issuer))
        assert await tokens.verify_token(forged) is None
        assert await tokens.verify_token(idp.token()) is not None


async def test_a_token_without_the_scope_is_refused_as_such(tmp_path: Path) -> None:
    async with provider() as idp, served(tmp_path, **chosen(idp)) as it, client(it.url) as http:
        missing: list[dict[str, Any]] = [
            {"scope": "tape:reads"},
            {"scope": None},
            {"scope": None, "scp": ["x"]},
        ]
        for scopes in missing:
            refused = await initialized(http, **bearer(idp.token(**scopes)))
            assert refused.status_code == 403
            challenge = refused.headers["www-authenticate"]
            assert 'error="insufficient_scope"' in challenge
            assert 'scope="tape:read"' in challenge
        held: list[dict[str, Any]] = [
            {"scope": None, "scp": ["tape:read"]},
            {"scope": None, "scp": "x tape:read"},
        ]
        for scopes in held:
            assert (await initialized(http, **bearer(idp.token(**scopes)))).status_code == 200


async def test_static_tokens_keep_working_beside_a_provider(tmp_path: Path) -> None:
    async with (
        provider() as idp,
        served(tmp_path, **chosen(idp, auth_tokens=TOKENS)) as it,
        client(it.url) as http,
    ):
        assert (await initialized(http, **bearer(TOKEN))).status_code == 200
        assert (await initialized(http, **bearer(idp.token()))).status_code == 200


async def test_a_session_is_one_persons_and_outlives_a_token(tmp_path: Path) -> None:
    async with provider() as idp, served(tmp_path, **chosen(idp)) as it, client(it.url) as http:
        opened = await initialized(http, **bearer(idp.token()))
        session = {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        changes: list[tuple[dict[str, Any], int]] = [
            ({"jti": "x"}, 200),
            ({"sub": "u2"}, 404),
            ({"azp": "c2"}, 404),
        ]
        for change, status in changes:
            answer = await initialized(http, **session, **bearer(idp.token(**change)))
            # An initialized session takes no second initialize: what matters is that it was found.
            assert (answer.status_code == 404) == (status == 404), change


async def test_the_metadata_names_the_bare_address_and_the_provider(tmp_path: Path) -> None:
    async with provider() as idp, served(tmp_path, **chosen(idp)) as it, client(it.url) as http:
        found = await http.get("/.well-known/oauth-protected-resource")
        assert found.json() == {
            "resource": it.url,
            "authorization_servers": [idp.issuer],
            "scopes_supported": ["tape:read"],
            "bearer_methods_supported": ["header"],
            "resource_name": "tapedeck",
        }
        assert (await http.get("/.well-known/oauth-authorization-server")).status_code == 404


async def test_under_a_prefix_the_metadata_stands_where_it_is_looked_for(tmp_path: Path) -> None:
    public = {"public_url": "https://tape.test/t", "trusted_proxies": ["127.0.0.1"]}
    async with provider() as idp, served(tmp_path, **chosen(idp, **public)) as it, client(it.url) as http:
        elsewhere = {"X-Forwarded-For": "203.0.113.9", "Host": "tape.test"}
        for path in (
            "/.well-known/oauth-protected-resource/t",
            "/t/.well-known/oauth-protected-resource",
        ):
            found = await http.get(path, headers=elsewhere)
            assert found.json()["resource"] == "https://tape.test/t", path
        refused = await http.get("/t/sse", headers=elsewhere)
        named = 'resource_metadata="https://tape.test/t/.well-known/oauth-protected-resource"'
        assert named in refused.headers["www-authenticate"]


@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"])
async def test_each_asymmetric_algorithm_is_understood(algorithm: str) -> None:
    async with provider() as idp:
        idp.publish("k2", algorithm)
        tokens = ProviderTokens(idp.issuer, [RESOURCE], KeySet(idp.issuer))
        known = await tokens.verify_token(idp.token("k2", algorithm))
        assert known is not None
        assert (known.client_id, known.subject, known.token) == ("c1", "u1", "")


# Keys


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_new_key_is_fetched_and_one_that_went_is_forgotten() -> None:
    clock = Clock()
    async with provider() as idp:
        keys = KeySet(idp.issuer, clock=clock)
        assert await keys.key("k1") is not None
        idp.publish("k2", number=1)
        assert await keys.key("k2") is None  # asked a moment ago
        clock.now += PAUSE_S
        assert await keys.key("k2") is not None
        del idp.kids["k1"]
        assert await keys.key("k1") is not None
        clock.now += FRESH_S + 1
        assert await keys.key("k1") is None
        assert await keys.key("k2") is not None


async def test_unknown_keys_make_one_request_in_the_pause_whatever_their_number() -> None:
    clock = Clock()
    async with provider() as idp:
        keys = KeySet(idp.issuer, clock=clock)
        assert await asyncio.gather(*(keys.key(f"x{i}") for i in range(50))) == [None] * 50
        assert idp.asked == 1
        clock.now += PAUSE_S
        await asyncio.gather(*(keys.key(f"y{i}") for i in range(50)))
        assert idp.asked == 2


async def test_a_provider_that_is_away_is_believed_for_a_day(tmp_path: Path) -> None:
    clock = Clock()
    async with provider() as idp:
        keys = KeySet(idp.issuer, clock=clock)
        assert await keys.key("k1") is not None
        idp.away = True
        clock.now += BELIEVED_S - 1
        assert await keys.key("k1") is not None
        clock.now += 2
        with pytest.raises(KeysUnavailable):
            await keys.key("k1")
        idp.away = False
        clock.now += PAUSE_S
        assert await keys.key("k1") is not None


async def test_a_token_that_cannot_be_judged_is_answered_with_503(tmp_path: Path) -> None:
    async with provider() as idp:
        idp.away = True
        async with served(tmp_path, **chosen(idp, auth_tokens=TOKENS)) as it, client(it.url) as http:
            refused = await initialized(http, **bearer(idp.token()))
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "30")
            assert (await http.get("/healthz", headers=bearer(idp.token()))).status_code == 200
            assert (await initialized(http, **bearer(TOKEN))).status_code == 200


def answering(documents: dict[str, httpx.Response]) -> httpx.MockTransport:
    def answer(request: httpx.Request) -> httpx.Response:
        return documents.get(str(request.url), httpx.Response(404))

    return httpx.MockTransport(answer)


async def test_metadata_of_another_issuer_is_not_followed() -> None:
    issuer = "https://idp.test/realm"
    openid, oauth = metadata_urls(issuer)
    assert oauth == "https://idp.test/.well-known/oauth-authorization-server/realm"
    keys = httpx.Response(200, json={"keys": [{"kty": "RSA", "kid": "k", "n": "x", "e": "AQAB"}]})
    evil = httpx.Response(200, json={"issuer": "https://evil.test", "jwks_uri": "https://evil.test/keys"})
    good = httpx.Response(200, json={"issuer": issuer, "jwks_uri": "https://idp.test/keys"})
    served = {"https://evil.test/keys": keys, "https://idp.test/keys": keys}
    for documents, found in (({openid: evil}, False), ({openid: evil, oauth: good}, True)):
        key_set = KeySet(issuer, transport=answering(documents | served))
        if found:
            assert await key_set.key("k") is not None
        else:
            with pytest.raises(KeysUnavailable):
                await key_set.key("k")


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"keys": 1}', b"x", b" " * (1 << 18) + b"{}"])
async def test_what_is_no_key_set_is_none(body: bytes) -> None:
    transport = answering({"https://idp.test/keys": httpx.Response(200, content=body)})
    with pytest.raises(KeysUnavailable):
        await KeySet("https://idp.test", "https://idp.test/keys", transport=transport).key("k")


def test_secret_and_encryption_keys_are_no_keys_for_signatures() -> None:
    listed = [{"kty": "oct", "kid": "a"}, {"kty": "RSA", "kid": "b", "use": "enc"}, {"kty": "EC", "kid": "c"}]
    assert set(keys_of({"keys": listed})) == {"c", None}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"oauth_issuer": "http://idp.test"}, "https://"),
        ({"oauth_issuer": "https://idp.test", "host": "0.0.0.0"}, "TAPEDECK_PUBLIC_URL"),
        ({"oauth_issuer": "https://idp.test", "port": 0}, "TAPEDECK_PUBLIC_URL"),
        ({"oauth_issuer": "https://idp.test", "public_url": "http://tape.test"}, "https://"),
        ({"oauth_jwks_url": "http://idp.test/keys"}, "https://"),
    ],
)
def test_addresses_that_are_not_safe_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=words):
        load_settings(**settings)


def test_the_issuer_is_kept_as_it_is_written() -> None:
    settings = load_settings(oauth_issuer="https://idp.test/")
    assert settings.oauth_issuer == "https://idp.test/"
    assert settings.audiences == [RESOURCE, f"{RESOURCE}/"]
