"""Settings from flags, environment and defaults; what is wrong is named."""

import argparse
import re
from pathlib import Path

import pytest

from server.cli import main
from server.flags import settings_from
from server.settings import ConfigurationInvalid, Settings, given_names, load_settings, unknown_names


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


def test_settings_that_do_not_fit_together_are_named_beside_those_that_are_wrong_alone() -> None:
    with pytest.raises(ConfigurationInvalid) as wrong:
        load_settings(port="x", host="0.0.0.0", warmup_hours=200, log_level="loud", symbols="B/C,D/E")
    names = [line.partition(": ")[0] for line in str(wrong.value).splitlines()]
    assert names == [
        f"TAPEDECK_{name}"
        for name in ("PORT", "SYMBOLS", "SYMBOLS", "RETENTION_HOURS", "INSECURE_LISTEN", "LOG_LEVEL")
    ]


WRONG: dict[str, list[object]] = {
    "port": ["x", -1, 65536],
    "symbols": ["", "BTC/USDT"],
    "stream_urls": ["", "https://x"],
    "rest_url": ["x"],
    "archive_url": ["ws://x"],
    "warmup_hours": ["soon", -1, 24 * 366],
    "retention_hours": ["x", -1, "NaN"],
    "max_disk": ["much", "1MB"],
    "insecure_listen": ["perhaps"],
    "log_level": ["loud"],
    "log_format": ["xml"],
}


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in WRONG.items() for v in values])
def test_a_wrong_value_is_answered_with_its_setting_and_what_is_valid(name: str, value: object) -> None:
    with pytest.raises(ConfigurationInvalid) as wrong:
        load_settings(**{name: value})
    said = str(wrong.value)
    assert said.startswith(f"TAPEDECK_{name.upper()}: ")
    assert re.search(r"should be|should have|begins with|write it as|at least|must be", said), said
    assert "\n" not in said


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


def test_a_public_address_is_refused_where_nothing_checks_who_asks() -> None:
    public = "https://tape.example.com"
    with pytest.raises(ConfigurationInvalid, match="TAPEDECK_AUTH_TOKENS"):
        load_settings(public_url=public)
    for chosen in ({"insecure_listen": True}, {"auth_tokens": "a-token-of-24-characters-x"}):
        assert load_settings(public_url=public, **chosen).public_url == public
    assert load_settings(public_url="http://localhost:8080").public_url == "http://localhost:8080"


def test_names_that_are_no_setting_are_found() -> None:
    assert unknown_names(["TAPEDECK_PROT", "TAPEDECK_PORT"]) == ["TAPEDECK_PROT"]


def test_names_that_are_given_are_known_with_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("TAPEDECK_PORT=1\nTAPEDECK_HOST=::1\nOTHER=1\n")
    monkeypatch.setenv("TAPEDECK_PORT", "2")
    assert given_names() == {"TAPEDECK_PORT": "environment", "TAPEDECK_HOST": ".env"}


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
    monkeypatch.setenv("TAPEDECK_AUTH_TOKENS", "a-token-of-24-characters-x")
    settings = settings_from(argparse.Namespace())
    assert settings.public_url == "https://tape.example.com:8443/tape"
    assert settings.answered_hosts == ["tape.example.com:8443"]


def test_names_are_compared_as_browsers_write_them() -> None:
    settings = Settings(
        public_url="HTTPS://Tape.Example.com:443/Tape",
        allowed_hosts=["Box.Local:80", "box.local:8443", "[::1]"],
        allowed_origins=["HTTPS://Chat.test:443/", "http://localhost:6274", "null"],
        insecure_listen=True,
    )
    assert settings.public_url == "https://tape.example.com/Tape"
    assert settings.answered_hosts == ["box.local", "box.local:8443", "[::1]", "tape.example.com"]
    assert settings.answered_origins == [
        "https://chat.test",
        "http://localhost:6274",
        "null",
        "https://tape.example.com",
    ]
