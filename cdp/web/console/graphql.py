"""GraphiQL for staff: their own schema, examples in tabs, every operation recorded. The one page that needs scripts.

Its files come from a package, from our own address. Its style sheet carries fonts as ``data:`` addresses, so this page
alone may load those. Source: https://github.com/graphql/graphiql
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.responses import Response

from cdp.access.rules import VEILED, WORKERS
from cdp.web.visit import Visit


@dataclass(frozen=True)
class Example:
    """One tab: a document, variables to begin with, and the roles that can run it; none named means every role."""

    query: str
    variables: str = ""
    roles: frozenset[str] = frozenset()


EXAMPLES: Sequence[Example] = (
    Example(
        """# Find a customer by what they say. An e-mail address or a number is matched as a whole, a name in part.
query FindCustomer($name: String!) {
  customers(first: 10, filter: { name: { contains: $name } }) {
    nodes { id displayName country contacts { emails { address maskedFields } } }
  }
}
""",
        '{ "name": "mendes" }',
        WORKERS,
    ),
    Example(
        """# Privacy requests by the day they must be answered.
query DueSoon {
  privacyRequests(first: 20, orderBy: { field: DUE_AT, direction: ASC }) {
    nodes { reference type status isSettled dueAt tasks { step status system { title } } }
  }
}
""",
        roles=WORKERS,
    ),
    Example(
        """# See masked details of one customer for a minute. The customer can read who looked, and why.
mutation Reveal($input: RevealFieldsInput!) {
  revealFields(input: $input) {
    revealedUntil
    customer { displayName contacts { emails { address } phones { number } } }
  }
}
""",
        json.dumps(
            {"input": {"customerId": "", "categories": ["CONTACT"], "reason": "CUSTOMER_ASKED", "caseRef": ""}},
            indent=2,
        ),
        VEILED,
    ),
    Example("# Who you are here, and what you may do.\nquery WhoAmI {\n  viewer { kind roles scopes }\n}\n"),
)


def examples_of(roles: frozenset[str]) -> list[Example]:
    """The tabs of somebody with these roles: only what their schema has."""
    return [one for one in EXAMPLES if not one.roles or one.roles & roles]


async def show(visit: Visit) -> Response:
    """The page."""
    visit.request.scope["state"]["font_sources"] = ("data:",)
    tabs = [{"query": one.query, "variables": one.variables} for one in examples_of(visit.viewer.roles)]
    return visit.page("console/graphql.html", title="GraphQL", tabs=json.dumps(tabs))
