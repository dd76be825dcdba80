"""Requests that no client sends on purpose: bytes for the wire, and what may come back.

Invariant: the same seed gives the same requests, and no request is answered with a status above 499.
"""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "BREW", "post")
TOOLS = (
    "get_volume_profile", "get_liquidity_vacuums", "get_key_levels", "get_order_flow", "get_footprint",
    "get_candles", "get_data_coverage", "search", "fetch", "morning_brief", "no_such_tool", "", "\x00",
)  # fmt: skip
CALLS = (
    "initialize", "ping", "tools/list", "tools/call", "resources/read", "resources/subscribe", "prompts/get",
    "completion/complete", "logging/setLevel", "notifications/initialized", "notifications/cancelled",
    "notifications/progress", "server/discover", "subscriptions/listen", "rpc.discover", "__init__", "",
)  # fmt: skip
ARGUMENTS = (
    "symbol", "duration_hours", "start_time", "end_time", "session", "row_size", "value_area_pct", "detail",
    "min_trades", "interval", "query", "id", "levels", "bars", "stop_hint", "🕳", "__class__",
)  # fmt: skip
# What a refusal of ours or of the framework may be; a kind that is certain of its answer says so itself.
REFUSED = frozenset({400, 401, 403, 404, 405, 406, 408, 411, 413, 414, 415, 421, 422, 429, 431})
ANSWERED = frozenset({200, 201, 202, 204, 302, 303, 307})


@dataclass(frozen=True, slots=True)
class Shot:
    """One request; `status` is empty where the connection may be closed without an answer."""

    kind: str
    data: bytes
    status: frozenset[int]
    cut: bool = False


def http(
    method: str,
    target: str,
    body: bytes = b"",
    headers: Sequence[tuple[str, str]] = (),
    *,
    length: int | None = None,
) -> bytes:
    """The bytes of a request; `length` where the header shall lie."""
    given = {name.lower() for name, _ in headers}
    lines = [f"{method} {target} HTTP/1.1", "Connection: close"]
    lines += [] if "host" in given else ["Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers]
    if "transfer-encoding" not in given and (body or length is not None or method == "POST"):
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


JSON = (("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"))


class Shots:
    """Requests at the endpoints of a server: `next` gives one of some thirty kinds."""

    def __init__(self, seed: int, paths: Sequence[str], headers: Sequence[tuple[str, str]] = ()) -> None:
        self._chance = random.Random(seed)
        self._paths = tuple(paths)
        self._always = tuple(headers)
        self._kinds: list[Callable[[str], Shot]] = [
            self._any_method, self._broken_json, self._not_utf8, self._deep, self._huge_numbers,
            self._wrong_types,
            self._wrong_types, self._random_call, self._random_call, self._random_call, self._batch,
            self._too_large,
            self._chunked, self._truncated, self._overlong, self._lying_length, self._foreign_host,
            self._foreign_origin, self._wrong_content_type, self._garbage, self._huge_header,
            self._odd_target,
            self._odd_query, self._session_header, self._form,
        ]  # fmt: skip

    def next(self, messages: str | None = None) -> Shot:
        """The next request; `messages` is the address of an open SSE session, which many then speak in."""
        path = (
            messages
            if messages and self._chance.random() < 0.4
            else self._chance.choice(["/mcp", *self._paths])
        )
        return self._chance.choice(self._kinds)(path)

    # Kinds

    def _any_method(self, path: str) -> Shot:
        method = self._chance.choice(METHODS)
        return Shot("any method", self._request(method, path), ANSWERED | REFUSED)

    def _broken_json(self, path: str) -> Shot:
        whole = json.dumps(self._call()).encode()
        cut = self._chance.randrange(1, len(whole))
        broken = self._chance.choice(
            [whole[:cut], whole[cut:], whole + whole, b"", b"null", b"nul", b"'a'", b"{}", b"[]"]
        )
        return self._post("broken json", path, broken)

    def _not_utf8(self, path: str) -> Shot:
        whole = bytearray(json.dumps(self._call(), ensure_ascii=False).encode("utf-8", "surrogatepass"))
        for _ in range(self._chance.randrange(1, 6)):
            whole[self._chance.randrange(len(whole))] = self._chance.choice([0x80, 0xC0, 0xFF, 0xED, 0x00])
        return self._post("not utf-8", path, bytes(whole), ANSWERED | REFUSED)

    def _deep(self, path: str) -> Shot:
        depth = self._chance.choice([100, 1_000, 30_000])
        nested = (
            b"[" * depth + b"]" * depth
            if self._chance.random() < 0.5
            else b'{"a":' * depth + b"1" + b"}" * depth
        )
        body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + nested + b"}"
        return self._post("deep", path, body, ANSWERED | REFUSED)

    def _huge_numbers(self, path: str) -> Shot:
        number = self._chance.choice(
            ["9" * 400, "1e999", "-1e999", "0." + "0" * 400 + "1", "NaN", "Infinity", "9" * 9_000]
        )
        call = json.dumps(self._call() | {"id": "@"}).replace('"@"', number, 1)
        if self._chance.random() < 0.6:
            called = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
            arguments = {"symbol": "BTCUSDT", self._chance.choice(ARGUMENTS): "@"}
            called["params"] = {"name": self._chance.choice(TOOLS), "arguments": arguments}
            call = json.dumps(called).replace('"@"', number)
        return self._post("huge numbers", path, call.encode(), ANSWERED | REFUSED)

    def _wrong_types(self, path: str) -> Shot:
        call = self._call()
        call[self._chance.choice(["jsonrpc", "id", "method", "params", "result", "error"])] = self._value(3)
        return self._post("wrong types", path, self._dumped(call), ANSWERED | REFUSED)

    def _random_call(self, path: str) -> Shot:
        return self._post("random call", path, self._dumped(self._call()), ANSWERED | REFUSED)

    def _batch(self, path: str) -> Shot:
        calls = [self._call() for _ in range(self._chance.choice([0, 1, 2, 50]))]
        return self._post("batch", path, self._dumped(calls))

    def _too_large(self, path: str) -> Shot:
        body = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"' + b"a" * 300_000 + b'"}}'
        return self._post("too large", path, body, REFUSED)

    def _chunked(self, path: str) -> Shot:
        body = self._dumped(self._call())
        size = self._chance.choice([b"%x" % len(body), b"zz", b"-5", b"ffffffffffffffff", b""])
        chunks = size + b"\r\n" + body + b"\r\n0\r\n\r\n"
        data = self._request("POST", path, chunks, (*JSON, ("Transfer-Encoding", "chunked")))
        return Shot("chunked", data, frozenset(), cut=True)

    def _truncated(self, path: str) -> Shot:
        data = self._request("POST", path, self._dumped(self._call()), JSON)
        return Shot("truncated", data[: self._chance.randrange(1, len(data))], frozenset(), cut=True)

    def _overlong(self, path: str) -> Shot:
        body = self._dumped(self._call())
        data = self._request(
            "POST", path, body, JSON, length=len(body) + self._chance.randrange(1, 1_000_000)
        )
        return Shot("body that never comes", data, frozenset(), cut=True)

    def _lying_length(self, path: str) -> Shot:
        lie = self._chance.choice(["-1", "1e3", "0x10", "99999999999999999999", "a", "1, 2"])
        data = self._request("POST", path, b"{}", (*JSON, ("Content-Length", lie)))
        return Shot("lying length", data, frozenset(), cut=True)

    def _foreign_host(self, path: str) -> Shot:
        host = self._chance.choice(["evil.example.com", "127.0.0.1.evil.example.com", "", "[::", "a" * 1_000])
        expected = REFUSED | (ANSWERED if path.startswith("/healthz") else frozenset())
        return Shot("foreign host", self._request("GET", path, headers=(("Host", host),)), expected)

    def _foreign_origin(self, path: str) -> Shot:
        origin = self._chance.choice(
            ["https://evil.example.com", "null", "http://127.0.0.1.evil.example.com", "x"]
        )
        data = self._request("POST", path, self._dumped(self._call()), (*JSON, ("Origin", origin)))
        return Shot("foreign origin", data, REFUSED)

    def _wrong_content_type(self, path: str) -> Shot:
        kind = self._chance.choice(
            ["text/plain", "multipart/form-data", "application/json; charset=utf-7", "", "a" * 500]
        )
        accept = self._chance.choice(["*/*", "text/html", "", "application/json;q=0", ",,,"])
        data = self._request(
            "POST", path, self._dumped(self._call()), (("Content-Type", kind), ("Accept", accept))
        )
        return Shot("wrong content type", data, ANSWERED | REFUSED)

    def _garbage(self, path: str) -> Shot:
        noise = self._chance.randbytes(self._chance.choice([1, 20, 2_000]))
        start = self._chance.choice(
            [b"", b"GET ", b"\x16\x03\x01\x02", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n\r\n"]
        )
        return Shot("garbage", start + noise, frozenset(), cut=True)

    def _huge_header(self, path: str) -> Shot:
        headers = (("X-Long", "a" * self._chance.choice([1_000, 60_000, 200_000])), *JSON)
        return Shot("huge header", self._request("POST", path, b"{}", headers), frozenset(), cut=True)

    def _odd_target(self, path: str) -> Shot:
        odd = self._chance.choice([
            path + "/..", "//" + path, path + "%00", path + "/%2e%2e/%2e%2e/etc/passwd", path.upper(),
            path + "/",
            "/" + "a" * 3_000, "*", "/pages/../../etc/passwd", "/pages/%ff", "/\u00e9", path + "#a",
            "http://evil/",
        ])  # fmt: skip
        return Shot(
            "odd target", self._request(self._chance.choice(["GET", "POST"]), odd), ANSWERED | REFUSED
        )

    def _odd_query(self, path: str) -> Shot:
        joint = "&" if "?" in path else "?"
        query = self._chance.choice(
            ["session_id=", "session_id=%00", "session_id=a&session_id=b", "a" * 5_000, "%", "=&=;"]
        )
        return Shot(
            "odd query",
            self._request(self._chance.choice(["GET", "POST"]), path + joint + query),
            ANSWERED | REFUSED,
        )

    def _session_header(self, path: str) -> Shot:
        headers = (
            ("Mcp-Session-Id", self._chance.choice(["", "a", "0" * 32, "a" * 4_000, "%00", "../../x"])),
            (
                "Mcp-Protocol-Version",
                self._chance.choice(["2025-06-18", "2026-07-28", "", "1", "9999-99-99", "a" * 900]),
            ),
            ("Last-Event-Id", self._chance.choice(["", "1", "a" * 900])),
            *JSON,
        )
        method = self._chance.choice(["GET", "POST", "DELETE"])
        body = self._dumped(self._call()) if method == "POST" else b""
        return Shot("session header", self._request(method, path, body, headers), ANSWERED | REFUSED)

    def _form(self, path: str) -> Shot:
        fields = [
            "grant_type",
            "code",
            "client_id",
            "client_secret",
            "redirect_uri",
            "code_verifier",
            "token",
            "scope",
        ]
        values = [
            "authorization_code",
            "refresh_token",
            "",
            "a",
            "%00",
            "http://127.0.0.1/x",
            "%ff%fe",
            "a" * 3_000,
        ]
        pairs = [
            f"{self._chance.choice(fields)}={self._chance.choice(values)}"
            for _ in range(self._chance.randrange(6))
        ]
        kind = ("Content-Type", "application/x-www-form-urlencoded")
        return Shot(
            "form", self._request("POST", path, "&".join(pairs).encode(), (kind,)), ANSWERED | REFUSED
        )

    # Parts

    def _post(self, kind: str, path: str, body: bytes, expected: frozenset[int] = REFUSED) -> Shot:
        """A POST of JSON; where nothing takes JSON the body is nobody's."""
        takes = path == "/mcp" or path.startswith("/messages?session_id=")
        return Shot(kind, self._request("POST", path, body, JSON), expected if takes else ANSWERED | REFUSED)

    def _request(
        self, method: str, target: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = (), **how: Any
    ) -> bytes:
        return http(method, target, body, (*self._always, *headers), **how)

    def _call(self) -> dict[str, Any]:
        method = self._chance.choice(CALLS)
        call: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if not method.startswith("notifications/"):
            call["id"] = self._chance.choice([1, "a", 0, -1, 2**53, "", "a" * 300])
        if method == "tools/call" or self._chance.random() < 0.2:
            chosen = self._chance.sample(ARGUMENTS, self._chance.randrange(4))
            arguments = {name: self._value(2) for name in chosen}
            if self._chance.random() < 0.7:
                arguments["symbol"] = self._chance.choice(["BTCUSDT", "btc", "btc/usdt"])
            call["params"] = {"name": self._chance.choice(TOOLS), "arguments": arguments}
        elif self._chance.random() < 0.7:
            names = [
                "uri",
                "name",
                "requestId",
                "progressToken",
                "protocolVersion",
                "capabilities",
                "clientInfo",
                "ref",
                "_meta",
            ]
            call["params"] = {
                name: self._value(3) for name in self._chance.sample(names, self._chance.randrange(5))
            }
        return call

    def _value(self, depth: int) -> Any:
        """Any JSON value, with a liking for what is nearly right."""
        leaves: list[Any] = [
            None, True, 0, -1, 1.5, 1e308, 2**63, 10**40, "", "a", "24", "-1", "NaN", "1e400",
            "2026-02-30T25:00Z",
            "BTCUSDT", "tapedeck://BTCUSDT/profile/24h", "tapedeck://../..", "full", "‮\u0000\ud800",
            "x" * 5_000, "0" * 400,
        ]  # fmt: skip
        if depth == 0 or self._chance.random() < 0.7:
            return self._chance.choice(leaves)
        if self._chance.random() < 0.5:
            return [self._value(depth - 1) for _ in range(self._chance.randrange(4))]
        return {
            str(self._chance.choice(leaves))[:40]: self._value(depth - 1)
            for _ in range(self._chance.randrange(4))
        }

    def _dumped(self, value: Any) -> bytes:
        return json.dumps(value, ensure_ascii=self._chance.random() < 0.5).encode("utf-8", "surrogatepass")
