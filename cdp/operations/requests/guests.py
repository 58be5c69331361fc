"""Requests of people without an account: an address proven by a mailed link, then the same engine over every system.

Nothing is looked up before the proof, so that neither the page nor its speed can say whether we know an address; until
then we hold the address sealed, for a day. After it, the address finds the customer it belongs to, if there is one:
somebody who could sign in has to, or an agent looks at it first, since a mailbox is less than a second factor. Of
somebody we do not know, connected systems may: they are asked all the same, and our own tables hold nothing.
Source: GDPR art. 12(2), (3) and (6), https://eur-lex.europa.eu/eli/reg/2016/679/oj
"""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, delete, exists, func, insert, or_, select

from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.connectors.base import Identifier
from cdp.core.db import Role, Tx
from cdp.core.errors import InvalidInput
from cdp.core.ids import CustomerId, RequestId, new_id, new_token
from cdp.core.platform import Platform
from cdp.operations import audit, letters, messages, moves, subjects, suppression, values
from cdp.operations.accounts import brake
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.letters import Template
from cdp.operations.requests import exports, objections, opening
from cdp.operations.requests.exports import Download
from cdp.operations.requests.opening import BY_LINK, EXPORTS, KINDS, Opened
from cdp.operations.subjects import Person
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.customer import CustomerStatus, IdentityType, customer, identity
from cdp.tables.request import SETTLED, RequestStatus, RequestType, privacy_request, request_proof

CONFIRM_PAGE = "/privacy/request/confirm"
FILE_PAGE = "/privacy/request/file"
PROOF_LIFE = timedelta(hours=24)
OFFERED = (RequestType.ACCESS, RequestType.PORTABILITY, RequestType.ERASURE, RequestType.OBJECTION)


class NotOffered(InvalidInput):
    """This can not be asked for without signing in; write to us."""

    code = "NOT_OFFERED"


@dataclass(frozen=True)
class _Proof:
    """A link that was followed: what it is good for, and the address it proves."""

    type: RequestType
    locale: str | None
    address: str = field(repr=False)
    normalized: str = field(repr=False)


@dataclass(frozen=True)
class _Asker:
    """Whoever proved an address: the person as a request needs them, and whether we hold a customer row of them."""

    person: Person
    is_known: bool
    can_sign_in: bool
    status: CustomerStatus | None


async def ask(platform: Platform, kind: RequestType, email: str, *, locale: str | None, address: str) -> None:
    """Mail a link that proves an address; nothing else happens, and nothing says whether we know it.

    ``address`` is where the request comes from. Raises NotOffered, InvalidEmail, TooManyTries.
    """
    if kind not in OFFERED:
        raise NotOffered
    given = values.email(email)
    tries = brake.letter_counts(platform.pepper, f"privacy-request:{given.normalized}", address)
    async with platform.db.transaction(Role.WORKER) as tx:
        await brake.admit(tx, tries, platform.clock())
        code = await _issue(tx, platform, kind, given.address, locale=locale, life=PROOF_LIFE)
        link = f"{platform.settings.url}{CONFIRM_PAGE}#{code}"
        letter = letters.write(Template.PROOF, locale, link=link, secret=code)
        await messages.queue(tx, None, given.address, letter)
        await audit.record(tx, ANONYMOUS, "request.proof_sent", subject_ref=None, details={"type": kind.value})


async def _issue(
    tx: Tx,
    platform: Platform,
    kind: RequestType,
    address: str | None,
    *,
    locale: str | None,
    life: timedelta,
    request_id: UUID | None = None,
) -> str:
    code, proof_id = new_token(), new_id()
    context = f"request_proof:{proof_id}"
    await tx.execute(
        insert(request_proof).values(
            id=proof_id,
            request_id=request_id,
            type=kind,
            address_sealed=platform.sealer.seal(address.encode(), context) if address else None,
            locale=letters.language_of(locale),
            token_hash=_digest(code),
            expires_at=func.now() + life,
        )
    )
    return code


async def _redeem(tx: Tx, platform: Platform, code: str) -> _Proof:
    """Use a link up. Raises LinkRefused."""
    row = await tx.first(
        delete(request_proof)
        .where(
            request_proof.c.token_hash == _digest(code),
            request_proof.c.expires_at > func.now(),
            request_proof.c.request_id.is_(None),
        )
        .returning(request_proof.c.id, request_proof.c.type, request_proof.c.locale, request_proof.c.address_sealed)
    )
    if row is None:
        raise LinkRefused
    address = platform.sealer.open(row.address_sealed, f"request_proof:{row.id}").decode()
    return _Proof(row.type, row.locale, address, values.email(address).normalized)


async def confirm(platform: Platform, code: str) -> Opened:
    """Open what was asked for, now that the address is proven; who has the same under way gets back into that.

    Raises LinkRefused.
    """
    async with platform.db.transaction(Role.WORKER) as tx:
        proof = await _redeem(tx, platform, code)
        await messages.forget_unowned(tx, proof.address)
        asker = await _asker(tx, proof)
        there = await _join(tx, platform, proof, asker)
        return there or await _open(tx, platform, proof, asker)


async def _asker(tx: Tx, proof: _Proof) -> _Asker:
    """Who proved the address; locks their customer row."""
    proven = Identifier(IdentityType.EMAIL, proof.normalized, verified=True)
    customer_id = await holder(tx, proof.normalized)
    known = await subjects.gather(tx, customer_id) if customer_id is not None else None
    if customer_id is None or known is None:
        stranger = Person(CustomerId(new_id()), new_id(), (proven,), proof.address, proof.locale)
        return _Asker(stranger, is_known=False, can_sign_in=False, status=None)
    status = await opening.lock_customer(tx, customer_id)
    usable = exists(select(account.c.id).where(account.c.customer_id == customer_id, _signs_in()))
    identifiers = subjects.merged([*known.identifiers, proven])
    person = Person(customer_id, known.subject_ref, identifiers, proof.address, known.locale or proof.locale)
    return _Asker(person, is_known=True, can_sign_in=bool(await tx.scalar(select(usable))), status=status)


def _signs_in() -> ColumnElement[bool]:
    """An account its person can use, or has used."""
    return or_(account.c.password_hash.is_not(None), account.c.last_sign_in_at.is_not(None))


async def holder(tx: Tx, address: str) -> CustomerId | None:
    """The one customer whose address this is: proven to be theirs, or noted of somebody who never had an account.

    An address that somebody merely wrote into their own profile leads nobody else to that profile.
    """
    contacts = select(email_address.c.customer_id, email_address.c.verified_at).where(
        email_address.c.normalized == address
    )
    identities = select(identity.c.customer_id, identity.c.verified_at).where(
        identity.c.type == IdentityType.EMAIL, identity.c.issuer == "", identity.c.value == address
    )
    found = contacts.union_all(identities).subquery()
    signs_in = exists(select(account.c.id).where(account.c.customer_id == found.c.customer_id, _signs_in()))
    rows = await tx.all(
        select(found.c.customer_id)
        .join(customer, customer.c.id == found.c.customer_id)
        .where(or_(found.c.verified_at.is_not(None), ~signs_in))
        .distinct()
        .limit(2)
    )
    return CustomerId(rows[0].customer_id) if len(rows) == 1 else None


async def _join(tx: Tx, platform: Platform, proof: _Proof, asker: _Asker) -> Opened | None:
    """The same request, still open: the same status key opens it, since the same address was proven."""
    kinds = EXPORTS if proof.type in EXPORTS else {proof.type}
    hashes = [known.value for known in platform.pepper.hashes("request", proof.normalized)]
    mine: ColumnElement[bool] = privacy_request.c.address_hash.in_(hashes)
    if asker.is_known:
        mine = or_(mine, privacy_request.c.customer_id == asker.person.customer_id)
    row = await tx.first(
        select(privacy_request.c.id, privacy_request.c.address_hash)
        .where(mine, privacy_request.c.type.in_(kinds), privacy_request.c.status.not_in(SETTLED))
        .order_by(privacy_request.c.id)
        .limit(1)
    )
    if row is None:
        return None
    request = await moves.lock(tx, row.id)
    if request is None or request.is_settled:
        return None
    opened, _ = await opening.unsealed(tx, platform, request)
    await opening.note_again(tx, ANONYMOUS, request.id, request.reference, request.subject_ref)
    return opened


async def _open(tx: Tx, platform: Platform, proof: _Proof, asker: _Asker) -> Opened:
    kind, person = KINDS[proof.type], asker.person
    frozen = asker.status is CustomerStatus.FROZEN
    waits = (asker.can_sign_in or frozen) and proof.type is not RequestType.OBJECTION
    is_objection = proof.type is RequestType.OBJECTION
    opened = await opening.write(
        tx,
        ANONYMOUS,
        platform,
        person,
        kind,
        status=RequestStatus.RECEIVED if waits or is_objection else kind.status,
        channel=BY_LINK,
        is_known=asker.is_known,
        address_hash=platform.pepper.hash("request", proof.normalized).value,
    )
    if waits:
        await opening.tell(tx, platform, opened, person, Template.REQUEST_RECEIVED, is_known=asker.is_known)
    elif is_objection:
        await _object(tx, platform, opened, asker)
    else:
        await opening.start(tx, platform, opened, person, kind, is_known=asker.is_known)
    return opened


async def _object(tx: Tx, platform: Platform, opened: Opened, asker: _Asker) -> None:
    """Stop direct marketing: for a customer by their consents, for a stranger by keeping the address out for good."""
    person = asker.person
    if asker.is_known and asker.status is CustomerStatus.ACTIVE:
        theirs = Viewer(Actor.ANONYMOUS, customer_id=person.customer_id)
        await objections.note(tx, theirs, platform, opened.id, sorted(objections.MARKETING))
    else:
        lines = suppression.entries(platform.pepper, person.identifiers)
        await suppression.suppress(tx, {opened.id: lines})
        await suppression.doubt_holders(tx, [known.value for known in person.identifiers])
    request = await moves.lock(tx, opened.id)
    if request is not None:
        await moves.move(tx, request, RequestStatus.COMPLETED, viewer=ANONYMOUS, code="MARKETING_STOPPED")
    await opening.tell(tx, platform, opened, person, Template.REQUEST_DONE, is_known=asker.is_known)


async def issue_file_link(tx: Tx, platform: Platform, request_id: RequestId) -> str:
    """Make the link by which a package is fetched without an account, for as long as packages live."""
    life = platform.settings.export_ttl
    return await _issue(tx, platform, RequestType.ACCESS, None, locale=None, life=life, request_id=request_id)


async def download(platform: Platform, code: str) -> Download:
    """Open a package by the link that was mailed with it. Raises LinkRefused, ExportGone."""
    async with platform.db.transaction(Role.WORKER) as tx:
        request_id = await tx.scalar(
            select(request_proof.c.request_id).where(
                request_proof.c.token_hash == _digest(code),
                request_proof.c.expires_at > func.now(),
                request_proof.c.request_id.is_not(None),
            )
        )
    if request_id is None:
        raise LinkRefused
    return await exports.download_of(platform, request_id)


async def forget(tx: Tx, *, limit: int) -> int:
    """Delete proofs that are over; answers how many."""
    over = select(request_proof.c.id).where(request_proof.c.expires_at < func.now()).limit(limit)
    gone = await tx.execute(delete(request_proof).where(request_proof.c.id.in_(over)))
    return gone.rowcount


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode("utf-8", "replace")).digest()
