"""Connected systems: registered after they were tried, their secrets sealed; ``own`` is always there."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Row, Select, Uuid, any_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from cdp.access.viewer import Viewer
from cdp.connectors.base import Json, Problem, System
from cdp.connectors.registry import problems
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, InvalidInput, NotFound
from cdp.core.ids import RequestId, SystemId, new_id
from cdp.core.platform import Platform
from cdp.core.sign import canonical
from cdp.operations import audit
from cdp.tables.base import Category
from cdp.tables.canary import CHANNEL
from cdp.tables.request import privacy_request
from cdp.tables.system import system

OWN = "own"
# Kinds whose steps somebody carries out, or is written to about.
PEOPLE = ("mail", "manual", "paper")
OWN_POSITION = 1000
# A name stands in paths of files and in idempotency keys.
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


class SystemExists(Conflict):
    """A system of this name is already connected."""

    code = "SYSTEM_EXISTS"


class SystemNameInvalid(InvalidInput):
    """A system's name is lower-case letters, digits and dashes."""

    code = "SYSTEM_NAME_INVALID"


class UnknownSystem(NotFound):
    """No system of this name is connected."""

    code = "UNKNOWN_SYSTEM"


class SystemRefused(Conflict):
    """The system was not registered: trying it found problems."""

    code = "SYSTEM_REFUSED"


@dataclass(frozen=True)
class Registration:
    """A system to connect. ``secrets`` is sealed at once and never shown again.

    ``categories`` is what a legal hold on one of them keeps there.
    """

    name: str
    title: str
    kind: str
    configuration: Mapping[str, Json]
    secrets: Mapping[str, Json]
    position: int = 100
    categories: frozenset[Category] = frozenset()


@dataclass(frozen=True)
class SystemView:
    """A connected system as operators see it."""

    id: UUID
    name: str
    title: str
    kind: str
    enabled: bool
    position: int
    last_ok_at: datetime | None


async def ensure_own(tx: Tx) -> None:
    """Write the row of our own tables if it is missing; runs as the worker role at every start."""
    await tx.execute(
        insert(system)
        .values(id=new_id(), name=OWN, title="Our own records", kind=OWN, position=OWN_POSITION)
        .on_conflict_do_nothing(index_elements=[system.c.name])
    )


async def add(platform: Platform, viewer: Viewer, wanted: Registration) -> SystemId:
    """Connect a system after trying it.

    Raises SystemNameInvalid, SystemExists, or SystemRefused with the problems found.
    """
    if not _NAME.fullmatch(wanted.name):
        raise SystemNameInvalid
    if wanted.kind == OWN:
        raise SystemExists
    system_id = SystemId(new_id())
    sealed = None
    if wanted.secrets:
        sealed = platform.sealer.seal(canonical(dict(wanted.secrets)), f"system:{system_id}")
    found = await problems(System(system_id, wanted.name, wanted.kind, wanted.configuration, sealed), platform)
    if found:
        raise SystemRefused(problems=[{"code": p.code, "at": p.at, "message": p.message} for p in found])
    async with platform.db.transaction(Role.WORKER) as tx:
        written = await tx.execute(
            insert(system)
            .values(
                id=system_id,
                name=wanted.name,
                title=wanted.title,
                kind=wanted.kind,
                configuration=dict(wanted.configuration),
                secrets_sealed=sealed,
                position=wanted.position,
                categories=sorted(wanted.categories),
                last_ok_at=func.now(),
            )
            .on_conflict_do_nothing(index_elements=[system.c.name])
        )
        if written.rowcount != 1:
            raise SystemExists
        await audit.record(
            tx,
            viewer,
            "system.added",
            subject_ref=None,
            object_type="System",
            object_id=system_id,
            details={"kind": wanted.kind},
        )
    return system_id


async def listed(tx: Tx) -> list[SystemView]:
    """Every connected system, in the order they are asked."""
    found = await tx.all(
        select(
            system.c.id,
            system.c.name,
            system.c.title,
            system.c.kind,
            system.c.enabled,
            system.c.position,
            system.c.last_ok_at,
        ).order_by(system.c.position, system.c.name)
    )
    return [SystemView(r.id, r.name, r.title, r.kind, r.enabled, r.position, r.last_ok_at) for r in found]


def _asked() -> Select[Any]:
    is_asked = privacy_request.c.id == any_(bindparam("requests", type_=ARRAY(Uuid)))
    is_of_people = system.c.kind.in_(PEOPLE) & (privacy_request.c.channel == CHANNEL)
    pairs = privacy_request.join(system, system.c.enabled & ~is_of_people)
    found = select(privacy_request.c.id.label("request_id"), system.c.id.label("system_id")).select_from(pairs)
    return found.where(is_asked).order_by(system.c.position)


# Built once: every deletion needs them.
_ASKED = _asked()
_OWN = select(system.c.id).where(system.c.kind == OWN)


async def asked(tx: Tx, request_ids: Sequence[RequestId]) -> dict[RequestId, list[SystemId]]:
    """Every system each request asks. No colleague is set to work, and no letter sent, for somebody who never was."""
    found: dict[RequestId, list[SystemId]] = {request_id: [] for request_id in request_ids}
    for row in await tx.all(_ASKED, {"requests": list(request_ids)}):
        found[RequestId(row.request_id)].append(SystemId(row.system_id))
    return found


async def connections(tx: Tx) -> list[tuple[str, System]]:
    """Every enabled system with its title, ready to be connected to; as the worker role."""
    columns = (system.c.id, system.c.name, system.c.kind, system.c.configuration, system.c.secrets_sealed)
    found = await tx.all(select(*columns, system.c.title).where(system.c.enabled).order_by(system.c.position))
    return [(row.title, System.of(row)) for row in found]


async def titles(tx: Tx, system_ids: Collection[UUID]) -> list[str]:
    """What people call these systems."""
    found = select(system.c.title).where(system.c.id.in_(system_ids)).order_by(system.c.position, system.c.name)
    return [row.title for row in await tx.all(found)]


async def own_id(tx: Tx) -> SystemId:
    """Our own tables' row."""
    return SystemId(await tx.scalar(_OWN))


async def check(platform: Platform, viewer: Viewer, name: str) -> tuple[Problem, ...]:
    """Try a connected system; remembers when it was well. Raises UnknownSystem."""
    async with platform.db.transaction(Role.WORKER) as tx:
        row = await _row(tx, name)
    found = await problems(System.of(row), platform)
    async with platform.db.transaction(Role.WORKER) as tx:
        if not found:
            await tx.execute(update(system).where(system.c.id == row.id).values(last_ok_at=func.now()))
        await audit.record(
            tx,
            viewer,
            "system.checked",
            subject_ref=None,
            object_type="System",
            object_id=row.id,
            outcome="refused" if found else "ok",
            details={"problems": len(found)},
        )
    return found


async def _row(tx: Tx, name: str) -> Row[tuple[UUID, str, str, object, bytes | None]]:
    columns = (system.c.id, system.c.name, system.c.kind, system.c.configuration, system.c.secrets_sealed)
    row = await tx.first(select(*columns).where(system.c.name == name))
    if row is None:
        raise UnknownSystem
    return row
