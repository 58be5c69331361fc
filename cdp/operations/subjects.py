"""The person a request is about: identifiers gathered once, sealed under a key of that request alone.

Connected systems are asked with what is sealed here, also after our own rows are gone. The key lives in the key store,
outside Postgres and its backups; destroying it ends every way back from a request to a person.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CompoundSelect,
    Select,
    String,
    Uuid,
    bindparam,
    func,
    literal,
    select,
    union,
    union_all,
)

from cdp.connectors.base import Identifier, Subject
from cdp.core.db import Tx
from cdp.core.ids import CustomerId, RequestId
from cdp.core.keys import KeyStore
from cdp.core.seal import Sealer
from cdp.core.sign import canonical
from cdp.operations import lineage
from cdp.tables.account import account
from cdp.tables.contact import email_address, phone_number, postal_address
from cdp.tables.customer import IdentityType, customer, identity
from cdp.tables.merge import customer_merge, customer_merge_row
from cdp.tables.order import sales_order

# An address line, and the names that stand beside it; together they say who lives there.
Home = tuple[str, tuple[str, ...]]
_PREFERRED = (IdentityType.EMAIL, IdentityType.PHONE, IdentityType.CUSTOMER_NUMBER, IdentityType.USERNAME)


@dataclass(frozen=True)
class Person:
    """A customer as a request needs them: identifiers, where to write to, in which language."""

    customer_id: CustomerId
    subject_ref: UUID
    identifiers: tuple[Identifier, ...] = field(repr=False)
    recipient: str | None = field(repr=False)
    locale: str | None
    homes: tuple["Home", ...] = field(default=(), repr=False)
    former_ids: tuple[CustomerId, ...] = ()


@dataclass(frozen=True)
class SealedPerson:
    """What a request seals: the person, and the status key by which they reach the request without an account.

    ``key`` is the request's, where this was unsealed with it.
    """

    person: Person
    status_key: str = field(repr=False)
    key: bytes = field(default=b"", repr=False)

    def with_identifiers(self, more: Iterable[Identifier]) -> "SealedPerson":
        """The same person known by more identifiers."""
        return replace(self, person=replace(self.person, identifiers=merged([*self.person.identifiers, *more])))

    def known_better(self, now: Person | None, homes: Iterable[Home]) -> "SealedPerson":
        """The same person, also by the identifiers and former ids they have ``now``, and by where they live."""
        known, more = self.person, now or self.person
        return replace(
            self,
            person=replace(
                known,
                identifiers=merged([*known.identifiers, *more.identifiers]),
                homes=tuple(dict.fromkeys([*known.homes, *homes])),
                former_ids=tuple(dict.fromkeys([*known.former_ids, *more.former_ids])),
            ),
        )

    def subject(self, request_id: RequestId) -> Subject:
        """The person as connectors see them; their tombstone secret dies with the request's key."""
        secret = hmac.digest(self.key, b"tombstones", hashlib.sha256)
        known = self.person
        return Subject(
            request_id, known.customer_id, known.subject_ref, known.identifiers, secret, former_ids=known.former_ids
        )


def key_name(request_id: UUID) -> str:
    """Name of the request's key in the key store."""
    return f"request-{request_id}"


def salt_of(status_key: str) -> str:
    """The salt of the certificate's hash: derived from the status key, so only who holds that can know it."""
    return hashlib.sha256(b"cdp certificate salt\0" + status_key.encode()).hexdigest()[:32]


def canonical_identifier(person: Person) -> Identifier | None:
    """The identifier a certificate is about: the strongest one, verified before unverified."""
    ranked = [i for kind in _PREFERRED for i in person.identifiers if i.type == kind]
    return next((i for i in ranked if i.verified), ranked[0] if ranked else None)


async def gather(tx: Tx, customer_id: CustomerId) -> Person | None:
    """Read every identifier of a customer, who also is the only one visible to a customer's role; None if unknown."""
    found = await tx.first(_PERSON, {"customer": customer_id})
    if found is None:
        return None
    known = await tx.all(_IDENTIFIERS, {"customer": customer_id})
    username = found.username if found.username and "@" in found.username else None
    identifiers = merged(Identifier(r.type, r.value, r.issuer, r.verified) for r in known)
    former = tuple(CustomerId(one) for one in found.former or ())
    recipient = found.address or username
    return Person(customer_id, found.audit_ref, identifiers, recipient, found.locale, former_ids=former)


_CUSTOMER = bindparam("customer", type_=Uuid)


def _person() -> Select[Any]:
    """Built once, as the others: every deletion needs them."""
    primary = (
        select(email_address.c.address)
        .where(email_address.c.customer_id == _CUSTOMER)
        .order_by(email_address.c.is_primary.desc(), email_address.c.verified_at, email_address.c.created_at)
        .limit(1)
    )
    username = select(account.c.username).where(account.c.customer_id == _CUSTOMER)
    former = lineage.merged_into([_CUSTOMER]).order_by(customer_merge.c.merged_id)
    return select(
        customer.c.audit_ref,
        customer.c.locale,
        primary.scalar_subquery().label("address"),
        username.scalar_subquery().label("username"),
        func.array(former.scalar_subquery(), type_=ARRAY(Uuid)).label("former"),
    ).where(customer.c.id == _CUSTOMER)


def _identifiers() -> CompoundSelect[str, str, str, bool]:
    proven_email, proven_phone = (t.c.verified_at.is_not(None) for t in (email_address, phone_number))
    contacts = (
        (IdentityType.EMAIL, email_address.c.normalized, proven_email),
        (IdentityType.PHONE, phone_number.c.e164, proven_phone),
        (IdentityType.USERNAME, account.c.username, literal(False)),
    )
    return union_all(
        select(
            identity.c.type.cast(String).label("type"),
            identity.c.value,
            identity.c.issuer,
            identity.c.verified_at.is_not(None).label("verified"),
        ).where(identity.c.customer_id == _CUSTOMER),
        *(
            select(literal(kind.value), value, literal(""), verified).where(
                value.table.c.customer_id == _CUSTOMER, value.is_not(None)
            )
            for kind, value, verified in contacts
        ),
        # A sign-in of a record that was merged into theirs lies in the ledger of merges.
        select(literal(IdentityType.USERNAME.value), _aside("username"), literal(""), literal(False)).where(
            customer_merge_row.c.customer_id == _CUSTOMER,
            customer_merge_row.c.table_name == account.name,
            _aside("username").is_not(None),
        ),
    )


def _aside(name: str) -> ColumnElement[str]:
    """A value of a row that a merge put aside."""
    return customer_merge_row.c.shown.op("->>", return_type=String())(name)


def _names() -> CompoundSelect[str | None, str | None]:
    return union_all(
        select(customer.c.family_name, customer.c.organisation_name).where(customer.c.id == _CUSTOMER),
        select(_aside("family_name"), _aside("organisation_name")).where(
            customer_merge_row.c.customer_id == _CUSTOMER, customer_merge_row.c.table_name == customer.name
        ),
    )


def _lines() -> CompoundSelect[str | None, str | None]:
    places = (
        (postal_address.c.line1, postal_address.c.recipient),
        (sales_order.c.billing_line1, sales_order.c.billing_name),
    )
    return union(
        *(select(line, name).where(line.table.c.customer_id == _CUSTOMER, line.is_not(None)) for line, name in places)
    )


_PERSON, _IDENTIFIERS, _NAMES, _LINES = _person(), _identifiers(), _names(), _lines()


async def homes(tx: Tx, customer_id: CustomerId) -> list[Home]:
    """Every address line of a customer, with each name by which somebody there is known."""
    known = await tx.all(_NAMES, {"customer": customer_id})
    own = tuple(name for row in known for name in (row.family_name, row.organisation_name) if name)
    found: dict[str, set[str]] = {}
    for row in await tx.all(_LINES, {"customer": customer_id}):
        line, name = row.line1, row.recipient
        found.setdefault(line, set(own)).update({name} if name else ())
    return [(line, tuple(sorted(names))) for line, names in sorted(found.items())]


def merged(identifiers: Iterable[Identifier]) -> tuple[Identifier, ...]:
    """One of each; verified if any of its sources says so."""
    known_as: dict[tuple[str, str, str], bool] = {}
    for known in identifiers:
        place = (known.type, known.issuer, known.value)
        known_as[place] = known_as.get(place, False) or known.verified
    return tuple(Identifier(kind, value, issuer, verified) for (kind, issuer, value), verified in known_as.items())


def seal(keys: KeyStore, request_id: RequestId, sealed: SealedPerson) -> bytes:
    """Seal a person under the request's key, which is made on first use."""
    known = sealed.person
    plain = canonical(
        {
            "customerId": str(known.customer_id),
            "subjectRef": str(known.subject_ref),
            "identifiers": [[i.type, i.value, i.issuer, i.verified] for i in known.identifiers],
            "recipient": known.recipient,
            "locale": known.locale,
            "statusKey": sealed.status_key,
            "homes": [[line, list(names)] for line, names in known.homes],
            "formerIds": [str(one) for one in known.former_ids],
        }
    )
    return _sealer(keys.create(key_name(request_id))).seal(plain, _context(request_id))


def unseal(keys: KeyStore, request_id: RequestId, sealed: bytes) -> SealedPerson:
    """Open what ``seal`` made. Raises KeyGone once the request's key was destroyed, Unsealable on any change."""
    key = keys.get(key_name(request_id))
    read = json.loads(_sealer(key).open(sealed, _context(request_id)))
    person = Person(
        CustomerId(UUID(read["customerId"])),
        UUID(read["subjectRef"]),
        tuple(Identifier(kind, value, issuer, verified) for kind, value, issuer, verified in read["identifiers"]),
        read["recipient"],
        read["locale"],
        tuple((line, tuple(names)) for line, names in read.get("homes", ())),
        tuple(CustomerId(UUID(one)) for one in read.get("formerIds", ())),
    )
    return SealedPerson(person, read["statusKey"], key)


def _sealer(key: bytes) -> Sealer:
    return Sealer({"request": key})


def _context(request_id: UUID) -> str:
    return f"request:{request_id}:identifiers"
