"""Settings as flags of a command, and back: what the command line says goes before the environment."""

import argparse
from collections.abc import Iterable
from typing import Any

from server.settings import PREFIX, Settings, load_settings


def add_settings(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
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


def settings_from(given: argparse.Namespace, **fixed: Any) -> Settings:
    """Settings from flags over environment; raises `ConfigurationInvalid` naming every wrong one."""
    flags = {name: value for name, value in vars(given).items() if name in Settings.model_fields}
    return load_settings(**flags | fixed)
