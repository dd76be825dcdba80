"""The vocabulary of faults: what can be scripted, as frozen records that JSON reads and writes.

Invariant: a fault says what happens and to whom, never how; all that it touches lies in its scope. Each
record's JSON carries its name under `fault`: {"fault": "drop", "links": [1], "first_id": 7, "last_id": 9}.
"""

import re
from typing import Literal, TypeVar

import msgspec

_T = TypeVar("_T")


def _tag(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Fault(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="fault",
    tag=_tag,
):
    """A scope. What is not given is not narrowed.

    `links` are counted from 1 in the order in which links opened; ids are inclusive; times are seconds of
    the exchange's clock since the fault was put in, half-open, compared with a trade's T where there is one;
    of what is in the scope a `share` is hit, always the same; the fault is over after `count` hits.
    """

    from_s: float = 0.0
    until_s: float | None = None
    links: tuple[int, ...] = ()
    symbols: tuple[str, ...] = ()
    first_id: int | None = None
    last_id: int | None = None
    share: float = 1.0
    count: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, expected 0 to 1")
        if self.until_s is not None and self.until_s <= self.from_s:
            raise ValueError(f"until_s is {self.until_s}, expected more than from_s, {self.from_s}")


# -- what is said of a trade on a link ---------------------------------------------------------------------


class EventFault(Fault, frozen=True, kw_only=True):
    """Changes single trades on their way to a link."""


class Drop(EventFault, frozen=True, kw_only=True):
    """The trade is not sent; without ids it is a stream that is up and mute, its pings answered."""


class Duplicate(EventFault, frozen=True, kw_only=True):
    """The trade is sent `times` times more."""

    times: int = 1


class Swap(EventFault, frozen=True, kw_only=True):
    """The trade is sent after its successor in the same stream."""


class Conflict(EventFault, frozen=True, kw_only=True):
    """The trade is sent, and another one under its id."""


class Stale(EventFault, frozen=True, kw_only=True):
    """The link comes from a server that is `back` ids behind.

    `again` true: the older trade is sent instead, if there is one that streams bring; false: this one,
    under the older id.
    """

    back: int = 100
    again: bool = True


class Misroute(EventFault, frozen=True, kw_only=True):
    """The trade comes under another symbol's stream name (on combined links) or names another symbol."""

    stream_of: str


class EventTime(EventFault, frozen=True, kw_only=True):
    """`E` is off by `ms`."""

    ms: int


Malformation = Literal[
    "truncated", "empty", "binary", "array", "null", "nan", "huge", "beyond_64_bits", "missing_key",
    "string_for_int", "oversized", "invalid_utf8", "non_ascii_symbol",
]  # fmt: skip


class Malformed(EventFault, frozen=True, kw_only=True):
    """A frame that is none comes in place of the trade, or in front of it."""

    kind: Malformation
    instead: bool = False


class Unknown(EventFault, frozen=True, kw_only=True):
    """What a future version may send: fields in the trade that nobody knows, and events around it."""

    fields: bool = True
    events: bool = True


# -- how a link delivers -----------------------------------------------------------------------------------


class LinkFault(Fault, frozen=True, kw_only=True):
    """Changes how a link behaves while the fault lasts."""


class Delay(LinkFault, frozen=True, kw_only=True):
    """Trades are sent `ms` later, none missing, in order."""

    ms: int


class Hold(LinkFault, frozen=True, kw_only=True):
    """No trade is sent while it lasts; then all of them at once."""


class Freeze(LinkFault, frozen=True, kw_only=True):
    """Nothing is read and nothing written, pings included."""


class Trickle(LinkFault, frozen=True, kw_only=True):
    """No more than so many bytes a second of the exchange's clock are written."""

    bytes_per_s: float = 1.0


class Deaf(LinkFault, frozen=True, kw_only=True):
    """What the client writes is lost on the way: its pongs, or everything."""

    to: Literal["pongs", "all"] = "pongs"


class Fragment(LinkFault, frozen=True, kw_only=True):
    """Each trade comes in `parts` frames, each of them in a TCP segment of its own."""

    parts: int = 3


class Pings(LinkFault, frozen=True, kw_only=True):
    """Pings come at another interval, with jitter, or (None) never."""

    interval_s: float | None = None
    jitter_s: float = 0.0


class Acks(LinkFault, frozen=True, kw_only=True):
    """Replies to requests are late by `delay_s`, or lost (None)."""

    delay_s: float | None = None


# -- how links end and begin -------------------------------------------------------------------------------


class End(Fault, frozen=True, kw_only=True):
    """Links end: at `from_s`; with an age, each link when it is so old; with `first_id`, after that trade.

    `code` is for `close`; `fin` and `reset` say no goodbye; `mid_frame` breaks off inside a frame.
    """

    how: Literal["close", "fin", "reset", "mid_frame"] = "close"
    code: int = 1001
    reason: str = "going away"
    age_s: float | None = None


class Shutdown(Fault, frozen=True, kw_only=True):
    """`serverShutdown` is announced at `from_s`, or at an age; then 1001 after `close_after_s`, or never."""

    close_after_s: float | None = 0.0
    age_s: float | None = None


class Refuse(Fault, frozen=True, kw_only=True):
    """New links are refused with a status, after `delay_s`; a status of None lets the link open late.

    `reset` drops the connection, `hang` never answers, `silent` upgrades and says nothing more.
    """

    how: Literal["status", "reset", "hang", "silent"] = "status"
    status: int | None = 503
    retry_after_s: int | None = None
    delay_s: float = 0.0


# -- REST --------------------------------------------------------------------------------------------------


class RestFault(Fault, frozen=True, kw_only=True):
    """Changes REST while it lasts; `path` narrows it to addresses that end so."""

    path: str = ""


class RestLag(RestFault, frozen=True, kw_only=True):
    """Rows younger than `ms` are not shown; with `head_first` the newest one is all the same."""

    ms: int
    head_first: bool = False


class RestHide(RestFault, frozen=True, kw_only=True):
    """The rows of the scope's ids are not shown, newer ones are."""


class RestFloor(RestFault, frozen=True, kw_only=True):
    """The history of the symbols in scope begins at `floor_id`, which older requests jump ahead to."""

    floor_id: int


class RestShort(RestFault, frozen=True, kw_only=True):
    """Pages hold no more than `rows`."""

    rows: int


class RestRepeat(RestFault, frozen=True, kw_only=True):
    """The page that was due before comes again; `stuck`: the same one, whatever is asked."""

    stuck: bool = False


class RestReply(RestFault, frozen=True, kw_only=True):
    """Another reply: a status with an error code or HTML, or 200 with a body that is none."""

    status: int = 500
    code: int | None = None
    msg: str = "Internal error; unable to process your request. Please try again."
    body: Literal["error", "empty_object", "html", "truncated_gzip", "empty"] = "error"
    retry_after_s: int | None = None


class RestSlow(RestFault, frozen=True, kw_only=True):
    """The reply comes `delay_s` later, as it was when the request came."""

    delay_s: float


class RestReset(RestFault, frozen=True, kw_only=True):
    """The connection is reset, before the reply or in the middle of its body."""

    mid_body: bool = True


class RestLimit(RestFault, frozen=True, kw_only=True):
    """The address is limited (429) or banned (418) for `seconds` from `from_s` on, whatever it has used."""

    status: Literal[429, 418] = 429
    seconds: int = 60


class ClockSkew(RestFault, frozen=True, kw_only=True):
    """/api/v3/time, exchangeInfo's time and every E are off by `ms`."""

    ms: int


class Listing(RestFault, frozen=True, kw_only=True):
    """exchangeInfo says something else of the symbols in scope."""

    status: Literal["TRADING", "HALT", "BREAK", "CANCEL_ONLY"] | None = None
    tick: str | None = None
    lot: str | None = None
    delisted: bool = False


# -- the truth itself --------------------------------------------------------------------------------------


class TruthFault(Fault, frozen=True, kw_only=True):
    """Changes what was traded, for all to see; the exchange's own ledger knows of it."""


class Hole(TruthFault, frozen=True, kw_only=True):
    """The ids of the scope exist nowhere; until `until_s`, then REST has them (late recovery)."""


class Invalid(TruthFault, frozen=True, kw_only=True):
    """The ids of the scope are rows marked invalid: p = q = "0", f = l = -1; in REST alone."""


class Halt(TruthFault, frozen=True, kw_only=True):
    """Nothing trades from `from_s` until `until_s`; ids go on where they were."""


class Burst(TruthFault, frozen=True, kw_only=True):
    """`speed` times as many trades from `from_s` until `until_s`."""

    speed: int


AnyFault = (
    Drop | Duplicate | Swap | Conflict | Stale | Misroute | EventTime | Malformed | Unknown
    | Delay | Hold | Freeze | Trickle | Deaf | Fragment | Pings | Acks
    | End | Shutdown | Refuse
    | RestLag | RestHide | RestFloor | RestShort | RestRepeat | RestReply | RestSlow | RestReset | RestLimit
    | ClockSkew | Listing
    | Hole | Invalid | Halt | Burst
)  # fmt: skip


class UnknownFault(ValueError):
    """The text is no fault, or names something that its kind does not have."""


def read_fault(text: bytes | str) -> AnyFault:
    """One fault as JSON; raises `UnknownFault`."""
    return _read(_FAULT, text)


def read_faults(text: bytes | str) -> list[AnyFault]:
    """A list of faults as JSON; raises `UnknownFault`."""
    return _read(_FAULTS, text)


def _read(decoder: "msgspec.json.Decoder[_T]", text: bytes | str) -> _T:
    try:
        return decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise UnknownFault(str(error)) from error


_FAULT: msgspec.json.Decoder[AnyFault] = msgspec.json.Decoder(AnyFault)
_FAULTS: msgspec.json.Decoder[list[AnyFault]] = msgspec.json.Decoder(list[AnyFault])
