"""Which names the server answers to, and which web pages may ask it.

Invariant: no path but /healthz answers a foreign Host or Origin, preflight included; a page of this machine
may ask only a server that was called by a loopback name.
"""

from collections.abc import Sequence

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access.addresses import LOOPBACK_HOST

HEALTH_PATH = "/healthz"
LOOPBACK_ORIGIN = r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
READABLE = ["Mcp-Session-Id", "MCP-Protocol-Version", "WWW-Authenticate", "Retry-After"]
METHODS = ["GET", "POST", "DELETE", "OPTIONS"]
PREFLIGHT_S = 600


def path_of(scope: Scope) -> str:
    """The path without the prefix that a proxy put before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


class Origins:
    """421 for a foreign Host, 403 for a foreign Origin, on every path."""

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings, named: Sequence[str]) -> None:
        self._app = app
        self._guard = TransportSecurityMiddleware(security)
        self._named = frozenset(named)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path_of(scope) == HEALTH_PATH:
            await self._app(scope, receive, send)
            return
        scope = _with_lowered_host(scope)
        request = Request(scope)
        refusal = await self._guard.validate_request(request) or self._refusal_of_a_page(request)
        await (refusal or self._app)(scope, receive, send)

    def _refusal_of_a_page(self, request: Request) -> Response | None:
        """Of a page from this machine's loopback that asks a server elsewhere."""
        origin = request.headers.get("origin", "")
        if not origin or origin in self._named or LOOPBACK_HOST.fullmatch(request.headers.get("host", "")):
            return None
        return PlainTextResponse("Invalid Origin header", 403)


def _with_lowered_host(scope: Scope) -> Scope:
    """Names of hosts are the same in any case; browsers lower them, other programs need not."""
    headers = [(name, value.lower() if name == b"host" else value) for name, value in scope["headers"]]
    return {**scope, "headers": headers}


def origin_checks(security: TransportSecuritySettings, named: Sequence[str]) -> list[Middleware]:
    """The checks, and what a browser must be told for pages that pass them."""
    return [
        Middleware(Origins, security, named),
        Middleware(
            CORSMiddleware,
            allow_origins=list(named),
            allow_origin_regex=LOOPBACK_ORIGIN,
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=READABLE,
            max_age=PREFLIGHT_S,
        ),
    ]
