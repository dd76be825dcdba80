"""How long a process takes by itself, whatever the machine does to it.

Invariant: what counts is time in which all its threads wait of their own accord or for the disk, and its
processor time. Time for which a thread waits for a core or is stopped does not, nor any for which we are.
"""

import os
import threading
import time
from pathlib import Path
from typing import Self

# How often it is looked; we ourselves were held up where a look comes after more than twice as long.
BEAT_S = 0.02
HELD_UP = frozenset("RT")


class OwnTime:
    """`seconds` of a process while the body runs. Where there is no /proc, all of its time but ours."""

    def __init__(self, pid: int) -> None:
        self.seconds = 0.0
        self._process = Path(f"/proc/{pid}")
        self._before = time.monotonic(), self._processor_s()
        self._over = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._looking.join()

    def _look(self) -> None:
        while not self._over.wait(BEAT_S):
            self._beat()

    def _beat(self) -> None:
        now_s, ran_s = time.monotonic(), self._processor_s()
        passed_s = now_s - self._before[0]
        if self._is_held_up():
            self.seconds += min(passed_s, ran_s - self._before[1])
        else:
            self.seconds += min(passed_s, 2 * BEAT_S)
        self._before = now_s, ran_s

    def _processor_s(self) -> float:
        """Of all its threads, those that have ended among them."""
        told = _told(self._process / "stat")
        return sum(map(int, told[11:13])) / os.sysconf("SC_CLK_TCK")

    def _is_held_up(self) -> bool:
        states = (_told(thread)[:1] for thread in self._process.glob("task/*/stat"))
        return any(state and state[0] in HELD_UP for state in states)


def _told(stat: Path) -> list[str]:
    """The fields behind the name, its state first; none where it has ended."""
    try:
        return stat.read_text().rpartition(")")[2].split()
    except OSError:
        return []
