"""The commands on a ledger while a server records into it: they see what it has, and it never notices."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from storage.ledger import TradeLedger
from storage.rollups import digest_of
from tests import processes
from tests.clock import wall_ms
from tests.levers import held, missing, until, until_history, until_more
from tests.storage.test_export import rows_of_csv, rows_of_parquet
from tests.tapes import rows_of

FAST = f"--rate={500 / 18}"


def command(data_dir: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server.cli", *map(str, arguments), "--data-dir", str(data_dir)],
        capture_output=True, text=True, cwd=processes.ROOT, timeout=100, check=False,
    )  # fmt: skip


def status(data_dir: Path) -> dict[str, Any]:
    done = command(data_dir, "status", "--json", "--port=0")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def until_recorded(url: str, trades: int) -> None:
    """Until the server at `url` has so many trades and misses none."""
    until(lambda: held(url, "BTCUSDT") >= trades and missing(url, "BTCUSDT") == 0)


def digest_in(said: str) -> str:
    match = re.search(r"^DIGEST sha256 ([0-9a-f]{64}) ", said, re.MULTILINE)
    assert match is not None, said
    return match[1]


@pytest.mark.timeout(300)
def test_every_command_while_a_server_records(tmp_path: Path) -> None:
    ledger, parquet, csv = tmp_path / "ledger", tmp_path / "t.parquet", tmp_path / "ids.csv"
    with (
        processes.exchange(FAST, "--weight-limit=60000") as urls,
        processes.server(urls, ledger, WARMUP_HOURS="0.01") as (process, url),
    ):
        until_history(process, url, "BTCUSDT")
        until_recorded(url, 10_000)
        told = status(ledger)
        assert (told["in_use"], told["venue"]) == (True, "simulated")
        whole = command(ledger, "export", "BTCUSDT", "--out", parquet)
        assert (whole.returncode, whole.stderr) == (0, "")
        until_more(url, "BTCUSDT")
        first_id = told["symbols"][0]["first_id"]
        ids = f"{first_id + 100}-{first_id + 5_099}"
        some = command(ledger, "export", "btc/usdt", "--ids", ids, "--out", csv)
        assert (some.returncode, some.stderr) == (0, "")
        piped = command(ledger, "export", "btc", "--ids", ids, "--out", "-")
        assert piped.stdout == csv.read_text()
        assert digest_in(piped.stderr) == digest_in(some.stdout)
        verified = command(ledger, "verify")
        assert (verified.returncode, verified.stderr) == (0, "")
        assert " 0 damaged" in verified.stdout
        refused = command(ledger, "verify", "--repair")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "stop the server" in refused.stderr
        copied = command(ledger, "backup", tmp_path / "backup")
        assert (copied.returncode, copied.stderr) == (0, "")
        until_more(url, "BTCUSDT")
        over = command(ledger, "restore", tmp_path / "backup")
        assert (over.returncode, over.stdout) == (1, "")
        assert "is not empty" in over.stderr
        from_it = command(tmp_path / "new", "restore", ledger)
        assert (from_it.returncode, from_it.stdout) == (1, "")
        assert "open in another process; take a backup of it" in from_it.stderr
        assert not (tmp_path / "new").exists()
        assert httpx.get(f"{url}/healthz", trust_env=False, timeout=60).status_code == 200
        assert list((ledger / "checkpoints").iterdir()) == []
        process.child.terminate()
        assert process.wait(30) == 0
        assert not [line for line in process.lines if "Traceback" in line or '"level": "error"' in line]
        assert sum("checkpoint made" in line for line in process.lines) >= 5

    restored = command(tmp_path / "again", "restore", tmp_path / "backup")
    assert (restored.returncode, restored.stderr) == (0, "")
    with TradeLedger.open(ledger) as held, TradeLedger.open(tmp_path / "again") as again:
        assert len(held.runs("BTCUSDT")) == 1
        rows = held.trades("BTCUSDT", 0, 2 * wall_ms())
        kept = again.trades("BTCUSDT", 0, 2 * wall_ms())
    exported = rows_of_parquet(parquet)
    assert len(exported) >= 10_000
    # Each is the ledger up to the moment of its checkpoint; the server went on.
    assert exported == rows_of(rows.take(slice(0, len(exported))))
    assert rows_of(kept) == rows_of(rows.take(slice(0, len(kept))))
    assert len(exported) < len(kept) < len(rows)
    assert digest_in(whole.stdout) == digest_of(rows.take(slice(0, len(exported)))).hex()
    assert rows_of_csv(csv.read_text()) == rows_of(rows.take(slice(100, 5_100)))
    assert digest_in(some.stdout) == digest_of(rows.take(slice(100, 5_100))).hex()


def test_an_export_that_is_stopped_leaves_neither_file_nor_checkpoint(tmp_path: Path) -> None:
    ledger, out = tmp_path / "ledger", tmp_path / "out"
    out.mkdir()
    with processes.exchange(FAST) as urls, processes.server(urls, ledger) as (process, url):
        until_recorded(url, 1)
        arguments = ["export", "BTCUSDT", "--out", str(out / "t.csv"), "--data-dir", str(ledger)]
        with processes.start(sys.executable, "-c", HELD_UP, *arguments) as child:
            child.until("writing")
            assert len(list((ledger / "checkpoints").iterdir())) == 1
            assert [entry.suffix for entry in out.iterdir()] == [".partial"]
            child.child.terminate()
            assert child.wait(30) == 128 + signal.SIGTERM
            assert "Traceback" not in "".join(child.lines)
        assert list((ledger / "checkpoints").iterdir()) == []
        assert list(out.iterdir()) == []
        assert process.child.poll() is None


# The command, standing still in the middle of its rows.
HELD_UP = """
import sys, threading
from server import export_command
from server.cli import main

def export(chunks, rows, *_):
    for chunk in chunks:
        rows.write(chunk)
        print("writing", flush=True)
        threading.Event().wait()

export_command.export = export
sys.exit(main(sys.argv[1:]))
"""
