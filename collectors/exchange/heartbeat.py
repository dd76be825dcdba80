"""The pings of one link and their answers.

Invariant: a ping carries the time, no payload comes twice, and a pong answers its ping and the earlier ones
if it copies the payload. No I/O and no clock.
"""

from zlib import crc32


class Heartbeat:
    def __init__(self, link: int, opened_ms: int) -> None:
        self._link = link
        self._pinged_ms = opened_ms
        self._payload = 0
        self._pings = 0
        self._unanswered: dict[bytes, int] = {}

    def due(self, now_ms: int, every_s: float | None, jitter_s: float) -> bytes | None:
        """The payload of the ping that is due, if one is."""
        if every_s is None or now_ms < self._pinged_ms + (every_s + self._jitter(jitter_s)) * 1000:
            return None
        self._pinged_ms = now_ms
        self._pings += 1
        self._payload = max(self._payload + 1, now_ms)
        payload = f"{self._payload:013d}".encode()
        self._unanswered[payload] = now_ms
        return payload

    def answered(self, payload: bytes) -> bool:
        """Whether the pong answers a ping."""
        if payload not in self._unanswered:
            return False
        pings = list(self._unanswered)
        for ping in pings[: pings.index(payload) + 1]:
            del self._unanswered[ping]
        return True

    @property
    def waiting_since_ms(self) -> int | None:
        """When the oldest ping without an answer was sent."""
        return next(iter(self._unanswered.values()), None)

    def _jitter(self, most_s: float) -> float:
        """Another one for each ping, the same in every run."""
        return (crc32(b"%d:%d" % (self._link, self._pings)) / 2**31 - 1) * most_s
