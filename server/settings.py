"""Settings: TAPEDECK_* from the environment, from `.env`, or from the flag of the same name.

Invariant: every setting has a description, a default and a line in the README's table (a test holds it).
"""

import os
import re
from collections.abc import Iterable
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from platformdirs import user_data_path
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server.access.addresses import USUAL_PORTS, canonical, is_loopback
from server.access.written import (
    CREDENTIALS,
    GivenFile,
    GivenPassphrase,
    GivenTokens,
    SecureUrl,
    entries,
    secure_url,
)

PREFIX = "TAPEDECK_"
ENV_FILE = ".env"


def _listed(value: Any) -> Any:
    """A comma-separated text as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _lowered(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _web_socket_url(url: str) -> str:
    if not url.startswith(("wss://", "ws://")):
        raise ValueError(f"{url!r} is no websocket address; it begins with wss:// or ws://")
    return url.rstrip("/")


def _http_url(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url!r} is no web address; it begins with https:// or http://")
    return url.rstrip("/")


def _public_url(url: str | None) -> str | None:
    if not url:
        return None
    if urlsplit(url).query or urlsplit(url).fragment or not urlsplit(url).hostname:
        raise ValueError(f"{url!r} is no address of a server; write it as https://tape.example.com")
    return _http_url(canonical(url))


def _origin(url: str) -> str:
    return canonical(url).rstrip("/")


def _host(name: str) -> str:
    """In lower case, without a usual port; each port of a name is answered."""
    host, colon, port = name.lower().rpartition(":")
    return host if colon + port in USUAL_PORTS.values() else name.lower()


def _proxy(address: str) -> str:
    try:
        ip_network(address)
    except ValueError:
        raise ValueError(f"{address!r} is no address or network; write 10.0.0.2 or 10.0.0.0/24") from None
    return address


def _symbol(name: str) -> str:
    if not name.isalnum():
        raise ValueError(f"{name!r} is no symbol; write it as the exchange does, such as BTCUSDT")
    return name.upper()


Names = Annotated[list[str], NoDecode, BeforeValidator(_listed)]
Symbols = Annotated[
    list[Annotated[str, AfterValidator(_symbol)]], NoDecode, BeforeValidator(_listed), Field(min_length=1)
]
StreamUrls = Annotated[
    list[Annotated[str, AfterValidator(_web_socket_url)]],
    NoDecode,
    BeforeValidator(_listed),
    Field(min_length=1),
]


Hosts = Annotated[list[Annotated[str, AfterValidator(_host)]], NoDecode, BeforeValidator(_listed)]
Origins = Annotated[list[Annotated[str, AfterValidator(_origin)]], NoDecode, BeforeValidator(_listed)]
Proxies = Annotated[list[Annotated[str, AfterValidator(_proxy)]], NoDecode, BeforeValidator(_listed)]


UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
# Less than this LevelDB's log and a few tables take already.
LEAST_DISK = 64 * 10**6


def _size(written: Any) -> Any:
    """A number of bytes, written with or without a unit."""
    if not isinstance(written, str):
        return written
    if not written.strip():
        return None
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Z]*)", written.strip().upper())
    if match is None or match[2] not in UNITS:
        raise ValueError(f"{written!r} is no size; write it as 500MB or 20GB")
    return int(Decimal(match[1]) * UNITS[match[2]])


def _large_enough(size: int | None) -> int | None:
    if size is not None and size < LEAST_DISK:
        raise ValueError(f"{size} bytes are too few for a ledger; at least 64MB")
    return size


Size = Annotated[int | None, BeforeValidator(_size), AfterValidator(_large_enough)]


LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lowered)]


class Settings(BaseSettings):
    """What an operator may choose."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=ENV_FILE, extra="ignore")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    symbols: Symbols = Field(["BTCUSDT", "ETHUSDT"], description="symbols to record")
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = Field(
        default_factory=lambda: user_data_path("tapedeck") / "ledger", description="directory of the ledger"
    )
    stream_urls: StreamUrls = Field(
        ["wss://stream.binance.com:9443", "wss://data-stream.binance.vision"],
        description="websocket hosts, one link an entry; a repeated entry is another link",
    )
    rest_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "https://data-api.binance.vision", description="REST host"
    )
    archive_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "https://data.binance.vision", description="host of the daily dumps, for backfill and audit"
    )
    warmup_hours: Decimal = Field(
        Decimal(24), ge=0, le=24 * 365, description="history fetched at first start; 0 = none"
    )
    retention_hours: Decimal = Field(
        Decimal(168), ge=0, le=24 * 3660, description="how long trades are kept; 0 keeps everything"
    )
    max_disk: Size = Field(
        None, description="size of the ledger's files beyond which the oldest hours go, such as 20GB"
    )
    allowed_hosts: Hosts = Field([], description="further Host names that are answered, beside loopback")
    allowed_origins: Origins = Field([], description="web origins that are answered, beside loopback")
    public_url: Annotated[str | None, AfterValidator(_public_url)] = Field(
        None, description="address at which people reach the server through a proxy, path prefix included"
    )
    trusted_proxies: Proxies = Field(
        [], description="addresses or networks of proxies whose X-Forwarded-* headers are believed"
    )
    auth_tokens: GivenTokens = Field(
        None, description="bearer tokens that may ask, each as name=token; `tapedeck token` makes one"
    )
    auth_tokens_file: GivenFile = Field(
        None,
        description="file of further ones, one a line, readable by its owner alone; read when it changes",
    )
    oauth_issuer: SecureUrl = Field(
        None, description="identity provider whose access tokens may ask, exactly as its metadata names it"
    )
    oauth_audience: Names = Field(
        [], description="audiences of its tokens that are meant for this server; by default its own address"
    )
    oauth_scopes: Names = Field([], description="scopes that its tokens need")
    oauth_jwks_url: SecureUrl = Field(
        None, description="address of its public keys, where its metadata does not name them"
    )
    oauth_passphrase: GivenPassphrase = Field(
        None, description="turns the built-in authorization server on: its passphrase, or the hash of it"
    )
    rate_limit: int = Field(
        120, ge=0, description="requests a minute of one token or address beyond this machine; 0 = any number"
    )
    insecure_listen: bool = Field(
        False, description="without access control let anybody ask who reaches the port"
    )
    log_level: LogLevel = Field("info", description="least level logged")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="console, json, or auto: json when not a terminal"
    )

    # Fields are checked in their order, each by itself, so that every wrong one is named at once; `others`
    # holds those before it that are right.

    @field_validator("insecure_listen")
    @classmethod
    def _guard_listening(cls, insecure: bool, others: ValidationInfo) -> bool:
        host, public = others.data.get("host"), others.data.get("public_url")
        # What is wrong by itself is named already.
        if insecure or any(others.data.get(name, True) for name in CREDENTIALS):
            return insecure
        remedy = (
            f"set {PREFIX}AUTH_TOKENS or another way to check (docs/security.md), "
            f"or {PREFIX}INSECURE_LISTEN=1 to let anybody ask"
        )
        if host is not None and not is_loopback(host):
            raise ValueError(
                f"{PREFIX}HOST={host} is reachable from outside and nothing checks who asks; "
                f"listen on 127.0.0.1, {remedy}"
            )
        # A proxy that says nothing of its clients makes them look like programs of this machine.
        if public and not is_loopback(urlsplit(public).hostname or ""):
            raise ValueError(f"others ask at {PREFIX}PUBLIC_URL={public} and nothing checks who; {remedy}")
        return insecure

    @field_validator("oauth_issuer", "oauth_passphrase")
    @classmethod
    def _know_the_own_address(cls, value: Any, others: ValidationInfo) -> Any:
        """OAuth names the server by its address, which so has to be known, and is used over HTTPS."""
        if value and others.data.get("oauth_issuer"):
            raise ValueError(f"there must be one authorization server; {PREFIX}OAUTH_ISSUER is set too")
        public, host, port = (others.data.get(name) for name in ("public_url", "host", "port"))
        if not value or host is None or port is None:
            return value
        if public is None and (not port or not is_loopback(host)):
            raise ValueError(f"it needs {PREFIX}PUBLIC_URL; write it as https://tape.example.com")
        secure_url(public)
        return value

    @field_validator("retention_hours")
    @classmethod
    def _keep_what_the_warm_up_fetches(cls, retention: Decimal, others: ValidationInfo) -> Decimal:
        warmup = others.data.get("warmup_hours")
        if warmup is not None and retention and warmup > retention:
            raise ValueError(
                f"{PREFIX}WARMUP_HOURS={warmup} would fetch what {PREFIX}RETENTION_HOURS={retention} "
                "deletes; make it no more than that"
            )
        return retention

    @property
    def local_url(self) -> str:
        """The server's address as this machine has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def answered_hosts(self) -> list[str]:
        """The Host names that are answered beside loopback."""
        public = urlsplit(self.public_url or "").netloc
        return [*self.allowed_hosts, public] if public else self.allowed_hosts

    @property
    def answered_origins(self) -> list[str]:
        """The origins of web pages that are answered beside loopback's."""
        public = urlsplit(self.public_url or "")
        own = [f"{public.scheme}://{public.netloc}"] if self.public_url else []
        return [*self.allowed_origins, *own]

    @property
    def resource_url(self) -> str:
        """The server's address as OAuth names it."""
        return self.public_url or self.local_url

    @property
    def audiences(self) -> list[str]:
        return self.oauth_audience or [self.resource_url, f"{self.resource_url}/"]

    @property
    def has_tokens(self) -> bool:
        return bool(self.auth_tokens or self.auth_tokens_file)

    @property
    def given_tokens(self) -> list[str]:
        """The static tokens of the environment, as they were written."""
        return entries(self.auth_tokens)

    @property
    def retention_ms(self) -> int | None:
        """How long trades are kept; None keeps everything."""
        return int(self.retention_hours * 3_600_000) or None

    @property
    def warmup_ms(self) -> int:
        return int(self.warmup_hours * 3_600_000)


class ConfigurationInvalid(Exception):
    """One or more settings that cannot be used, a line each."""


def load_settings(**overrides: Any) -> Settings:
    """The settings, `overrides` before the environment; `ConfigurationInvalid` names every wrong one."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = [f"{_name_of(detail['loc'])}: {_what_is_valid(detail)}" for detail in error.errors()]
        raise ConfigurationInvalid("\n".join(wrong)) from error


def _name_of(location: tuple[int | str, ...]) -> str:
    return f"{PREFIX}{str(location[0]).upper()}"


def _what_is_valid(detail: ErrorDetails) -> str:
    """Its own words where a rule of this file was broken; else the library's, and what the setting is."""
    message = detail["msg"]
    if detail["type"] == "value_error":
        return message.removeprefix("Value error, ")
    described = Settings.model_fields[str(detail["loc"][0])].description
    return f"{message[0].lower()}{message[1:]}; it is: {described}"


def given_names(env_file: Path | str = ENV_FILE) -> dict[str, str]:
    """The TAPEDECK_ names that are set, each with where: the environment or the file."""
    places = {name.upper(): str(env_file) for name in dotenv_values(env_file)}
    places |= {name.upper(): "environment" for name in os.environ}
    return {name: place for name, place in places.items() if name.startswith(PREFIX)}


def unknown_names(names: Iterable[str]) -> list[str]:
    """Those that are no setting."""
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    return sorted(set(names) - known)
