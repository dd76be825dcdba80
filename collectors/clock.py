"""The clock that a recorder goes by: the world's, or one that tests let run faster.

Invariant: whatever waits in `collectors/` waits by the clock that it was given.
"""

from typing import Protocol


class Clock(Protocol):
    """UTC milliseconds, and a sleep of so many of its seconds."""

    def __call__(self) -> int: ...
    async def sleep(self, seconds: float) -> None: ...
