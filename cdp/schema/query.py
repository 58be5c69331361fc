"""The query roots; every one of them is compiled."""

import strawberry

from cdp.schema.fields import embedded, node_field, one
from cdp.schema.types.customer import Customer
from cdp.schema.types.relay import Node
from cdp.schema.types.viewer import Viewer


@strawberry.type(description="Everything that can be read.")
class Query:
    """Query roots."""

    viewer: Viewer = embedded(description="Who asks, and from there everything of their own.")
    node: Node | None = node_field(several=False, description="Any object by its global id.")
    nodes: list[Node | None] | None = node_field(
        several=True, description="Objects by their global ids, in that order."
    )
    customer: Customer | None = one(by_id=True, description="A customer by id.")
