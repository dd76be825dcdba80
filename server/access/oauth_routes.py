"""The endpoints of the built-in authorization server: the SDK's, and what it leaves out.

Invariant: the metadata names each way to authenticate that is understood, `none` among them, since products
that connect from elsewhere register without a secret.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.auth.handlers.authorize import AuthorizationHandler
from mcp.server.auth.handlers.metadata import MetadataHandler
from mcp.server.auth.handlers.register import RegistrationHandler
from mcp.server.auth.handlers.token import TokenHandler
from mcp.server.auth.middleware.client_auth import AuthenticationError, ClientAuthenticator
from mcp.server.auth.routes import (
    AUTHORIZATION_PATH,
    REGISTRATION_PATH,
    REVOCATION_PATH,
    TOKEN_PATH,
    build_metadata,
)
from mcp.server.auth.settings import ClientRegistrationOptions, RevocationOptions
from mcp.shared.auth import OAuthMetadata
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from server.access.addresses import address_of
from server.access.authorization import LOGIN_PATH, AuthorizationServer
from server.access.clients import naming_its_client
from server.access.gate import too_often
from server.access.login import LoginEndpoint, not_connected
from server.access.metadata import well_known
from server.access.rates import RateLimit

SERVER_PATH = "/.well-known/oauth-authorization-server"
# Where clients look for an issuer with a path of its own, when nothing else below its origin is ours.
OPENID_PATH = "/.well-known/openid-configuration"
METHODS = ["none", "client_secret_post", "client_secret_basic"]
OPEN_PATHS = frozenset((AUTHORIZATION_PATH, TOKEN_PATH, REGISTRATION_PATH, REVOCATION_PATH, LOGIN_PATH))
FORM = "application/x-www-form-urlencoded"
# Registrations of one address: so many at once, so many a minute.
ONE_ADDRESS = (20, 10.0)
MOST_OF_REGISTRATION = 16 << 10
MOST_OF_WORDS = 500
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}

Handle = Callable[[Request], Awaitable[Response]]


def oauth_routes(
    server: AuthorizationServer, authenticator: ClientAuthenticator, login: LoginEndpoint, scopes: list[str]
) -> list[BaseRoute]:
    """The endpoints and their metadata."""
    registration = ClientRegistrationOptions(enabled=True, default_scopes=scopes)
    metadata = MetadataHandler(server_metadata(server.issuer, registration, scopes)).handle
    paths = [*well_known(SERVER_PATH, server.issuer), OPENID_PATH]
    return [
        *(Route(path, metadata, methods=["GET"]) for path in paths),
        Route(AUTHORIZATION_PATH, of_forms(Authorization(server).handle), methods=["GET", "POST"]),
        Route(TOKEN_PATH, of_forms(Exchange(server, authenticator).handle), methods=["POST"]),
        Route(REGISTRATION_PATH, Registration(server, registration).handle, methods=["POST"]),
        Route(REVOCATION_PATH, of_forms(Revocation(server, authenticator).handle), methods=["POST"]),
        Route(LOGIN_PATH, of_forms(login.handle), methods=["GET", "POST"]),
    ]


def of_forms(handle: Handle) -> Handle:
    """The endpoint for bodies of the one type that OAuth knows (RFC 6749, appendix B), and 415 for others."""

    async def handled(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "HEAD":  # which comes with GET, and the SDK would read a form for it
            return Response(None, 405, {"allow": "GET, POST"})
        if request.method != "GET" and kind != FORM:
            words = {"error": "invalid_request", "error_description": f"the body has to be {FORM}"}
            return JSONResponse(words, 415, NO_STORE)
        return await handle(request)

    return handled


def server_metadata(issuer: Any, registration: ClientRegistrationOptions, scopes: list[str]) -> OAuthMetadata:
    """RFC 8414; the SDK's, with what it does not say. The issuer is a text: as a URL it would end in `/`."""
    metadata = build_metadata(issuer, None, registration, RevocationOptions(enabled=True))
    return metadata.model_copy(
        update={
            "scopes_supported": scopes,
            "token_endpoint_auth_methods_supported": METHODS,
            "revocation_endpoint_auth_methods_supported": METHODS,
            "authorization_response_iss_parameter_supported": True,
        }
    )


class Authorization:
    """GET and POST /authorize: the SDK's, with words for a person where there is no client to tell."""

    def __init__(self, server: AuthorizationServer) -> None:
        self._server = server
        self._handler = AuthorizationHandler(server)

    async def handle(self, request: Request) -> Response:
        asked = request.query_params if request.method == "GET" else await request.form()
        name = asked.get("client_id")
        if isinstance(name, str) and await self._server.get_client(name) is None:
            return not_connected()
        return await self._handler.handle(request)


class Registration:
    """POST /register (RFC 7591), which anybody may: the SDK's, within bounds."""

    def __init__(self, server: AuthorizationServer, options: ClientRegistrationOptions) -> None:
        self._handler = RegistrationHandler(server, options)
        self._of_one = RateLimit(*ONE_ADDRESS)

    async def handle(self, request: Request) -> Response:
        # Before those of all together are counted: one address must not use them up.
        if wait_s := self._of_one.asked(address_of(request.scope)):
            return too_often(wait_s)
        if len(await request.body()) > MOST_OF_REGISTRATION:
            return _unregistered(f"a registration is larger than {MOST_OF_REGISTRATION} bytes", 413)
        response = await self._handler.handle(request)
        if response.status_code >= 400:
            # The SDK repeats in it what it was sent.
            told = json.loads(bytes(response.body))
            words = told.get("error_description") or ""
            return _unregistered(words, response.status_code, told["error"])
        response.headers.update(NO_STORE)
        return response


def _unregistered(words: str, status: int, error: str = "invalid_client_metadata") -> Response:
    return JSONResponse({"error": error, "error_description": words[:MOST_OF_WORDS]}, status, NO_STORE)


class Exchange:
    """POST /token: the SDK's, for clients of every way to authenticate."""

    def __init__(self, server: AuthorizationServer, authenticator: ClientAuthenticator) -> None:
        self._handler = TokenHandler(server, authenticator)

    async def handle(self, request: Request) -> Response:
        try:
            response: Response = await self._handler.handle(await naming_its_client(request))
        except AuthenticationError as error:
            return _unknown(error)
        return response


def _unknown(error: AuthenticationError) -> Response:
    return JSONResponse({"error": "invalid_client", "error_description": error.message}, 401, NO_STORE)


class Revocation:
    """POST /revoke (RFC 7009). The SDK's refuses clients without a secret."""

    def __init__(self, server: AuthorizationServer, authenticator: ClientAuthenticator) -> None:
        self._server = server
        self._authenticator = authenticator

    async def handle(self, request: Request) -> Response:
        try:
            client = await self._authenticator.authenticate_request(request)
        except AuthenticationError as error:
            return _unknown(error)
        token = (await request.form()).get("token")
        if not isinstance(token, str):
            return JSONResponse({"error": "invalid_request"}, 400, NO_STORE)
        await self._server.revoke(client.client_id, token)
        return Response(headers=NO_STORE)
