"""A turn of the event loop and its end: long work without I/O lets others have theirs.

Invariant: nobody waits longer than a turn and one step of whoever gives way.
"""

import asyncio

# The event loop is given away after so long.
TURN_S = 0.002


class Turn:
    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ends_s = self._loop.time() + TURN_S

    async def give_way(self) -> None:
        """Let others have their turn where this one has been long enough."""
        if self._loop.time() > self._ends_s:
            await asyncio.sleep(0)
            self._ends_s = self._loop.time() + TURN_S
