"""What the database says, for ``cdp doctor``: does the canary still die, is anything left, is this its key store?"""

from sqlalchemy.exc import SQLAlchemyError

from cdp.cli.opened import with_platform
from cdp.core.db import Role
from cdp.core.errors import PlatformError
from cdp.core.platform import Platform
from cdp.core.settings import Settings
from cdp.embedded.probe import Check, Verdict, status
from cdp.operations.canary import runs
from cdp.operations.canary.runs import Health
from cdp.operations.residual import checks
from cdp.operations.secrets import stores
from cdp.operations.secrets.stores import KeyStoreDiffers
from cdp.tables.canary import CanaryStatus


def look(settings: Settings) -> list[Check]:
    """Ask the database; nothing while it can not be reached, which other checks say."""

    async def ask(platform: Platform) -> list[Check]:
        async with platform.db.transaction(Role.WORKER) as tx:
            return [
                canary(await runs.health(tx)),
                left_behind(len(await checks.found(tx))),
                key_store(is_known=await stores.is_known(tx, platform)),
            ]

    try:
        return with_platform(ask) if status(settings).is_running or settings.database_url else []
    except (PlatformError, SQLAlchemyError, OSError):
        return []


def canary(health: Health) -> Check:
    """How the last run of the canary ended."""
    last = health.last
    if last is None or last.finished_at is None:
        return Check("canary", Verdict.OK, "no run is over yet")
    when = f"{last.finished_at:%Y-%m-%d %H:%M} UTC"
    if last.status is CanaryStatus.PASSED:
        return Check("canary", Verdict.OK, f"erased everywhere at {when}, in {last.duration_s or 0:.0f} s")
    found = f"the run that ended at {when} failed: {last.code}"
    return Check("canary", Verdict.PROBLEM, found, "look at its request: /console/requests")


def left_behind(people: int) -> Check:
    """Whether the residual pass found something of anybody."""
    if not people:
        return Check("residual pass", Verdict.OK, "nothing is left of anybody who was erased")
    return Check("residual pass", Verdict.PROBLEM, f"{people} erasures left something", "cdp residual list")


def key_store(*, is_known: bool) -> Check:
    """Whether this host opens the key store that the database was filled with."""
    if is_known:
        return Check("key store", Verdict.OK, "the one the database was filled with")
    found = f"another one than the database was filled with ({KeyStoreDiffers.code})"
    return Check("key store", Verdict.PROBLEM, found, "mount the folder all hosts share at CDP_KEY_STORE_DIR")
