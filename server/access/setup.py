"""Access control as the settings have it, in the parts that an app is composed of.

Invariant: what is wrong with it refuses the start, and what is open to anybody is said in the log.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from mcp.server.auth.provider import TokenVerifier
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from server.access.bodies import BodyLimit
from server.access.gate import Gate, Policy
from server.access.identity import ProviderTokens
from server.access.key_set import KeySet
from server.access.metadata import metadata_url, resource_routes
from server.access.origins import origin_checks
from server.access.rates import RateLimit
from server.access.token_file import TokensInForce
from server.access.tokens import TokenUnusable, named_tokens
from server.access.verifiers import FirstOf, StaticTokens
from server.bounds import Bounds
from server.settings import PREFIX, ConfigurationInvalid, Settings, is_loopback

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Access:
    """What an app adds to be accessible to some and not to others."""

    middleware: list[Middleware]
    routes: list[BaseRoute]
    tokens: TokensInForce

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """SIGHUP reads the tokens again within this; signals come to the main thread alone."""
        loop = asyncio.get_running_loop()
        hearing = threading.current_thread() is threading.main_thread()
        if hearing:
            with suppress(NotImplementedError):  # Windows has no SIGHUP
                loop.add_signal_handler(signal.SIGHUP, self.tokens.reload)
        try:
            yield
        finally:
            if hearing:
                with suppress(NotImplementedError):
                    loop.remove_signal_handler(signal.SIGHUP)


def access_of(settings: Settings, security: TransportSecuritySettings, bounds: Bounds) -> Access:
    """Raises `ConfigurationInvalid` for tokens that cannot be used."""
    tokens = tokens_in_force(settings)
    verifiers: list[TokenVerifier] = []
    routes: list[BaseRoute] = []
    scopes = settings.oauth_scopes
    if settings.has_tokens:
        verifiers.append(StaticTokens(tokens, scopes))
    if settings.oauth_issuer:
        keys = KeySet(settings.oauth_issuer, settings.oauth_jwks_url)
        verifiers.append(ProviderTokens(settings.oauth_issuer, settings.audiences, keys))
        routes += resource_routes(settings.resource_url, settings.oauth_issuer, scopes)
    policy = Policy(
        FirstOf(verifiers) if verifiers else None,
        settings.insecure_listen,
        scopes,
        metadata_url=metadata_url(settings.resource_url) if settings.oauth_issuer else None,
    )
    limit = RateLimit(settings.rate_limit, settings.rate_limit) if settings.rate_limit else None
    _tell(settings, policy)
    return Access(
        middleware=[
            *origin_checks(security, settings.answered_origins),
            Middleware(Gate, policy, limit),
            Middleware(BodyLimit, bounds),
        ],
        routes=routes,
        tokens=tokens,
    )


def tokens_in_force(settings: Settings) -> TokensInForce:
    """The tokens of both settings. Raises `ConfigurationInvalid`."""
    try:
        return TokensInForce(named_tokens(settings.given_tokens), settings.auth_tokens_file)
    except TokenUnusable as error:
        raise ConfigurationInvalid(f"{PREFIX}AUTH_TOKENS_FILE: {error}") from error


def _tell(settings: Settings, policy: Policy) -> None:
    if policy.verifier is None and policy.anybody:
        log.warning("anybody who reaches the port may ask", setting=f"{PREFIX}INSECURE_LISTEN")
    encrypted = (settings.public_url or "").startswith("https://")
    if policy.verifier is not None and not encrypted and not is_loopback(settings.host):
        log.warning("tokens travel unencrypted unless a proxy is in front", setting=f"{PREFIX}PUBLIC_URL")
