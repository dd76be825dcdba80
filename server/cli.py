"""The command line: `tapedeck serve`, `demo`, `exchange`, and what other files add to it.

Invariant: a wrong setting or a ledger that cannot be opened ends in one clear line and exit status 1.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn

from collectors.exchange import Exchange, GeneratedMarket, Limits, Market, Recording, VirtualClock
from collectors.exchange.control import serving_control
from collectors.exchange.faults import AnyFault, UnknownFault, read_faults
from server import (
    backup_commands,
    config_command,
    export_command,
    ledger_commands,
    service_manager,
    verify_command,
)
from server.access import commands as access_commands
from server.app import prepared_app, wall_clock
from server.archive_commands import add_archive_commands
from server.settings import PREFIX, ConfigurationInvalid, Settings, load_settings
from server.transports import HTTP_PATH, SSE_PATH
from storage.errors import LedgerError

# The app ends its connections itself, see `Closing`; what is left then is cancelled, so that a stop takes
# less than 5 s.
GRACEFUL_S = 3
# The demo's exchange lets itself be asked faster than Binance, so that 24 h of history are there in a minute.
DEMO_WEIGHT_LIMIT = 60_000
DEMO_QUESTIONS = (
    "Where is value in BTCUSDT today, and is price inside it?",
    "Where is BTCUSDT thin near the price, and where would a stop not sit in a vacuum?",
    "Compare the last hour's volume profile of ETHUSDT with the last 24 hours'.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        run: Callable[[argparse.Namespace], int] = parsed.run
        return run(parsed)
    except (LedgerError, ConfigurationInvalid) as error:
        for line in str(error).splitlines():
            print(f"tapedeck: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "tapedeck",
        description="Records Binance's aggregate trades and answers questions about them over MCP.",
    )
    parser.add_argument("--version", action="version", version=f"tapedeck {version('tapedeck')}")
    commands = parser.add_subparsers(required=True, metavar="command")
    serve = commands.add_parser("serve", help="record the market and answer over MCP")
    _add_settings(serve, Settings.model_fields)
    serve.set_defaults(run=_serve)
    config_command.add_command(commands, partial(_add_settings, names=Settings.model_fields), settings_from)
    demo = commands.add_parser("demo", help="the same against a built-in exchange; no internet")
    _add_settings(demo, ["host", "port", "log_level", "log_format"])
    demo.add_argument("--seed", type=int, default=1, help="which simulated market")
    demo.set_defaults(run=_demo)
    exchange = commands.add_parser("exchange", help="the built-in exchange alone")
    _add_exchange_options(exchange)
    exchange.set_defaults(run=_exchange)
    for family in (ledger_commands.add_commands, export_command.add_command, verify_command.add_command):
        family(commands, partial(_add_settings, names=["data_dir"]))
    backup_commands.add_commands(commands, partial(_add_settings, names=["data_dir"]), wall_clock)
    access_commands.add_commands(commands, partial(_add_settings, names=["data_dir"]), settings_from)
    add_archive_commands(commands, _add_settings, settings_from, wall_clock)
    return parser


def _add_settings(parser: argparse.ArgumentParser, names: Any) -> None:
    """A flag for each setting; what is not given comes from the environment, `.env` or the default."""
    for name in names:
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            metavar="VALUE",
            help=f"{Settings.model_fields[name].description} ({_default(name)}; {PREFIX}{name.upper()})",
        )


def _default(name: str) -> str:
    default = Settings.model_fields[name].get_default(call_default_factory=True)
    shown = ",".join(default) if isinstance(default, list) else str(default)
    return f"default {shown}" if shown else "default none"


def _add_exchange_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument(
        "--port", type=int, default=9000, help="port for REST and streams; 0 takes a free one"
    )
    parser.add_argument("--seed", type=int, default=1, help="which simulated market")
    parser.add_argument("--rate", type=float, default=1.0, help="trades, as a multiple of the usual rate")
    parser.add_argument("--history-hours", type=float, default=24, help="how far back REST reaches")
    parser.add_argument(
        "--weight-limit", type=int, default=Limits().weight_per_minute, help="REST weight a minute"
    )
    parser.add_argument(
        "--recording", type=Path, action="append", help="replay this file instead; may be given several times"
    )
    parser.add_argument("--speed", type=int, default=1, help="how many times faster a recording plays")
    parser.add_argument(
        "--began-s-ago", type=float, default=0, help="how long ago the recording began to play"
    )
    parser.add_argument("--faults", type=Path, help="a JSON list of faults to put in at the start")
    parser.add_argument("--control-port", type=int, help="port for the levers over HTTP; 0 takes a free one")
    parser.add_argument(
        "--clock-speed", type=float, default=1.0, help="how many seconds of the exchange's clock pass in one"
    )
    parser.add_argument("--while-stdin", action="store_true", help="end when standard input ends")


def settings_from(given: argparse.Namespace, **fixed: Any) -> Settings:
    """Settings from flags over environment; raises `ConfigurationInvalid` naming every wrong one."""
    flags = {name: value for name, value in vars(given).items() if name in Settings.model_fields}
    return load_settings(**flags | fixed)


def _serve(given: argparse.Namespace) -> int:
    return _run(
        settings_from(given),
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


def _exchange(given: argparse.Namespace) -> int:
    started_ms = wall_clock()
    market: Market = GeneratedMarket(given.seed, rate=given.rate)
    if given.recording:
        try:
            market = Recording(
                given.recording, start_ms=started_ms - int(given.began_s_ago * 1000), speed=given.speed
            )
        except (OSError, ValueError) as error:
            raise ConfigurationInvalid(f"recording: {error}") from error
    try:
        asyncio.run(_serve_exchange(market, _faults(given.faults), given))
    except UnknownFault as error:
        raise ConfigurationInvalid(f"faults: {error}") from error
    return 0


def _faults(path: Path | None) -> list[AnyFault]:
    try:
        return read_faults(path.read_bytes()) if path else []
    except (OSError, UnknownFault) as error:
        raise ConfigurationInvalid(f"faults: {error}") from error


async def _serve_exchange(market: Market, faults: Sequence[AnyFault], given: argparse.Namespace) -> None:
    movable = given.control_port is not None or given.clock_speed != 1
    clock = VirtualClock(wall_clock(), speed=given.clock_speed) if movable else None
    async with contextlib.AsyncExitStack() as stack:
        exchange = await stack.enter_async_context(
            Exchange(
                market,
                clock=clock or wall_clock,
                host=given.host,
                port=given.port,
                history_hours=given.history_hours,
                limits=Limits(weight_per_minute=given.weight_limit),
                faults=faults,
            )
        )
        urls = {
            "rest_url": exchange.rest_url,
            "archive_url": exchange.rest_url,
            "stream_url": exchange.stream_url,
            "symbols": list(market.symbols),
        }
        if given.control_port is not None:
            levers = serving_control(exchange, clock, host=given.host, port=given.control_port)
            urls["control_url"] = await stack.enter_async_context(levers)
        print(json.dumps(urls), flush=True)
        if given.while_stdin:
            await asyncio.to_thread(sys.stdin.read)
        else:
            await asyncio.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
