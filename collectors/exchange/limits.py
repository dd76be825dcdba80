"""How the exchange treats its clients: Binance's limits, and switches for what is not known of them."""

from dataclasses import dataclass

from collectors.binance import DEFAULT_WEIGHT_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The defaults are Binance's, in seconds of the exchange's clock; smaller ones make tests short.

    The last six are unknown of the real one: what a slow reader and a refused handshake get (a close code,
    an HTTP status; None is a TCP reset), whether too many streams end the link, whether a ban ends links,
    whether a `limit` over 1000 is refused, and whether a link's errors are flat, as documented, or nested.
    """

    weight_per_minute: int = DEFAULT_WEIGHT_LIMIT
    ping_interval_s: float = 20.0
    pong_timeout_s: float = 60.0
    messages_per_s: int = 5
    connects_per_5_min: int = 300
    link_lifetime_s: float = 24 * 3600.0
    in_flight_s: float = 0.25  # so soon after a 429 a request is none that ignores it
    send_buffer_bytes: int = 4 * 2**20
    close_timeout_s: float = 2.0  # of real time: it waits for a real peer
    slow_reader_code: int | None = None
    refused_connect_status: int | None = 429
    too_many_streams_code: int | None = None
    ban_ends_links: bool = False
    refuses_large_limit: bool = False
    flat_errors: bool = False
