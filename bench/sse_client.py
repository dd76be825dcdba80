"""A client of MCP over SSE that spends as little as it can, so that what is measured is the server.

Invariant: one stream, one connection for messages, one call at a time.
"""

import asyncio
import json
import time
from typing import Any, Self

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "0"},
}


class CallFailed(Exception):
    """An answer that is an error."""


class SseClient:
    """One session."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._host, self._port = host, int(port)
        self._next_id = 0

    async def __aenter__(self) -> Self:
        self._events, self._stream = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
        self._stream.write(f"GET /sse HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode())
        self._path = await self._event()
        self._replies, self._messages = await asyncio.open_connection(self._host, self._port)
        await self._request("initialize", INITIALIZE)
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stream.transport.abort()
        self._messages.transport.abort()

    async def call(self, tool: str, **arguments: Any) -> float:
        """Milliseconds from the request to its whole answer. Raises `CallFailed`."""
        began = time.perf_counter()
        answer = await self._request("tools/call", {"name": tool, "arguments": arguments})
        took_ms = (time.perf_counter() - began) * 1000
        reply = json.loads(answer)
        if "result" not in reply or reply["result"].get("isError"):
            raise CallFailed(answer[:300])
        return took_ms

    async def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structure that a tool answers."""
        reply = json.loads(await self._request("tools/call", {"name": tool, "arguments": arguments}))
        structure: dict[str, Any] = reply["result"]["structuredContent"]
        return structure

    async def _request(self, method: str, params: dict[str, Any]) -> str:
        self._next_id += 1
        await self._post({"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": params})
        return await self._event()

    async def _event(self) -> str:
        while True:
            line = await self._events.readline()
            if not line:
                raise ConnectionError("the stream ended")
            if line.startswith(b"data: "):
                return line[6:].decode().strip()

    async def _post(self, message: dict[str, Any]) -> None:
        body = json.dumps(message).encode()
        head = (
            f"POST {self._path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._messages.write(head.encode() + body)
        status = await self._replies.readline()
        if b" 202 " not in status:
            raise CallFailed(status.decode())
        await self._replies.readuntil(b"Accepted")
