"""What befalls a recorder next, by chance: any fault of the exchange's, of the process and of its disk.

Invariant: the same seed gives the same faults in the same order; whatever comes is over after seconds, and
leaves nothing undone that a recorder could not make good.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from collectors.exchange import faults
from collectors.exchange.faults import AnyFault, Malformation

LONGEST_S = 8.0
OF_LINKS = (faults.EventFault, faults.LinkFault, faults.End, faults.Shutdown)
# Their ids are given from the newest one on.
OF_IDS = (faults.Hole, faults.Invalid, faults.RestHide)


@dataclass(frozen=True, slots=True)
class Kill:
    """kill -9, and the next start."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The process stands still for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class DiskRefuses:
    """Nothing more can be written for a while."""

    seconds: float


Happening = AnyFault | Kill | Stop | DiskRefuses


@dataclass(frozen=True, slots=True)
class Due:
    """What happens after a wait; `side` says to which of the open links, 2 to all of them."""

    wait_s: float
    side: int
    happening: Happening


def happenings(seed: int, symbols: Sequence[str]) -> Iterator[Due]:
    """Each kind once, in any order, and again without an end."""
    chance = random.Random(seed)
    while True:
        for make in chance.sample(KINDS, len(KINDS)):
            yield Due(chance.uniform(0.2, 1.5), chance.choice([0, 1, 2]), make(chance, symbols))


def placed(
    happening: AnyFault, open_links: Sequence[int], side: int, printed: Callable[[str], int]
) -> AnyFault:
    """With the numbers of links and ids that it means at the moment."""
    if isinstance(happening, OF_LINKS) and side < 2:
        happening = msgspec.structs.replace(happening, links=tuple(open_links[side : side + 1]))
    if isinstance(happening, OF_IDS):
        soon = printed(happening.symbols[0])
        first_id, last_id = (happening.first_id or 0) + soon, (happening.last_id or 0) + soon
        happening = msgspec.structs.replace(happening, first_id=first_id, last_id=last_id)
    return happening


def is_alone(happening: Happening) -> bool:
    """A false trade under a true one's id is one that nobody can tell where the true one is not brought."""
    return isinstance(happening, faults.Conflict)


def name_of(happening: Happening) -> str:
    return type(happening).__name__


def lasts_s(happening: Happening) -> float:
    """How long it may take until it is over."""
    if isinstance(happening, Kill):
        return 0.0
    if isinstance(happening, Stop | DiskRefuses):
        return happening.seconds
    seconds = getattr(happening, "seconds", 0)
    return max(happening.until_s or 0.0, float(seconds))


# -- one happening each; scopes by chance

Make = Callable[[random.Random, Sequence[str]], Happening]


def _lasting(kind: Any, /, **fields: Callable[[random.Random], Any]) -> Make:
    """On one link, the other or both, for some seconds."""

    def make(chance: random.Random, _symbols: Sequence[str]) -> Happening:
        chosen = {name: choose(chance) for name, choose in fields.items()}
        happening: Happening = kind(until_s=chance.uniform(1, LONGEST_S), **chosen)
        return happening

    return make


def _share(chance: random.Random) -> float:
    return chance.choice([0.01, 0.1, 0.5])


def _whole_or_share(chance: random.Random) -> float:
    return chance.choice([0.05, 0.5, 1.0])


def _of(*choices: Any) -> Callable[[random.Random], Any]:
    return lambda chance: chance.choice(choices)


def _end(chance: random.Random, _symbols: Sequence[str]) -> Happening:
    return faults.End(
        how=chance.choice(["close", "fin", "reset", "mid_frame"]),
        code=chance.choice([1000, 1001, 1008, 1011, 1012]),
    )


def _shutdown(chance: random.Random, _symbols: Sequence[str]) -> Happening:
    return faults.Shutdown(close_after_s=chance.choice([0.0, 3.0, None]))


def _misroute(chance: random.Random, symbols: Sequence[str]) -> Happening:
    return faults.Misroute(stream_of=chance.choice(symbols), share=0.1, until_s=chance.uniform(1, LONGEST_S))


def _of_ids(kind: Any, **fields: Any) -> Make:
    """Some ids of one symbol that will be printed soon."""

    def make(chance: random.Random, symbols: Sequence[str]) -> Happening:
        first_id = chance.randint(50, 300)
        ids = {"first_id": first_id, "last_id": first_id + chance.randint(0, 20)}
        happening: Happening = kind(symbols=(chance.choice(symbols),), **ids, **fields)
        return happening

    return make


def _paced(kind: Any, **fields: Any) -> Make:
    """Of one symbol."""

    def make(chance: random.Random, symbols: Sequence[str]) -> Happening:
        happening: Happening = kind(
            symbols=(chance.choice(symbols),), from_s=0.5, until_s=chance.uniform(1.5, 4), **fields
        )
        return happening

    return make


KINDS: list[Make] = [
    _lasting(faults.Drop, share=_whole_or_share),
    _lasting(faults.Duplicate, share=_share),
    _lasting(faults.Swap, share=_share),
    _lasting(faults.Stale, share=_share, back=_of(1, 50, 1_000)),
    _lasting(faults.EventTime, ms=_of(-5_000, -100, 5_000)),
    *(
        _lasting(faults.Malformed, kind=_of(kind), share=_of(0.01), instead=_of(True, False), count=_of(20))
        for kind in get_args(Malformation)
    ),
    _lasting(faults.Conflict, share=_share),
    _misroute,
    _of_ids(faults.Hole),
    _of_ids(faults.Hole, until_s=LONGEST_S),
    _of_ids(faults.Invalid),
    _of_ids(faults.RestHide, until_s=LONGEST_S),
    _lasting(faults.Unknown, share=_share),
    _lasting(faults.Delay, ms=_of(200, 3_000)),
    _lasting(faults.Hold),
    _lasting(faults.Freeze),
    _lasting(faults.Trickle, bytes_per_s=_of(1, 2_000)),
    _lasting(faults.Deaf, to=_of("pongs", "all")),
    _lasting(faults.Fragment, parts=_of(2, 5)),
    _lasting(faults.Pings, interval_s=_of(1.0, None)),
    _lasting(faults.Acks, delay_s=_of(2.0, None)),
    _end,
    _shutdown,
    _lasting(faults.Refuse, how=_of("status", "reset", "hang", "silent"), status=_of(503, 403, 504)),
    _lasting(faults.RestLag, ms=_of(300, 5_000), head_first=_of(True, False)),
    _lasting(faults.RestShort, rows=_of(1, 100)),
    _lasting(faults.RestRepeat),
    _lasting(
        faults.RestReply,
        status=_of(200, 500, 504, 403),
        body=_of("error", "empty_object", "html", "truncated_gzip", "empty"),
    ),
    _lasting(faults.RestSlow, delay_s=_of(0.5, 4.0)),
    _lasting(faults.RestReset, mid_body=_of(True, False)),
    lambda chance, _: faults.RestLimit(status=429, seconds=chance.randint(1, 5)),
    lambda chance, _: faults.RestLimit(status=418, seconds=chance.randint(1, 5)),
    _lasting(faults.ClockSkew, ms=_of(-5_000, 5_000)),
    _lasting(faults.Listing, status=_of("HALT", "BREAK", "CANCEL_ONLY"), tick=_of(None, "0.10")),
    _paced(faults.Burst, speed=50),
    _paced(faults.Halt),
    lambda _chance, _symbols: Kill(),
    lambda _chance, _symbols: Kill(),
    lambda chance, _symbols: Stop(chance.uniform(0.5, 4)),
    lambda chance, _symbols: DiskRefuses(chance.uniform(1, 5)),
]
