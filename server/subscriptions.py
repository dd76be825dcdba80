"""Who wants to hear of a page, and telling them when it has news, such as a POC that moved.

Invariant: only pages that somebody listens to are made, and each once a round however many listen.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import structlog
from mcp.server import ServerRequestContext
from mcp.server.connection import Connection
from mcp.server.subscriptions import ListenHandler, ResourceUpdated, SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from server.pages import TOPICS, Address, Pages, UnknownPage, address_of

log = structlog.get_logger()

ROUND_S = 5.0
# Pages that are watched at once, all listeners together.
MOST_PAGES = 64

UPDATED = "notifications/resources/updated"
# A client that does not take its news within this time goes without.
TELL_S = 5.0

Context = ServerRequestContext[Any, Any]


class Subscriptions:
    """The listeners of both eras, and the rounds in which they are told."""

    def __init__(
        self,
        pages: Pages,
        bus: SubscriptionBus,
        listen: ListenHandler,
        connection_of: Callable[[Context], Connection],
    ) -> None:
        self._pages = pages
        self._bus = bus
        self._listen = listen
        self._connection_of = connection_of
        self._listening: Counter[str] = Counter()
        self._connections: dict[str, set[Connection]] = {}
        self._last: dict[str, Any] = {}

    @property
    def watched(self) -> list[str]:
        """The resources that somebody listens to."""
        return [*(self._listening.keys() | self._connections.keys())]

    async def subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        """resources/subscribe of the handshake era; it ends with the connection."""
        self._admit([params.uri])
        connection = self._connection_of(ctx)
        self._connections.setdefault(params.uri, set()).add(connection)
        connection.exit_stack.callback(self._forget, params.uri, connection)
        return EmptyResult()

    async def unsubscribe(self, ctx: Context, params: UnsubscribeRequestParams) -> EmptyResult:
        self._forget(params.uri, self._connection_of(ctx))
        return EmptyResult()

    async def listen(
        self, ctx: Context, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """subscriptions/listen of 2026; it lasts as long as its stream."""
        uris = set(params.notifications.resource_subscriptions or ())
        self._admit(uris)
        self._listening.update(uris)
        try:
            return await self._listen(ctx, params)
        finally:
            self._listening.subtract(uris)
            self._listening += Counter()

    def _admit(self, uris: Iterable[str]) -> None:
        for uri in uris:
            try:
                address_of(uri)
            except UnknownPage as unknown:
                raise MCPError(INVALID_PARAMS, str(unknown)) from unknown
        if len({*self.watched, *uris}) > MOST_PAGES:
            raise MCPError(INVALID_PARAMS, f"{MOST_PAGES} resources are watched already, which is the most")

    def _forget(self, uri: str, connection: Connection) -> None:
        listeners = self._connections.get(uri, set())
        listeners.discard(connection)
        if not listeners:
            self._connections.pop(uri, None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Rounds while the body runs."""
        task = asyncio.create_task(self._rounds())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _rounds(self) -> None:
        while True:
            try:
                await self.round()
            except Exception:
                log.exception("subscriptions not served")
            await asyncio.sleep(ROUND_S)

    async def round(self) -> None:
        """Look at each watched page once, and tell of those with news."""
        watched = self.watched
        self._last = {uri: seen for uri, seen in self._last.items() if uri in watched}
        for uri in watched:
            news = await self._news(address_of(uri))
            if uri in self._last and news is not None and news != self._last[uri]:
                await self._tell(uri)
            if news is not None:
                self._last[uri] = news

    async def _news(self, address: Address) -> Any:
        if address.is_definition:
            return address.topic
        try:
            return TOPICS[address.topic].news(await self._pages.answer(address))
        except UnknownPage:
            return None

    async def _tell(self, uri: str) -> None:
        await self._bus.publish(ResourceUpdated(uri=uri))
        with anyio.move_on_after(TELL_S):
            async with anyio.create_task_group() as tasks:
                for connection in self._connections.get(uri, set()):
                    tasks.start_soon(connection.notify, UPDATED, {"uri": uri})
