"""The clock of tests that run against real sockets."""

import time


def wall_ms() -> int:
    return time.time_ns() // 1_000_000
