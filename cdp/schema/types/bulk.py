"""Bulk exports as the API shows them; names as in Shopify's bulk operations where they mean the same.

Source: https://shopify.dev/docs/api/usage/bulk-operations/queries
"""

from datetime import datetime
from enum import Enum
from typing import Any

import strawberry
from sqlalchemy import ColumnElement, Text, cast, func, select
from strawberry.scalars import JSON

from cdp.compiler.graph import Kind, Row
from cdp.compiler.render import quoted
from cdp.schema.fields import OrderingSource, column, filtered, many, mapped
from cdp.schema.scalars import BigInt
from cdp.schema.types.comparison import Choice, ExactFilter, OrderDirection
from cdp.schema.types.relay import Node
from cdp.tables import bulk
from cdp.tables.bulk import BulkCompression, BulkFormat, BulkStatus, PartKind, PartStatus

strawberry.enum(BulkStatus, description="Where a bulk export stands.")
strawberry.enum(BulkFormat, description="What the files of a bulk export are.")
strawberry.enum(BulkCompression, description="How the files of a bulk export are packed.")
strawberry.enum(PartKind, description="Customers, or tombstones of those to forget.")
strawberry.enum(PartStatus, description="Where a part of a bulk export stands.")


def _done(row: Row) -> ColumnElement[Any]:
    part = bulk.bulk_part
    return (
        select(func.count())
        .where(part.c.bulk_export_id == row["id"], part.c.epoch == row["epoch"], part.c.status == quoted("done"))
        .scalar_subquery()
    )


def _url(row: Row) -> ColumnElement[Any]:
    return quoted("/bulk/export/") + cast(row["id"], Text)


def _is_incremental(row: Row) -> ColumnElement[Any]:
    return row["since_xid"].is_not(None)


def _kind_place(row: Row) -> ColumnElement[Any]:
    return row["kind"] == quoted("deleted")


def _asked_by(row: Row) -> ColumnElement[Any]:
    return cast(row["staff_id"], Text)


@mapped(bulk.bulk_part, description="A file of a bulk export: the customers of one range of ids.")
class BulkPart(Node):
    """A part."""

    ordinal: int | None = column(description="Its number, from 1.")
    kind: PartKind | None = column(description="What it holds.")
    status: PartStatus | None = column(description="Where it stands.")
    attempt: int | None = column(description="Tries so far.")
    object_count: BigInt | None = column("record_count", description="Records in it.")
    file_size: BigInt | None = column("size_bytes", description="Its bytes.")
    checksum: str | None = column("sha256", kind=Kind.BYTES, description="SHA-256 of its bytes, hexadecimal.")
    error_code: str | None = column("code", description="Machine code of the last trouble.")
    started_at: datetime | None = column(description="When it was last begun.")
    completed_at: datetime | None = column("settled_at", description="When it was done.")


@mapped(bulk.bulk_export, description="A bulk export: many customers in files, from one moment.")
class BulkExport(Node):
    """A bulk export."""

    reference: str | None = column(description="Reference to quote.")
    status: BulkStatus | None = column(description="Where it stands.")
    error_code: str | None = column("code", description="Machine code of why it ended otherwise.")
    purpose: str | None = column(description="Code of the purpose it was asked for.")
    query: str | None = column("document", description="The query it answers.")
    requested_by_id: str | None = column(_asked_by, description="Which colleague asked for it; null: a program.")
    format: BulkFormat | None = column(description="What its files are.")
    compression: BulkCompression | None = column(description="How they are packed.")
    personal: bool | None = column(description="Whether it identifies people; then a second person approves it.")
    incremental: bool | None = column(_is_incremental, description="Whether it continues from an earlier one.")
    version: int | None = column(description="Number of the last change.")
    part_count: int | None = column(description="Parts it is made of.")
    parts_done: int | None = column(_done, description="Parts that are done.")
    selected_count: BigInt | None = column("selected", description="Customers the filter selects.")
    object_count: BigInt | None = column("record_count", description="Customers in it: selected without the excluded.")
    excluded: JSON | None = column(description="Customers left out, counted by reason.")
    file_size: BigInt | None = column("size_bytes", description="Bytes of all files.")
    checksum: str | None = column(
        "manifest_sha256", kind=Kind.BYTES, description="SHA-256 of the manifest, hexadecimal."
    )
    url: str | None = column(_url, description="Path of the manifest, and below it of the files.")
    snapshot_at: datetime | None = column(description="The moment it shows.")
    created_at: datetime | None = column(description="When it was asked for.")
    approved_at: datetime | None = column(description="When a second person approved it.")
    completed_at: datetime | None = column(description="When it was settled.")
    expires_at: datetime | None = column(description="When its files are destroyed.")
    parts: list[BulkPart] | None = many(
        {"id": "bulk_export_id"}, order=(_kind_place, "ordinal"), typical=20, description="Its parts in order."
    )


@strawberry.enum(description="What bulk exports can be sorted by.")
class BulkExportOrderField(Enum):
    """Sort keys."""

    CREATED_AT = "created_at"


@strawberry.input(description="Order of bulk exports.")
class BulkExportOrder:
    """How to sort."""

    field: BulkExportOrderField = strawberry.field(description="Sort key.")
    direction: OrderDirection | None = strawberry.field(default=OrderDirection.DESC, description="Direction.")


@strawberry.input(description="Which bulk exports to list.")
class BulkExportFilter:
    """Conditions."""

    reference: ExactFilter | None = filtered(description="Reference.")
    status: Choice[BulkStatus] | None = filtered(description="Where they stand.")
    purpose: ExactFilter | None = filtered(description="Purpose.")


BULK_ORDERINGS = {"CREATED_AT": OrderingSource()}
