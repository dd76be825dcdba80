"""The judge of the acceptance runs itself: what it would not let pass."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, Protocol

from collectors.disk import Disk
from collectors.exchange.faults import Drop, RestReply
from storage.ledger import TradeLedger

from .acceptance import Rig, at_rates, rig


async def lived(path: Path, seconds: float) -> None:
    async with rig(path, at_rates(BTCUSDT=20), speed=20) as run:
        await run.pass_time(seconds)
        await run.judged()


def test_a_part_that_fails_and_is_begun_again_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush, failures = Disk.flush, iter([True])

    async def fail_once(disk: Disk) -> None:
        if next(failures, False):
            raise ValueError("once")
        await flush(disk)

    monkeypatch.setattr(Disk, "flush", fail_once)
    with pytest.raises(AssertionError, match="task failed"):
        asyncio.run(lived(tmp_path, 40))


def test_a_client_that_answers_no_ping_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Protocol.send_frame

    def send_no_pong(protocol: Protocol, frame: Frame) -> None:
        if not (protocol.side is CLIENT and frame.opcode is Opcode.PONG):
            send(protocol, frame)

    monkeypatch.setattr(Protocol, "send_frame", send_no_pong)
    with pytest.raises(AssertionError, match="pong timeout"):
        asyncio.run(lived(tmp_path, 85))


def test_a_trade_that_is_not_kept_fails_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that both links bring, and that the ledger does not know that it lacks."""
    held = Rig.held

    def lacking_one(run: Rig, symbol: str) -> Any:
        rows = held(run, symbol)
        return rows.take(rows.id != rows.id[len(rows) // 2])

    monkeypatch.setattr(Rig, "held", lacking_one)
    with pytest.raises(AssertionError, match="missing"):
        asyncio.run(lived(tmp_path, 5))


def test_what_no_link_brings_and_nobody_asks_for_fails_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger that calls a minute complete which is not."""
    coverage = TradeLedger.coverage

    def rosy(ledger: TradeLedger, *window: Any) -> Any:
        found = coverage(ledger, *window)
        return type("Rosy", (), {"complete": True, "gaps": found.gaps})

    async def run() -> None:
        async with rig(tmp_path, at_rates(BTCUSDT=20), speed=20) as run:
            await run.pass_time(5)
            monkeypatch.setattr(TradeLedger, "coverage", rosy)
            run.inject(Drop(symbols=("BTCUSDT",), until_s=3), RestReply(status=503, until_s=10))
            await run.pass_time(10)

    with pytest.raises(AssertionError, match="said complete"):
        asyncio.run(run())
