"""What the answer of GET /status is made of, for the server and for `tapedeck status`.

Invariant: no more is imported for it than its shape takes.
"""

from pydantic import BaseModel, ConfigDict

STATUS_PATH = "/status"


class Part(BaseModel):
    """A part of the answer. A field that another version adds is passed over."""

    model_config = ConfigDict(frozen=True)


class Reason(Part):
    """What keeps it from being ready, as /readyz names it."""

    code: str
    detail: str


class WarmUp(Part):
    """History on its way: trades to come and fetched, and when it will be here at this rate."""

    missing: int
    fetched: int
    per_s: float
    ready_at: str | None
    ready_in_s: int | None


class SymbolStatus(Part):
    """A symbol; `bytes` is about what its trades take on the disk, without those written last."""

    symbol: str
    recording: bool
    trades_per_s: float
    lag_s: float | None
    first: str | None
    last: str | None
    held_s: int
    trades: int
    complete: bool
    covered_pct: float
    missing: int
    gaps: int
    certified: int
    bytes: int
    reasons: list[Reason]
    warm_up: WarmUp | None


class LinkStatus(Part):
    host: str
    number: int
    symbols: int
    age_s: float
    lag_s: float | None


class Disk(Part):
    """Bytes: of the ledger's files, left, and of the whole disk."""

    ledger: int
    free: int
    total: int


class Memory(Part):
    """Bytes: the process's own, and all that it occupies; None where the platform does not tell."""

    private: int | None
    resident: int | None


class Status(Part):
    """A server that runs."""

    version: str
    market: str | None
    data_dir: str
    as_of: str
    uptime_s: int
    cpu_s: float
    ready: bool
    reasons: list[Reason]
    clock_offset_ms: int | None
    links_wanted: int
    links: list[LinkStatus]
    sessions: dict[str, int]
    calls_under_way: int
    memory: Memory
    disk: Disk
    symbols: list[SymbolStatus]
