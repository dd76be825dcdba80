"""How the process runs: when threads take turns, what freed memory it keeps, what is searched for garbage.

Invariant: no answer depends on it, and where the C library is not glibc the memory is left to itself.
"""

import ctypes
import gc
import sys

# A question calls numpy some hundreds of times, the event loop the system some twenty times a call, and each
# has to win the interpreter back after it; by default it waits 5 ms for that wherever another thread is busy.
SWITCH_INTERVAL_S = 0.0001
# glibc's own limits grow with the largest array that was ever freed, up to 32 MiB, and each thread that
# answered keeps twice as much. Columns of an hour stay below the first limit and are reused; arrays over a
# whole window are given back at once.
MMAP_FROM_BYTES = 1 << 20
KEPT_FREE_BYTES = 4 << 20
# malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def tune() -> None:
    """Once a process, before its threads start."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_FREE_BYTES)


def settle() -> None:
    """Once all is loaded: what is here now stays, and is not searched for garbage again.

    It takes a tenth of a second to search, in which the event loop and every question stand still.
    """
    gc.collect()
    gc.freeze()
