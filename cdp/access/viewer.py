"""The viewer: on whose behalf a statement runs, what they may ask for, and how fresh their sign-in is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from uuid import UUID

from cdp.access.sharing import Sharing
from cdp.access.strength import Strength, at_least, strength_of
from cdp.core.db import Role
from cdp.core.errors import Forbidden, StepUpRequired, Unauthenticated
from cdp.core.ids import CustomerId


class Actor(StrEnum):
    """Kinds of viewers; each maps to one database role."""

    ANONYMOUS = "anonymous"
    CUSTOMER = "customer"
    STAFF = "staff"
    SYSTEM = "system"
    # A program in its own name: it has no rows of its own, and sees what rules give to it.
    CLIENT = "client"


class MissingScope(Forbidden):
    """The token lacks a scope this needs."""

    code = "INSUFFICIENT_SCOPE"


@dataclass(frozen=True)
class Viewer:
    """One caller. ``customer_id`` only for customers; ``authenticated_at`` is the last real sign-in (RFC 9470).

    ``amr`` says how it was proven (RFC 8176).
    """

    actor: Actor
    customer_id: CustomerId | None = None
    staff_id: UUID | None = None
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    authenticated_at: datetime | None = None
    amr: tuple[str, ...] = ()
    client_id: str | None = None
    session_id: UUID | None = None
    purpose: str = "self_access"
    # Areas of a profile its token is narrowed to (``profile_access``), None where it is not.
    areas: frozenset[str] | None = None
    # Who works here and acts for this customer (RFC 8693); roles, sign-in and strength are theirs then.
    acting_staff_id: UUID | None = None
    # The grant a partner's token is bound to; a program without one sees nobody.
    sharing: Sharing | None = None

    @property
    def role(self) -> Role:
        """The database role this viewer's statements run as."""
        match self.actor:
            case Actor.STAFF:
                return Role.STAFF
            case Actor.SYSTEM:
                return Role.WORKER
            case Actor.CLIENT if self.sharing is not None:
                return Role.PARTNER
            case Actor.CUSTOMER | Actor.ANONYMOUS | Actor.CLIENT:
                return Role.CUSTOMER

    @cached_property
    def shape(self) -> tuple[str, ...]:
        """What plans may depend on: never who it is, only what kind of viewer; the cache key of compiled documents."""
        areas = () if self.areas is None else ("#", *sorted(self.areas))
        acting = ("@",) if self.acting_staff_id is not None else ()
        shared = () if self.sharing is None else ("$", self.sharing.shape)
        return (
            self.actor.value,
            self.purpose,
            *sorted(self.roles),
            "|",
            *sorted(self.scopes),
            *areas,
            *acting,
            *shared,
        )

    @cached_property
    def account(self) -> tuple[str, UUID | str | None]:
        """Who pays for what is asked: the same for every request and token of one person or program."""
        return self.actor.value, self.customer_id or self.staff_id or self.client_id

    @property
    def doer(self) -> tuple[Actor, UUID | None]:
        """As whom the audit log names them: whoever acts for a customer is a member of staff."""
        if self.acting_staff_id is not None:
            return Actor.STAFF, self.acting_staff_id
        return self.actor, self.staff_id

    @property
    def subject(self) -> CustomerId:
        """The customer this viewer is. Raises Unauthenticated for everybody else."""
        if self.customer_id is None:
            raise Unauthenticated
        return self.customer_id

    def require_scope(self, scope: str) -> None:
        """Raise MissingScope unless the token carries ``scope``."""
        if scope not in self.scopes:
            raise MissingScope(scope=scope)

    def require_fresh(self, now: datetime, *, max_age_s: int) -> None:
        """Raise StepUpRequired unless the sign-in is at most ``max_age_s`` old (RFC 9470).

        The error names ``max_age`` and ``acr_values``: the next sign-in has to be at least as strong as this one.
        """
        if self.authenticated_at is None or now - self.authenticated_at > timedelta(seconds=max_age_s):
            raise StepUpRequired(max_age=max_age_s, acr_values=at_least(self.acr))

    @property
    def acr(self) -> Strength:
        """How strong the sign-in was."""
        return strength_of(self.amr)


ANONYMOUS = Viewer(Actor.ANONYMOUS)
SYSTEM = Viewer(Actor.SYSTEM, purpose="platform")
