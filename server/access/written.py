"""How the settings of access are written, and what of it is refused.

Invariant: no refusal repeats a secret.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr

from server.access.addresses import is_loopback
from server.access.passphrase import check, is_hash, parsed
from server.access.tokens import named_tokens

# The settings by which callers are asked for credentials; one is enough.
CREDENTIALS = ("auth_tokens", "auth_tokens_file", "oauth_issuer", "oauth_passphrase")


def entries(secret: SecretStr | None) -> list[str]:
    """What is separated by commas."""
    parts = secret.get_secret_value().split(",") if secret else []
    return [part.strip() for part in parts if part.strip()]


def secure_url(url: str | None) -> str | None:
    if url and not url.startswith("https://") and not is_loopback(urlsplit(url).hostname or ""):
        raise ValueError(f"{url!r} is no safe address; it begins with https://")
    return url


def _tokens(secret: SecretStr | None) -> SecretStr | None:
    return secret if named_tokens(entries(secret)) else None


def _passphrase(secret: SecretStr | None) -> SecretStr | None:
    written = secret.get_secret_value() if secret else ""
    if not written:
        return None
    if is_hash(written):
        parsed(written)
    else:
        check(written)
    return secret


def _given(value: Any) -> Any:
    """A setting that is there without a value is not given."""
    return None if value == "" else value


GivenTokens = Annotated[SecretStr | None, AfterValidator(_tokens)]
GivenPassphrase = Annotated[SecretStr | None, AfterValidator(_passphrase)]
GivenFile = Annotated[Path | None, BeforeValidator(_given)]
SecureUrl = Annotated[str | None, BeforeValidator(_given), AfterValidator(secure_url)]
