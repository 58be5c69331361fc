"""The embedded servers alone: for tests and benchmarks, and the first half of ``cdp up``."""

from collections.abc import Iterator
from contextlib import contextmanager

from cdp.core.settings import Settings
from cdp.embedded.binaries import postgres_for, valkey_for
from cdp.embedded.layout import Layout, create, layout_of, leave, parts_of, settings_for
from cdp.embedded.lock import held
from cdp.embedded.parts import Kept, Part, start_all, stop_all
from cdp.embedded.postgres import Postgres
from cdp.embedded.valkey import Valkey


def servers_of(settings: Settings, layout: Layout, *, durable: bool = True) -> list[Part]:
    """Servers the settings leave to us, in the order they start."""
    parts = parts_of(settings)
    needed: list[Part] = []
    if parts.postgres:
        needed.append(Postgres(layout, postgres_for(settings, layout), durable=durable))
    if parts.valkey:
        needed.append(Valkey(layout, valkey_for(settings, layout)))
    return needed


@contextmanager
def servers(settings: Settings, *, durable: bool = True) -> Iterator[Settings]:
    """Run the embedded servers for the length of the block; yields settings with every URL filled.

    Call it from the main thread. ``durable=False`` is for throw-away data: faster, and lost in a power cut.
    Raises AlreadyRunning when another process holds this state folder.
    """
    layout = layout_of(settings)
    create(layout)
    with held(layout.lock):
        running: list[Kept] = []
        try:
            start_all(servers_of(settings, layout, durable=durable), running)
            yield settings_for(settings, layout)
        finally:
            stop_all(running)
            leave(layout)
