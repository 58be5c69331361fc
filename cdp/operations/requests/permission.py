"""Who may ask for what: the scope of each type of request, and how fresh the sign-in must be."""

from collections.abc import Mapping

from cdp.access.rules import WORKERS
from cdp.access.viewer import Actor, Viewer
from cdp.core.errors import Forbidden
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.tables.request import RequestType

EXPORT_SCOPE = "privacy:export"
ERASE_SCOPE = "privacy:erase"
WRITE_SCOPE = "profile:write"
WORK_SCOPE = "requests:work"
SCOPES: Mapping[RequestType, str] = {
    RequestType.ACCESS: EXPORT_SCOPE,
    RequestType.PORTABILITY: EXPORT_SCOPE,
    RequestType.ERASURE: ERASE_SCOPE,
    RequestType.RECTIFICATION: WRITE_SCOPE,
    RequestType.RESTRICTION: WRITE_SCOPE,
    RequestType.OBJECTION: WRITE_SCOPE,
}


def require(viewer: Viewer, platform: Platform, scope: str) -> CustomerId:
    """The customer a request is about: signed in, allowed to, and freshly so (RFC 9470).

    Raises Unauthenticated, MissingScope or StepUpRequired.
    """
    subject = viewer.subject
    viewer.require_scope(scope)
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    return subject


def require_worker(viewer: Viewer) -> None:
    """Raise MissingScope or Forbidden unless the viewer works on requests, or is the platform itself (a terminal)."""
    if viewer.actor is Actor.SYSTEM:
        return
    viewer.require_scope(WORK_SCOPE)
    if viewer.actor is not Actor.STAFF or not viewer.roles & WORKERS:
        raise Forbidden


def require_fresh_worker(viewer: Viewer, platform: Platform) -> None:
    """``require_worker``, freshly signed in: what opens or decides a request for somebody (RFC 9470).

    Raises StepUpRequired too.
    """
    require_worker(viewer)
    if viewer.actor is not Actor.SYSTEM:
        viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
