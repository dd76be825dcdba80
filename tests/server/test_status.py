"""How a running server stands, as JSON and as one screen; beside none, the ledger."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from starlette.testclient import TestClient

from server.app import create_app
from server.cli import main
from server.settings import Settings
from server.status_command import NoServer, address, asked, watch
from server.status_parts import (
    Disk,
    LinkStatus,
    Memory,
    Reason,
    Status,
    SymbolStatus,
    WarmUp,
)
from server.status_screen import duration, screen, short
from storage.ledger import TradeLedger
from tests import processes
from tests.levers import until
from tests.tapes import START_MS, run_of

# Before any server of these tests did.
BEGAN_S = time.monotonic()
WARM_UP = WarmUp(
    missing=300_000, fetched=700_000, per_s=25_000, ready_at="2026-11-26T00:00:12Z", ready_in_s=12
)


def symbol(name: str, **changed: Any) -> SymbolStatus:
    usual: dict[str, Any] = {
        "symbol": name,
        "recording": True,
        "trades_per_s": 16.44,
        "lag_s": 0.2,
        "first": "2026-11-25T00:10:00.000Z",
        "last": "2026-11-26T00:10:00.000Z",
        "held_s": 86_400,
        "trades": 1_500_000,
        "complete": True,
        "covered_pct": 100.0,
        "missing": 0,
        "gaps": 0,
        "certified": 0,
        "bytes": 5_100_000,
        "reasons": [],
        "warm_up": None,
    }
    return SymbolStatus(**usual | changed)


def status(*symbols: SymbolStatus, **changed: Any) -> Status:
    usual: dict[str, Any] = {
        "version": "1.2.3",
        "market": "binance spot",
        "data_dir": "/var/lib/tapedeck/ledger",
        "as_of": "2026-11-26T00:10:00.000Z",
        "uptime_s": 400,
        "cpu_s": 8.0,
        "ready": True,
        "reasons": [],
        "clock_offset_ms": -12,
        "links_wanted": 2,
        "links": [LinkStatus(host="a:9443", number=7, symbols=2, age_s=300, lag_s=0.12)],
        "sessions": {"sse": 2, "http": 1},
        "calls_under_way": 1,
        "memory": Memory(private=142_000_000, resident=168_000_000),
        "disk": Disk(ledger=72_000_000, free=41_000_000_000, total=80_000_000_000),
        "symbols": list(symbols),
    }
    return Status(**usual | changed)


def shown(found: Status, **options: Any) -> str:
    """The screen as text."""
    out = StringIO()
    Console(file=out, width=80, highlight=False, **options).print(screen(found, "http://127.0.0.1:8000"))
    return out.getvalue()


def words_of(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_a_screen_shows_each_symbol_and_the_process() -> None:
    lines = shown(status(symbol("BTCUSDT"), symbol("ETHUSDT", lag_s=None, recording=False))).splitlines()
    assert lines[0] == "tapedeck 1.2.3 ready, binance spot, up 6.7 min, http://127.0.0.1:8000"
    assert words_of(lines[3]) == [
        "BTCUSDT", "16.4", "0.2 s", "24.0 h", "11-25 00:10", "100 %", "0", "5.1 MB"
    ]  # fmt: skip
    assert words_of(lines[4])[:3] == ["ETHUSDT", "-", "ended"]
    told = dict(words_of(line) for line in lines[6:])
    assert told == {
        "links": "1 of 2 up: a:9443, 0.1 s behind",
        "sessions": "2 over SSE, 1 over Streamable HTTP; 1 call under way",
        "memory": "142.0 MB private, 168.0 MB with mapped files",
        "processor": "2.0% of one core since the start",
        "disk": "72.0 MB ledger, 41.0 GB of 80.0 GB free",
        "clock": "12 ms ahead of the exchange's",
        "ledger": "/var/lib/tapedeck/ledger",
    }


def test_what_is_wrong_is_on_the_screen_in_words() -> None:
    reason = Reason(code="gaps", detail="1200000 ids are missing and asked for")
    late = symbol(
        "BTCUSDT",
        lag_s=95.0,
        missing=1_200_000,
        gaps=120,
        complete=False,
        covered_pct=97.31,
        reasons=[reason],
    )
    text = shown(
        status(late, symbol("X", lag_s=None), ready=False, reasons=[Reason(code="disk", detail="full")])
    )
    assert "tapedeck 1.2.3 not ready" in text
    assert "95 s" in text
    assert "97.31 %  1.2M in 120" in text
    assert "no link" in text
    assert text.endswith("disk: full\nBTCUSDT gaps: 1200000 ids are missing and asked for\n")


def test_history_on_its_way_shows_how_far_it_is_and_when_it_will_be_here() -> None:
    text = shown(status(symbol("BTCUSDT", warm_up=WARM_UP)))
    assert re.search(r"BTCUSDT history  ━+\s+70 %  700k of 1M, 25,000/s, 12 s left\n", text)


@pytest.mark.parametrize("count", [0, 1, 400])
def test_a_screen_fits_80_columns_and_names_every_symbol(count: int) -> None:
    of_one_host = [
        LinkStatus(host="stream.binance.com:9443", number=n, symbols=9, age_s=1, lag_s=0.1) for n in range(9)
    ]
    found = status(*(symbol(f"LONG{n:04}USDT", warm_up=WARM_UP) for n in range(count)), links=of_one_host)
    lines = shown(found).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("LONG") and "history" not in line for line in lines) == count
    assert any("9 of 2 up: 9 × stream.binance.com:9443" in line for line in lines)


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = status(symbol("BTCUSDT", lag_s=40.0))
    assert "\x1b" not in shown(found)
    assert "\x1b[31m40.0 s" in shown(found, force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in shown(found, force_terminal=True)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-3, "0 s"),
        (119, "119 s"),
        (120, "2.0 min"),
        (7_200, "2.0 h"),
        (172_800, "2.0 d"),
        (90 * 86_400, "90.0 d"),
    ],
)
def test_durations_are_in_the_unit_that_a_person_would_use(seconds: int, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0"), (99_999, "99,999"), (100_000, "100k"), (1_234_567, "1.23M")]
)
def test_counts_are_short(count: int, words: str) -> None:
    assert short(count) == words


# The endpoint


def test_the_endpoint_tells_what_the_ledger_holds_to_known_hosts_alone(tmp_path: Path) -> None:
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        ledger.append("BTCUSDT", run_of(1, 10))
        ledger.append("BTCUSDT", run_of(16, 10, start_ms=START_MS + 5_000))
    # Without its lifespan the app records nothing; the ledger is open.
    client = TestClient(create_app(Settings(data_dir=tmp_path / "ledger")), base_url="http://127.0.0.1:8000")
    found = Status.model_validate_json(client.get("/status").content)
    (btc,) = found.symbols
    assert (btc.symbol, btc.recording, btc.trades, btc.missing, btc.gaps) == ("BTCUSDT", False, 20, 5, 1)
    assert (btc.complete, btc.lag_s, btc.warm_up, btc.trades_per_s) == (False, None, None, 0)
    assert [reason.code for reason in found.reasons] == ["link"]
    assert not found.ready
    assert Path(found.data_dir) == tmp_path / "ledger"
    assert found.disk.total > found.disk.free > 0
    assert found.sessions == {"sse": 0, "http": 0}
    assert client.get("/status", headers={"Host": "evil.example"}).status_code == 421


def test_the_bytes_of_a_symbol_are_about_those_of_its_records(tmp_path: Path) -> None:
    with TradeLedger.open(tmp_path / "ledger") as ledger:
        for name, count in (("A", 60_000), ("B", 20_000)):
            ledger.append(name, run_of(1, count))
        ledger.flush()
        ledger.compact()
        for name in ("A", "B"):
            with ledger.view(name) as view:
                assert ledger.bytes_of(name) == pytest.approx(view.stored_bytes(), rel=0.1)


# The command


SYMBOLS = ["BTCUSDT", "ETHUSDT"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that records; its address and its ledger's directory."""
    data_dir = tmp_path_factory.mktemp("status") / "ledger"
    with (
        processes.exchange("--rate=10") as urls,
        processes.server(urls, data_dir, SYMBOLS=",".join(SYMBOLS)) as (_, url),
    ):
        until(lambda: [each.symbol for each in asked(url).symbols if each.trades_per_s] == SYMBOLS)
        yield url, data_dir


def port_of(url: str) -> str:
    return f"--port={url.rpartition(':')[2]}"


def test_a_running_server_is_asked(running: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    url, data_dir = running
    assert main(["status", port_of(url), "--json", "--data-dir", str(data_dir)]) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert (told.pop("server"), said.err) == (url, "")
    found = Status(**told)
    assert [each.symbol for each in found.symbols] == SYMBOLS
    assert all(each.recording and each.trades > 0 and each.trades_per_s > 0 for each in found.symbols)
    assert (found.market, found.links_wanted, len(found.links)) == ("simulated", 1, 1)
    most_s = time.monotonic() - BEGAN_S
    assert 0 <= found.uptime_s <= most_s
    assert 0 < found.cpu_s < most_s * (os.cpu_count() or 1)
    assert main(["status", port_of(url)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "simulated, up " in said.out
    assert "\x1b" not in said.out


def test_another_directory_than_the_servers_is_read_as_a_ledger(
    running: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, data_dir = running
    with TradeLedger.open(tmp_path / "other") as ledger:
        ledger.append("BTCUSDT", run_of(1, 10))
    assert main(["status", port_of(url), "--data-dir", str(tmp_path / "other")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"the server at {url} records into {data_dir}; what the ledger holds:"
    assert main(["status", port_of(url), "--json", "--data-dir", str(tmp_path / "other")]) == 0
    assert json.loads(capsys.readouterr().out)["server"] is None


def test_watching_in_a_pipe_gives_frame_after_frame_until_ctrl_c(running: tuple[str, Path]) -> None:
    url, _ = running
    command = [sys.executable, "-m", "server.cli", "status", "--watch", port_of(url)]
    with processes.Process(
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=processes.ROOT
        )
    ) as watching:
        for _ in range(2):
            watching.until("tapedeck ")
        watching.child.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
    assert "Traceback" not in "".join(watching.lines)


def test_watching_as_json_gives_a_line_a_frame_and_outlives_the_server(
    running: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pauses = iter([None, None, KeyboardInterrupt])

    def pause(seconds: float) -> None:
        assert seconds > 0
        if (ends := next(pauses)) is not None:
            raise ends

    assert watch(running[0], as_json=True, pause=pause) == 0
    frames = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [frame["server"] for frame in frames] == [running[0]] * 3
    pauses = iter([None, KeyboardInterrupt])
    assert watch("http://127.0.0.1:1", as_json=True, pause=pause) == 0
    assert capsys.readouterr().err == "tapedeck: no server at http://127.0.0.1:1\n" * 2


def test_where_nothing_answers_there_is_nothing_to_watch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--watch", "--port=0"]) == 1
    assert (
        capsys.readouterr().err == "tapedeck: no server is known of, with port 0; there is nothing to watch\n"
    )


def test_what_is_no_tapedeck_is_named_as_such(running: tuple[str, Path]) -> None:
    with pytest.raises(NoServer, match="/pages/status answered 404"):
        asked(f"{running[0]}/pages")
    with pytest.raises(NoServer, match=r"no server at http://127\.0\.0\.1:1"):
        asked("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")],
)
def test_a_server_that_listens_everywhere_is_asked_on_this_machine(host: str, expected: str) -> None:
    assert address(Settings(host=host, port=81, insecure_listen=True)) == f"http://{expected}:81"
