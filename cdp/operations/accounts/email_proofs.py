"""Proving an e-mail address: a link goes there, and who follows it signed in has shown that the address is theirs.

The link alone proves nothing for an account: somebody else may have registered with this address, and its owner must
not hand them the proof by a click. Only whoever also knows the account's password can use it.
A proven address identifies its owner to imports and other systems, and lifts an earlier suppression: that one stops
sources, not people.
"""

from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.access.viewer import Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import NotFound
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, messages, suppression
from cdp.operations.accounts import brake, mail_links
from cdp.operations.accounts.mail_links import LinkRefused
from cdp.operations.accounts.owner import Owner
from cdp.operations.collection import Subject, lock
from cdp.operations.letters import Letter
from cdp.operations.reference import Purpose
from cdp.tables.account import LinkKind
from cdp.tables.contact import email_address
from cdp.tables.customer import IdentityType, customer, identity
from cdp.tables.datamap import personal_tables

PAGE = "/account/verify-email"
INSTRUCTION = """Confirm that this address is yours: {link}
The link works once, for 24 hours, and asks you to sign in.
If the page asks for a code, it is: {code}
"""
PROOF = Letter(
    template="email_proof",
    purpose=Purpose.ACCOUNT_NOTICES,
    subject="Confirm your e-mail address",
    body="Hello,\n\n{instruction}\nIf you did not ask for this, there is nothing to do.\n",
)


async def instruction(tx: Tx, platform: Platform, customer_id: CustomerId, normalized: str) -> str:
    """Make a link for an address; answers the lines of a letter that carry it."""
    code = await mail_links.issue(tx, Owner(customer_id), LinkKind.EMAIL_PROOF, normalized, now=platform.clock())
    return INSTRUCTION.format(link=f"{platform.settings.url}{PAGE}#{code}", code=code)


async def send(platform: Platform, viewer: Viewer, email_id: UUID, *, address: str) -> None:
    """Mail a new link to an address of the viewer's that is not proven yet; one that is gets no mail.

    ``address`` is where the request comes from. Raises NotFound, CustomerFrozen, TooManyTries.
    """
    tries = brake.letter_counts(platform.pepper, f"proof:{viewer.subject}", address)
    async with platform.db.transaction(Role.WORKER) as tx:
        subject = await lock(tx, viewer)
        row = await tx.first(
            select(email_address.c.address, email_address.c.normalized, email_address.c.verified_at).where(
                email_address.c.id == email_id, email_address.c.customer_id == subject.customer_id
            )
        )
        if row is None:
            raise NotFound
        if row.verified_at is not None:
            return
        await brake.admit(tx, tries, platform.clock())
        lines = await instruction(tx, platform, subject.customer_id, row.normalized)
        await messages.queue(tx, subject.customer_id, row.address, PROOF.filled(instruction=lines))
        await audit.record(
            tx,
            viewer,
            "email.proof_sent",
            subject_ref=subject.audit_ref,
            object_type="EmailAddress",
            object_id=email_id,
        )


async def prove(platform: Platform, viewer: Viewer, code: str) -> None:
    """Use the code of a link, as who is signed in.

    Raises LinkRefused, also when it is somebody else's or the address is no contact of the viewer's any more;
    CustomerFrozen.
    """
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            owner, now = Owner(viewer.subject), platform.clock()
            link = await mail_links.redeem(tx, owner, LinkKind.EMAIL_PROOF, code, now=now)
            await prove_address(tx, platform, viewer, link.address)
    except LinkRefused as refusal:
        async with platform.db.transaction(Role.WORKER) as tx:
            subject_ref = await tx.scalar(select(customer.c.audit_ref).where(customer.c.id == viewer.subject))
            await audit.record(
                tx, viewer, "email.verified", subject_ref=subject_ref, outcome="refused", code=refusal.code
            )
        raise


async def prove_address(tx: Tx, platform: Platform, viewer: Viewer, normalized: str) -> None:
    """Take an address of the viewer's as proven: contact, identity, and the end of a suppression.

    Locks the customer row. Raises CustomerFrozen; LinkRefused when the viewer has no such contact.
    """
    subject, now = await lock(tx, viewer), platform.clock()
    row = await tx.first(
        update(email_address)
        .where(email_address.c.customer_id == subject.customer_id, email_address.c.normalized == normalized)
        .values(verified_at=func.coalesce(email_address.c.verified_at, now), version=email_address.c.version + 1)
        .returning(email_address.c.id, email_address.c.origin_identity_id, email_address.c.collection_id)
    )
    if row is None:
        raise LinkRefused
    await audit.record(
        tx, viewer, "email.verified", subject_ref=subject.audit_ref, object_type="EmailAddress", object_id=row.id
    )
    origin = {
        "customer_id": subject.customer_id,
        "origin_identity_id": row.origin_identity_id,
        "collection_id": row.collection_id,
        "verified_at": now,
    }
    await _claim(tx, viewer, subject, normalized, origin)
    lifted = await suppression.lift(tx, platform, IdentityType.EMAIL, normalized, now=now)
    if lifted:
        await audit.record(tx, viewer, "suppression.lifted", subject_ref=subject.audit_ref, details={"entries": lifted})


async def _claim(tx: Tx, viewer: Viewer, subject: Subject, normalized: str, origin: dict[str, object]) -> None:
    """Let the address identify its prover, unless it is another customer's by proof or by what they own."""
    value = {"type": IdentityType.EMAIL, "issuer": "", "value": normalized}
    await tx.execute(upsert(identity).values(id=new_id(), **value, **origin).on_conflict_do_nothing())
    mine = identity.c.customer_id == subject.customer_id
    free = identity.c.verified_at.is_(None) & ~_is_origin()
    claimed = await tx.scalar(
        update(identity)
        .where(*(identity.c[name] == one for name, one in value.items()), mine | free)
        .values(origin)
        .returning(identity.c.id)
    )
    if claimed is None:
        await audit.record(
            tx,
            viewer,
            "identity.contested",
            subject_ref=subject.audit_ref,
            object_type="Identity",
            outcome="refused",
            code="IDENTITY_TAKEN",
        )


def _is_origin() -> ColumnElement[bool]:
    """Whether rows of a customer came by this identity: then it stays with them, so that a merge can be undone."""
    others = [identity.alias(), *(table for table in personal_tables() if table is not identity)]
    sources = [source.c.origin_identity_id for source in others if "origin_identity_id" in source.c]
    return or_(*(exists().where(column == identity.c.id) for column in sources))
