"""The schema is tested through two doors: the execution, and HTTP over the whole application.

ask        run a document as a viewer:       ``answer = await ask(viewer, "{ viewer { kind } }", name=value)``
token_of   a bearer token of a person:       ``token = await token_of(person)``
door       an HTTP client of the application
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from cdp.access.scopes import CUSTOMER_SCOPES
from cdp.access.viewer import Viewer
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.oauth.clients import ensure_command_line
from cdp.operations.oauth.grants import open_grant
from cdp.operations.oauth.tokens import issuer_of
from cdp.schema.execution import Execution
from cdp.schema.request import GraphQLRequest
from tests.browser import BASE
from tests.population import Person
from tests.site import app, new_customer, platform, signed_in

__all__ = ["app", "new_customer", "platform", "signed_in"]

Ask = Callable[..., Awaitable[dict[str, Any]]]
TokenOf = Callable[..., Awaitable[str]]


@pytest.fixture(scope="session")
def execution(app: Starlette) -> Execution:
    return app.state.graphql


@pytest.fixture(scope="session")
def ask(execution: Execution) -> Ask:
    async def run(viewer: Viewer, document: str, **variables: Any) -> dict[str, Any]:
        result = await execution.execute(GraphQLRequest(document, variables), viewer)
        return json.loads(result.body)

    return run


@pytest.fixture(scope="session")
def token_of(platform: Platform) -> TokenOf:
    async def sign(person: Person, *scopes: str, authenticated_at: datetime | None = None) -> str:
        now = datetime.now(UTC)
        viewer = person.viewer(authenticated_at=authenticated_at or now)
        scope = " ".join(scopes or sorted(CUSTOMER_SCOPES))
        async with platform.db.transaction(Role.WORKER) as tx:
            client = await ensure_command_line(tx)
            grant = await open_grant(tx, viewer, client, scope, now=now)
        return issuer_of(platform).access_token(grant, scope)

    return sign


@pytest.fixture(scope="session")
async def door(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client
