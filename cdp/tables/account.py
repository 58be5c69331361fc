"""Accounts that can sign in, sessions and mailed links of customers and staff, and the brake on guessing passwords."""

from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, LargeBinary, String, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

from cdp.tables.base import (
    Category,
    enum_type,
    foreign_key_indexes,
    id_column,
    identifies,
    metadata,
    personal,
    sealed,
    structural,
    subject_columns,
    timestamp,
)


class AccountStatus(StrEnum):
    """A frozen account can only watch or undo its erasure."""

    ACTIVE = "active"
    FROZEN = "frozen"


class LinkKind(StrEnum):
    """What a mailed link lets its holder do, once."""

    EMAIL_PROOF = "email_proof"
    RESET = "reset"


account = Table(
    "account",
    metadata,
    id_column(),
    *subject_columns(),
    Column(
        "username",
        String(320),
        nullable=False,
        unique=True,
        info={**personal(Category.ACCOUNT), **identifies("username", "email")},
    ),
    Column("password_hash", String(255), info=personal(Category.ACCOUNT, export=False)),
    Column(
        "status",
        enum_type(AccountStatus, "account_status"),
        nullable=False,
        server_default="active",
        info=structural(),
    ),
    timestamp("last_sign_in_at", nullable=True, info=personal(Category.ACCOUNT)),
    Column("version", Integer, nullable=False, server_default="1", info=structural()),
    timestamp("created_at", now=True, info=personal(Category.ACCOUNT)),
)

session = Table(
    "session",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    Column("account_id", Uuid, ForeignKey("account.id"), info=structural()),
    Column("staff_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    timestamp("authenticated_at", info=personal(Category.ACCOUNT)),
    # How it was authenticated: method references of RFC 8176.
    Column("amr", ARRAY(Text), nullable=False, server_default="{pwd}", info=personal(Category.ACCOUNT, export=False)),
    timestamp("last_seen_at", now=True, info=personal(Category.ACCOUNT)),
    timestamp("expires_at"),
    timestamp("revoked_at", nullable=True),
    Column("ip_address", String(45), info=personal(Category.DEVICE)),
    Column("user_agent", String(400), info=personal(Category.DEVICE)),
    # Of an external provider, sealed: with it the provider's own session is ended too.
    Column(
        "id_token_sealed",
        LargeBinary,
        info={**personal(Category.ACCOUNT, export=False), **sealed("federation.id_token")},
    ),
    timestamp("created_at", now=True, info=personal(Category.ACCOUNT)),
    CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name="one_subject"),
    CheckConstraint("(customer_id IS NULL) = (account_id IS NULL)", name="account_of_customer"),
)

# Links we mailed, each good for one use; the token itself stands in the letter alone. ``address`` is where it went.
mail_link = Table(
    "mail_link",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    Column("staff_id", Uuid, ForeignKey("staff.id"), info=structural()),
    Column("kind", enum_type(LinkKind, "link_kind"), nullable=False, info=structural()),
    Column(
        "address",
        String(320),
        nullable=False,
        index=True,
        info={**personal(Category.CONTACT, export=False), **identifies("email")},
    ),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    timestamp("created_at", now=True),
    timestamp("expires_at"),
    timestamp("used_at", nullable=True),
    CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name="one_subject"),
)

# Failed sign-ins per keyed hash of an account, an address or both; the hash says nothing about anybody by itself.
sign_in_brake = Table(
    "sign_in_brake",
    metadata,
    Column("key_hash", LargeBinary(32), primary_key=True),
    Column("failures", Integer, nullable=False),
    timestamp("first_failure_at"),
    timestamp("blocked_until"),
)

Index("account_customer_id_key", account.c.customer_id, unique=True)
Index("session_customer_id_created_at_idx", session.c.customer_id, session.c.created_at)
Index(None, session.c.expires_at)
Index(None, mail_link.c.expires_at)
Index(None, sign_in_brake.c.blocked_until)
foreign_key_indexes(account)
foreign_key_indexes(session)
foreign_key_indexes(mail_link)
