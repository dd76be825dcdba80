"""Settings from flags, environment and defaults; what is wrong is named."""

import argparse
from pathlib import Path

import pytest

from server.cli import main, settings_from
from server.settings import ConfigurationInvalid, Settings, unknown_names


@pytest.fixture(autouse=True)
def no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_the_live_market(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    assert settings.symbols == ["BTCUSDT", "ETHUSDT"]
    assert settings.stream_urls == ["wss://stream.binance.com:9443", "wss://data-stream.binance.vision"]
    assert settings.warmup_ms == 24 * 3_600_000
    assert settings.host == "127.0.0.1"


def test_a_flag_wins_over_the_environment_and_that_over_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("TAPEDECK_PORT=1\nTAPEDECK_SYMBOLS=solusdt\nTAPEDECK_WARMUP_HOURS=3\n")
    monkeypatch.setenv("TAPEDECK_PORT", "2")
    monkeypatch.setenv("TAPEDECK_SYMBOLS", "btcusdt, ethusdt")
    settings = settings_from(argparse.Namespace(port="3"))
    assert (settings.port, settings.symbols) == (3, ["BTCUSDT", "ETHUSDT"])
    assert settings.warmup_ms == 3 * 3_600_000


def test_every_wrong_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEDECK_PORT", "99999")
    monkeypatch.setenv("TAPEDECK_REST_URL", "ftp://x")
    monkeypatch.setenv("TAPEDECK_SYMBOLS", "BTC/USDT")
    with pytest.raises(ConfigurationInvalid) as wrong:
        settings_from(argparse.Namespace())
    for name in ("TAPEDECK_PORT", "TAPEDECK_REST_URL", "TAPEDECK_SYMBOLS"):
        assert name in str(wrong.value)


def test_a_wrong_setting_ends_in_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--port", "x"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("tapedeck: TAPEDECK_PORT: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.com"])
def test_listening_beyond_loopback_is_refused_unless_it_is_asked_for(host: str) -> None:
    with pytest.raises(ValueError, match="TAPEDECK_INSECURE_LISTEN"):
        Settings(host=host)
    assert Settings(host=host, insecure_listen=True).host == host


def test_names_that_are_no_setting_are_found() -> None:
    assert unknown_names({"TAPEDECK_PROT": "1", "TAPEDECK_PORT": "1", "PATH": ""}) == ["TAPEDECK_PROT"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PUBLIC_URL", "tape.example.com", "write it as https://tape.example.com"),
        ("PUBLIC_URL", "https://tape.example.com/?a=1", "write it as https://tape.example.com"),
        ("TRUSTED_PROXIES", "proxy.local", "write 10.0.0.2 or 10.0.0.0/24"),
    ],
)
def test_an_address_that_is_none_is_refused_with_one_that_is(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    monkeypatch.setenv(f"TAPEDECK_{name}", value)
    with pytest.raises(ConfigurationInvalid, match=words):
        settings_from(argparse.Namespace())


def test_the_host_of_the_public_address_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEDECK_PUBLIC_URL", "https://tape.example.com:8443/tape/")
    settings = settings_from(argparse.Namespace())
    assert settings.public_url == "https://tape.example.com:8443/tape"
    assert settings.answered_hosts == ["tape.example.com:8443"]
