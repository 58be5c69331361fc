"""Explanations: which rule, mask and row predicate decided each field of a plan, and the statement it became.

Made from the same decisions the plan is made of, and without anybody's data: a plan depends on the kind of viewer,
never on who it is, and a statement holds parameters where values go.
"""

from dataclasses import fields, is_dataclass
from typing import Any

from cdp.access.decision import Allow, Deny, Mask, Rows, Rule
from cdp.compiler.context import Context
from cdp.compiler.graph import Connection, Coordinate, Embedded, Many, One
from cdp.compiler.plan import Path, Plan


def explanation(context: Context, plan: Plan) -> dict[str, Any]:
    """Every decided field in document order, then the statement."""
    refused = {one.path: one.error.code for one in plan.denied}
    return {
        "viewer": {
            "actor": context.viewer.actor.value,
            "roles": sorted(context.viewer.roles),
            "scopes": sorted(context.viewer.scopes),
            "purpose": context.viewer.purpose,
        },
        "fields": [_field(context, path, coordinate, refused) for path, coordinate in context.trail.items()],
        "sql": plan.sql,
        "parameters": [slot.name for slot in plan.slots],
    }


def _field(context: Context, path: Path, coordinate: Coordinate, refused: dict[Path, str]) -> dict[str, Any]:
    type_name, name = coordinate
    viewer, rules = context.viewer, context.rules
    decision = rules.decide(viewer, type_name, name)
    said: dict[str, Any] = {"path": list(path), "field": f"{type_name}.{name}", "decision": "allow"}
    match decision:
        case Deny():
            said |= {"decision": "deny", "code": decision.error.code}
        case Mask():
            said |= {"decision": "mask", "mask": decision.sql.__name__}
            if decision.category is not None:
                said["liftedByRevealOf"] = decision.category.value
        case Allow():
            if path in refused:  # what stands behind it may not be read, or an argument may not be used
                said |= {"decision": "deny", "code": refused[path]}
    said["rule"] = described(rules.deciding(viewer, type_name, name))
    field = context.target(type_name).fields[name]
    if isinstance(field, One | Many | Connection | Embedded) and context.target(field.target).table is not None:
        said["rows"] = described_rows(rules.rows(viewer, field.target))
    return said


def described(rule: Rule | None) -> dict[str, Any] | None:
    """A rule as data: whom it is about."""
    if rule is None:
        return None
    who = rule.who
    return {"actor": who.actor.value, "roles": sorted(who.roles), "scope": who.scope}


def described_rows(rows: Rows | None) -> dict[str, Any]:
    """A row rule as data: its kind and what it was made with."""
    if rows is None:
        return {"rule": "none"}
    names: list[str] = [one.name for one in fields(rows)] if is_dataclass(rows) else []
    return {"rule": type(rows).__name__, **{name: str(getattr(rows, name)) for name in names}}
