"""What clients find under /.well-known: whose tokens this server takes (RFC 9728).

Invariant: the resource is the server's bare address, so that one document is right for /sse and /mcp, and
addresses are given out exactly as they are written in the settings.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from mcp.server.auth.handlers.metadata import ProtectedResourceMetadataHandler
from mcp.shared.auth import ProtectedResourceMetadata
from starlette.routing import BaseRoute, Route

RESOURCE_PATH = "/.well-known/oauth-protected-resource"


def metadata_url(resource: str) -> str:
    """Where a refused client is sent; below the address, whatever path that has."""
    return resource + RESOURCE_PATH


def resource_routes(resource: str, issuer: str, scopes: Sequence[str]) -> list[BaseRoute]:
    """The metadata of the protected resource."""
    metadata = ProtectedResourceMetadata.model_validate(
        {
            "resource": resource,
            "authorization_servers": [issuer],
            "scopes_supported": list(scopes) or None,
            "resource_name": "tapedeck",
        }
    )
    handler = ProtectedResourceMetadataHandler(metadata)
    return [Route(path, handler.handle, methods=["GET"]) for path in well_known(RESOURCE_PATH, resource)]


def well_known(path: str, address: str) -> list[str]:
    """The path, and where an address with a path of its own is looked up (RFC 8414 section 3.1)."""
    own = urlsplit(address).path.rstrip("/")
    return [path, path + own] if own else [path]
