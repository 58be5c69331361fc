"""The reader: documents in, JSON bytes out, one SQL statement in between.

Everything a call does not change is kept: documents by their text, plans by operation, shape of viewer and shape of
variables, statements by connection. A call then looks up, binds, runs and joins bytes.
Source: measured figures in docs/decisions/0001-reads-are-compiled.md.
"""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import structlog
from graphql import FieldNode, FragmentDefinitionNode, GraphQLSchema, SelectionSetNode

from cdp.access.decision import GrantEnded, Rules
from cdp.access.rules import RULES
from cdp.access.viewer import Viewer
from cdp.compiler.arguments import shape
from cdp.compiler.batches import Batches, Part, parts
from cdp.compiler.cache import BoundedCache
from cdp.compiler.context import Context
from cdp.compiler.cursors import CursorSeal
from cdp.compiler.document import NO_VARIABLES, Document, DocumentRefused, Operation, error_entry
from cdp.compiler.durability import Durability
from cdp.compiler.explain import explanation
from cdp.compiler.graph import Graph
from cdp.compiler.limits import Limits, Scale, check_size
from cdp.compiler.plan import Call, Path, Plan
from cdp.compiler.pool import Pool
from cdp.compiler.response import FieldError, denials, join_response, refusal
from cdp.compiler.sql import Statement, finish
from cdp.compiler.workshop import SMALL_DOCUMENT, SMALL_SQL, SMALL_STATEMENT, Workshop
from cdp.core.db import Database, Role
from cdp.core.errors import PlatformError, Unavailable
from cdp.core.settings import Settings

DOCUMENT_CHARACTERS = 512 * 1024
"""Of kept documents; their syntax trees take some 125 bytes a character, and 50 KB each."""
PLAN_CHARACTERS = 16 * 1024 * 1024
_DOCUMENT_BASE = 400
_PLAN_BASE = 4_000

_log = structlog.get_logger()
_Failures: TypeAlias = Mapping[Path, PlatformError]
_Make: TypeAlias = Callable[[_Failures, str | None], Plan]
_Run: TypeAlias = Callable[[Plan, Sequence[Any]], Any]


@dataclass(frozen=True)
class ReadRequest:
    """Some root fields of a validated operation."""

    operation: Operation
    fields: tuple[FieldNode, ...]


@dataclass(frozen=True)
class Fetched:
    """JSON of each response key in document order, and what could not be read."""

    fields: dict[str, bytes]
    errors: tuple[FieldError, ...]
    withheld: Mapping[str, int] = field(default_factory=dict)
    """How many people each root field keeps from a partner."""

    def entries(self) -> list[dict[str, Any]]:
        """The ``errors`` of a response."""
        return [error_entry(one.error, one.path) for one in self.errors]


class ReadFailed(PlatformError):
    """This could not be read."""


class Reader:
    """Runs compiled reads. One per process."""

    def __init__(
        self, graph: Graph, db: Database, settings: Settings, cursor_key: bytes, *, rules: Rules = RULES
    ) -> None:
        self.graph = graph
        self.rules = rules
        self.limits = Limits(
            depth=settings.graphql_max_depth,
            aliases=settings.graphql_max_aliases,
            cost=settings.graphql_max_cost,
            page=settings.graphql_max_page,
        )
        self._seal = CursorSeal(cursor_key)
        size, timeout_s = settings.pool_size, settings.statement_timeout_s
        self._durability = Durability(db, timeout_s=timeout_s)
        pool = partial(Pool, db, size=size, statement_timeout_s=timeout_s)
        self._pools = {role: pool(role) for role in Role}
        # A partner's reads share their statements, and so their commits already; see batches.
        self._pools[Role.PARTNER] = pool(Role.PARTNER, leaves_traces=True)
        self._pools[Role.STAFF] = pool(Role.STAFF, leaves_traces=True, durability=self._durability)
        self._acting = pool(Role.CUSTOMER, leaves_traces=True, durability=self._durability)
        self._batches = Batches()
        self._documents: BoundedCache[str, Document] = BoundedCache(DOCUMENT_CHARACTERS)
        self._plans: BoundedCache[tuple[object, ...], Plan] = BoundedCache(PLAN_CHARACTERS)
        self._workshop = Workshop()

    async def close(self) -> None:
        """Close every connection."""
        self._workshop.close()
        for pool in (*self._pools.values(), self._acting):
            await pool.close()
        await self._durability.close()

    def document(self, text: str) -> Document:
        """The parsed, limited, validated document. Raises DocumentRefused, DocumentTooLarge, DocumentTooComplex."""
        document = self._documents.get(text)
        if document is None:
            document = Document(text, self.graph, self.limits)
            self._keep(text, document)
        return document

    def known(self, text: str) -> Document | None:
        """The document, if it has been read before."""
        return self._documents.get(text)

    async def learn(self, text: str) -> Document:
        """Like ``document``; a large one that is new is read beside the event loop. Raises TooManyDocuments too."""
        document = self._documents.get(text)
        if document is None:
            check_size(text, self.limits)
            document = await self._workshop.make(
                lambda: Document(text, self.graph, self.limits), is_small=len(text) <= SMALL_DOCUMENT
            )
            self._keep(text, document)
        return document

    async def suggest(self, text: str, refused: DocumentRefused, visible: GraphQLSchema) -> DocumentRefused:
        """The same refusal of an invalid document, suggesting names of the part of the schema that is ``visible``."""
        try:
            await self._workshop.make(
                lambda: Document(text, self.graph, self.limits, suggestions=visible), is_small=False
            )
        except DocumentRefused as suggesting:
            return suggesting
        return refused

    def _keep(self, text: str, document: Document) -> None:
        self._documents.put(text, document, weight=len(text) + _DOCUMENT_BASE)

    async def execute(
        self,
        text: str,
        viewer: Viewer,
        variables: Mapping[str, object] | None = None,
        operation_name: str | None = None,
    ) -> bytes:
        """Answer a query whose root fields are all compiled with its whole response.

        The caller's mistakes are part of the answer; nothing is raised for them.
        """
        try:
            operation = (await self.learn(text)).operation(operation_name)
            values = operation.coerce(variables)
            self._require_compiled(operation)
        except PlatformError as error:
            return refusal(error)
        plan, make = await self._operation_plan(operation, viewer, values)
        fetched = await self._read(plan, make, viewer, values)
        return join_response(fetched.fields, fetched.entries() if fetched.errors else None)

    async def fetch(self, request: ReadRequest, viewer: Viewer, variables: Mapping[str, Any]) -> Fetched:
        """Read some root fields of an operation; ``variables`` are coerced already."""
        operation, fields = request.operation, request.fields
        key = (operation.serial, tuple(map(id, fields)), viewer.shape, operation.structure(variables))

        def make(failures: _Failures, only: str | None) -> Plan:
            context = self._context(operation.fragments, viewer, variables, failures)
            return self._roots(context, (SelectionSetNode(selections=fields),), only)

        plan = self._plans.get(key) or await self._make_plan(key, make, operation.is_small)
        return await self._read(plan, make, viewer, variables)

    async def node(  # noqa: PLR0917  # what a payload is made of, in the order of its path
        self,
        type_name: str,
        row_id: UUID,
        selection_set: SelectionSetNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        viewer: Viewer,
        variables: Mapping[str, Any],
    ) -> bytes:
        """JSON of one object, or ``null`` when there is none for this viewer."""
        fetched = await self.fetch_node(type_name, row_id, selection_set, fragments, viewer, variables)
        return fetched.fields["node"]

    async def fetch_node(  # noqa: PLR0917  # see node
        self,
        type_name: str,
        row_id: UUID,
        selection_set: SelectionSetNode,
        fragments: Mapping[str, FragmentDefinitionNode],
        viewer: Viewer,
        variables: Mapping[str, Any],
    ) -> Fetched:
        """Like ``node``, with errors; the key is ``node`` and paths start after it."""
        structure = tuple((name, shape(value)) for name, value in sorted(variables.items()))
        key = ("node", type_name, tuple(map(id, selection_set.selections)), viewer.shape, structure)

        def make(failures: _Failures, _only: str | None) -> Plan:
            context = self._context(fragments, viewer, variables, failures)
            statement = Statement(context, most=self.limits.page)
            column = statement.root_node(type_name, (selection_set,), "node")
            return finish(context, [("node", column)], statement.reads, holds=(selection_set,))

        plan = self._plans.get(key)
        if plan is None:
            scale = Scale(self.graph, fragments, variables, self.limits.page)
            fields = scale.weigh_object(selection_set, type_name).fields
            plan = await self._make_plan(key, make, fields <= SMALL_STATEMENT)
        return await self._read(plan, make, viewer, variables, row_id=row_id)

    async def one(self, text: str, viewer: Viewer, **variables: object) -> dict[str, Any]:
        """Decoded data of a query of ours (a page's). Raises the first error there is."""
        operation = self.document(text).operation(None)
        values = operation.coerce(variables)
        plan, make = await self._operation_plan(operation, viewer, values)
        return _decoded(await self._read(plan, make, viewer, values))

    async def rows(
        self,
        text: str,
        viewer: Viewer,
        variables: Mapping[str, object] | None = None,
        *,
        connection: asyncpg.Connection | None = None,
    ) -> dict[str, Any]:
        """Decoded data of a query, read inside the given connection's transaction (a snapshot). Raises like ``one``."""
        operation = self.document(text).operation(None)
        values = operation.coerce(variables)
        plan, make = await self._operation_plan(operation, viewer, values)
        return _decoded(await self._read(plan, make, viewer, values, connection=connection))

    def compile(
        self,
        text: str,
        viewer: Viewer,
        variables: Mapping[str, object] | None = None,
        operation_name: str | None = None,
    ) -> tuple[Plan, list[Any]]:
        """The plan of a query and its parameters. Raises what is wrong with the document, variables or access."""
        operation = self.document(text).operation(operation_name)
        values = operation.coerce(variables)
        self._require_compiled(operation)
        key = (operation.serial, viewer.shape, operation.structure(values))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._keep_plan(key, self._operation_make(operation, viewer, values)({}, None))
        return plan, plan.bind(Call(viewer, values, secrets.token_hex(16), None))

    async def explain(self, operation: Operation, viewer: Viewer, values: Mapping[str, Any]) -> dict[str, Any]:
        """Which rule decides each field of a query for this kind of viewer, and the statement. Nothing is read."""
        self._require_compiled(operation)
        context = self._context(operation.fragments, viewer, values, {})

        def make() -> dict[str, Any]:
            plan = self._roots(context, (operation.node.selection_set,), None)
            return explanation(context, plan)

        return await self._workshop.make(make, is_small=operation.is_small)

    def _require_compiled(self, operation: Operation) -> None:
        if not operation.is_compiled:
            raise DocumentRefused("Only queries over profile data are answered here.")

    def _operation_make(self, operation: Operation, viewer: Viewer, values: Mapping[str, Any]) -> _Make:
        def make(failures: _Failures, only: str | None) -> Plan:
            context = self._context(operation.fragments, viewer, values, failures)
            return self._roots(context, (operation.node.selection_set,), only)

        return make

    async def _operation_plan(
        self, operation: Operation, viewer: Viewer, values: Mapping[str, Any]
    ) -> tuple[Plan, _Make]:
        key = (operation.serial, viewer.shape, operation.structure(values))
        make = self._operation_make(operation, viewer, values)
        return self._plans.get(key) or await self._make_plan(key, make, operation.is_small), make

    async def _make_plan(self, key: tuple[object, ...], make: _Make, is_small: bool) -> Plan:
        return self._keep_plan(key, await self._workshop.make(lambda: make({}, None), is_small=is_small))

    def _keep_plan(self, key: tuple[object, ...], plan: Plan) -> Plan:
        self._plans.put(key, plan, weight=len(plan.sql) + _PLAN_BASE)
        return plan

    def _context(
        self,
        fragments: Mapping[str, FragmentDefinitionNode],
        viewer: Viewer,
        variables: Mapping[str, Any],
        failures: _Failures,
    ) -> Context:
        return Context(self.graph, self.rules, viewer, variables, fragments, self._seal, failures)

    def _roots(self, context: Context, sets: tuple[SelectionSetNode, ...], only: str | None) -> Plan:
        statement = Statement(context, most=self.limits.page)
        columns = statement.roots(sets, only)
        return finish(context, columns, statement.reads)

    async def _read(
        self,
        plan: Plan,
        make: _Make,
        viewer: Viewer,
        variables: Mapping[str, Any],
        *,
        row_id: UUID | None = None,
        connection: asyncpg.Connection | None = None,
    ) -> Fetched:
        call = Call(viewer, variables, secrets.token_hex(16) if plan.cursor_scopes else "", row_id)
        try:
            arguments = plan.bind(call)
        except PlatformError:
            return await self._read_without(plan, make, call, connection)
        try:
            return await self._run(plan, arguments, call, connection)
        except (Unavailable, GrantEnded) as error:
            return _all_failed(plan.keys, error)
        except (PlatformError, asyncpg.PostgresError) as error:
            return await self._read_apart(plan, make, call, _public(error), connection)

    async def _read_without(
        self, broken: Plan, make: _Make, call: Call, connection: asyncpg.Connection | None
    ) -> Fetched:
        """Read all but the fields whose values are not valid; their errors carry their paths."""
        failing = broken.failures(call)
        plan = await self._workshop.make(lambda: make(failing, None), is_small=len(broken.sql) <= SMALL_SQL)
        call = Call(call.viewer, call.variables, secrets.token_hex(16), call.row_id)
        try:
            return await self._run(plan, plan.bind(call), call, connection)
        except (PlatformError, asyncpg.PostgresError) as error:
            return _all_failed(plan.keys, _public(error))

    async def _read_apart(
        self, plan: Plan, make: _Make, call: Call, error: PlatformError, connection: asyncpg.Connection | None
    ) -> Fetched:
        """Read each root field by itself after their common statement failed, so that one failure costs one field."""
        if len(plan.keys) == 1:
            return _all_failed(plan.keys, error)
        fields: dict[str, bytes] = {}
        errors: list[FieldError] = []
        for key in plan.keys:
            alone = await self._workshop.make(partial(make, {}, key), is_small=len(plan.sql) <= SMALL_SQL)
            try:
                fetched = await self._run(alone, alone.bind(call), call, connection)
            except (PlatformError, asyncpg.PostgresError) as failure:
                fetched = _all_failed(alone.keys, _public(failure))
            fields |= fetched.fields
            errors += fetched.errors
        return Fetched(fields, tuple(errors))

    async def _run(
        self, plan: Plan, arguments: Sequence[Any], call: Call, connection: asyncpg.Connection | None
    ) -> Fetched:
        if not plan.keys:
            return Fetched({}, ())
        row, kept_back = await self._row(plan, arguments, call, connection)
        fields: dict[str, bytes] = {}
        for key, value in zip(plan.keys, row, strict=True):
            text = b"null" if value is None else value if isinstance(value, bytes) else value.encode()
            if plan.cursor_scopes:
                text = self._seal.seal(text, call.mark.encode(), plan.cursor_scopes, call.viewer)
            fields[key] = text
        return Fetched(fields, denials(plan.denied, fields, call) if plan.denied else (), kept_back)

    async def _row(
        self, plan: Plan, arguments: Sequence[Any], call: Call, connection: asyncpg.Connection | None
    ) -> tuple[Sequence[bytes | str | None], Mapping[str, int]]:
        """The columns of a plan's keys, and how many people each kept from a partner."""
        row: Any
        if connection is not None:
            row = await connection.fetchrow(plan.sql, *arguments) or ()
        else:
            pool = self._pools[call.viewer.role] if call.viewer.acting_staff_id is None else self._acting
            if plan.serves_many:
                return _own(await self._batches.read(pool, plan, arguments))
            row = await (pool.traced_row if plan.leaves_traces else pool.row)(plan.sql, arguments)
        return _own(parts(plan, row, 1)[0]) if plan.is_shared else (row, {})


def _own(part: Part) -> tuple[Sequence[bytes | str | None], Mapping[str, int]]:
    """What a partner's statement answers one call, and how many people each root field kept back. Raises GrantEnded."""
    *row, account = part.row
    assert account is not None, "the account is never null"
    kept_back = _kept_back(account)
    return row, {**kept_back, **part.withheld} if part.withheld else kept_back


def _public(error: PlatformError | asyncpg.PostgresError) -> PlatformError:
    """What may be said about a failed statement; the log gets the SQLSTATE, nobody gets the message."""
    if isinstance(error, PlatformError):
        return error
    _log.error("reader.statement_failed", sqlstate=error.sqlstate)
    return ReadFailed()


@lru_cache(maxsize=64)
def _kept_back(account: bytes | str) -> Mapping[str, int]:
    """How many people each root field kept from a partner. Raises GrantEnded."""
    told = json.loads(account)
    if not told["lives"]:
        raise GrantEnded
    return {key: count for key, count in told["withheld"].items() if count}


def _all_failed(keys: Sequence[str], error: PlatformError) -> Fetched:
    return Fetched(dict.fromkeys(keys, b"null"), tuple(FieldError((key,), error) for key in keys))


def _decoded(fetched: Fetched) -> dict[str, Any]:
    if fetched.errors:
        raise fetched.errors[0].error
    return {key: json.loads(value) for key, value in fetched.fields.items()}


__all__ = ["NO_VARIABLES", "Document", "Fetched", "FieldError", "ReadRequest", "Reader"]
