"""What systemd is told of the server: it answers, its event loop turns, it stops.

Invariant: without NOTIFY_SOCKET nothing is sent, and a message that cannot be delivered changes nothing.
The protocol is that of sd_notify(3).
"""

import asyncio
import os
import socket

import structlog

log = structlog.get_logger()

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"
# A manager that is behind, with the messages of all its services in one queue, is waited for so long; what it
# is told once it would never hear otherwise, and end a service that has started.
PATIENCE_S = 1.0


def tell(*facts: str, within_s: float = PATIENCE_S) -> None:
    """Send the facts as one message, if there is a manager that listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # a name in the abstract namespace, not in the file system
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.settimeout(within_s)
        try:
            out.sendto("\n".join(facts).encode(), address)
        except OSError as error:
            log.warning("service manager not told", facts=facts, error=str(error))


def interval_s() -> float | None:
    """How often the manager is to hear that the loop turns, half of what it waits; None if it does not."""
    waits_us = os.environ.get("WATCHDOG_USEC", "")
    meant_for = os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not waits_us.isdecimal() or meant_for != str(os.getpid()):
        return None
    return int(waits_us) / 2_000_000 or None


async def keep_telling() -> None:
    """Tell from the event loop that it turns; a loop that is held up falls silent."""
    every_s = interval_s()
    while every_s is not None:
        tell(ALIVE, within_s=0)  # another one follows
        await asyncio.sleep(every_s)
