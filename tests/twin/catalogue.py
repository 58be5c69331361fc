"""Documents that between them ask for every field a customer can reach."""

from cdp.compiler.graph import Connection, Many
from tests.twin.reading import GRAPH


def catalogue() -> list[str]:
    """Documents that between them ask for every field a customer can reach."""
    documents = ["{ viewer { kind customer { id givenName account { id username collection { source } } } } }"]
    for root, kind in (("viewer { customer", "Customer"), ("", "Query")):
        for name, field in GRAPH.types[kind].fields.items():
            if isinstance(field, Connection | Many):
                scalars = " ".join(leaves(field.target))
                inner = f"nodes {{ {scalars} }} totalCount" if isinstance(field, Connection) else scalars
                documents.append(f"{{ {root + ' {' if root else ''} {name} {{ {inner} }} {'} }' if root else ''} }}")
    contacts = " ".join(
        f"{name} {{ {' '.join(leaves(field.target))} }}" for name, field in GRAPH.types["Contacts"].fields.items()
    )
    documents.append(f"{{ viewer {{ customer {{ contacts {{ {contacts} }} }} }} }}")
    items = "nodes { number items { sku title } collection { source } }"
    documents.append(f"{{ viewer {{ customer {{ orders {{ {items} }} }} }} }}")
    return documents


def leaves(type_name: str) -> list[str]:
    kind = GRAPH.types[type_name]
    return [name for name, field in kind.fields.items() if type(field).__name__ in {"Scalar", "Constant"}]


CATALOGUE = catalogue()
