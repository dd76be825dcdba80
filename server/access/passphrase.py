"""The passphrase of the built-in authorization server, and its hash for a settings' file.

Invariant: a comparison costs 32 MB and a tenth of a second at least, and takes as long whatever is offered.
"""

import base64
import hashlib
import hmac
import secrets
import unicodedata
from dataclasses import dataclass, field

SCHEME = "scrypt"
COST = 1 << 15
COSTS = (COST, COST * 2, COST * 4)
BLOCK = 8
MOST_MEMORY = 256 * BLOCK * COST
LEAST_CHARACTERS = 12
MOST_CHARACTERS = 1024


class PassphraseUnusable(ValueError):
    """A passphrase that must not be used; never says it."""


@dataclass(frozen=True, slots=True)
class Passphrase:
    """What is needed to recognise it."""

    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    cost: int = COST

    def matches(self, offered: str) -> bool:
        return hmac.compare_digest(_digest(offered[:MOST_CHARACTERS], self.salt, self.cost), self.digest)

    def __str__(self) -> str:
        """As it is written into the settings; without characters that mean something to a shell."""
        return ":".join((SCHEME, str(self.cost), *(_text(part) for part in (self.salt, self.digest))))


def new_passphrase(written: str) -> Passphrase:
    """The hash of a passphrase. Raises `PassphraseUnusable` for one that is too short."""
    check(written)
    salt = secrets.token_bytes(16)
    return Passphrase(salt, _digest(written, salt, COST))


def check(written: str) -> None:
    if not LEAST_CHARACTERS <= len(written) <= MOST_CHARACTERS:
        raise PassphraseUnusable(f"the passphrase should have at least {LEAST_CHARACTERS} characters")


def is_hash(written: str) -> bool:
    return written.startswith(f"{SCHEME}:")


def parsed(written: str) -> Passphrase:
    """The hash as it was written. Raises `PassphraseUnusable`."""
    try:
        _, cost, salt, digest = written.split(":")
        found = Passphrase(_octets(salt), _octets(digest), int(cost))
    except ValueError:
        raise PassphraseUnusable("the hash should be one that `tapedeck access hash` writes") from None
    if len(found.digest) != 32 or len(found.salt) < 16 or found.cost not in COSTS:
        raise PassphraseUnusable("the hash should be one that `tapedeck access hash` writes")
    return found


def _digest(passphrase: str, salt: bytes, cost: int) -> bytes:
    # The same letters, however a keyboard composes them.
    octets = unicodedata.normalize("NFKC", passphrase).encode()
    return hashlib.scrypt(octets, salt=salt, n=cost, r=BLOCK, p=1, maxmem=4 * MOST_MEMORY, dklen=32)


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _octets(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
