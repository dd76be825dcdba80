"""How much a client may take of the server.

Invariant: whatever one client does or leaves undone costs no more than this, and nothing once it is gone.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive

# What a client may run into, as it is counted: room for sessions, requests that await their answer, calls of
# all together, the size and the time of a body, the time of a reader.
SESSIONS, UNANSWERED, CALLS, BODY_BYTES, BODY_TIME, READER = NAMES = (
    "sessions",
    "unanswered",
    "calls",
    "body_bytes",
    "body_time",
    "reader",
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Times in seconds, sizes in bytes; the defaults are for thousands of people on one machine.

    `reached` counts how often each was, by its name in `NAMES`.
    """

    # A reader that takes nothing for this long is disconnected; the body of a request must be here in time.
    send_s: float = 30
    body_s: float = 30
    body_bytes: int = 1 << 18
    # Comments on a stream that is silent, so that no proxy takes it for dead.
    keep_alive_s: float = 15
    # Sessions of each transport; one of Streamable HTTP that nobody uses is forgotten.
    sessions: int = 1_000
    idle_s: float = 600
    # Requests of one session that await their answer, and calls of all together.
    unanswered: int = 32
    calls: int = 256
    subscriptions: int = 1_000
    # The work of a call, and the text of its answer: hosts cut at 150,000 characters.
    call_s: float = 20
    answer_chars: int = 150_000
    # At a stop, calls under way have this long.
    grace_s: float = 2
    reached: Counter[str] = field(default_factory=Counter, compare=False)


class BodyRefused(Exception):
    """A body that is too large or too late; `response` says so."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.response: Response = PlainTextResponse(text, status)


async def body_of(request: Request, bounds: Bounds) -> bytes:
    """The whole body. Raises `BodyRefused`, and `ClientDisconnect` where the client has gone."""
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.body_s):
            async for part in request.stream():
                body += part
                if len(body) > bounds.body_bytes:
                    bounds.reached[BODY_BYTES] += 1
                    raise BodyRefused(f"the body is larger than {bounds.body_bytes} bytes", 413)
    except TimeoutError:
        bounds.reached[BODY_TIME] += 1
        raise BodyRefused(f"the body was not here within {bounds.body_s:g} s", 408) from None
    return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, for a reader behind us."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message


def too_many(unanswered: int, bounds: Bounds) -> Response:
    """The refusal of one more request in a session, or of one without a session."""
    bounds.reached[UNANSWERED] += 1
    words = f"{unanswered} requests await their answer, which is the most; try again when one has it"
    return PlainTextResponse(words, 429, {"retry-after": "1"})
