"""Access control as the settings have it, in the parts that an app is composed of.

Invariant: what is wrong with it refuses the start, and what is open to anybody is said in the log.
"""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from mcp.server.auth.provider import TokenVerifier
from mcp.server.transport_security import TransportSecuritySettings
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from server.access.addresses import is_loopback
from server.access.authorization import AuthorizationServer
from server.access.bodies import BodyLimit
from server.access.browsers import Browsers
from server.access.clients import DigestAuthenticator
from server.access.gate import Gate, Policy
from server.access.grant_store import GrantStore, StoreDamaged
from server.access.identity import ProviderTokens
from server.access.key_set import KeySet
from server.access.login import LoginEndpoint
from server.access.metadata import metadata_url, resource_routes
from server.access.oauth_routes import OPEN_PATHS, oauth_routes
from server.access.origins import origin_checks
from server.access.passphrase import Passphrase, is_hash, new_passphrase, parsed
from server.access.rates import RateLimit
from server.access.token_file import TokensInForce
from server.access.tokens import TokenUnusable, named_tokens
from server.access.verifiers import FirstOf, StaticTokens
from server.bounds import Bounds
from server.settings import PREFIX, ConfigurationInvalid, Settings

log = structlog.get_logger()

# What the built-in server allows; there is nothing but reading.
SCOPE = "tape:read"


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
        # Without a file a hangup ends the process, as it does when a terminal is closed.
        if not self.tokens.has_file or threading.current_thread() is not threading.main_thread():
            yield
            return
        loop.add_signal_handler(signal.SIGHUP, self.tokens.reload)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGHUP)


def access_of(
    settings: Settings, security: TransportSecuritySettings, bounds: Bounds, clock: Callable[[], int]
) -> Access:
    """Raises `ConfigurationInvalid` for what cannot be used; the clock is the world's, in milliseconds."""
    tokens = tokens_in_force(settings)
    scopes = settings.oauth_scopes or ([SCOPE] if settings.oauth_passphrase else [])
    oauth = _oauth(settings, scopes, clock)
    static = StaticTokens(tokens, scopes) if settings.has_tokens else None
    verifiers: list[TokenVerifier] = [static] if static else []
    verifiers += [oauth.verifier] if oauth else []
    policy = Policy(
        FirstOf(verifiers) if verifiers else None,
        settings.insecure_listen,
        scopes,
        open_paths=OPEN_PATHS if settings.oauth_passphrase else frozenset(),
        metadata_url=metadata_url(settings.resource_url) if oauth else None,
        browsers=Browsers(static) if static else None,
    )
    limit = RateLimit(settings.rate_limit, settings.rate_limit) if settings.rate_limit else None
    _tell(settings, policy)
    return Access(
        middleware=[
            *origin_checks(security, settings.answered_origins),
            Middleware(Gate, policy, limit),
            Middleware(BodyLimit, bounds),
        ],
        routes=oauth.routes if oauth else [],
        tokens=tokens,
    )


@dataclass(frozen=True, slots=True)
class _OAuth:
    """Whose tokens are taken, and the endpoints that say so or give them out."""

    verifier: TokenVerifier
    routes: list[BaseRoute]


def _oauth(settings: Settings, scopes: list[str], clock: Callable[[], int]) -> _OAuth | None:
    """By an outside provider, or built in."""
    resource = settings.resource_url
    if issuer := settings.oauth_issuer:
        keys = KeySet(issuer, settings.oauth_jwks_url)
        verifier = ProviderTokens(issuer, settings.audiences, keys)
        return _OAuth(verifier, resource_routes(resource, issuer, scopes))
    if secret := settings.oauth_passphrase:
        store = opened_store(settings.data_dir)
        server = AuthorizationServer(resource, store, scopes, lambda: clock() / 1000)
        login = LoginEndpoint(server, passphrase_of(secret.get_secret_value()))
        own = oauth_routes(server, DigestAuthenticator(store, scopes), login, scopes)
        return _OAuth(server, [*resource_routes(resource, resource, scopes), *own])
    return None


def passphrase_of(written: str) -> Passphrase:
    """The passphrase of the setting, which has it or its hash."""
    return parsed(written) if is_hash(written) else new_passphrase(written)


def opened_store(data_dir: Path) -> GrantStore:
    """What was allowed before. Raises `ConfigurationInvalid`."""
    try:
        return GrantStore(data_dir)
    except StoreDamaged as error:
        raise ConfigurationInvalid(f"{PREFIX}DATA_DIR: {error}") from error


def tokens_in_force(settings: Settings) -> TokensInForce:
    """The tokens of both settings. Raises `ConfigurationInvalid`."""
    try:
        return TokensInForce(named_tokens(settings.given_tokens), settings.auth_tokens_file)
    except TokenUnusable as error:
        raise ConfigurationInvalid(f"{PREFIX}AUTH_TOKENS_FILE: {error}") from error


def _tell(settings: Settings, policy: Policy) -> None:
    if policy.verifier is None and policy.anybody:
        log.warning("anybody who reaches the port may ask", setting=f"{PREFIX}INSECURE_LISTEN")
    if settings.public_url and not settings.trusted_proxies:
        log.warning(
            "whoever comes through the proxy counts as one caller",
            setting=f"{PREFIX}TRUSTED_PROXIES",
            otherwise="a proxy that adds no header makes its callers look local to /status and /metrics",
        )
    encrypted = (settings.public_url or "").startswith("https://")
    if policy.verifier is not None and not encrypted and not is_loopback(settings.host):
        log.warning("tokens travel unencrypted unless a proxy is in front", setting=f"{PREFIX}PUBLIC_URL")
