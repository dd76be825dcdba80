"""Tasks that last: what fails is begun again, and all end together.

Invariant: one that fails is logged with its traceback and takes none of the others with it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import structlog

log = structlog.get_logger()

PAUSE_S = 1


def start(name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Begin a task that lasts."""
    return asyncio.create_task(lasting(name, work), name=name)


async def lasting(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` to its end; one that fails is logged and begun again."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("task failed", task=name)
            await asyncio.sleep(PAUSE_S)


async def until_either(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Until `work` is done or `stop` is set, which ends it."""
    tasks = [asyncio.create_task(work), asyncio.create_task(_set(stop))]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    for task in done:
        task.result()


async def _set(event: asyncio.Event) -> None:
    await event.wait()


async def cancelled(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End all of them, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
