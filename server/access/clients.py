"""Clients of the built-in authorization server: what they may register as, and how they prove who they are.

Invariant: a code is only ever sent to an address that its client registered; a client's secret is known by
its digest alone.
"""

import base64
import hmac
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from mcp.server.auth.middleware.client_auth import AuthenticationError, ClientAuthenticator
from mcp.server.auth.provider import RegistrationError
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull
from pydantic import AnyUrl, Field
from starlette.requests import Request

from server.access.grant_store import GrantStore
from server.access.grants import Client
from server.access.tokens import digest_of
from server.bounds import replayed

LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
MOST_REDIRECTS = 10
MOST_CHARACTERS = 500
MOST_OF_A_NAME = 100
# Schemes that a browser gives to no program, or runs.
FORBIDDEN = {"javascript", "data", "vbscript", "file", "blob", "about", "view-source", "ftp", "ws", "wss"}


def client_of(told: OAuthClientInformationFull, now_s: int) -> Client:
    """What is kept of a registration. Raises `RegistrationError`."""
    redirects = [str(url) for url in told.redirect_uris or []]
    if not redirects or len(redirects) > MOST_REDIRECTS:
        raise RegistrationError("invalid_redirect_uri", f"1 to {MOST_REDIRECTS} redirect_uris are needed")
    for url in redirects:
        if not is_safe_redirect(url):
            raise RegistrationError(
                "invalid_redirect_uri", "a redirect URI is https, http to loopback, or an app's own scheme"
            )
    secret = told.client_secret
    return Client(
        told.client_id,
        _shown(told.client_name or "") or "a program without a name",
        tuple(redirects),
        now_s,
        digest_of(secret) if secret else None,
    )


def _shown(name: str) -> str:
    """A name that does nothing to a page, a terminal or a log but be read."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())[
        :MOST_OF_A_NAME
    ]


def is_safe_redirect(url: str) -> bool:
    """Whether a code may be sent there: encrypted, within the machine, or to an app (RFC 8252 section 7)."""
    parts = urlsplit(url)
    if len(url) > MOST_CHARACTERS or parts.fragment or parts.username or parts.password:
        return False
    if parts.scheme == "http":
        return parts.hostname in LOOPBACK
    return (
        bool(parts.scheme)
        and parts.scheme not in FORBIDDEN
        and (parts.scheme != "https" or bool(parts.hostname))
    )


class Registered(OAuthClientInformationFull):
    """A client as the SDK's endpoints know it; it gets our scopes whichever it asks for."""

    granted_scopes: list[str] = Field(default_factory=list, exclude=True)

    def validate_scope(self, requested_scope: str | None) -> list[str] | None:
        return self.granted_scopes

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        """One of those registered; a program's loopback port is another each time (RFC 8252 section 7.3)."""
        try:
            return super().validate_redirect_uri(redirect_uri)
        except InvalidRedirectUriError:
            own = {_without_port(str(each)) for each in self.redirect_uris or []}
            if redirect_uri is None or _without_port(str(redirect_uri)) not in own - {None}:
                raise
            return redirect_uri


def _without_port(url: str) -> tuple[Any, ...] | None:
    """What of a loopback address has to stay the same; None for others."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK or parts.username or parts.fragment:
        return None
    return parts.hostname, parts.path or "/", parts.query


def registered_as(client: Client, scopes: list[str]) -> Registered:
    return Registered.model_validate(
        {
            "client_id": client.id,
            "client_name": client.name,
            "redirect_uris": list(client.redirect_uris),
            "token_endpoint_auth_method": "none" if client.secret_digest is None else "client_secret_post",
            "granted_scopes": scopes,
        }
    )


class DigestAuthenticator(ClientAuthenticator):
    """A client's secret, in the form or by Basic authentication, against its digest."""

    def __init__(self, store: GrantStore, scopes: list[str]) -> None:
        self._store = store
        self._scopes = scopes

    async def authenticate_request(self, request: Request) -> OAuthClientInformationFull:
        """Raises `AuthenticationError`."""
        form = await request.form()
        name, secret = _offered(form.get("client_id"), form.get("client_secret"), request)
        client = self._store.current().clients.get(name)
        if client is None:
            raise AuthenticationError("this client is not registered, or not any more; register again")
        if client.secret_digest is not None and not hmac.compare_digest(
            digest_of(secret), client.secret_digest
        ):
            raise AuthenticationError("the client's secret is wrong")
        return registered_as(client, self._scopes)


async def naming_its_client(request: Request) -> Request:
    """The request with the client in the form, where the Basic authentication alone names it.

    The SDK's endpoint looks for it in the form, in which it may be missing (RFC 6749 section 2.3.1).
    Raises `AuthenticationError`.
    """
    form = await request.form()
    basic = _basic(request)
    if basic is None or "client_id" in form:
        return request
    body = urlencode([*form.multi_items(), ("client_id", basic[0])]).encode()
    return Request(request.scope, replayed(body, request.receive))


def _offered(name: Any, secret: Any, request: Request) -> tuple[str, str]:
    """Client and secret as they were sent. Raises `AuthenticationError`."""
    if basic := _basic(request):
        if name not in (None, basic[0]):
            raise AuthenticationError("the form and the Basic authentication name different clients")
        return basic
    return (name if isinstance(name, str) else "", secret if isinstance(secret, str) else "")


def _basic(request: Request) -> tuple[str, str] | None:
    """Name and secret of the Basic authentication, if there is one. Raises `AuthenticationError`."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        raise AuthenticationError("the Basic authentication cannot be read") from None
    return unquote(name), unquote(secret)
