"""GET /readyz: ready when every symbol is recorded and up to date, else why not."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from collectors.clock_check import Offset
from collectors.figures import Figures, SymbolFigures
from collectors.gap_follower import GapCounts
from collectors.symbol_filling import FillingState
from server.app import create_app
from server.health import readiness
from server.settings import Settings
from storage.errors import StoreUnavailable
from storage.ledger import TradeLedger
from tests.server.desks import END_MS, FakeRecording, FakeWarmup
from tests.tapes import run_of

NOTHING = FillingState(GapCounts(), missing=0, out_of_reach=0, history=0, certified=0, fetched=0)


@dataclass
class Recorder(FakeRecording):
    """A recorder's word of one symbol."""

    known_ms: int | None = END_MS
    state: FillingState = NOTHING
    lag_ms: int | None = 100
    clock_offset: Offset | None = field(default_factory=lambda: Offset(12, 40))
    silence_ms: int = 0

    def live_until_ms(self, symbol: str) -> int | None:
        return self.known_ms

    def warmup(self, symbol: str) -> FakeWarmup | None:
        return FakeWarmup() if self.state.history else None

    def filling(self, symbol: str) -> FillingState:
        return self.state

    def silent_ms(self, symbol: str) -> int:
        return self.silence_ms

    def figures(self) -> Figures:
        of_symbols = tuple(SymbolFigures(name, 0, 0, 0, None, self.lag_ms, True) for name in self.symbols)
        return Figures(of_symbols, (), 1, {}, 0, 0, 0, 0, 0.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[TradeLedger]:
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        yield ledger


def codes(found: dict[str, Any]) -> list[str]:
    of_symbols = [reason for symbol in found["symbols"].values() for reason in symbol["reasons"]]
    return [reason["code"] for reason in [*found["reasons"], *of_symbols]]


def test_recording_and_up_to_date_is_ready(ledger: TradeLedger) -> None:
    found = readiness(ledger, Recorder(), END_MS + 2_000)
    assert (found["ready"], codes(found), found["clock_offset_ms"]) == (True, [], 12)
    assert found["symbols"]["BTCUSDT"]["lag_s"] == 2.0


def state(**figures: int) -> FillingState:
    return FillingState(
        GapCounts(), **{"missing": 0, "out_of_reach": 0, "history": 0, "certified": 0, "fetched": 0} | figures
    )


@pytest.mark.parametrize(
    ("recorder", "expected"),
    [
        (Recorder(symbols=()), ["link"]),
        (Recorder(known_ms=None), ["link"]),
        (Recorder(known_ms=END_MS - 60_000), ["head_age"]),
        (Recorder(known_ms=END_MS - 900_000, silence_ms=880_000), []),
        (Recorder(known_ms=END_MS - 960_000, silence_ms=900_000), ["head_age"]),
        (Recorder(lag_ms=12_000), ["lag"]),
        (Recorder(lag_ms=9_900), []),
        (Recorder(lag_ms=None), []),
        # Our clock is ahead, and the events are on time.
        (Recorder(lag_ms=12_000, clock_offset=Offset(-11_900, 40)), ["clock"]),
        (Recorder(lag_ms=-1_000, clock_offset=Offset(12_000, 40)), ["clock", "lag"]),
        (Recorder(lag_ms=12_000, known_ms=END_MS - 60_000), ["head_age", "lag"]),
        (Recorder(state=state(missing=7)), ["gaps"]),
        (Recorder(state=state(missing=7, out_of_reach=7, certified=3)), []),
        (Recorder(state=state(history=1_000)), ["warm_up"]),
        (Recorder(clock_offset=Offset(-3_000, 100)), ["clock"]),
        (Recorder(clock_offset=Offset(-3_000, 6_000)), []),
        (Recorder(clock_offset=None), []),
    ],
)
def test_each_reason_is_named(ledger: TradeLedger, recorder: Recorder, expected: list[str]) -> None:
    found = readiness(ledger, recorder, END_MS)
    assert codes(found) == expected
    assert found["ready"] == (not expected)


def test_history_on_its_way_has_its_progress_and_its_end(ledger: TradeLedger) -> None:
    found = readiness(ledger, Recorder(state=state(history=1_000)), END_MS)
    warm_up = found["symbols"]["BTCUSDT"]["warm_up"]
    assert warm_up["missing"] == 1_000
    assert warm_up["per_s"] > 0
    assert warm_up["ready_at"].endswith("Z")


def test_a_disk_that_refuses_is_a_reason(ledger: TradeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailable("No space left on device")

    ledger.append("BTCUSDT", run_of(1, 10))
    with monkeypatch.context() as patch:
        patch.setattr(ledger._database, "write", refuse)
        with pytest.raises(StoreUnavailable):
            ledger.flush()
    found = readiness(ledger, Recorder(), END_MS)
    assert codes(found) == ["disk"]
    assert "10 trades await the disk" in found["reasons"][0]["detail"]


def test_the_endpoint_answers_503_with_reasons_to_known_hosts_alone(tmp_path: Path) -> None:
    # Without its lifespan the app records nothing.
    client = TestClient(create_app(Settings(data_dir=tmp_path / "l")), base_url="http://127.0.0.1:8000")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == [{"code": "link", "detail": "nothing is being recorded yet"}]
    assert client.get("/readyz", headers={"Host": "evil.example"}).status_code == 421
