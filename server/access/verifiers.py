"""Whose a bearer token is, by whichever knows it: static tokens, the built-in server, an identity provider.

Invariant: the principal of a token never changes: sessions are bound to it, and limits are counted by it.
"""

from collections.abc import Sequence

from mcp.server.auth.provider import AccessToken, TokenVerifier

from server.access.token_file import TokensInForce
from server.access.tokens import holder

# What stands for the issuer of static tokens; no identity provider can have it.
STATIC = "tapedeck:tokens"


class StaticTokens(TokenVerifier):
    """The named tokens of the operator; each has every scope."""

    def __init__(self, tokens: TokensInForce, scopes: Sequence[str] = ()) -> None:
        self._tokens = tokens
        self._scopes = list(scopes)

    async def verify_token(self, token: str) -> AccessToken | None:
        known = holder(token, self._tokens.current)
        if known is None:
            return None
        # Another token under the same name is another credential.
        return AccessToken(
            token="",
            client_id=known.name,
            scopes=self._scopes,
            subject=known.digest.hex(),
            claims={"iss": STATIC},
        )


class FirstOf(TokenVerifier):
    """The first that knows the token; each is asked until then."""

    def __init__(self, verifiers: Sequence[TokenVerifier]) -> None:
        self._verifiers = verifiers

    async def verify_token(self, token: str) -> AccessToken | None:
        for verifier in self._verifiers:
            if known := await verifier.verify_token(token):
                return known
        return None
