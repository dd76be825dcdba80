"""A real server tells a real socket what systemd wants to know."""

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from server.service_manager import interval_s, keep_telling, tell
from tests import processes


@pytest.fixture
def manager() -> Iterator[tuple[socket.socket, str]]:
    """A socket that is listened to, and its name as NOTIFY_SOCKET has it."""
    name = f"tapedeck-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        heard.settimeout(60)
        yield heard, f"@{name}"


def next_message(heard: socket.socket) -> list[str]:
    return heard.recv(4096).decode().splitlines()


def test_a_server_says_that_it_answers_that_it_lives_and_that_it_stops(
    tmp_path: Path, manager: tuple[socket.socket, str]
) -> None:
    heard, address = manager
    with processes.exchange() as urls:
        environment = processes.environment_for(urls, tmp_path / "l")
        environment |= {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
        with processes.start(sys.executable, "-m", "server.cli", "serve", environment=environment) as process:
            ready, status = next_message(heard)
            assert ready == "READY=1"
            url = status.removeprefix("STATUS=answers at ")
            assert httpx.get(f"{url}/healthz", trust_env=False, timeout=60).status_code == 200
            assert [next_message(heard) for _ in range(3)] == [["WATCHDOG=1"]] * 3
            process.child.send_signal(signal.SIGTERM)
            while (message := next_message(heard)) == ["WATCHDOG=1"]:
                pass
            assert message == ["STOPPING=1"]
            assert process.wait(30) == 0


def test_a_loop_that_is_held_up_falls_silent(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, address = manager
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    async def run() -> None:
        telling = asyncio.create_task(keep_telling())
        await asyncio.sleep(0)
        assert next_message(heard) == ["WATCHDOG=1"]
        heard.settimeout(0.2)
        with pytest.raises(TimeoutError):  # it is the loop itself that waits here
            next_message(heard)
        telling.cancel()

    asyncio.run(run())


def test_a_manager_that_is_behind_hears_all_that_it_is_told_once(
    manager: tuple[socket.socket, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, address = manager
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as others, suppress(BlockingIOError):
        others.setblocking(False)  # until no more fit
        while True:
            others.sendto(b"STATUS=of another service", f"\0{address[1:]}")
    tell("WATCHDOG=1", within_s=0)
    with ThreadPoolExecutor() as pool:
        told = pool.submit(tell, "READY=1", within_s=60)
        while (message := next_message(heard)) == ["STATUS=of another service"]:
            pass
        told.result()
    assert message == ["READY=1"]


def test_a_socket_in_the_file_system_is_told_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind("notify")
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")
        tell("READY=1", "STATUS=x")
        assert next_message(heard) == ["READY=1", "STATUS=x"]


def test_a_manager_that_is_gone_or_was_never_there_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    tell("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    tell("READY=1")


@pytest.mark.parametrize(
    ("waits_us", "meant_for", "expected"),
    [
        ("60000000", None, 30.0),
        pytest.param("60000000", str(os.getpid()), 30.0, id="this-process"),
        ("60000000", "1", None),
    ]
    + [(waits, None, None) for waits in ("0", "", "soon")],
)
def test_the_loop_is_watched_only_where_the_manager_asks_this_process(
    monkeypatch: pytest.MonkeyPatch, waits_us: str, meant_for: str | None, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", waits_us)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if meant_for is not None:
        monkeypatch.setenv("WATCHDOG_PID", meant_for)
    assert interval_s() == expected
