"""The page docs/access.md: who may do what, written from the rules and from what resolvers ask for.

Fields come from the catalogue in ``access/rules.py``, mutations and subscriptions from ``access/writes.py``. The
scopes their resolvers really ask for (``scope=``) are read from the code; tests compare them, and the page with this.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping

from cdp.access.decision import Mask, Rule, Rules
from cdp.access.privileges import PRIVILEGES
from cdp.access.rules import RULES
from cdp.access.scopes import CUSTOMER_SCOPES, SCOPES, STAFF_SCOPES
from cdp.access.viewer import Actor
from cdp.access.writes import WRITES
from cdp.compiler.explain import described_rows
from cdp.schema.schema import build_schema

HEAD = """# Who may do what

Written by `cdp.schema.access_page.reference()` from the rules themselves; a test compares this page with them. What no
line lists is denied, for fields and rows alike; filters, orderings and cursors are covered by the fields they disclose.
"""


def reference() -> str:
    """The page as Markdown."""
    parts = [HEAD, _scopes(), _privileges(), _queries(), _writes(), _fields(), _rows()]
    return "\n".join(parts)


def _table(title: str, head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return f"## {title}\n\n" + "\n".join(lines) + "\n"


def _scopes() -> str:
    whose = ((CUSTOMER_SCOPES, "customers"), (STAFF_SCOPES, "staff"))
    rows = (
        (f"`{name}`", title, ", ".join(word for scopes, word in whose if name in scopes))
        for name, title in SCOPES.items()
    )
    return _table("Scopes", ("scope", "what it allows", "who can have it"), rows)


def _privileges() -> str:
    rows = ((f"`{one.scope}`", ", ".join(sorted(one.roles)) or "every role of staff") for one in PRIVILEGES)
    return _table("Privileges at the door", ("scope", "roles"), rows)


def _who(rule: Rule) -> str:
    who = rule.who
    roles = f"({', '.join(sorted(who.roles))})" if who.roles else ""
    words = [who.actor.value, roles, f"`{who.scope}`" if who.scope else ""]
    said = " ".join(word for word in words if word)
    return f"{said}: masked ({rule.decision.sql.__name__})" if isinstance(rule.decision, Mask) else said


def _deciding(type_name: str, field: str, *, rules: Rules = RULES) -> str:
    found = [_who(rule) for rule in rules.fields if rule.type == type_name and field in rule.fields]
    return "; ".join(found) or "nobody"


def _queries() -> str:
    query = build_schema()._schema.query_type  # noqa: SLF001 - Strawberry has no other door to it
    assert query is not None
    rows = ((f"`{name}`", _deciding("Query", name)) for name in query.fields)
    return _table("Queries", ("root", "who"), rows)


def _writes() -> str:
    schema = build_schema()._schema  # noqa: SLF001 - see above
    rows = (
        (word, f"`{name}`", _deciding(kind.name, name, rules=WRITES))
        for word, kind in (("mutation", schema.mutation_type), ("subscription", schema.subscription_type))
        if kind is not None
        for name in kind.fields
    )
    return _table("Mutations and subscriptions", ("kind", "name", "who"), rows)


def needed(word: str) -> Mapping[str, frozenset[str]]:
    """Scopes each mutation or subscription asks for, by the code of its resolver."""
    root = build_schema().get_type_by_name("Mutation" if word == "mutation" else "Subscription")
    found: dict[str, frozenset[str]] = {}
    for field in getattr(root, "fields", ()):
        resolver = field.base_resolver
        assert resolver is not None, field.python_name
        name = build_schema().config.name_converter.get_graphql_name(field)
        found[name] = frozenset(_asked_for(resolver.wrapped_func))
    return found


def _asked_for(function: object) -> Iterator[str]:
    """Values of ``scope=`` in a function, and in the functions of its own module that it calls."""
    assert inspect.isfunction(function)
    module = inspect.getmodule(function)
    waiting, seen = [function], {function.__name__}
    for one in waiting:
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(one)))):
            if isinstance(node, ast.keyword) and node.arg == "scope":
                yield from _scope(node.value, one.__globals__)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in seen:
                seen.add(node.func.id)
                called = inspect.unwrap(getattr(module, node.func.id, print))
                if inspect.isfunction(called):
                    waiting.append(called)


def _scope(node: ast.expr, names: Mapping[str, object]) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Name | ast.Attribute):
        value: object = names.get(node.id) if isinstance(node, ast.Name) else None
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            value = getattr(names.get(node.value.id), node.attr, None)
        if isinstance(value, str):
            yield value


def _fields() -> str:
    lines: list[str] = []
    kinds = sorted({rule.type for rule in RULES.fields} - {"Query"})
    for kind in kinds:
        by_who: dict[str, list[str]] = {}
        for rule in RULES.fields:
            if rule.type == kind:
                by_who.setdefault(_who(rule), []).extend(sorted(rule.fields))
        lines += [f"| `{kind}` | {who} | {', '.join(dict.fromkeys(names))} |" for who, names in by_who.items()]
    head = "## Fields by type\n\nThe first line that fits decides: a mask stands before what it veils.\n\n"
    return head + "| type | who | fields |\n|---|---|---|\n" + "\n".join(lines) + "\n"


def _rows() -> str:
    kinds = sorted({rule.type for rule in RULES.row_rules})
    actors = [actor for actor in Actor if any(rule.actor is actor for rule in RULES.row_rules)]
    found = {
        (rule.type, rule.actor): " ".join(map(str, described_rows(rule.rows).values())) for rule in RULES.row_rules
    }
    rows = ((f"`{kind}`", *(found.get((kind, actor), "none") for actor in actors)) for kind in kinds)
    return _table("Rows by type", ("type", *(actor.value for actor in actors)), rows)
