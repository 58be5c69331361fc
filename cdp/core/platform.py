"""The parts a process works with, opened once by a composition root and handed down."""

from dataclasses import dataclass, field

from cdp.core.blobs import Blobs
from cdp.core.clock import Clock, utc_now
from cdp.core.db import Database
from cdp.core.doorbell import ArqDoorbell
from cdp.core.http import Outbound
from cdp.core.keys import KeyStore
from cdp.core.mail import Mailer, mailer
from cdp.core.seal import Pepper, Sealer
from cdp.core.settings import Environment, Settings
from cdp.core.sign import Signer


def open_keys(settings: Settings) -> tuple[KeyStore, Sealer]:
    """The key store, opened by the master keys, and the sealer of everything else under the same keys."""
    sealer = Sealer.from_settings(settings.master_keys, KeyStore(settings.keys_dir))
    return KeyStore(settings.keys_dir, sealer), sealer


@dataclass(frozen=True)
class Platform:
    """Settings, database and the outside world; frozen, so that nobody swaps a part while running."""

    settings: Settings
    db: Database
    blobs: Blobs
    keys: KeyStore
    sealer: Sealer
    pepper: Pepper
    signer: Signer
    mailer: Mailer
    outbound: Outbound
    clock: Clock = field(default=utc_now)

    @classmethod
    def open(cls, settings: Settings, *, clock: Clock = utc_now) -> "Platform":
        """Build every part from settings whose URLs are resolved; connections open on first use."""
        keys, sealer = open_keys(settings)
        db = Database(
            settings.database_url, pool_size=settings.pool_size, statement_timeout_s=settings.statement_timeout_s
        )
        if settings.redis_url:
            db.doorbell = ArqDoorbell(settings.redis_url)
        private = settings.allow_private_targets and settings.env is not Environment.PRODUCTION
        return cls(
            settings=settings,
            db=db,
            blobs=Blobs(
                settings.objects_url or f"file://{settings.state_dir.resolve()}/objects",
                retry_s=settings.objects_retry_s,
            ),
            keys=keys,
            sealer=sealer,
            pepper=Pepper(keys),
            signer=Signer(keys),
            mailer=mailer(settings.smtp_url, settings.mail_from, settings.state_dir / "outbox"),
            outbound=Outbound(allow_private=private, inside=settings.internal_networks),
            clock=clock,
        )

    async def close(self) -> None:
        """Let go of every connection."""
        await self.outbound.close()
        if isinstance(self.db.doorbell, ArqDoorbell):
            await self.db.doorbell.close()
        await self.db.close()
