"""Runs of the canary, for who operates the platform."""

from datetime import datetime

import strawberry

from cdp.schema.fields import column, mapped
from cdp.schema.types.relay import Node
from cdp.tables import canary
from cdp.tables.canary import CanaryStatus

strawberry.enum(CanaryStatus, description="How a run of the canary ended.")


@mapped(canary.canary_run, description="A person who never was, erased through every system to see that it works.")
class CanaryRun(Node):
    """A run."""

    status: CanaryStatus = column(description="How it ended.")
    code: str | None = column(description="Why it failed.")
    started_at: datetime = column(description="When it began.")
    finished_at: datetime | None = column(description="When it was over.")
