"""The viewer: who asks."""

from enum import Enum

import strawberry

from cdp.access.viewer import Actor
from cdp.schema.fields import constant, mapped, one
from cdp.schema.types.customer import Customer


@strawberry.enum(description="Kinds of viewers.")
class ViewerKind(Enum):
    """As access rules know them."""

    ANONYMOUS = Actor.ANONYMOUS.value
    CUSTOMER = Actor.CUSTOMER.value
    STAFF = Actor.STAFF.value
    SYSTEM = Actor.SYSTEM.value
    CLIENT = Actor.CLIENT.value


@mapped(description="Who asks: a customer, a member of staff, a program in its own name, or nobody we know.")
class Viewer:
    """The viewer."""

    kind: ViewerKind = constant(lambda viewer: viewer.actor.value.upper(), description="What kind of viewer you are.")
    scopes: list[str] = constant(lambda viewer: sorted(viewer.scopes), description="What your token lets you ask for.")
    roles: list[str] = constant(lambda viewer: sorted(viewer.roles), description="Your roles, for staff.")
    customer: Customer | None = one(own="id", description="Your own profile, for customers.")
