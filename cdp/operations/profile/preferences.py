"""Preferences: small named choices of a customer, such as a theme or a newsletter's rhythm; last write wins per key."""

import json
import re
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from cdp.access.viewer import Viewer
from cdp.core.db import Tx
from cdp.core.errors import Conflict, InvalidInput
from cdp.core.ids import CustomerId, new_id
from cdp.operations import audit
from cdp.operations.collection import collect, lock
from cdp.tables.consent import preference

KEY = re.compile(r"[a-z][a-zA-Z0-9_.-]{0,99}")
LONGEST_VALUE_BYTES = 4096
MOST = 200
JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


class InvalidPreference(InvalidInput):
    """A preference is a short name, like mail.rhythm, and a JSON value of at most 4 KiB."""

    code = "INVALID_PREFERENCE"


class TooManyPreferences(Conflict):
    """There are too many preferences; remove some first."""

    code = "TOO_MANY_PREFERENCES"


async def set_preferences(tx: Tx, viewer: Viewer, choices: Mapping[str, JsonValue], *, now: datetime) -> CustomerId:
    """Set the named preferences; None removes one; those not named stay.

    Raises InvalidPreference, TooManyPreferences.
    """
    for key, value in choices.items():
        _check(key, value)
    if not choices:
        raise InvalidPreference
    subject = await lock(tx, viewer)
    mine = preference.c.customer_id == subject.customer_id
    kept = {key: value for key, value in choices.items() if value is not None}
    gone = [key for key, value in choices.items() if value is None]
    if gone:
        await tx.execute(delete(preference).where(mine, preference.c.key.in_(gone)))
    if kept:
        origin = await collect(tx, viewer, subject, now=now)
        rows = [{"id": new_id(), **origin, "key": key, "value": value} for key, value in kept.items()]
        write = insert(preference).values(rows)
        changed = {name: write.excluded[name] for name in ("value", "collection_id", "origin_identity_id")}
        await tx.execute(
            write.on_conflict_do_update(
                index_elements=[preference.c.customer_id, preference.c.key],
                set_={**changed, "version": preference.c.version + 1, "updated_at": func.now()},
            )
        )
    if (await tx.scalar(select(func.count()).select_from(preference).where(mine))) > MOST:
        raise TooManyPreferences(limit=MOST)
    await audit.record(
        tx,
        viewer,
        "preference.set",
        subject_ref=subject.audit_ref,
        object_type="Customer",
        details={"set": len(kept), "removed": len(gone)},
    )
    return subject.customer_id


def _check(key: str, value: JsonValue) -> None:
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidPreference from error
    if not KEY.fullmatch(key) or len(written) > LONGEST_VALUE_BYTES or b"\\u0000" in written:
        raise InvalidPreference
