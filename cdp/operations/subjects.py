"""The person a request is about: identifiers gathered once, sealed under a key of that request alone.

Connected systems are asked with what is sealed here, also after our own rows are gone. The key lives in the key store,
outside Postgres and its backups; destroying it ends every way back from a request to a person.
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CompoundSelect,
    Row,
    Select,
    String,
    Uuid,
    any_,
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
    return (await gather_many(tx, [customer_id])).get(customer_id)


async def gather_many(tx: Tx, customer_ids: Sequence[CustomerId]) -> dict[CustomerId, Person]:
    """Read every identifier of each of these customers; those nobody knows are left out."""
    if not customer_ids:
        return {}
    given = {"customers": list(customer_ids)}
    people = await tx.all(_PERSON, given)
    known: dict[UUID, list[Identifier]] = {row.id: [] for row in people}
    for r in await tx.all(_IDENTIFIERS, given):
        if r.customer_id in known:
            known[r.customer_id].append(Identifier(r.type, r.value, r.issuer, r.verified))
    return {CustomerId(row.id): _read(row, known[row.id]) for row in people}


def _read(row: Row[Any], known: Iterable[Identifier]) -> Person:
    username = row.username if row.username and "@" in row.username else None
    former = tuple(CustomerId(one) for one in row.former or ())
    recipient = row.address or username
    return Person(CustomerId(row.id), row.audit_ref, merged(known), recipient, row.locale, former_ids=former)


_CUSTOMERS = any_(bindparam("customers", type_=ARRAY(Uuid)))


def _person() -> Select[Any]:
    """Built once, as the others: every deletion needs them."""
    primary = (
        select(email_address.c.address)
        .where(email_address.c.customer_id == customer.c.id)
        .order_by(email_address.c.is_primary.desc(), email_address.c.verified_at, email_address.c.created_at)
        .limit(1)
    )
    username = select(account.c.username).where(account.c.customer_id == customer.c.id)
    former = lineage.merged_into([customer.c.id]).order_by(customer_merge.c.merged_id)
    return select(
        customer.c.id,
        customer.c.audit_ref,
        customer.c.locale,
        primary.scalar_subquery().label("address"),
        username.scalar_subquery().label("username"),
        func.array(former.scalar_subquery(), type_=ARRAY(Uuid)).label("former"),
    ).where(customer.c.id == _CUSTOMERS)


def _identifiers() -> CompoundSelect[Any]:
    proven_email, proven_phone = (t.c.verified_at.is_not(None) for t in (email_address, phone_number))
    contacts = (
        (IdentityType.EMAIL, email_address.c.normalized, proven_email),
        (IdentityType.PHONE, phone_number.c.e164, proven_phone),
        (IdentityType.USERNAME, account.c.username, literal(False)),
    )
    return union_all(
        select(
            identity.c.customer_id,
            identity.c.type.cast(String).label("type"),
            identity.c.value,
            identity.c.issuer,
            identity.c.verified_at.is_not(None).label("verified"),
        ).where(identity.c.customer_id == _CUSTOMERS),
        *(
            select(value.table.c.customer_id, literal(kind.value), value, literal(""), verified).where(
                value.table.c.customer_id == _CUSTOMERS, value.is_not(None)
            )
            for kind, value, verified in contacts
        ),
        # A sign-in of a record that was merged into theirs lies in the ledger of merges.
        select(
            customer_merge_row.c.customer_id,
            literal(IdentityType.USERNAME.value),
            _aside("username"),
            literal(""),
            literal(False),
        ).where(
            customer_merge_row.c.customer_id == _CUSTOMERS,
            customer_merge_row.c.table_name == account.name,
            _aside("username").is_not(None),
        ),
    )


def _aside(name: str) -> ColumnElement[str]:
    """A value of a row that a merge put aside."""
    return customer_merge_row.c.shown.op("->>", return_type=String())(name)


def _names() -> CompoundSelect[Any]:
    return union_all(
        select(customer.c.id.label("customer_id"), customer.c.family_name, customer.c.organisation_name).where(
            customer.c.id == _CUSTOMERS
        ),
        select(customer_merge_row.c.customer_id, _aside("family_name"), _aside("organisation_name")).where(
            customer_merge_row.c.customer_id == _CUSTOMERS, customer_merge_row.c.table_name == customer.name
        ),
    )


def _lines() -> CompoundSelect[Any]:
    places = (
        (postal_address.c.line1, postal_address.c.recipient),
        (sales_order.c.billing_line1, sales_order.c.billing_name),
    )
    return union(
        *(
            select(line.table.c.customer_id, line.label("line"), name.label("recipient")).where(
                line.table.c.customer_id == _CUSTOMERS, line.is_not(None)
            )
            for line, name in places
        )
    )


_PERSON, _IDENTIFIERS, _NAMES, _LINES = _person(), _identifiers(), _names(), _lines()


async def homes(tx: Tx, customer_ids: Sequence[CustomerId]) -> dict[CustomerId, list[Home]]:
    """Every address line of each customer, with each name by which somebody there is known."""
    if not customer_ids:
        return {}
    given = {"customers": list(customer_ids)}
    own: dict[UUID, list[str]] = {customer_id: [] for customer_id in customer_ids}
    for row in await tx.all(_NAMES, given):
        own[row.customer_id] += [name for name in (row.family_name, row.organisation_name) if name]
    found: dict[UUID, dict[str, set[str]]] = {customer_id: {} for customer_id in customer_ids}
    for row in await tx.all(_LINES, given):
        names = found[row.customer_id].setdefault(row.line, set(own[row.customer_id]))
        names.update({row.recipient} if row.recipient else ())
    return {
        CustomerId(customer_id): [(line, tuple(sorted(names))) for line, names in sorted(lines.items())]
        for customer_id, lines in found.items()
    }


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
