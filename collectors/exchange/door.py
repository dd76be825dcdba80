"""Who may open a link: the limit of connects, bans, and what a script refuses.

Invariant: every attempt is counted, refused or not. No I/O.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from collectors.exchange.faults import Refuse
from collectors.exchange.limits import Limits
from collectors.exchange.replies import Reply
from collectors.exchange.report import Breach
from collectors.exchange.script import FaultScript, newest
from collectors.exchange.streams import RateWindow

PERIOD_S = 300.0
FIRST_BAN_MS = 120_000
_UNAVAILABLE = Reply(503, b"")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an attempt to connect gets, after `delay_s`; `reply` is for `status`."""

    how: Literal["open", "status", "reset", "hang", "silent"] = "open"
    reply: Reply = _UNAVAILABLE
    delay_s: float = 0.0


class Door:
    def __init__(
        self, limits: Limits, script: FaultScript, punish: Callable[[Breach, int, bool], None]
    ) -> None:
        self._limits, self._script, self._punish = limits, script, punish
        self.connects = RateWindow(limits.connects_per_5_min, PERIOD_S)
        self._kicks = RateWindow(1, PERIOD_S)
        self._bans = 0
        self._banned_until_ms = 0

    def knock(self, now_ms: int) -> Verdict:
        """One attempt to open a link."""
        admitted = self.connects.admits(now_ms / 1000)
        if now_ms < self._banned_until_ms:
            return self._refused(418, (self._banned_until_ms - now_ms) // 1000 + 1)
        if not admitted:
            self._punish("too many connects", now_ms, False)
            return self._refused(self._limits.refused_connect_status, round(PERIOD_S))
        scripted = newest(self._script.lasting(Refuse, now_ms))
        if scripted is None:
            return Verdict()
        scripted.hit()
        return self._scripted(scripted.fault)

    def note_flood(self, now_ms: int) -> None:
        """A link was closed for sending too much: the second time within five minutes bans the address."""
        if self._kicks.admits(now_ms / 1000):
            return
        self._bans += 1
        self._banned_until_ms = now_ms + FIRST_BAN_MS * 2 ** (self._bans - 1)
        self._punish("connect ban", now_ms, False)

    def _scripted(self, fault: Refuse) -> Verdict:
        if fault.how != "status":
            return Verdict(fault.how, delay_s=fault.delay_s)
        if fault.status is None:
            return Verdict("open", delay_s=fault.delay_s)
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        return Verdict("status", Reply(fault.status, b"", headers), fault.delay_s)

    def _refused(self, status: int | None, wait_s: int) -> Verdict:
        if status is None:
            return Verdict("reset")
        return Verdict("status", Reply(status, b"", {"Retry-After": str(wait_s)}))
