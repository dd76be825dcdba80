"""What is waited for during minutes, under secrets that nobody can guess: logins under way, codes.

Invariant: memory is bounded; what has expired is gone, and of too many the oldest goes first. The secrets
themselves are not kept.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from server.access.tokens import digest_of

V = TypeVar("V")


class ShortLived(Generic[V]):
    """Values by the digest of a secret."""

    def __init__(self, life_s: float, clock: Callable[[], float], most: int = 1_000) -> None:
        self._life_s = life_s
        self._clock = clock
        self._most = most
        self._held: OrderedDict[bytes, tuple[float, V]] = OrderedDict()

    def put(self, value: V) -> str:
        """A new secret, of 256 bits."""
        secret = secrets.token_urlsafe(32)
        self.keep(secret, value)
        return secret

    def keep(self, secret: str, value: V) -> None:
        self._held[digest_of(secret)] = self._clock() + self._life_s, value
        self._forget()

    def get(self, secret: str) -> V | None:
        self._forget()
        held = self._held.get(digest_of(secret))
        return None if held is None else held[1]

    def take(self, secret: str) -> V | None:
        """The value, for the only time."""
        self._forget()
        held = self._held.pop(digest_of(secret), None)
        return None if held is None else held[1]

    def thin(self, most: int, alike: Callable[[V], bool]) -> None:
        """Keep of such values the newest alone."""
        found = [digest for digest, (_, value) in self._held.items() if alike(value)]
        for digest in found[: max(0, len(found) - most)]:
            del self._held[digest]

    def _forget(self) -> None:
        while self._held:
            until, _ = next(iter(self._held.values()))
            if until > self._clock() and len(self._held) <= self._most:
                return
            self._held.popitem(last=False)
