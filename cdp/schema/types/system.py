"""Connected systems that hold copies of the same customers."""

from datetime import datetime

from cdp.schema.fields import column, mapped
from cdp.schema.types.relay import Node
from cdp.tables import system


@mapped(system.system, description="A connected system; `own` is the platform itself.")
class System(Node):
    """A connected system."""

    name: str = column(description="Short name.")
    title: str = column(description="Name shown to people.")
    kind: str = column(description="How it is connected.")
    position: int | None = column(description="Order of deletion; the platform itself goes last.")
    enabled: bool | None = column(description="Whether requests reach it.")
    created_at: datetime | None = column(description="When it was connected.")
    last_ok_at: datetime | None = column(description="When it last answered well.")
