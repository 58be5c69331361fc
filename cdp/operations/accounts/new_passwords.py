"""New passwords: for who has forgotten theirs, by a mailed link; and what follows whenever one is set.

Asking for a link gets one answer, after one time, whether or not there is such an account. A link is good once, for an
hour. Setting a password ends every other session and app, uses up what links are left, and its owner gets a letter.
Source: OWASP Forgot Password Cheat Sheet,
https://cheatsheetseries.owasp.org/cheatsheets/Forgot_Password_Cheat_Sheet.html
"""

from contextlib import suppress
from uuid import UUID

import anyio
from sqlalchemy import or_, select, update

from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.ids import CustomerId
from cdp.core.platform import Platform
from cdp.operations import audit, messages
from cdp.operations.accounts import brake, email_proofs, mail_links, sessions
from cdp.operations.accounts.mail_links import Link, LinkRefused
from cdp.operations.accounts.owner import Owner
from cdp.operations.accounts.passwords import check_strength, hash_password
from cdp.operations.accounts.sign_in import LONGEST_USERNAME, normalize_username
from cdp.operations.collection import CustomerFrozen
from cdp.operations.letters import Letter
from cdp.operations.reference import Purpose
from cdp.tables.account import LinkKind, account
from cdp.tables.contact import email_address
from cdp.tables.customer import customer
from cdp.tables.staff import staff

PAGES = {Actor.CUSTOMER: "/account/new-password", Actor.STAFF: "/console/new-password"}
# Longer than writing a letter takes: whoever watches the clock learns nothing.
ANSWER_AFTER_S = 0.4
RESET = Letter(
    template="password_reset",
    purpose=Purpose.ACCOUNT_NOTICES,
    subject="Set a new password",
    body="Hello,\n\nsomebody asked for a new password of your account. If that was you, set it here: {link}\n"
    "The link works once, for one hour. If the page asks for a code, it is: {code}\n\n"
    "If it was not you, there is nothing to do: your password stays as it is.\n",
)
CHANGED = Letter(
    template="password_changed",
    purpose=Purpose.ACCOUNT_NOTICES,
    subject="Your password was changed",
    body="Hello,\n\nthe password of your account was changed. Every other browser and every connected app was signed"
    " out.\n\nIf that was not you, set a new password at once: {base}/account/forgotten-password\n",
)


async def ask(platform: Platform, username: str, *, address: str) -> None:
    """Mail a link to the owner of an account, if there is one. ``address`` is where the request comes from.

    Raises TooManyTries, for known and unknown names alike.
    """
    answer_at = anyio.current_time() + ANSWER_AFTER_S
    name = normalize_username(username)
    tries = brake.letter_counts(platform.pepper, f"password:{name}", address)
    async with platform.db.transaction(Role.WORKER) as tx:
        await brake.admit(tx, tries, platform.clock())
    async with platform.db.transaction(Role.WORKER) as tx:
        await _send(tx, platform, name)
    await anyio.sleep_until(answer_at)


async def _send(tx: Tx, platform: Platform, name: str) -> None:
    row = None
    if len(name) <= LONGEST_USERNAME and name.isprintable():
        row = await tx.first(
            select(account.c.id, account.c.customer_id, customer.c.audit_ref, email_address)
            .join_from(account, customer, customer.c.id == account.c.customer_id)
            .join(email_address, email_address.c.customer_id == account.c.customer_id)
            .where(
                account.c.username == name,
                or_(email_address.c.verified_at.is_not(None), email_address.c.normalized == name),
            )
            .order_by(email_address.c.verified_at.is_(None), email_address.c.is_primary.desc(), email_address.c.id)
            .limit(1)
        )
    if row is None:
        await _record(tx, ANONYMOUS, "password.reset_asked", None, code="NO_SUCH_ACCOUNT")
        return
    owner = Owner(CustomerId(row.customer_id))
    code = await mail_links.issue(tx, owner, LinkKind.RESET, row.normalized, now=platform.clock())
    letter = RESET.filled(link=link_of(platform, Actor.CUSTOMER, code), code=code)
    await messages.queue(tx, CustomerId(row.customer_id), row.address, letter)
    await _record(tx, ANONYMOUS, "password.reset_asked", row.audit_ref)


def link_of(platform: Platform, actor: Actor, code: str) -> str:
    """The address a code is used at; the code stands where browsers do not send it."""
    return f"{platform.settings.url}{PAGES[actor]}#{code}"


async def set_by_link(platform: Platform, actor: Actor, code: str, password: str) -> None:
    """Set the password of whose link this is. Raises LinkRefused, and WeakPassword, which leaves the link good.

    Who got the letter has also proven the address it went to.
    """
    now = platform.clock()
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            link = await mail_links.look(tx, LinkKind.RESET, code, now=now)
            username = await _username(tx, actor, link.owner)
        check_strength(password, username=username)
        password_hash = await hash_password(platform.settings, password)
        async with platform.db.transaction(Role.WORKER) as tx:
            link = await mail_links.redeem(tx, link.owner, LinkKind.RESET, code, now=now)
            await _settle(tx, platform, link, password_hash)
    except LinkRefused as refusal:
        async with platform.db.transaction(Role.WORKER) as tx:
            await _record(tx, ANONYMOUS, "password.reset", None, code=refusal.code)
        raise


async def _username(tx: Tx, actor: Actor, owner: Owner) -> str:
    """The user name a password is for. Raises LinkRefused for a link of the other realm, or of nobody any more."""
    if actor is Actor.STAFF:
        found = select(staff.c.username).where(staff.c.id == owner.staff_id, staff.c.active)
    else:
        found = select(account.c.username).where(account.c.customer_id == owner.customer_id)
    username: str | None = await tx.scalar(found)
    if username is None:
        raise LinkRefused
    return username


async def _settle(tx: Tx, platform: Platform, link: Link, password_hash: str) -> None:
    now = platform.clock()
    if link.owner.customer_id is None:
        staff_id = link.owner.staff_id
        await tx.execute(update(staff).where(staff.c.id == staff_id).values(password_hash=password_hash))
        await sessions.end_everywhere(tx, staff_id=staff_id, now=now)
        await mail_links.void(tx, link.owner, LinkKind.RESET, now=now)
        viewer = Viewer(Actor.STAFF, staff_id=staff_id)
        await _record(tx, viewer, "password.reset", None, object_id=staff_id)
        return
    viewer = Viewer(Actor.CUSTOMER, customer_id=link.owner.customer_id)
    with suppress(CustomerFrozen):  # who watches a deletion may still need a password; nothing else changes then
        await email_proofs.prove_address(tx, platform, viewer, link.address)
    await store(tx, platform, viewer, password_hash, action="password.reset")


async def store(
    tx: Tx, platform: Platform, viewer: Viewer, password_hash: str, *, action: str, keep: UUID | None = None
) -> None:
    """Write a customer's new password with all that follows; ``keep`` names the session that goes on."""
    now, owner = platform.clock(), Owner(viewer.subject)
    mine = update(account).where(account.c.customer_id == viewer.subject)
    await tx.execute(mine.values(password_hash=password_hash, version=account.c.version + 1))
    await sessions.end_everywhere(tx, customer_id=viewer.subject, now=now, keep=keep)
    await mail_links.void(tx, owner, LinkKind.RESET, now=now)
    row = await tx.first(
        select(customer.c.audit_ref, email_address.c.address)
        .join_from(customer, email_address, email_address.c.customer_id == customer.c.id, isouter=True)
        .where(customer.c.id == viewer.subject)
        .order_by(email_address.c.verified_at.is_(None), email_address.c.is_primary.desc(), email_address.c.id)
        .limit(1)
    )
    assert row is not None, "an account belongs to a customer"
    await _record(tx, viewer, action, row.audit_ref)
    if row.address is not None:
        await messages.queue(tx, viewer.subject, row.address, CHANGED.filled(base=platform.settings.url))


async def _record(
    tx: Tx,
    viewer: Viewer,
    action: str,
    subject_ref: UUID | None,
    *,
    object_id: UUID | None = None,
    code: str | None = None,
) -> None:
    await audit.record(
        tx,
        viewer,
        action,
        subject_ref=subject_ref,
        object_type="Account",
        object_id=object_id,
        outcome="refused" if code else "ok",
        code=code,
    )
