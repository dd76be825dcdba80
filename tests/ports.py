"""Ports for what must know its own before it listens.

Invariant: a port is given once on a machine, as long as the process of the tests that has it lives.
"""

import random
import socket

# Below those that the system gives to whoever names none, which may be taken before they are listened on.
PORTS = range(20_000, 30_000)
_given: list[socket.socket] = []


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    return next(port for port in random.SystemRandom().sample(PORTS, len(PORTS)) if _is_ours(port))


def _is_ours(port: int) -> bool:
    """Whether nobody has it; a name that only one process can have keeps it for this one."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0tapedeck-tests-{port}")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        name.close()
        return False
    _given.append(name)
    return True
