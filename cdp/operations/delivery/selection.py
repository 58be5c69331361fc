"""What of a customer goes to an acquirer, as documents: a cohort's own fields, and the choices that always go along.

An acquirer has to honour what people decided, so preferences and consents with their history belong to every cohort.
What signs people in, what they pay with and what somebody noted about them goes to nobody, whatever a cohort names.
Sources: GDPR art. 7(1), 21(3); California AB 1824 (opt-outs bind who acquires a business).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from cdp.access.bulk import BULK_RULES, PERSONAL_SCOPE
from cdp.access.decision import Deny
from cdp.access.viewer import SYSTEM
from cdp.compiler.bulk import TYPE, BulkCompiler, BulkOptions, BulkPlan
from cdp.compiler.graph import Connection, Embedded, Field, Graph, Many, One, Scalar
from cdp.core.errors import InvalidInput

GOES: frozenset[str] = frozenset(
    {
        TYPE,
        "Contacts",
        "EmailAddress",
        "PhoneNumber",
        "PostalAddress",
        "Identity",
        "Preference",
        "Consent",
        "Purpose",
        "Order",
        "OrderItem",
        "Inquiry",
        "Quotation",
        "SurveyResponse",
        "Device",
        "Event",
        "PolicyAcceptance",
        "PolicyVersion",
        "Collection",
        "Brand",
    }
)
"""Types an acquirer may get anything of. No accounts, sessions, passkeys, tokens, messages, requests or notes."""
CHOICES = """{ customers { nodes { id
  preferences { key value updatedAt }
  currentConsents { purposeCode channel action recordedAt }
  consents { nodes { purposeCode channel action wording recordedAt
    collection { point source collectedAt policyVersion { version } } } }
  policyAcceptances { nodes { decision decidedAt policyVersion { version } } } } } }"""
OPTIONS = BulkOptions(personal=True, flat_json=True, transfer=True)
_NODES = "nodes"
MOST_PLANS = 32
_APPROVED = replace(SYSTEM, scopes=frozenset({PERSONAL_SCOPE}))

Tree: TypeAlias = dict[str, "Tree"]


class FieldNotTransferable(InvalidInput):
    """A field of this name does not go to an acquirer."""

    code = "FIELD_NOT_TRANSFERABLE"


def document(graph: Graph, paths: Iterable[str]) -> str:
    """The document of a cohort: its paths below Customer, like ``contacts.emails.address`` or ``orders.total``.

    A connection's ``nodes`` may be left out. Raises FieldNotTransferable for what does not exist, names an object
    without saying which of its fields, or goes to nobody.
    """
    tree: Tree = {"id": {}}
    for path in paths:
        at = tree
        for name in _steps(graph, path):
            at = at.setdefault(name, {})
    return f"{{ customers {{ nodes {{ {_text(tree)} }} }} }}"


def plan(compiler: BulkCompiler, text: str) -> BulkPlan:
    """Compile a document for a cohort; ``cohort``, ``brand`` and ``mixed`` are among its bounds."""
    return compiler.compile(text, SYSTEM, OPTIONS)


class Plans:
    """Plans of cohorts, compiled once and not for each part."""

    def __init__(self, compiler: BulkCompiler) -> None:
        self._compiler = compiler
        self._known: dict[str, BulkPlan] = {}

    def of(self, paths: Iterable[str]) -> BulkPlan:
        """What a cohort with these fields gets. Raises FieldNotTransferable."""
        return self._of(document(self._compiler.graph, paths))

    def choices(self) -> BulkPlan:
        """What goes along with every cohort."""
        return self._of(CHOICES)

    def _of(self, text: str) -> BulkPlan:
        if text not in self._known:
            while len(self._known) >= MOST_PLANS:
                self._known.pop(next(iter(self._known)))
            self._known[text] = plan(self._compiler, text)
        return self._known[text]


def _steps(graph: Graph, path: str) -> list[str]:
    """The names of a path, connections opened. Raises FieldNotTransferable."""
    kind, found, is_open = TYPE, list[str](), True
    for name in path.split("."):
        if name == _NODES and found and found[-1] == _NODES:
            continue
        field = graph.types[kind].fields.get(name) if is_open and kind in graph.types else None
        if field is None or not _goes(kind, name):
            raise FieldNotTransferable(path=path)
        target = _target(field)
        is_open = target is not None
        found += [name, _NODES] if isinstance(field, Connection) else [name]
        if target is not None:
            if target not in GOES:
                raise FieldNotTransferable(path=path)
            kind = target
    if is_open:
        raise FieldNotTransferable(path=path)
    return found


def _target(field: Field) -> str | None:
    """The type a field leads to, None for a value. Raises FieldNotTransferable."""
    match field:
        case Scalar():
            return None
        case Embedded() | One() | Many() | Connection():
            return field.target
    raise FieldNotTransferable


def _goes(kind: str, name: str) -> bool:
    return not isinstance(BULK_RULES.decide(_APPROVED, kind, name), Deny)


def _text(tree: Tree) -> str:
    return " ".join(f"{name} {{ {_text(inner)} }}" if inner else name for name, inner in tree.items())
