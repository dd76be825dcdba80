"""Only what a process takes by itself counts."""

import signal
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.levers import until
from tests.own_time import OwnTime

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="Linux alone")


def state_of(process: processes.Process) -> str:
    return Path(f"/proc/{process.child.pid}/stat").read_text().rpartition(")")[2].split()[0]


class Looks(OwnTime):
    """How often it was looked."""

    count = 0

    def _beat(self) -> None:
        super()._beat()
        self.count += 1


def test_a_process_that_waits_of_its_own_accord_takes_time_and_one_that_is_stopped_takes_none() -> None:
    with processes.start(sys.executable, "-c", WAITS) as process:
        process.until("up")
        with OwnTime(process.child.pid) as took:
            until(lambda: took.seconds > 0.1)
        process.child.send_signal(signal.SIGSTOP)
        until(lambda: state_of(process) == "T")
        with Looks(process.child.pid) as took:
            until(lambda: took.count > 10)
        assert took.seconds == 0


def test_a_process_that_computes_takes_its_processor_time() -> None:
    with (
        processes.start(sys.executable, "-c", "while True: pass") as process,
        OwnTime(process.child.pid) as took,
    ):
        until(lambda: took.seconds > 0.1)


WAITS = "import time; print('up', flush=True); time.sleep(1_000)"
