"""A connection that nobody uses is closed by the client or the proxy that keeps it, never by the server."""

import re
import signal
from pathlib import Path

import pytest

from server import serve_commands
from server.settings import Settings

NGINX_S, CADDY_S = 60, 120  # of their upstreams, by default


@pytest.fixture
def kept_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """How long a server keeps one."""
    given: list[float] = []
    server = serve_commands.AnnouncingServer
    monkeypatch.setattr(server, "run", lambda server: given.append(server.config.timeout_keep_alive))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert serve_commands._serve(Settings(data_dir=tmp_path / "l")) == 1  # it was not started
    return given[0]


def test_it_outlasts_what_clients_and_proxies_keep(kept_s: float) -> None:
    assert kept_s > max(NGINX_S, CADDY_S)


def test_who_runs_uvicorn_is_told_to_say_the_same(kept_s: float) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    told = re.search(r"`--timeout-keep-alive (\d+)`", readme)
    assert told is not None
    assert int(told[1]) == kept_s
