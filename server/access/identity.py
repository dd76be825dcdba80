"""Access tokens of an outside identity provider: JWTs, verified by its public keys (RFC 9068).

Invariant: a token counts only where its signature is asymmetric and the provider's, and issuer, audience and
times are right. No message holds a token.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jwt
import structlog
from mcp.server.auth.provider import AccessToken, TokenVerifier

from server.access.key_set import KeySet

log = structlog.get_logger()

ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
]
# Between the provider's clock and ours.
LEEWAY_S = 30
MOST_CHARACTERS = 16_384


class ProviderTokens(TokenVerifier):
    """The tokens that one issuer made for this server."""

    def __init__(self, issuer: str, audiences: Sequence[str], keys: KeySet) -> None:
        self._issuer = issuer
        self._audiences = list(audiences)
        self._keys = keys

    async def verify_token(self, token: str) -> AccessToken | None:
        """Raises `KeysUnavailable`."""
        try:
            claims = await self._claims(token)
        # A header nested deeply enough is a recursion to the JSON parser.
        except (jwt.PyJWTError, RecursionError) as error:
            log.debug("token refused", reason=type(error).__name__)
            return None
        subject = claims.get("sub")
        client = claims.get("azp") or claims.get("client_id") or subject
        return AccessToken(
            token="",
            client_id=str(client),
            scopes=scopes_of(claims),
            subject=None if subject is None else str(subject),
            claims={"iss": self._issuer},
        )

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > MOST_CHARACTERS:
            raise jwt.InvalidTokenError
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError
        key = await self._keys.key(header.get("kid"))
        if key is None:
            raise jwt.InvalidKeyError
        return jwt.decode(
            token,
            # A key that names its algorithm is for that one alone.
            jwt.PyJWK(key, key.get("alg", algorithm)),
            algorithms=ALGORITHMS,
            audience=self._audiences,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud"]},
        )


def scopes_of(claims: dict[str, Any]) -> list[str]:
    """The scopes, as the standard has them or as Microsoft and Okta write them."""
    scopes = claims.get("scope", claims.get("scp", ""))
    if isinstance(scopes, str):
        return scopes.split()
    return [str(scope) for scope in scopes] if isinstance(scopes, Iterable) else []
