"""The naive twin as a server: the same schema through resolvers and DataLoaders, documents parsed and validated once.

It is spared what ours has to do: the customer comes from a header instead of a token, row-level security is passed by,
and its pool spends no round trip beside its reads. What it costs is the resolvers.
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Actor, Viewer
from cdp.compiler.cursors import CursorSeal
from cdp.core.db import Database, Role, sqlalchemy_url
from cdp.core.ids import CustomerId
from cdp.core.settings import Settings
from tests.twin.twin import Request, twin_schema

CUSTOMER_HEADER = "x-bench-customer"


class FixedPool(Database):
    """Exactly ``pool_size`` connections a role: no ping, no overflow, no transaction around a single read."""

    def engine(self, role: Role) -> AsyncEngine:
        """The engine of a role."""
        if role not in self._engines:
            self._engines[role] = create_async_engine(
                sqlalchemy_url(self.url),
                pool_size=self.pool_size,
                max_overflow=0,
                pool_reset_on_return=None,
                isolation_level="AUTOCOMMIT",
                connect_args={"server_settings": self.server_settings(role)},
            )
        return self._engines[role]


class Twin(GraphQL[Request, None]):
    """The schema over HTTP."""

    def __init__(self, settings: Settings) -> None:
        schema = twin_schema()
        schema.extensions = (ParserCache, ValidationCache)
        super().__init__(schema, graphql_ide=None)
        self._db = FixedPool(settings.database_url, pool_size=settings.pool_size)
        self._seal = CursorSeal(bytes(32))

    async def get_context(self, request: HttpRequest, response: Response) -> Request:  # noqa: ARG002
        """A request of the customer the header names."""
        customer_id = CustomerId(UUID(request.headers[CUSTOMER_HEADER]))
        viewer = Viewer(Actor.CUSTOMER, customer_id=customer_id, scopes=CUSTOMER_SCOPES)
        return Request(self._db, viewer, self._seal)


def build() -> Twin:
    """The application, from the environment's settings."""
    return Twin(Settings())
