"""`tapedeck serve` and `tapedeck demo`: the app under uvicorn, and the same against the built-in exchange.

Invariant: the exit status is 0 only when the server has answered and was then told to stop.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from server import service_manager
from server.app import prepared_app
from server.flags import add_settings, settings_from
from server.settings import ConfigurationInvalid, Settings
from server.transports import HTTP_PATH, SSE_PATH

# The app ends its connections itself, see `Closing`; what is left then is cancelled, so that a stop takes
# less than 5 s.
GRACEFUL_S = 3
# Longer than clients and proxies keep a connection that they do not use (httpx 5 s, nginx 60 s, Caddy 120 s):
# one that closes as a message is sent on it loses the message, and a client over SSE its session.
KEEP_ALIVE_S = 150
# The demo's exchange lets itself be asked faster than Binance, so that 24 h of history are there in a minute.
DEMO_WEIGHT_LIMIT = 60_000
DEMO_QUESTIONS = (
    "Where is value in BTCUSDT today, and is price inside it?",
    "Where is BTCUSDT thin near the price, and where would a stop not sit in a vacuum?",
    "Compare the last hour's volume profile of ETHUSDT with the last 24 hours'.",
)


def add_commands(commands: Any) -> None:
    serve = commands.add_parser("serve", help="record the market and answer over MCP")
    add_settings(serve, Settings.model_fields)
    serve.set_defaults(run=lambda given: _serve(settings_from(given)))
    demo = commands.add_parser("demo", help="the same against a built-in exchange; no internet")
    add_settings(demo, ["host", "port", "log_level", "log_format"])
    demo.add_argument("--seed", type=int, default=1, help="which simulated market")
    demo.set_defaults(run=_demo)


def _serve(settings: Settings) -> int:
    return _run(
        settings,
        lambda url: print(
            f"tapedeck: MCP over SSE at {url}{SSE_PATH}, over Streamable HTTP at {url}{HTTP_PATH}"
        ),
    )


def _run(settings: Settings, announce: Callable[[str], None]) -> int:
    """Serve until a signal; exit status 1 when it could not start."""
    config = uvicorn.Config(
        prepared_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        lifespan="on",
        ws="none",
        proxy_headers=False,  # TAPEDECK_TRUSTED_PROXIES says whom to believe
        timeout_graceful_shutdown=GRACEFUL_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = AnnouncingServer(config, announce)
    # uvicorn raises the signal again once it has stopped: then the way out is an ordinary one, with clean-up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.run()
    except SystemExit:
        if server.started:
            raise
        return 1
    return 0 if server.started else 1


class AnnouncingServer(uvicorn.Server):
    """Says its address once it answers, and tells a service manager how it stands."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self._telling: asyncio.Task[None] | None = None

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            self._announce(url)
            sys.stdout.flush()
            service_manager.tell(service_manager.READY, f"STATUS=answers at {url}")
            self._telling = asyncio.create_task(service_manager.keep_telling())

    async def shutdown(self, sockets: Any = None) -> None:
        service_manager.tell(service_manager.STOPPING)
        await super().shutdown(sockets=sockets)


def _demo(given: argparse.Namespace) -> int:
    with (
        tempfile.TemporaryDirectory(prefix="tapedeck-demo-") as directory,
        _demo_exchange(given.seed) as urls,
    ):
        settings = settings_from(
            given,
            symbols=["BTCUSDT", "ETHUSDT"],
            data_dir=Path(directory) / "ledger",
            stream_urls=[urls["stream_url"], urls["stream_url"]],
            rest_url=urls["rest_url"],
            archive_url=urls["archive_url"],
            warmup_hours=24,
        )
        return _run(settings, _announce_demo)


def _announce_demo(url: str) -> None:
    print(
        f"\ntapedeck demo: a simulated market (no internet), kept until you stop it with Ctrl-C.\n\n"
        f"  MCP over SSE              {url}{SSE_PATH}\n"
        f"  MCP over Streamable HTTP  {url}{HTTP_PATH}\n\n"
        "24 h of history arrive within about a minute; until then answers begin with PARTIAL:.\n"
        "Look at the tools:  npx @modelcontextprotocol/inspector --cli "
        f"{url}{SSE_PATH} --transport sse --method tools/list\n\n"
        "Ask your model:"
    )
    for question in DEMO_QUESTIONS:
        print(f"  - {question}")
    print()


@contextlib.contextmanager
def _demo_exchange(seed: int) -> Iterator[dict[str, str]]:
    """The built-in exchange in a process of its own, which ends with this one; its URLs."""
    command = [sys.executable, "-m", "server.cli", "exchange", "--port=0", f"--seed={seed}", "--while-stdin"]
    command += [f"--weight-limit={DEMO_WEIGHT_LIMIT}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            line = child.stdout.readline()
            if not line:
                raise ConfigurationInvalid("the demo's exchange did not start")
            yield json.loads(line)
        finally:
            child.stdin.close()
            child.terminate()
