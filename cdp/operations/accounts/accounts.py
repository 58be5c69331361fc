"""Accounts: registration and passwords.

Registration is one transaction: customer, where their data was collected (promise P4), identities, account, e-mail,
acceptance of the policy in force (P14), and a link that proves the address. An address already registered gets the same
answer on the page and a message in the mailbox.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import insert, select
from sqlalchemy.dialects.postgresql import insert as upsert

from cdp.access.viewer import ANONYMOUS, Actor, Viewer
from cdp.core.db import Role, Tx
from cdp.core.errors import Conflict, InvalidInput
from cdp.core.ids import CustomerId, new_id
from cdp.core.platform import Platform
from cdp.operations import audit, messages, reference, suppression, values
from cdp.operations.accounts import brake, email_proofs, new_passwords
from cdp.operations.accounts.passwords import check_strength, hash_password
from cdp.operations.accounts.sessions import BrowserSession
from cdp.operations.accounts.sign_in import normalize_username
from cdp.operations.collection import Origin
from cdp.operations.constraints import refusing
from cdp.operations.letters import Letter
from cdp.operations.reference import Purpose, Reference
from cdp.operations.values import Email
from cdp.tables.account import account
from cdp.tables.contact import email_address
from cdp.tables.customer import CustomerKind, CustomerSuppression, IdentityType, customer, identity
from cdp.tables.policy import AcceptanceDecision, CollectionPoint, collection, policy_acceptance

OWN_ISSUER = "account"
WELCOME = Letter(
    template="account_registered",
    purpose=Purpose.ACCOUNT_NOTICES,
    subject="Your account is ready",
    body="Hello,\n\nsomebody registered an account with this e-mail address. If that was you, you can sign in now.\n"
    "\n{instruction}\n"
    "If it was not you, sign in is not possible without the password; ask us to delete the account.\n",
)
REGISTERED_ALREADY = Letter(
    template="account_exists",
    purpose=Purpose.ACCOUNT_NOTICES,
    subject="You already have an account",
    body="Hello,\n\nsomebody tried to register a new account with this e-mail address. You already have one, and it\n"
    "is unchanged. If that was you, sign in with your password. If it was not you, there is nothing to do.\n",
)


class UsernameTaken(Conflict):
    """This user name is already in use."""

    code = "USERNAME_TAKEN"


class PolicyNotAccepted(InvalidInput):
    """An account needs your agreement to the privacy policy."""

    code = "POLICY_NOT_ACCEPTED"


@dataclass(frozen=True)
class Registration:
    """What the form collects; the e-mail address is the user name."""

    email: str
    password: str
    accepts_policy: bool
    given_name: str | None = None
    family_name: str | None = None
    country: str | None = None
    source: str = "registration page"
    address: str | None = None  # where the form came from; None for code that may not be slowed down


@dataclass(frozen=True)
class _Ready:
    email: Email
    password_hash: str
    given_name: str | None
    family_name: str | None
    country: str | None
    source: str


async def register(platform: Platform, registration: Registration) -> CustomerId:
    """Create a customer who can sign in at once; their e-mail address is not verified yet.

    Raises WeakPassword, InvalidEmail, InvalidText, InvalidCountry, PolicyNotAccepted, TooManyTries; and UsernameTaken
    after a message to the one who has the name, which a page must not show: it answers as if all went well.
    """
    ready = _read(registration)
    if registration.address is not None:
        tries = brake.registration_counts(platform.pepper, ready.email.normalized, registration.address)
        async with platform.db.transaction(Role.WORKER) as tx:
            await brake.admit(tx, tries, platform.clock())
    ready = replace(ready, password_hash=await hash_password(platform.settings, registration.password))
    try:
        async with platform.db.transaction(Role.WORKER) as tx:
            customer_id = await _create(tx, platform, ready)
    except UsernameTaken:
        async with platform.db.transaction(Role.WORKER) as tx:
            await _tell_owner(tx, ready.email)
        raise
    async with platform.db.transaction(Role.WORKER) as tx:  # a sweep does it for who is gone before
        await suppression.look_up(tx, platform.pepper, limit=1, whom=customer_id)
    return customer_id


def _read(registration: Registration) -> _Ready:
    if not registration.accepts_policy:
        raise PolicyNotAccepted(field="policy")
    email = values.email(registration.email)
    check_strength(registration.password, username=email.normalized)

    def name(field: str, value: str | None) -> str | None:
        return values.optional(lambda text: values.text(text, field, longest=100), value)

    return _Ready(
        email,
        "",
        name("given_name", registration.given_name),
        name("family_name", registration.family_name),
        values.optional(values.country, registration.country),
        registration.source,
    )


async def _create(tx: Tx, platform: Platform, ready: _Ready) -> CustomerId:
    now = platform.clock()
    in_force = await reference.current(tx, now)
    customer_id, audit_ref, username = CustomerId(new_id()), new_id(), normalize_username(ready.email.normalized)
    origin = await _create_customer(tx, customer_id, ready, in_force, audit_ref=audit_ref, now=now)
    account_id = new_id()
    with refusing({"account_username_key": UsernameTaken}):
        await tx.execute(
            insert(account).values(id=account_id, **origin, username=username, password_hash=ready.password_hash)
        )
    address = {"address": ready.email.address, "normalized": ready.email.normalized}
    await tx.execute(insert(email_address).values(id=new_id(), **origin, **address, is_primary=True))
    accepted = {"policy_version_id": in_force.policy_version_id, "decision": AcceptanceDecision.ACCEPTED}
    await tx.execute(insert(policy_acceptance).values(id=new_id(), **origin, **accepted, decided_at=now))
    viewer = Viewer(Actor.CUSTOMER, customer_id=customer_id)
    await audit.record(
        tx, viewer, "account.registered", subject_ref=audit_ref, object_type="Account", object_id=account_id
    )
    lines = await email_proofs.instruction(tx, platform, customer_id, ready.email.normalized)
    await messages.queue(tx, customer_id, ready.email.address, WELCOME.filled(instruction=lines))
    return customer_id


async def _create_customer(
    tx: Tx, customer_id: CustomerId, ready: _Ready, in_force: Reference, *, audit_ref: UUID, now: datetime
) -> Origin:
    """Customer, collection and identities; they point at each other, which the database checks at the commit."""
    collection_id, identity_id = new_id(), new_id()
    origin = Origin(customer_id=customer_id, origin_identity_id=identity_id, collection_id=collection_id)
    names = {"given_name": ready.given_name, "family_name": ready.family_name, "country": ready.country}
    await tx.execute(
        insert(customer).values(
            id=customer_id,
            kind=CustomerKind.PERSON,
            **names,
            suppression=CustomerSuppression.UNCHECKED,
            brand_id=in_force.brand_id,
            audit_ref=audit_ref,
            origin_identity_id=identity_id,
            collection_id=collection_id,
        )
    )
    await tx.execute(
        insert(collection).values(
            id=collection_id,
            customer_id=customer_id,
            origin_identity_id=identity_id,
            point=CollectionPoint.REGISTRATION,
            source=ready.source,
            collected_at=now,
            policy_version_id=in_force.policy_version_id,
            brand_id=in_force.brand_id,
        )
    )
    own = {"type": IdentityType.USERNAME, "issuer": OWN_ISSUER, "value": normalize_username(ready.email.normalized)}
    with refusing({"identity_type_issuer_value_key": UsernameTaken}):
        await tx.execute(insert(identity).values(id=identity_id, **origin, **own))
    # Nobody has proven this address yet: it identifies its owner only where no other customer holds it.
    claim = {"type": IdentityType.EMAIL, "value": ready.email.normalized}
    await tx.execute(upsert(identity).values(id=new_id(), **origin, **claim).on_conflict_do_nothing())
    return origin


async def _tell_owner(tx: Tx, email: Email) -> None:
    """Tell the holder of an account that somebody registered its name again; the page tells nobody."""
    username = normalize_username(email.normalized)
    row = await tx.first(
        select(account.c.customer_id, customer.c.audit_ref)
        .join_from(account, customer, customer.c.id == account.c.customer_id)
        .where(account.c.username == username)
    )
    if row is None:
        return
    await messages.queue(tx, CustomerId(row.customer_id), email.address, REGISTERED_ALREADY)
    await audit.record(
        tx,
        ANONYMOUS,
        "account.registered",
        subject_ref=row.audit_ref,
        object_type="Account",
        outcome="refused",
        code=UsernameTaken.code,
    )


async def change_password(platform: Platform, current: BrowserSession, password: str) -> None:
    """Set a new password for who is signed in, and sign them out everywhere else.

    The session must be fresh (RFC 9470): raises StepUpRequired; WeakPassword.
    """
    viewer = current.viewer
    viewer.require_fresh(platform.clock(), max_age_s=platform.settings.step_up_max_age_s)
    check_strength(password, username=current.username)
    password_hash = await hash_password(platform.settings, password)
    async with platform.db.transaction(Role.WORKER) as tx:
        action = "account.password_changed"
        await new_passwords.store(tx, platform, viewer, password_hash, action=action, keep=current.id)
