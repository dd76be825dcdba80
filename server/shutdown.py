"""How a stop reaches open streams: calls under way have a moment, then every connection ends.

Invariant: after `begin` no connection outlives the grace, whatever its client does; a server that waits for
its connections before the lifespan ends gets there.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import anyio
from starlette.types import Message, Receive

DISCONNECT: Message = {"type": "http.disconnect"}


class Closing:
    """The stop of one app: `begun` when it is asked for, `over` when the grace has passed."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._listeners: list[Callable[[], None]] = []
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    def on_begin(self, listener: Callable[[], None]) -> None:
        """`listener` is called on the event loop when the stop begins."""
        self._listeners.append(listener)

    def begin(self) -> None:
        """On the event loop; again does nothing."""
        if self.begun.is_set():
            return
        self.begun.set()
        for listener in self._listeners:
            listener()
        asyncio.get_running_loop().call_later(self._grace_s, self.over.set)

    def receive(self, receive: Receive, end: asyncio.Event | None = None) -> Receive:
        """A connection's `receive` that tells of a disconnect at `end`, by default when the grace is over."""
        end = end or self.over

        async def until_end() -> Message:
            message = DISCONNECT
            async with anyio.create_task_group() as tasks:

                async def watch() -> None:
                    await end.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(watch)
                message = await receive()
                tasks.cancel_scope.cancel()
            return message

        return until_end

    @contextmanager
    def noticing_signals(self) -> Iterator[None]:
        """Begin at SIGTERM or SIGINT, before the server's own handler.

        uvicorn tells the app of a stop only when all connections have ended, for which it may wait forever.
        In another thread than the main one there are no signals to notice.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        former = {
            each: handler
            for each in (signal.SIGTERM, signal.SIGINT)
            if callable(handler := signal.getsignal(each))
        }

        def notice(number: int, frame: FrameType | None) -> Any:
            loop.call_soon_threadsafe(self.begin)
            return former[signal.Signals(number)](number, frame)

        for each in former:
            signal.signal(each, notice)
        try:
            yield
        finally:
            for each, handler in former.items():
                if signal.getsignal(each) is notice:
                    signal.signal(each, handler)
