"""`tapedeck chart` as a user types it: the picture of a ledger at rest, or of one that is in use."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from server.cli import main
from storage.checkpoints import make_wanted
from storage.ledger import TradeLedger
from tests.charts.examples import KINDS, ledger_of, tape

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chart") / "ledger"
    with ledger_of(tape(3, rate=0.01)) as made, TradeLedger.open(path) as ledger:
        ledger.claim("simulated")
        for instrument in made.instruments.values():
            ledger.keep_instrument(instrument, 0)
        ledger.append("BTCUSDT", tape(3, rate=0.01))
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_written_and_what_it_says_is_told(
    data_dir: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(f"{kind}.png")
    assert (
        main(["chart", "btc", "--kind", kind, "--hours", "2", "--out", str(out), "--data-dir", str(data_dir)])
        == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("BTCUSDT simulated, 2 h to 2025-11-25T22:59")
    assert said[1].startswith(f"{out}, ")
    with Image.open(out) as png:
        assert png.size[0] <= 1_000


def test_without_a_name_the_file_is_named_by_symbol_and_kind(data_dir: Path) -> None:
    assert main(["chart", "BTCUSDT", "--hours", "1", "--data-dir", str(data_dir)]) == 0
    assert Path("BTCUSDT-profile.png").exists()


def test_a_ledger_in_use_is_drawn_from_a_checkpoint(data_dir: Path) -> None:
    command = [sys.executable, "-m", "server.cli", "chart", "btc", "--out", str(Path("used.png").resolve())]
    with TradeLedger.open(data_dir) as ledger:
        child = subprocess.Popen([*command, "--data-dir", str(data_dir)], cwd=ROOT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not make_wanted(ledger, data_dir) and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)  # as an owner's upkeep does
        assert child.wait(60) == 0
    with Image.open("used.png") as png:
        assert png.format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--hours", "0"], "out of range"),
        (["--hours", "1", "--to", "2020-01-01T00:00:00Z"], "nothing is recorded"),
        (["--out", "picture.jpg"], "picture.jpg does not end in .png"),
        (["--out", "there.png"], "there.png exists already; --force replaces it"),
        (["--out", "no/such/directory.png"], "no/such/directory.png"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    data_dir: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("there.png").write_bytes(b"")
    assert main(["chart", "btc", *arguments, "--data-dir", str(data_dir)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("tapedeck: ")
    assert words in said.err
    assert len(said.err.splitlines()) == 1


def test_nothing_is_written_into_the_ledger(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data_dir / "picture.png"
    assert main(["chart", "btc", "--out", str(out), "--data-dir", str(data_dir)]) == 1
    assert "lies in the ledger's directory" in capsys.readouterr().err
    assert not out.exists()
