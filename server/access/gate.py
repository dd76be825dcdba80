"""Who may ask: each request is let in, or refused with 401, 403 or 429, before anything is done for it.

Invariant: what is not named open needs a credential, or a caller on this machine where nothing asks for
credentials; a path that nobody has thought of is closed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, BearerAuthBackend
from mcp.server.auth.provider import TokenVerifier, principal_components
from starlette.authentication import AuthCredentials
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.access.addresses import address_of, is_local
from server.access.browsers import Browsers
from server.access.key_set import KeysUnavailable
from server.access.origins import HEALTH_PATH, path_of
from server.access.rates import RateLimit
from server.health import READY_PATH
from server.metrics import METRICS_PATH
from server.status_parts import STATUS_PATH

log = structlog.get_logger()

WELL_KNOWN = "/.well-known/"
# For the operator, whose tools on this machine have no credentials.
OPERATORS = frozenset((READY_PATH, METRICS_PATH, STATUS_PATH))
CLOSED = (
    "this server answers the machine that it runs on and nobody else until its operator sets up access; "
    "see docs/security.md"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """Who is let in.

    Without a `verifier` nobody is asked for credentials: then callers of this machine are let in, and with
    `anybody` those from elsewhere too, but not to the operator's paths. `scopes` are what a credential needs.
    """

    verifier: TokenVerifier | None
    anybody: bool
    scopes: Sequence[str] = ()
    open_paths: frozenset[str] = frozenset()
    metadata_url: str | None = None
    browsers: Browsers | None = None

    def is_open(self, path: str) -> bool:
        return path == HEALTH_PATH or path in self.open_paths or path.startswith(WELL_KNOWN)


class Gate:
    """The policy at work, and the limit of requests by credential or address."""

    def __init__(self, app: ASGIApp, policy: Policy, limit: RateLimit | None) -> None:
        self._app = app
        self._policy = policy
        self._limit = limit
        self._backend = None if policy.verifier is None else BearerAuthBackend(policy.verifier)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            known = await self._known(scope)
            refusal = self._too_often(scope, known) or self._refusal(scope, known)
        except KeysUnavailable as error:
            refusal = PlainTextResponse(f"tokens cannot be checked now: {error}", 503, {"retry-after": "30"})
        await (refusal or self._app)(scope, receive, send)

    async def _known(self, scope: Scope) -> "Known | None":
        """The caller, as sessions and tools know it; None without a valid credential."""
        # What is open must stay so while credentials cannot be checked.
        if self._backend is None or self._policy.is_open(path_of(scope)):
            return None
        known: Known | None = await self._backend.authenticate(HTTPConnection(scope))
        if known is None and self._policy.browsers:
            known = await self._policy.browsers.known(scope)
        if known is not None:
            scope["auth"], scope["user"] = known
        return known

    def _too_often(self, scope: Scope, known: "Known | None") -> Response | None:
        """What has no valid credential is counted by address, so that nobody can use up another's share."""
        if self._limit is None or path_of(scope) == HEALTH_PATH or is_local(scope):
            return None
        wait_s = self._limit.asked(address_of(scope) if known is None else _principal(known))
        return too_often(wait_s) if wait_s else None

    def _refusal(self, scope: Scope, known: "Known | None") -> Response | None:
        policy, path = self._policy, path_of(scope)
        if policy.is_open(path):
            return None
        if policy.verifier is None:
            anybody = policy.anybody and path not in OPERATORS
            return None if anybody or is_local(scope) else PlainTextResponse(CLOSED, 403)
        if path in OPERATORS and is_local(scope):
            return None
        if known is None:
            offered = any(name == b"authorization" for name, _ in scope["headers"])
            log.debug("credential refused", address=address_of(scope), path=ascii(path), offered=offered)
            question = self._policy.browsers.question(scope) if self._policy.browsers else None
            return question or self._unauthorized(offered)
        missing = [needed for needed in policy.scopes if needed not in known[0].scopes]
        return self._insufficient() if missing else None

    def _unauthorized(self, offered: bool) -> Response:
        """401; the error has a name only where a credential was offered (RFC 6750 section 3.1)."""
        words = "the token is unknown, expired or revoked" if offered else "a bearer token is needed"
        return self._challenge(401, "invalid_token" if offered else None, words)

    def _insufficient(self) -> Response:
        return self._challenge(403, "insufficient_scope", f"needed: {' '.join(self._policy.scopes)}")

    def _challenge(self, status: int, error: str | None, words: str) -> Response:
        parts = {"realm": "tapedeck", "error": error, "error_description": words if error else None}
        parts |= {"scope": " ".join(self._policy.scopes), "resource_metadata": self._policy.metadata_url}
        shown = ", ".join(f'{name}="{value}"' for name, value in parts.items() if value)
        body = {"error": error or "unauthorized", "error_description": words}
        return JSONResponse(body, status, {"www-authenticate": f"Bearer {shown}"})


Known = tuple[AuthCredentials, AuthenticatedUser]


def too_often(wait_s: float) -> Response:
    seconds = math.ceil(wait_s)
    words = f"too many requests; ask again in {seconds} s"
    return PlainTextResponse(words, 429, {"retry-after": str(seconds)})


def _principal(known: Known) -> str:
    return repr(principal_components(known[1].access_token))
