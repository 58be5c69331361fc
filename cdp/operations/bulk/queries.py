"""What an export asks for: compiled from what its row says, the same on every host, and its fingerprint."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from cdp.access.viewer import Actor, Viewer
from cdp.compiler.bulk import BulkCompiler, BulkOptions, BulkPlan
from cdp.core.errors import Conflict
from cdp.tables.bulk import BulkFormat

MOST_PLANS = 32


class QueryChanged(Conflict):
    """The schema or the access rules changed since this export was asked for."""

    code = "QUERY_CHANGED"


@dataclass(frozen=True)
class Asked:
    """A query with everything that decides what comes out of it."""

    viewer: Viewer
    document: str
    operation_name: str | None
    variables: Mapping[str, Any] | None
    purpose: str
    needs_consent: bool
    personal: bool
    recipient_id: UUID

    def compiled(self, compiler: BulkCompiler, *, incremental: bool, format_: BulkFormat) -> tuple[BulkPlan, bytes]:
        """The plan as it is run, and the fingerprint. Raises what is wrong with document, variables or access."""
        plain = BulkOptions(self.needs_consent, self.personal)
        flat, cells = format_ is not BulkFormat.NDJSON, format_ is BulkFormat.CSV
        run = replace(plain, incremental=incremental, flat_json=flat, cells=cells)
        plan = self._compile(compiler, plain)
        return plan if run == plain else self._compile(compiler, run), self._fingerprint(plan)

    def _fingerprint(self, plan: BulkPlan) -> bytes:
        """Hash of query, variables and grant: whatever changes what comes out, but not how it is written."""
        rest = [self.document, self.operation_name, self.variables, self.purpose, self.personal, str(self.recipient_id)]
        said = json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()
        return hashlib.sha256(plan.digest + said).digest()

    def _compile(self, compiler: BulkCompiler, options: BulkOptions) -> BulkPlan:
        return compiler.compile(
            self.document, self.viewer, options, variables=self.variables, operation_name=self.operation_name
        )


def asked(row: Row[Any]) -> Asked:
    """What an export's row asks for."""
    return Asked(
        viewer=viewer_of(row.viewer, purpose=row.purpose),
        document=row.document,
        operation_name=row.operation_name,
        variables=row.variables,
        purpose=row.purpose,
        needs_consent=row.needs_consent,
        personal=row.personal,
        recipient_id=row.recipient_id,
    )


def plan_of(row: Row[Any], compiler: BulkCompiler) -> BulkPlan:
    """The plan of an export. Raises QueryChanged when it is no longer what was asked for."""
    plan, fingerprint = asked(row).compiled(compiler, incremental=row.since_xid is not None, format_=row.format)
    if fingerprint != bytes(row.query_hash):
        raise QueryChanged
    return plan


class Plans:
    """Plans of the exports this process works on: compiled once, not for each part."""

    def __init__(self, compiler: BulkCompiler) -> None:
        self._compiler = compiler
        self._known: dict[UUID, BulkPlan] = {}

    def of(self, row: Row[Any]) -> BulkPlan:
        """The plan of an export. Raises QueryChanged."""
        if row.id not in self._known:
            while len(self._known) >= MOST_PLANS:
                self._known.pop(next(iter(self._known)))
            self._known[row.id] = plan_of(row, self._compiler)
        return self._known[row.id]


def viewer_document(viewer: Viewer) -> dict[str, Any]:
    """A viewer as a row keeps it: whoever asked, with the rights they had."""
    return {
        "actor": viewer.actor.value,
        "staffId": str(viewer.staff_id) if viewer.staff_id else None,
        "clientId": viewer.client_id,
        "roles": sorted(viewer.roles),
        "scopes": sorted(viewer.scopes),
    }


def viewer_of(document: Mapping[str, Any], *, purpose: str) -> Viewer:
    """Read what ``viewer_document`` wrote."""
    return Viewer(
        Actor(document["actor"]),
        staff_id=UUID(document["staffId"]) if document["staffId"] else None,
        client_id=document["clientId"],
        roles=frozenset(document["roles"]),
        scopes=frozenset(document["scopes"]),
        purpose=purpose,
    )
