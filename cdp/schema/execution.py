"""Execution: a request and a viewer in, a response as bytes out.

A query over profile data is one look into the cache and one SQL statement; nothing is resolved in Python. Mutations,
subscriptions and documents that also ask for the schema go through graphql-core with compiled pieces spliced in.
Errors are coded; what nobody expected is INTERNAL and leaves its type in the log, never a word in the answer.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import structlog
from graphql import ExecutionResult, FieldNode, GraphQLError, OperationType, execute, subscribe
from sqlalchemy.exc import DBAPIError

from cdp.access.decision import GrantEnded, OutsideGrant
from cdp.access.privileges import EXPLAIN, EXPLORE
from cdp.access.viewer import Viewer
from cdp.compiler.document import Document, DocumentInvalid, DocumentRefused, Operation, error_entry
from cdp.compiler.reader import Reader, ReadRequest
from cdp.compiler.record import ACTION
from cdp.compiler.response import encode as encode_json
from cdp.compiler.response import join_response, refusal
from cdp.core import settings
from cdp.core.budget import Budget
from cdp.core.errors import Conflict, InvalidInput, PlatformError, Unavailable
from cdp.core.platform import Platform
from cdp.operations import audit
from cdp.operations.requests.watch import RequestWatch
from cdp.schema.context import Context
from cdp.schema.documents import Documents
from cdp.schema.introspection import Introspection
from cdp.schema.presence import Attendance
from cdp.schema.request import GraphQLRequest
from cdp.schema.seats import Seats
from cdp.schema.splice import Sources, SplicingExecutor, encode

# SQLSTATE of what passes by itself: lock not available, serialization failure, deadlock, statement time-out.
PASSING = frozenset({"55P03", "40001", "40P01", "57014"})

CHARACTERS_A_POINT = 8
"""A document nobody has asked before costs what reading it costs: some 50 microseconds a point, like a field."""

log = structlog.get_logger()


class Busy(Conflict):
    """Somebody else is changing this right now; try again."""

    code = "BUSY"


class NotAQuery(InvalidInput):
    """Only queries can be asked by GET: send mutations as POST."""

    code = "METHOD_NOT_ALLOWED"
    status = 405


class StreamNeeded(InvalidInput):
    """A subscription answers with a stream: accept text/event-stream."""

    code = "STREAM_NEEDED"
    status = 406


class InvalidArgument(InvalidInput):
    """An argument is not valid."""


@dataclass(frozen=True)
class Result:
    """A response. ``status`` is that of application/graphql-response+json.

    ``is_well_formed`` is false when the request itself was refused, whatever its document says. ``extensions`` are not
    part of the body yet; ``retry_after_s`` is when somebody who asked too much may ask again.
    """

    body: bytes
    status: int = 200
    is_well_formed: bool = True
    extensions: Mapping[str, Any] | None = None
    retry_after_s: int | None = None


class Execution:
    """Runs operations. One per process; ``documents`` are the platform's own, which are always let in."""

    def __init__(
        self, platform: Platform, reader: Reader, watch: RequestWatch, *, documents: Iterable[str] = ()
    ) -> None:
        self.platform = platform
        self.reader = reader
        self.watch = watch
        given = platform.settings
        self.budget = Budget(
            given.redis_url, capacity=given.graphql_budget, per_s=given.graphql_budget_per_s, prefix="cdp:budget:"
        )
        self.attendance = Attendance()
        self.seats = Seats(given.graphql_streams, given.graphql_streams_per_viewer)
        self._documents = Documents(platform, documents)
        is_open = given.graphql_introspection is settings.Introspection.EVERYONE
        self._introspection = Introspection(reader.graph, reader.rules, is_open=is_open)

    async def close(self) -> None:
        """Let go of connections."""
        await self.budget.close()

    async def execute(self, request: GraphQLRequest, viewer: Viewer, *, only_queries: bool = False) -> Result:
        """Run a query or a mutation; never raises for what the caller or the outside did."""
        try:
            document = await self._document(request, viewer)
            operation = document.operation(request.operation_name)
            if only_queries and not operation.is_query:
                raise NotAQuery
            if operation.node.operation is OperationType.SUBSCRIPTION:
                raise StreamNeeded
            values = operation.coerce(request.variables)
            await self._charge(viewer, operation.cost(values))
            told = await self._told(request, operation, values, viewer) if request.wants else None
        except PlatformError as error:
            return refused(error)
        if operation.is_compiled:
            fields = ReadRequest(operation, operation.node.selection_set.selections)  # type: ignore[arg-type]  # fragments are collected too
            fetched = await self.reader.fetch(fields, viewer, values)
            await self._note_refusals(viewer, [one.error for one in fetched.errors])
            body = join_response(fetched.fields, fetched.entries() if fetched.errors else None)
            return Result(body, extensions=_with_withheld(told, fetched.withheld))
        try:
            run = _Run(request, document, operation, values, viewer)
            result = await self._execute(run)
            await self._note_refusals(viewer, [one.original_error for one in result.errors or ()])
            return Result(_response(result), extensions=_with_withheld(told, run.withheld))
        except PlatformError as error:  # the schema may not be asked for, or not that much of it
            return refused(error)

    async def _document(self, request: GraphQLRequest, viewer: Viewer) -> Document:
        """The document of a request; one that is new is charged for before it is read."""
        text = request.query
        if not self._documents.is_plain(request):
            text = await self._documents.text(request, viewer)
        document = self.reader.known(text)
        if document is None:
            await self._charge(viewer, min(len(text), self.reader.limits.document_bytes) // CHARACTERS_A_POINT)
            try:
                document = await self.reader.learn(text)
            except DocumentInvalid as error:
                if not EXPLORE.allows(viewer):
                    raise
                raise await self.reader.suggest(text, error, await self._introspection.schema_of(viewer)) from None
        return document

    async def _charge(self, viewer: Viewer, cost: int) -> None:
        """Let the viewer pay. Raises BudgetSpent."""
        if not self.budget.spend(viewer.account, cost):
            await self.budget.draw(viewer.account, cost)

    async def _told(
        self, request: GraphQLRequest, operation: Operation, values: Mapping[str, Any], viewer: Viewer
    ) -> Mapping[str, Any]:
        """What the client asked to be told beside the answer. Raises Forbidden, MissingScope."""
        told: dict[str, Any] = {}
        if "access" in request.wants:
            EXPLAIN.require(viewer)
            told["access"] = await self.reader.explain(operation, viewer, values)
        if "cost" in request.wants:
            budget = self.budget
            told["cost"] = {"document": operation.cost(values), "most": self.reader.limits.cost}
            if budget.capacity:
                left = await budget.left(viewer.account)
                told["cost"] |= {"budget": budget.capacity, "left": left, "perSecond": budget.per_s}
        return told

    async def is_subscription(self, request: GraphQLRequest, viewer: Viewer) -> bool:
        """Whether this would be answered by a stream."""
        try:
            operation = (await self._document(request, viewer)).operation(request.operation_name)
        except PlatformError:
            return False
        return operation.node.operation is OperationType.SUBSCRIPTION

    def may_stop(self, request: GraphQLRequest) -> bool:
        """Whether a request may be given up half-way: it is known to change nothing."""
        document = self.reader.known(request.query or self._documents.seen(request.sha256))
        try:
            return document is not None and document.operation(request.operation_name).is_query
        except PlatformError:
            return True

    async def stream(
        self, request: GraphQLRequest, viewer: Viewer, *, only_reads: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Run any operation and yield its responses: one for each event of a subscription, otherwise one."""
        try:
            document = await self._document(request, viewer)
            operation = document.operation(request.operation_name)
            if operation.node.operation is not OperationType.SUBSCRIPTION:
                yield (await self.execute(request, viewer, only_queries=only_reads)).body
                return
            values = operation.coerce(request.variables)
            await self._charge(viewer, operation.cost(values))
        except PlatformError as error:
            yield refusal(error)
            return
        run = _Run(request, document, operation, values, viewer)
        try:
            async with aclosing(self._subscribe(run)) as results:
                async for result in results:
                    yield _response(result)
        except PlatformError as error:
            yield refusal(error)

    async def _note_refusals(self, viewer: Viewer, errors: Sequence[Exception | None]) -> None:
        """Record that a partner asked for what its grant does not cover: once a request, by code and number."""
        refused = [error.code for error in errors if isinstance(error, OutsideGrant | GrantEnded)]
        if viewer.sharing is not None and refused:
            details = {"purpose": viewer.purpose, "fields": len(refused)}
            await audit.record_refusal(
                self.platform.db,
                viewer,
                ACTION,
                refused[0],
                object_type="PartnerGrant",
                object_id=viewer.sharing.grant_id,
                details=details,
            )

    async def _execute(self, run: "_Run") -> ExecutionResult:
        result = execute(self.reader.graph.schema, run.document.ast, **self._options(run))
        return result if isinstance(result, ExecutionResult) else await result

    async def _subscribe(self, run: "_Run") -> AsyncGenerator[ExecutionResult, None]:
        found = subscribe(self.reader.graph.schema, run.document.ast, **self._options(run))
        results = found if isinstance(found, ExecutionResult | AsyncIterator) else await found
        if isinstance(results, ExecutionResult):
            yield results
            return
        async with aclosing(results) as events:  # type: ignore[type-var]  # graphql-core's iterator is a generator
            async for event in events:
                yield event

    def _options(self, run: "_Run") -> dict[str, Any]:
        """What graphql-core is called with."""
        return {
            "context_value": Context(self.platform, run.viewer, self.watch, self.reader),
            "variable_values": dict(run.request.variables or {}),
            "operation_name": run.request.operation_name,
            "executor_class": SplicingExecutor,
            "hide_suggestions": True,
            "sources": Sources(self.reader, self._introspection, run.operation, run.viewer, run.values, run.withheld),
        }


@dataclass(frozen=True)
class _Run:
    """One operation about to be run by graphql-core."""

    request: GraphQLRequest
    document: Document
    operation: Operation
    values: Mapping[str, Any]
    viewer: Viewer
    withheld: dict[str, int] = field(default_factory=dict)


def _with_withheld(told: Mapping[str, Any] | None, withheld: Mapping[str, int]) -> Mapping[str, Any] | None:
    """Extensions that also say how many people each root field keeps from a partner."""
    return {**(told or {}), "withheld": dict(withheld)} if withheld else told


def refused(error: PlatformError) -> Result:
    """The response to a request that is not run."""
    return Result(
        refusal(error),
        error.status,
        is_well_formed=isinstance(error, DocumentRefused),
        retry_after_s=error.extensions.get("retryAfterS"),
    )


def traced(body: bytes, request_id: str, extensions: Mapping[str, Any] | None = None) -> bytes:
    """The response with its extensions: the request's id is one if there are errors somebody may want to ask about."""
    if body.startswith(b'{"errors"'):
        extensions = {**(extensions or {}), "requestId": request_id}
    if not extensions:
        return body
    return body[:-1] + b',"extensions":' + encode_json(extensions) + b"}"


def _response(result: ExecutionResult) -> bytes:
    errors = [_entry(error) for error in result.errors or ()]
    data = encode(result.data)
    if not errors:
        return b'{"data":' + data + b"}"
    return b'{"errors":' + encode_json(errors) + b',"data":' + data + b"}"


def _entry(error: GraphQLError) -> dict[str, Any]:
    entry = error_entry(_public(error), tuple(error.path or ()))
    if error.locations:
        entry["locations"] = [location.formatted for location in error.locations]
    return entry


def _public(error: GraphQLError) -> PlatformError:
    """What may be said about an error."""
    original = error.original_error
    match original:
        case PlatformError():
            return original
        case None | GraphQLError() if _is_about_the_request(error):
            return InvalidArgument(error.message)
        case DBAPIError() if getattr(original.orig, "sqlstate", None) in PASSING:
            return Busy()
        case DBAPIError() if original.connection_invalidated:
            return Unavailable()
        case OSError() | TimeoutError():
            return Unavailable()
    if original is not None and isinstance(original, GraphQLError):
        original = None  # its text quotes the value that could not be written
    field = error.nodes[0].name.value if error.nodes and isinstance(error.nodes[0], FieldNode) else None
    log.error("graphql.failed", field=field, exc_info=original)
    return PlatformError("Something went wrong on our side.")


def _is_about_the_request(error: GraphQLError) -> bool:
    """Whether graphql-core complains about what was asked, and not about what a resolver answered.

    A complaint about the request names its place in the document by itself; one about an answer gets it only later.
    """
    original = error.original_error
    return bool(original.nodes if isinstance(original, GraphQLError) else error.nodes)
