"""The built-in authorization server: the SDK's endpoints ask it, a person with the passphrase decides.

Invariant: a token is given out only once it is on disk; a code is good for one exchange within two minutes,
and one that is offered again ends what it led to. So does a refresh token, but moments after its exchange.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    AuthorizeError,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    RegistrationError,
    TokenError,
    TokenVerifier,
    construct_redirect_uri,
)
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from server.access import grants
from server.access.addresses import canonical
from server.access.clients import client_of, registered_as
from server.access.grant_store import GrantStore
from server.access.grants import ACCESS, ACCESS_S, REFRESH, Grants, Issued
from server.access.rates import RateLimit
from server.access.short_lived import ShortLived

log = structlog.get_logger()

LOGIN_PATH = "/login"
LOGIN_S = 600
CODE_S = 120
# An answer may be lost on the way, and a client may refresh twice at once.
AGAIN_S = 30
# Of all together: a flood neither wears the disk nor soon pushes out who has just registered.
REGISTRATIONS = (60, 30.0)
EVERYBODY = "all"
# Base64 of a SHA-256 digest, as PKCE's S256 has it.
CHALLENGE_CHARACTERS = 43
# What waits in memory for an answer is small, and of no client many.
MOST_OF_STATE = 2_048
MOST_OF_RESOURCE = 500
MOST_LOGINS = 20

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Login:
    """What a client asks for, until its owner has decided."""

    client: OAuthClientInformationFull
    params: AuthorizationParams

    @property
    def redirect(self) -> str:
        return str(self.params.redirect_uri)


class AuthorizationServer(
    OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken], TokenVerifier
):
    """Clients, codes and tokens of one server; `now_s` is the wall clock."""

    def __init__(self, issuer: str, store: GrantStore, scopes: list[str], now_s: Callable[[], float]) -> None:
        self.issuer = issuer
        self._store = store
        self._scopes = scopes
        self._now_s = now_s
        self.logins: ShortLived[Login] = ShortLived(LOGIN_S, now_s)
        self._codes: ShortLived[AuthorizationCode] = ShortLived(CODE_S, now_s)
        self._registrations = RateLimit(*REGISTRATIONS)
        # Codes that were exchanged, with the grant that came of it.
        self._spent: ShortLived[str] = ShortLived(10 * CODE_S, now_s)
        # What was given for refresh tokens just now, by the token that was offered.
        self._renewed: ShortLived[Issued] = ShortLived(AGAIN_S, now_s)
        # A token must not look used between being so on disk and in memory.
        self._renewing = asyncio.Lock()

    # Clients

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        client = self._store.current().clients.get(client_id)
        return None if client is None else registered_as(client, self._scopes)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        """Raises `RegistrationError`."""
        if wait_s := self._registrations.asked(EVERYBODY):
            raise RegistrationError(
                "invalid_client_metadata", f"too many at once; try again in {wait_s:.0f} s"
            )
        now_s = int(self._now_s())
        client = client_of(client_info, now_s)
        try:
            await self._change(lambda state: (grants.registered(state, client, now_s), None))
        except grants.NoRoom as error:
            raise RegistrationError("invalid_client_metadata", str(error)) from error
        log.info("client registered", client=client.id, name=client.name, redirects=client.redirect_uris)

    # A person decides

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        """The page that asks for the passphrase. Raises `AuthorizeError`."""
        if len(params.state or "") > MOST_OF_STATE or len(params.resource or "") > MOST_OF_RESOURCE:
            most = f"{MOST_OF_STATE} and {MOST_OF_RESOURCE} characters"
            raise AuthorizeError("invalid_request", f"state and resource may have {most}")
        if params.resource is not None and not self._is_own(params.resource):
            raise AuthorizeError("invalid_target", f"this server gives tokens for {self.issuer} alone")
        if len(params.code_challenge) != CHALLENGE_CHARACTERS:
            raise AuthorizeError("invalid_request", "code_challenge is no SHA-256 digest in base64url")
        secret = self.logins.put(Login(client, params))
        # The oldest go, so that a flood of requests keeps nobody from the one just begun.
        self.logins.thin(MOST_LOGINS, lambda login: login.client.client_id == client.client_id)
        return f"{self.issuer}{LOGIN_PATH}?request={secret}"

    def allow(self, login: Login) -> str:
        """Where the browser goes with a new code."""
        params = login.params
        code = self._codes.put(
            AuthorizationCode(
                code="",
                scopes=self._scopes,
                expires_at=self._now_s() + CODE_S,
                client_id=login.client.client_id,
                code_challenge=params.code_challenge,
                redirect_uri=params.redirect_uri,
                redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
                resource=self.issuer,
            )
        )
        return construct_redirect_uri(login.redirect, code=code, state=params.state, iss=self.issuer)

    def deny(self, login: Login) -> str:
        return construct_redirect_uri(
            login.redirect, error="access_denied", state=login.params.state, iss=self.issuer
        )

    # Codes

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        if (led_to := self._spent.get(authorization_code)) is not None:
            log.warning("code offered again", client=client.client_id, ended=led_to)
            await self._change(lambda state: (grants.revoked(state, [led_to]), None))
            return None
        code = self._codes.get(authorization_code)
        return None if code is None else code.model_copy(update={"code": authorization_code})

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        """Raises `TokenError`."""
        if self._codes.take(authorization_code.code) is None:
            raise TokenError("invalid_grant", "the code was used already")
        now_s = int(self._now_s())
        issued = await self._change(lambda state: grants.granted(state, client.client_id, now_s))
        if issued is None:
            raise TokenError("invalid_grant", "the client is not registered any more")
        self._spent.keep(authorization_code.code, issued.grant_id)
        log.info("access granted", client=client.client_id, name=client.client_name, grant=issued.grant_id)
        return self._told(issued)

    # Tokens

    async def load_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: str
    ) -> RefreshToken | None:
        now_s = int(self._now_s())
        async with self._renewing:
            state = self._store.current()
            grant = grants.grant_of(state, refresh_token, REFRESH)
            if grant is None or grant.client_id != client.client_id:
                return None
            if self._given_again(refresh_token) or grants.valid(state, refresh_token, REFRESH, now_s):
                return RefreshToken(token=refresh_token, client_id=grant.client_id, scopes=self._scopes)
            if grants.used_before_of(state, refresh_token):
                log.warning("refresh token offered again", client=client.client_id, ended=grant.id)
                await self._change(lambda state: grants.refreshed(state, refresh_token, now_s))
            return None

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        """The same once more within `AGAIN_S`. Raises `TokenError`."""
        offered, now_s = refresh_token.token, int(self._now_s())
        async with self._renewing:
            if (issued := self._given_again(offered)) is not None:
                return self._told(issued)
            issued = await self._change(lambda state: grants.refreshed(state, offered, now_s))
            if issued is None:
                raise TokenError("invalid_grant", "the refresh token was used already")
            self._renewed.keep(offered, issued)
        return self._told(issued)

    def _given_again(self, offered: str) -> Issued | None:
        """What was given for the token moments ago, unless that was exchanged in its turn, or ended."""
        issued = self._renewed.get(offered)
        now_s = int(self._now_s())
        present = issued and grants.valid(self._store.current(), issued.refresh, REFRESH, now_s)
        return issued if present else None

    async def load_access_token(self, token: str) -> AccessToken | None:
        grant = grants.valid(self._store.current(), token, ACCESS, int(self._now_s()))
        if grant is None:
            return None
        return AccessToken(
            token="",
            client_id=grant.client_id,
            scopes=self._scopes,
            resource=self.issuer,
            # The same for each next token, so that a session outlives them.
            subject=grant.id,
            claims={"iss": self.issuer},
        )

    async def verify_token(self, token: str) -> AccessToken | None:
        return await self.load_access_token(token)

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        """Its grant ends, with both tokens. Of an access token the grant is the subject."""
        if isinstance(token, RefreshToken):
            await self.revoke(token.client_id, token.token)
        elif token.subject is not None:
            await self._end(token.client_id, token.subject)

    async def revoke(self, client_id: str, token: str) -> None:
        """End the grant of a token of this client's; what is no such token changes nothing."""
        state, now_s = self._store.current(), int(self._now_s())
        found = (grants.valid(state, token, kind, now_s) for kind in (ACCESS, REFRESH))
        if grant := next((each for each in found if each and each.client_id == client_id), None):
            await self._end(client_id, grant.id)

    async def _end(self, client_id: str, grant_id: str) -> None:
        await self._change(lambda state: (grants.revoked(state, [grant_id]), None))
        log.info("access revoked", client=client_id, grant=grant_id)

    async def _change(self, step: Callable[[Grants], tuple[Grants, R]]) -> R:
        """One step on disk, off the event loop."""
        return await asyncio.to_thread(self._store.change, step)

    def _told(self, issued: Issued) -> OAuthToken:
        return OAuthToken(
            access_token=issued.access,
            refresh_token=issued.refresh,
            expires_in=ACCESS_S,
            scope=" ".join(self._scopes),
        )

    def _is_own(self, resource: str) -> bool:
        try:
            named = canonical(resource)
        except ValueError:
            return False
        return named == self.issuer or named.startswith(f"{self.issuer}/")
