"""`tapedeck exchange`: the built-in exchange alone, with its faults and its levers."""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from collectors.exchange import Exchange, GeneratedMarket, Limits, Market, Recording, VirtualClock
from collectors.exchange.control import serving_control
from collectors.exchange.faults import AnyFault, UnknownFault, read_faults
from server.settings import ConfigurationInvalid
from server.wall_clock import wall_clock


def add_commands(commands: Any) -> None:
    exchange = commands.add_parser("exchange", help="the built-in exchange alone")
    _add_options(exchange)
    exchange.set_defaults(run=_exchange)


def _add_options(parser: argparse.ArgumentParser) -> None:
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
