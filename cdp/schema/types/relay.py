"""Relay's interface and connection types (https://relay.dev/docs/guides/graphql-server-specification/)."""

from typing import Generic, TypeVar

import strawberry

T = TypeVar("T")


@strawberry.interface(description="An object with a global id.")
class Node:
    """Whatever ``node(id)`` finds."""

    id: strawberry.ID = strawberry.field(description="Global id: base64url of `Type:uuid`.")


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    """Relay's PageInfo."""

    has_next_page: bool = strawberry.field(description="Whether more follow this page.")
    has_previous_page: bool = strawberry.field(description="Whether more precede this page.")
    start_cursor: str | None = strawberry.field(description="Cursor of the first member of this page.")
    end_cursor: str | None = strawberry.field(description="Cursor of the last member of this page.")


@strawberry.type(description="A member of a page and its place in the list.")
class Edge(Generic[T]):
    """Relay's edge."""

    cursor: str = strawberry.field(description="Place of this member; only you can hand it back, only to this list.")
    node: T = strawberry.field(description="The member.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[T]):
    """Relay's connection, with ``nodes`` for who needs no cursors."""

    edges: list[Edge[T]] = strawberry.field(description="Members of this page with their cursors.")
    nodes: list[T] = strawberry.field(description="Members of this page.")
    page_info: PageInfo = strawberry.field(description="Where this page stands.")
    total_count: int = strawberry.field(description="Members of the whole list, filter applied.")
