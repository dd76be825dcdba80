"""Named bearer tokens, kept as SHA-256 digests.

Invariant: a token that is offered is compared with every one there is, each time in full; how long that takes
says neither which it is nor how near it came. No message holds a token.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# 24 characters of base64 are 144 bits, of hexadecimal digits 96.
LEAST_CHARACTERS = 24
# A pattern that a person types repeatedly has fewer.
LEAST_DISTINCT = 8
NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
NAMED = re.compile(rf"({NAME.pattern})=(.*)", re.DOTALL)
WRITTEN = re.compile(r"[!-~]+")


class TokenUnusable(ValueError):
    """A token that must not be used; says which by its name and place."""


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A token of which only the digest is kept."""

    name: str
    digest: bytes = field(repr=False)


def new_token() -> str:
    """256 random bits, in characters that need no quoting anywhere."""
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def named_tokens(entries: Sequence[str]) -> tuple[NamedToken, ...]:
    """The tokens of `name=token` each; one without a name is called by its place. Raises `TokenUnusable`."""
    return distinct(_named(entry, place) for place, entry in enumerate(entries, 1))


def distinct(tokens: Iterable[NamedToken]) -> tuple[NamedToken, ...]:
    """The same tokens. Raises `TokenUnusable` where two share a name, or a token."""
    kept: dict[str, NamedToken] = {}
    for token in tokens:
        if token.name in kept:
            raise TokenUnusable(f"two tokens are named {token.name!r}; each person or program has a name")
        if any(token.digest == other.digest for other in kept.values()):
            raise TokenUnusable(f"token {token.name!r} is another's too; make one with `tapedeck token`")
        kept[token.name] = token
    return tuple(kept.values())


def holder(offered: str, tokens: Sequence[NamedToken]) -> NamedToken | None:
    """The token that was offered, if it is one of them."""
    digest, found = digest_of(offered), None
    for token in tokens:
        if hmac.compare_digest(digest, token.digest):
            found = token
    return found


def _named(entry: str, place: int) -> NamedToken:
    match = NAMED.fullmatch(entry)
    # The padding of base64 is no name before an equals sign.
    name, token = (match[1], match[2]) if match and match[2].strip("=") else (f"token{place}", entry)
    if not WRITTEN.fullmatch(token):
        raise TokenUnusable(f"token {name!r} should have visible ASCII characters alone")
    if len(token) < LEAST_CHARACTERS or len(set(token)) < LEAST_DISTINCT:
        raise TokenUnusable(
            f"token {name!r} is too easily guessed: it should have at least {LEAST_CHARACTERS} characters, "
            f"{LEAST_DISTINCT} of them different; make one with `tapedeck token`"
        )
    return NamedToken(name, digest_of(token))
