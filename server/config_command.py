"""`tapedeck check-config`: every setting, where its value comes from, and all that is wrong at once.

Invariant: nothing is opened, made or changed. Exit status 0 means that `serve` would accept the settings and
that each name in the environment and in the file means something.
"""

import argparse
import difflib
import os
import sys
from pathlib import Path
from typing import Any

from server.access.setup import tokens_in_force
from server.flags import add_settings, settings_from
from server.settings import ENV_FILE, PREFIX, ConfigurationInvalid, Settings, given_names, unknown_names


def add_commands(commands: Any) -> None:
    check = commands.add_parser("check-config", help="show every setting, or all that is wrong")
    check.add_argument("--env-file", type=Path, help=f"read this file instead of {ENV_FILE}")
    add_settings(check, Settings.model_fields)
    check.set_defaults(run=_check)


def _check(given: argparse.Namespace) -> int:
    """0 where all can be used; raises `ConfigurationInvalid` with every line that says what cannot."""
    env_file = given.env_file or Path(ENV_FILE)
    if given.env_file and not env_file.is_file():
        raise ConfigurationInvalid(f"{env_file} is no file; give the one that the service reads")
    names = given_names(env_file)
    wrong = [_unknown(name, names[name]) for name in unknown_names(names)]
    try:
        settings = settings_from(given, _env_file=env_file)
        wrong += _unusable(settings.data_dir)
        tokens_in_force(settings)
    except ConfigurationInvalid as error:
        wrong += str(error).splitlines()
    if wrong:
        raise ConfigurationInvalid("\n".join(wrong))
    for name in Settings.model_fields:
        place = "flag" if name in given else names.get(PREFIX + name.upper(), "default")
        sys.stdout.write(f"{PREFIX}{name.upper()}={written(getattr(settings, name))}  # {place}\n")
    return 0


def _unknown(name: str, place: str) -> str:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    near = difflib.get_close_matches(name, known, n=1)
    return f"{name} ({place}) is no setting" + (f"; did you mean {near[0]}?" if near else "")


def _unusable(data_dir: Path) -> list[str]:
    """Why the ledger's directory could neither be used nor made; empty where it could."""
    nearest = next(path for path in (data_dir, *data_dir.absolute().parents) if path.exists())
    if not nearest.is_dir():
        return [f"{PREFIX}DATA_DIR: {nearest} is no directory"]
    if not os.access(nearest, os.R_OK | os.W_OK | os.X_OK):
        return [f"{PREFIX}DATA_DIR: this user may not write {nearest}; choose another, or give it the right"]
    return []


def written(value: object) -> str:
    """A setting's value as one writes it in the environment."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, list) else str(value)
