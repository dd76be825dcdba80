"""The last step of a link's bytes: as fast as the socket takes them, so many a second, or none at all.

Invariant: bytes leave in order; those that wait are counted.
"""

import asyncio


class Outlet:
    def __init__(self, transport: asyncio.Transport, now_ms: int) -> None:
        self._transport = transport
        self._waiting = bytearray()
        self._bytes_per_s: float | None = None
        self._allowed = 0.0
        self._regulated_ms = now_ms
        self.sent = 0

    @property
    def queued(self) -> int:
        """Bytes that have not left the process."""
        return self._transport.get_write_buffer_size() + len(self._waiting)

    def put(self, data: bytes) -> None:
        self._waiting += data
        if self._bytes_per_s is None:
            self.drain()

    def drain(self) -> None:
        """Everything leaves, whatever the rate."""
        self._write(len(self._waiting))

    def regulate(self, bytes_per_s: float | None, now_ms: int) -> None:
        """The rate from now on (None: no limit); what it has allowed since the last call leaves."""
        passed_ms, self._regulated_ms = now_ms - self._regulated_ms, now_ms
        self._bytes_per_s = bytes_per_s
        if bytes_per_s is None:
            self.drain()
            return
        self._allowed += bytes_per_s * passed_ms / 1000
        count = min(int(self._allowed), len(self._waiting))
        self._write(count)
        self._allowed = self._allowed - count if self._waiting else 0.0

    def _write(self, count: int) -> None:
        if count and not self._transport.is_closing():
            self._transport.write(bytes(self._waiting[:count]))
            self.sent += count
        del self._waiting[:count]
