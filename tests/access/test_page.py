"""The page docs/access.md is what the rules say, and says something about everything."""

from pathlib import Path

from cdp.access.writes import WRITES
from cdp.schema.access_page import needed, reference
from cdp.schema.schema import build_schema

PAGE = Path(__file__).parents[2] / "docs" / "access.md"
# Changes nothing of anybody's and asks for no scope.
WITHOUT_SCOPE: frozenset[str] = frozenset()


def test_the_page_is_what_the_rules_say():
    assert PAGE.read_text(encoding="utf-8") == reference(), "write cdp.schema.access_page.reference() to the page"


def test_every_mutation_and_subscription_names_its_scope():
    schema = build_schema()._schema
    for word, kind in (("mutation", schema.mutation_type), ("subscription", schema.subscription_type)):
        found = needed(word)
        assert found.keys() == kind.fields.keys()
        assert {name for name, scopes in found.items() if not scopes} == WITHOUT_SCOPE & found.keys()
        rules = [rule for rule in WRITES.fields if rule.type == kind.name]
        listed = {name: {rule.who.scope for rule in rules if name in rule.fields} for name in found}
        assert listed == {name: set(scopes) for name, scopes in found.items()}
