"""What the exchange can say of its clients: each link's figures, and every rule that one broke.

Invariant: what a fault provoked is told from what a client brought upon itself.
"""

from dataclasses import dataclass, field
from typing import Literal

Breach = Literal[
    "pong timeout", "too many requests", "slow reader", "too many streams", "too many connects",
    "weight limit", "weight ban", "connect ban",
]  # fmt: skip
BANS: frozenset[Breach] = frozenset({"weight ban", "connect ban"})


@dataclass(frozen=True, slots=True)
class Punishment:
    """A rule that a client broke, on which link (None: REST or a handshake), at the exchange's time."""

    breach: Breach
    at_ms: int
    link: int | None = None
    provoked: bool = False


@dataclass(slots=True)
class LinkReport:
    """One link from its handshake on; `lag_ms` is from a trade's T to its leaving for the socket."""

    number: int
    address: str
    opened_ms: int
    closed_ms: int | None = None
    ending: str | None = None
    events: int = 0
    bytes_sent: int = 0
    bytes_queued: int = 0
    most_bytes_queued: int = 0
    lag_ms: int = 0
    most_lag_ms: int = 0
    pings: int = 0
    pongs: int = 0
    unsolicited_pongs: int = 0
    received: int = 0
    most_received_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The whole exchange at a moment of its clock.

    `queries` are requests by path and names of parameters: "/api/v3/aggTrades?fromId&limit&symbol".
    """

    now_ms: int
    links: list[LinkReport]
    connects_in_5_min: int
    most_connects_in_5_min: int
    weight_used: int
    most_weight_used: int
    requests: dict[str, int]
    queries: dict[str, int]
    statuses: dict[str, int]
    faults_hit: dict[str, int]
    punishments: list[Punishment] = field(default_factory=list)

    @property
    def self_inflicted(self) -> list[Punishment]:
        """What no fault explains: a well-behaved client has none."""
        return [punishment for punishment in self.punishments if not punishment.provoked]

    @property
    def bans(self) -> list[Punishment]:
        return [punishment for punishment in self.punishments if punishment.breach in BANS]
