"""A query: everything we hold about one person, and a line in the log that it was shown."""

from contextlib import aclosing

from cdp.access.viewer import Actor, Viewer
from cdp.compiler.reader import Reader
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.packages.subject_access import Snapshot
from cdp.operations.providers.gdpr_api import people
from cdp.operations.providers.gdpr_api.nodes import Node, tree
from cdp.operations.providers.gdpr_api.service import Service
from cdp.operations.subjects import gather

CHANNEL = "gdpr_api"
CALLER = Viewer(Actor.CLIENT, client_id=CHANNEL, purpose="self_access")


async def query(platform: Platform, reader: Reader, service: Service, person: str) -> Node | None:
    """The tree of one person's data, None when there is nobody. Raises SeveralPeople."""
    async with platform.db.transaction(Role.WORKER) as tx:
        customer_id = (await people.find(tx, platform, service, person)).customer_id
        known = await gather(tx, customer_id) if customer_id is not None else None
        if customer_id is None or known is None:
            return None
        await audit.record(tx, CALLER, "customer.shown_to_service", subject_ref=known.subject_ref)
    pages = Snapshot(reader, platform.db, customer_id).pages()
    async with aclosing(pages):  # type: ignore[type-var]  # it is an async generator
        found = await tree(pages)
    return found if found["children"] else None
