"""Usage data linked to a customer: devices, events, sessions, messages."""

from datetime import datetime
from typing import Any

import strawberry
from sqlalchemy import ColumnElement, case
from strawberry.scalars import JSON

from cdp.compiler.graph import Row
from cdp.compiler.render import quoted
from cdp.schema.fields import column, filtered, mapped, masked_fields, one
from cdp.schema.types.comparison import DateTimeFilter, ExactFilter
from cdp.schema.types.policy import COLLECTED, Collection, Purpose
from cdp.schema.types.relay import Node
from cdp.tables import account, event, message, second_factor
from cdp.tables.event import DeviceKind
from cdp.tables.message import MessageStatus

strawberry.enum(DeviceKind, description="Laptop or mobile.")
strawberry.enum(MessageStatus, description="Life of a message.")


@mapped(event.device, subject="customer_id", description="A device a customer used.")
class Device(Node):
    """A device."""

    kind: DeviceKind = column(description="Laptop or mobile.")
    operating_system: str | None = column(description="Operating system.")
    browser: str | None = column(description="Browser.")
    language: str | None = column(description="Its preferred language.")
    cookie_id: str | None = column(description="The cookie it was known by.")
    first_seen_at: datetime = column(description="First use.")
    last_seen_at: datetime = column(description="Last use.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)


@mapped(event.event, subject="customer_id", description="Something a customer did on the site.")
class Event(Node):
    """An event of activity."""

    type: str = column(description="Kind of event, `page` or `track` for example.")
    name: str | None = column(description="What happened.")
    page: str | None = column(description="Page viewed.")
    exit_url: str | None = column(description="Where the visit went next.")
    time_on_page_ms: int | None = column(description="Time on the page, milliseconds.")
    ip_address: str | None = column(description="Address it came from.")
    properties: JSON | None = column(description="What else was recorded.")
    occurred_at: datetime = column(description="When.")
    device: Device | None = one({"device_id": "id"}, description="The device used.")
    collection: Collection | None = one({"collection_id": "id"}, description=COLLECTED)


@strawberry.input(description="Which events to list.")
class EventFilter:
    """Conditions on events."""

    type: ExactFilter | None = filtered(description="Kind of event.")
    name: ExactFilter | None = filtered(description="What happened.")
    occurred_at: DateTimeFilter | None = filtered(description="When.")


@mapped(account.session, subject="customer_id", description="A signed-in browser.")
class Session(Node):
    """A browser session."""

    authenticated_at: datetime = column(description="Last real sign-in.")
    last_seen_at: datetime = column(description="Last use.")
    expires_at: datetime = column(description="When it ends.")
    revoked_at: datetime | None = column(description="When it was ended early.")
    ip_address: str | None = column(description="Address it was opened from.")
    user_agent: str | None = column(description="Browser it was opened with.")
    created_at: datetime = column(description="When it was opened.")


@mapped(second_factor.passkey, subject="customer_id", description="A passkey a customer signs in with.")
class Passkey(Node):
    """A passkey, without its key."""

    name: str = column(description="What its owner calls it.")
    created_at: datetime = column(description="When it was registered.")
    used_at: datetime | None = column(description="Last use.")


def _body(row: Row) -> ColumnElement[Any]:
    """A letter still on its way may hold a link for its reader alone; sending it takes the link out."""
    under_way = [quoted(one.value) for one in (MessageStatus.QUEUED, MessageStatus.SENDING)]
    return case((row["status"].not_in(under_way), row["body"]))


@mapped(message.message, subject="customer_id", description="A message sent to a customer.")
class Message(Node):
    """A message."""

    purpose: Purpose | None = one({"purpose": "code"}, description="Why it was sent.")
    template: str = column(description="Kind of message.")
    recipient: str = column(description="Where it was sent.")
    subject: str = column(description="Its subject.")
    body: str | None = column(_body, description="Its text, once it has left.")
    status: MessageStatus = column(description="Where it stands.")
    created_at: datetime = column(description="When it was written.")
    sent_at: datetime | None = column(description="When it left.")
    masked_fields: list[str] = masked_fields()
