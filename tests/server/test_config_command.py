"""`tapedeck check-config` shows what is in force, or everything that is wrong."""

import os
from pathlib import Path

import pytest

from server.cli import main
from server.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("TAPEDECK_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TAPEDECK_DATA_DIR", str(tmp_path / "ledger"))


def test_every_setting_is_shown_with_its_value_and_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "service.env").write_text("TAPEDECK_PORT=8010\nTAPEDECK_MAX_DISK=20GB\n")
    monkeypatch.setenv("TAPEDECK_LOG_LEVEL", "debug")
    assert main(["check-config", "--env-file", "service.env", "--symbols", "solusdt,xrpusdt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("=")[0] for line in lines] == [
        f"TAPEDECK_{n.upper()}" for n in Settings.model_fields
    ]
    assert {
        "TAPEDECK_PORT=8010  # service.env",
        "TAPEDECK_MAX_DISK=20000000000  # service.env",
        "TAPEDECK_LOG_LEVEL=debug  # environment",
        "TAPEDECK_SYMBOLS=SOLUSDT,XRPUSDT  # flag",
        "TAPEDECK_HOST=127.0.0.1  # default",
    } <= set(lines)


def test_what_it_shows_is_an_environment_file_with_the_same_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", "--max-disk", "1GB", "--allowed-hosts", "a.example,b.example"]) == 0
    (tmp_path / ".env").write_text(capsys.readouterr().out)
    shown = load_settings()
    assert (shown.max_disk, shown.allowed_hosts) == (10**9, ["a.example", "b.example"])
    assert shown == load_settings(max_disk=10**9, allowed_hosts=["a.example", "b.example"])


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAPEDECK_PROT", "1")
    monkeypatch.setenv("TAPEDECK_PORT", "x")
    assert main(["check-config", "--symbols", "BTC/USDT"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert [line.split(": ")[1] for line in said.err.splitlines()] == [
        "TAPEDECK_PROT (environment) is no setting; did you mean TAPEDECK_PORT?",
        "TAPEDECK_PORT",
        "TAPEDECK_SYMBOLS",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_one_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["check-config", "--data-dir", str(tmp_path / "file" / "ledger")]) == 1
    assert f"TAPEDECK_DATA_DIR: {tmp_path / 'file'} is no directory" in capsys.readouterr().err


def test_a_directory_that_may_not_be_written_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    assert main(["check-config"]) == 1
    assert f"TAPEDECK_DATA_DIR: this user may not write {tmp_path}" in capsys.readouterr().err


def test_an_environment_file_that_is_not_there_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", "--env-file", "none.env"]) == 1
    assert "none.env is no file" in capsys.readouterr().err
