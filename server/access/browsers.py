"""A browser's way to the pages, which the links of search results lead to: a token as the password.

Invariant: only what is read by GET below /pages, and only with a static token; a browser sends what it was
given once with requests that other pages begin, and with these nothing can be changed or opened.
"""

import base64

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.authentication import AuthCredentials
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from server.access.origins import path_of
from server.access.verifiers import StaticTokens
from server.site import PAGES_PATH

CHALLENGE = {"www-authenticate": 'Basic realm="tapedeck", charset="UTF-8"'}


class Browsers:
    """HTTP Basic authentication (RFC 7617), where it is taken; the user's name may be any."""

    def __init__(self, tokens: StaticTokens) -> None:
        self._tokens = tokens

    async def known(self, scope: Scope) -> tuple[AuthCredentials, AuthenticatedUser] | None:
        offered = _password(Headers(scope=scope).get("authorization", "")) if _is_page(scope) else None
        token = None if offered is None else await self._tokens.verify_token(offered)
        return None if token is None else (AuthCredentials(token.scopes), AuthenticatedUser(token))

    def question(self, scope: Scope) -> Response | None:
        """What makes a browser ask its user; None for other programs, and where a credential came."""
        headers = Headers(scope=scope)
        if not _is_page(scope) or "authorization" in headers or "text/html" not in headers.get("accept", ""):
            return None
        return PlainTextResponse("a token is needed, as the password; any user name does", 401, CHALLENGE)


def _is_page(scope: Scope) -> bool:
    return scope["method"] in ("GET", "HEAD") and f"{path_of(scope)}/".startswith(f"{PAGES_PATH}/")


def _password(authorization: str) -> str | None:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return None
