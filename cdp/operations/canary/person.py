"""Who the canary is: a customer like any, under a name nobody has, whom nobody writes to, counts or exports.

Their processing is restricted from the start, so that neither agents nor bulk exports nor statistics see them; there is
no address that a letter could go to, and no account.
"""

import secrets
from uuid import UUID

from sqlalchemy import func, insert

from cdp.core.db import Tx
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations import reference
from cdp.operations.collection import Origin
from cdp.tables.consent import preference
from cdp.tables.contact import AddressKind, PhoneKind, phone_number, postal_address
from cdp.tables.customer import CustomerKind, IdentityType, customer, identity
from cdp.tables.event import DeviceKind, device, event
from cdp.tables.inquiry import InquiryKind, inquiry
from cdp.tables.policy import CollectionPoint, collection

SOURCE = "canary"


async def make(tx: Tx, platform: Platform) -> CustomerId:
    """Write the canary with a row of most kinds."""
    now, mark = platform.clock(), secrets.token_hex(8)
    known = await reference.current(tx, now)
    customer_id, identity_id, collection_id = CustomerId(new_id()), new_id(), new_id()
    origin = Origin(customer_id=customer_id, origin_identity_id=identity_id, collection_id=collection_id)
    common = {"brand_id": known.brand_id, "origin_identity_id": identity_id}
    await tx.execute(
        insert(customer).values(
            id=customer_id,
            kind=CustomerKind.PERSON,
            given_name="Canary",
            family_name=mark,
            audit_ref=new_id(),
            collection_id=collection_id,
            restricted_at=func.now(),
            **common,
        )
    )
    await tx.execute(
        insert(collection).values(
            id=collection_id,
            customer_id=customer_id,
            point=CollectionPoint.IMPORT,
            source=SOURCE,
            collected_at=now,
            policy_version_id=known.policy_version_id,
            **common,
        )
    )
    await _identify(tx, origin, identity_id, mark)
    await _furnish(tx, origin, mark)
    return customer_id


async def _identify(tx: Tx, origin: Origin, first: UUID, mark: str) -> None:
    values = {
        IdentityType.EMAIL: f"canary.{mark}@canary.invalid",
        IdentityType.USERNAME: f"canary-{mark}",
        IdentityType.CUSTOMER_NUMBER: f"CANARY-{mark}",
        IdentityType.COOKIE: mark,
    }
    ids = [first, *(new_id() for _ in range(len(values) - 1))]
    rows = [
        {**origin, "id": row_id, "type": kind, "value": value, "verified_at": func.now()}
        for row_id, (kind, value) in zip(ids, values.items(), strict=True)
    ]
    await tx.execute(insert(identity).values(rows))


async def _furnish(tx: Tx, origin: Origin, mark: str) -> None:
    # +999 belongs to no country.
    digits = f"+999{secrets.randbelow(10**9):09d}"
    device_id = new_id()
    for table, values in (
        (phone_number, {"number": digits, "e164": digits, "kind": PhoneKind.UNKNOWN}),
        (postal_address, {"kind": AddressKind.HOME, "recipient": mark, "line1": f"Canary Street {mark}"}),
        (preference, {"key": "canary.mark", "value": mark}),
        (inquiry, {"kind": InquiryKind.PRODUCT, "subject": mark, "body": mark, "received_at": func.now()}),
        (
            device,
            {
                "id": device_id,
                "kind": DeviceKind.OTHER,
                "cookie_id": mark,
                "first_seen_at": func.now(),
                "last_seen_at": func.now(),
            },
        ),
        (event, {"device_id": device_id, "type": "canary", "properties": {"mark": mark}, "occurred_at": func.now()}),
    ):
        await tx.execute(insert(table).values({"id": new_id(), **origin, **values}))
