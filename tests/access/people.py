"""A person with a browser and the SDK's OAuth client, as products that connect from elsewhere are."""

import base64
import hashlib
import html
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider, TokenStorage
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)

from tests.access.served import Served, bearer
from tests.clock import wall_ms

PASSPHRASE = "correct horse battery staple"
# Its hash, as `tapedeck access hash` wrote it once.
HASH = "scrypt:32768:Xl0KhRWh_jiEkqt8t-8vaw:zT3dlx9DVOp2ypzGcdvsVRQ_3_BHhvC4OP3kKXqBVKo"
BUILT_IN: dict[str, Any] = {"oauth_passphrase": HASH}
REDIRECT = "http://localhost:3030/callback"


@dataclass
class Kept(TokenStorage):
    """What a client remembers."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@dataclass
class Person:
    """Who opens the page and answers it; `codes` are those that the client was sent."""

    passphrase: str = PASSPHRASE
    kept: Kept = field(default_factory=Kept)
    method: str | None = "none"
    asked: int = 0
    codes: list[str] = field(default_factory=list)
    _sent: str = ""

    def provider(self, url: str) -> OAuthClientProvider:
        metadata = OAuthClientMetadata.model_validate(
            {"client_name": "Test", "redirect_uris": [REDIRECT], "token_endpoint_auth_method": self.method}
        )
        return OAuthClientProvider(url, metadata, self.kept, self._open, self._called_back)

    async def _open(self, url: str) -> None:
        self.asked += 1
        async with httpx.AsyncClient(timeout=20, trust_env=False) as browser:
            self._sent = await answered(browser, url, self.passphrase)

    async def _called_back(self) -> AuthorizationCodeResult:
        told = {name: values[0] for name, values in parse_qs(urlsplit(self._sent).query).items()}
        self.codes.append(told["code"])
        return AuthorizationCodeResult(code=told["code"], state=told.get("state"), iss=told.get("iss"))


async def answered(browser: httpx.AsyncClient, url: str, passphrase: str, answer: str = "allow") -> str:
    """Follow the client's link, fill in the page, and say where the browser is sent."""
    page = await browser.get(url, follow_redirects=True)
    assert page.status_code == 200, page.text
    response = await posted(browser, page, passphrase, answer)
    assert response.status_code == 303, response.text
    return response.headers["location"]


async def posted(
    browser: httpx.AsyncClient, page: httpx.Response, passphrase: str, answer: str = "allow", **headers: str
) -> httpx.Response:
    found = re.search(r'name="request" value="([^"]+)"', page.text)
    assert found is not None
    form = {"request": html.unescape(found[1]), "passphrase": passphrase, "answer": answer}
    origin = f"{page.url.scheme}://{page.url.netloc.decode()}"
    return await browser.post(str(page.url), data=form, headers={"Origin": origin} | headers)


@asynccontextmanager
async def connected(url: str, transport: str, person: Person, **options: Any) -> AsyncIterator[Client]:
    """The official client, which asks the person when it has to."""
    auth = person.provider(f"{url}/{transport}")
    if transport == "sse":
        async with Client(sse_client(f"{url}/sse", auth=auth, timeout=60)) as client:
            yield client
    else:
        async with (
            httpx2.AsyncClient(auth=auth, timeout=30, trust_env=False, **options) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            yield client


class Clock:
    """The world's clock, and how far a test is ahead of it."""

    ahead_s = 0

    def __call__(self) -> int:
        return wall_ms() + 1000 * self.ahead_s


@dataclass
class Dance:
    """A client that does each step by itself."""

    http: httpx.AsyncClient
    url: str
    client_id: str = ""
    verifier: str = ""

    async def register(self, **more: Any) -> httpx.Response:
        asked = {"redirect_uris": [REDIRECT], "token_endpoint_auth_method": "none", "client_name": "Mine"}
        response = await self.http.post("/register", json=asked | more)
        self.client_id = response.json().get("client_id", "")
        return response

    def link(self, **more: Any) -> str:
        self.verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(self.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
            "state": "s",
        } | more
        return "/authorize?" + urlencode({name: value for name, value in asked.items() if value is not None})

    async def page(self, **more: Any) -> httpx.Response:
        return await self.http.get(self.link(**more), follow_redirects=True)

    async def code(self, **more: Any) -> str:
        sent = await answered(self.http, self.link(**more), PASSPHRASE)
        told = parse_qs(urlsplit(sent).query)
        assert (told["state"], told["iss"]) == (["s"], [self.url])
        return told["code"][0]

    async def token(self, **more: Any) -> httpx.Response:
        return await self.http.post("/token", data={"client_id": self.client_id, **more})

    async def exchange(self, code: str, **more: Any) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        return await self.token(**{**form, "code_verifier": self.verifier, **more})

    async def refresh(self, token: str, **more: Any) -> httpx.Response:
        return await self.token(**{"grant_type": "refresh_token", "refresh_token": token, **more})

    async def tokens(self) -> dict[str, Any]:
        await self.register()
        response = await self.exchange(await self.code())
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def may_ask(self, token: str) -> bool:
        return (await self.http.get("/pages", headers=bearer(token))).status_code == 200


def dance(it: Served, http: httpx.AsyncClient) -> Dance:
    return Dance(http, it.url)
