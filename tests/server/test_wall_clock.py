"""The clock that everything waits by goes on while the machine sleeps, where the system has such a one."""

import shutil
import subprocess
import sys
import time

import pytest

from server.wall_clock import wall_clock

BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def test_the_steady_clock_is_the_systems_that_counts_sleep_else_the_one_that_does_not() -> None:
    clock = time.CLOCK_MONOTONIC if BOOTTIME is None else BOOTTIME
    before_ms = time.clock_gettime_ns(clock) // 1_000_000
    assert before_ms <= wall_clock.steady_ms() <= time.clock_gettime_ns(clock) // 1_000_000


@pytest.mark.skipif(BOOTTIME is None or shutil.which("unshare") is None, reason="Linux alone")
def test_an_hour_asleep_is_an_hour_by_it() -> None:
    """For a process that is told so: its namespace says that the system slept an hour more than it did."""
    here = subprocess.run(["unshare", "--time", "true"], capture_output=True, text=True, check=False)
    if here.returncode:
        pytest.skip(f"namespaces are refused: {here.stderr.strip()}")
    code = "from server.wall_clock import wall_clock; print(wall_clock.steady_ms())"
    slept = ["unshare", "--time", "--boottime=3600", "--fork", sys.executable, "-c", code]
    before_ms = wall_clock.steady_ms()
    told = subprocess.run(slept, capture_output=True, text=True, check=True)
    assert 3_600_000 <= int(told.stdout) - before_ms <= 3_600_000 + wall_clock.steady_ms() - before_ms
