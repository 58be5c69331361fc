"""The profile query in the words of each schema, and answers of each in one form, so that they can be compared.

Account, contacts, preferences and the 10 newest orders with their items. PostGraphile gets the shape that is cheapest
for it: plain lists, no cursors, row ids as they are.
"""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from cdp.core.ids import parse_global_id

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

PROFILE = """query Profile { viewer { customer {
  id givenName familyName country locale
  account { username status createdAt }
  contacts {
    emails { id address isPrimary verifiedAt }
    phones { id number kind isPrimary verifiedAt }
    addresses { id kind recipient line1 line2 city region postalCode country isPrimary }
  }
  preferences { key value updatedAt }
  orders(first: 10) { nodes {
    id number status placedAt currency total
    items { sku title quantity unitPrice }
  } }
} } }"""

POSTGRAPHILE = """query Profile($id: UUID!) { customerByRowId(rowId: $id) {
  rowId givenName familyName country locale
  accountByCustomerId { username status createdAt }
  emailAddressesByCustomerIdList(orderBy: [CREATED_AT_ASC, ROW_ID_ASC]) { rowId address isPrimary verifiedAt }
  phoneNumbersByCustomerIdList(orderBy: [CREATED_AT_ASC, ROW_ID_ASC]) { rowId number kind isPrimary verifiedAt }
  postalAddressesByCustomerIdList(orderBy: [CREATED_AT_ASC, ROW_ID_ASC]) {
    rowId kind recipient line1 line2 city region postalCode country isPrimary
  }
  preferencesByCustomerIdList(orderBy: [KEY_ASC]) { key value updatedAt }
  salesOrdersByCustomerIdList(first: 10, orderBy: [PLACED_AT_DESC, ROW_ID_DESC]) {
    rowId number status placedAt currency total
    salesOrderItemsByOrderIdList(orderBy: [POSITION_ASC]) { sku title quantity unitPrice }
  }
} }"""

NAMES = {
    "rowId": "id",
    "accountByCustomerId": "account",
    "emailAddressesByCustomerIdList": "emails",
    "phoneNumbersByCustomerIdList": "phones",
    "postalAddressesByCustomerIdList": "addresses",
    "preferencesByCustomerIdList": "preferences",
    "salesOrdersByCustomerIdList": "orders",
    "salesOrderItemsByOrderIdList": "items",
}
MOMENTS = {"createdAt", "verifiedAt", "updatedAt", "placedAt"}
CLOSED_SETS = {"status", "kind"}


def request(document: str, variables: dict[str, str] | None = None, headers: Sequence[str] = ()) -> bytes:
    """One POST of a document as it goes over the wire."""
    body = json.dumps({"query": document} | ({"variables": variables} if variables else {})).encode()
    lines = ["POST /graphql HTTP/1.1", "Host: localhost", "Content-Type: application/json", "Accept: application/json"]
    lines += [*headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def profile(answer: bytes) -> Json:
    """A profile as our schema answers it, in the common form."""
    customer = _data(answer)["viewer"]["customer"]
    contacts = customer.pop("contacts")
    return _common({**customer, **contacts, "orders": customer["orders"]["nodes"]}, _ours)


def postgraphile_profile(answer: bytes) -> Json:
    """A profile as PostGraphile answers it, in the common form."""
    return _common(_data(answer)["customerByRowId"], _theirs)


def _data(answer: bytes) -> dict:
    found = json.loads(answer)
    if "errors" in found or not found.get("data"):
        raise ValueError(answer[:600].decode(errors="replace"))
    return found["data"]


def _common(value: Json, translate: Callable[[str, Json], Json], name: str = "") -> Json:
    if isinstance(value, dict):
        return {NAMES.get(key, key): _common(member, translate, NAMES.get(key, key)) for key, member in value.items()}
    if isinstance(value, list):
        return [_common(member, translate, name) for member in value]
    if name in MOMENTS and isinstance(value, str):
        return datetime.fromisoformat(value).isoformat()
    return translate(name, value)


def _ours(name: str, value: Json) -> Json:
    return str(parse_global_id(value)[1]) if name == "id" and isinstance(value, str) else value


def _theirs(name: str, value: Json) -> Json:
    if name == "id" and isinstance(value, str):
        return str(UUID(value))
    return value.upper() if name in CLOSED_SETS and isinstance(value, str) else value
