"""What production refuses: conveniences of development that would open a real system to the world."""

from sqlalchemy import exists, or_, select

from cdp.core.db import Role
from cdp.core.errors import Forbidden
from cdp.core.platform import Platform
from cdp.core.settings import Environment, Settings
from cdp.tables.account import account
from cdp.tables.policy import collection
from cdp.tables.staff import staff

DEMO_SOURCE = "demo registration"
DEMO_STAFF = ("agent@demo.example", "officer@demo.example")
OUTSIDE = ("database_url", "redis_url", "objects_url")
LONGEST_STEP_UP_S = 600


class ProductionRefused(Forbidden):
    """This configuration is not fit for production."""

    code = "PRODUCTION_REFUSED"


def problems(settings: Settings) -> list[str]:
    """Settings that production does not take; empty outside production."""
    if settings.env is not Environment.PRODUCTION:
        return []
    found = []
    if not settings.is_secure:
        found.append("CDP_BASE_URL must be https")
    if settings.tls_cert_file is None and not settings.trusted_proxies:
        found.append("CDP_TLS_CERT_FILE or CDP_TRUSTED_PROXIES is missing: who serves TLS?")
    if not settings.master_keys:
        found.append("CDP_MASTER_KEYS is missing")
    if settings.key_store_dir is None:
        found.append("CDP_KEY_STORE_DIR is missing: name a folder that is backed up apart from the database")
    if not settings.smtp_url:
        found.append("CDP_SMTP_URL is missing: messages would only land in a folder")
    found += [
        f"CDP_{name.upper()} is missing: nothing is embedded here" for name in OUTSIDE if not getattr(settings, name)
    ]
    if settings.step_up_max_age_s > LONGEST_STEP_UP_S:
        found.append(f"CDP_STEP_UP_MAX_AGE_S is at most {LONGEST_STEP_UP_S}")
    if settings.staff_second_factor is False:
        found.append("CDP_STAFF_SECOND_FACTOR must be on")
    if settings.allow_private_targets:
        found.append("CDP_ALLOW_PRIVATE_TARGETS must be off")
    return found


def check_settings(settings: Settings) -> None:
    """Raise ProductionRefused naming every problem at once."""
    if found := problems(settings):
        raise ProductionRefused(f"This configuration is not fit for production: {'; '.join(found)}.")


async def check(platform: Platform) -> None:
    """Refuse to start in production with such settings, or with the demo's people in the database.

    Raises ProductionRefused.
    """
    if platform.settings.env is not Environment.PRODUCTION:
        return
    check_settings(platform.settings)
    demo = exists().where(collection.c.customer_id == account.c.customer_id, collection.c.source == DEMO_SOURCE)
    colleagues = select(staff.c.id).where(staff.c.username.in_(DEMO_STAFF), staff.c.active)
    async with platform.db.transaction(Role.WORKER) as tx:
        if await tx.scalar(select(or_(exists(select(account.c.id).where(demo)), exists(colleagues)))):
            raise ProductionRefused("This database holds the demo's people, whose password is public.")
