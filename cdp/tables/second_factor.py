"""What people prove themselves with beside a password: authenticator apps, recovery codes, passkeys; half sign-ins.

Each row is of a customer or of a member of staff. Secrets of authenticator apps are sealed, recovery codes are keyed
hashes, of a passkey only the public half is known here.
"""

from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Uuid,
)

from cdp.tables.base import (
    Category,
    foreign_key_indexes,
    id_column,
    metadata,
    personal,
    sealed,
    structural,
    subject_columns,
    timestamp,
)

LONGEST_CREDENTIAL_ID = 1023


def _staff_column() -> Column[UUID]:
    return Column("staff_id", Uuid, ForeignKey("staff.id"), info=structural())


def _one_subject() -> CheckConstraint:
    return CheckConstraint("(customer_id IS NULL) <> (staff_id IS NULL)", name="one_subject")


# ``last_step`` is the newest time step whose code was taken: no code counts twice (RFC 6238 section 5.2).
totp = Table(
    "totp",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    _staff_column(),
    Column("secret_sealed", LargeBinary, nullable=False, info={**structural(), **sealed("totp:{id}")}),
    Column("last_step", BigInteger, nullable=False, info=structural()),
    timestamp("created_at", now=True, info=personal(Category.ACCOUNT)),
    timestamp("used_at", nullable=True, info=personal(Category.ACCOUNT)),
    _one_subject(),
)

recovery_code = Table(
    "recovery_code",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    _staff_column(),
    Column("code_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    timestamp("created_at", now=True, info=personal(Category.ACCOUNT)),
    timestamp("used_at", nullable=True, info=personal(Category.ACCOUNT)),
    _one_subject(),
)

passkey = Table(
    "passkey",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    _staff_column(),
    Column("name", String(100), nullable=False, info=personal(Category.ACCOUNT)),
    Column("credential_id", LargeBinary(LONGEST_CREDENTIAL_ID), nullable=False, unique=True, info=structural()),
    Column("public_key", LargeBinary, nullable=False, info=structural()),
    Column("sign_count", BigInteger, nullable=False, info=structural()),
    Column("backed_up", Boolean, nullable=False, info=structural()),
    timestamp("created_at", now=True, info=personal(Category.ACCOUNT)),
    timestamp("used_at", nullable=True, info=personal(Category.ACCOUNT)),
    _one_subject(),
)

# The password was right, the second factor is outstanding; the token itself is in the browser alone.
half_sign_in = Table(
    "half_sign_in",
    metadata,
    id_column(),
    *subject_columns(nullable=True, collected=False),
    _staff_column(),
    Column("token_hash", LargeBinary(32), nullable=False, unique=True, info=structural()),
    Column("tries", Integer, nullable=False, server_default="0", info=structural()),
    timestamp("created_at", now=True),
    timestamp("expires_at"),
    _one_subject(),
)

# Challenges that were answered: each counts once. Those that were not are known by their own keyed hash alone.
used_challenge = Table(
    "used_challenge",
    metadata,
    Column("challenge_hash", LargeBinary(32), primary_key=True),
    timestamp("expires_at"),
)

Index("totp_customer_id_key", totp.c.customer_id, unique=True)
Index("totp_staff_id_key", totp.c.staff_id, unique=True)
Index(None, half_sign_in.c.expires_at)
Index(None, used_challenge.c.expires_at)
for _table in (totp, recovery_code, passkey, half_sign_in):
    foreign_key_indexes(_table)
