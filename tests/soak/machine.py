"""How late the machine wakes a process that does nothing else, as JSON once standard input ends.

Invariant: it is late only where the machine is; what the server is late beyond that is the server's.
"""

import json
import sys
import threading
import time

TICK_S = 0.05


def main() -> None:
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    late_ms = [0.0]
    while not ended.is_set():
        due_s = time.monotonic() + TICK_S
        time.sleep(TICK_S)
        late_ms.append((time.monotonic() - due_s) * 1000)
    late_ms.sort()
    print(json.dumps({"p99_ms": late_ms[int(len(late_ms) * 0.99)], "max_ms": late_ms[-1]}))


if __name__ == "__main__":
    main()
