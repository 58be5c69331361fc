"""Reads of a partner that come at the same time share statements: each is decided, answered and recorded by itself."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, func, literal_column, select, update

from cdp.access.sharing import SHAREABLE
from cdp.core.db import Role
from cdp.core.ids import global_id, new_id
from cdp.tables.customer import customer
from cdp.tables.partner import PartnerFunction, disclosure
from tests.partners.conftest import Desk, Party
from tests.population import Person, make_person

PROFILE = """query($id: ID!) { customer(id: $id) {
  id givenName country contacts { emails { address } } preferences { key value } orders(first: 3) { nodes { number } }
} }"""
WIDE = SHAREABLE[PartnerFunction.DATA_MANAGEMENT]
TWO = "query($one: ID!, $other: ID!) { one: customer(id: $one) { id } other: customer(id: $other) { givenName } }"


async def _at_once(party: Party, token: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    found = await asyncio.gather(*(party.ask(token, PROFILE, id=one) for one in ids))
    for answer in found:
        answer.get("extensions", {}).pop("requestId", None)
    return found


async def _disclosed(desk: Desk, party: Party) -> list[Any]:
    """What was disclosed to a party, by whom it was about, with the request and the transaction that wrote it."""
    wrote = cast(literal_column("xmin"), Text).label("wrote")
    mine = select(disclosure.c.customer_id, disclosure.c.request, disclosure.c.grant_id, wrote)
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        return list(await tx.all(mine.where(disclosure.c.partner_id == party.id).order_by(disclosure.c.id)))


async def _people(desk: Desk) -> tuple[list[Person], list[str]]:
    """Some who are shown, one who is restricted and one from elsewhere; and ids of people, of nobody and of nothing."""
    people = [await make_person(desk.platform.db, country="LI") for _ in range(7)]
    people.append(await make_person(desk.platform.db, country="LI"))
    people.append(await make_person(desk.platform.db, country="IS"))
    async with desk.platform.db.transaction(Role.WORKER) as tx:
        one = update(customer).where(customer.c.id == people[7].customer_id)
        await tx.execute(one.values(restricted_at=func.now()))
    ids = [global_id("Customer", person.customer_id) for person in people]
    return people, [*ids, global_id("Customer", new_id()), global_id("Order", people[0].customer_id), "nonsense"]


async def test_together_they_read_what_each_would_read_alone(desk: Desk) -> None:
    people, ids = await _people(desk)
    wide, narrow = await desk.partner(), await desk.partner()
    wide_token = await wide.token(
        await desk.grant(wide, function=PartnerFunction.DATA_MANAGEMENT, fields=WIDE, countries=frozenset({"LI"}))
    )
    narrow_token = await narrow.token(await desk.grant(narrow))
    alone = {}
    for party, token in ((wide, wide_token), (narrow, narrow_token)):
        alone[party.name] = [(await _at_once(party, token, [one]))[0] for one in ids]
    shown = {party.name: len(await _disclosed(desk, party)) for party in (wide, narrow)}
    assert shown == {wide.name: 7, narrow.name: 8}
    times = 4
    of_wide, of_narrow = await asyncio.gather(
        _at_once(wide, wide_token, ids * times), _at_once(narrow, narrow_token, ids * times)
    )
    assert of_wide == alone[wide.name] * times
    assert of_narrow == alone[narrow.name] * times
    first = of_wide[0]["data"]["customer"]
    assert (first["id"], first["contacts"]["emails"]) == (ids[0], [{"address": people[0].email}])
    assert of_wide[7]["extensions"]["withheld"] == {"customer": 1}
    assert "extensions" not in of_wide[8], "who is not covered is not counted"
    for party in (wide, narrow):
        left = (await _disclosed(desk, party))[shown[party.name] :]
        assert len(left) == shown[party.name] * times
        assert len({one.request for one in left}) == len(left), "each names its own request"
        assert len({one.wrote for one in left}) < len(left), "they shared transactions"
        theirs = people[:7] if party is wide else [*people[:7], people[8]]
        assert {one.customer_id for one in left} == {person.customer_id for person in theirs}


async def test_two_people_of_one_document_stay_apart(desk: Desk) -> None:
    people, ids = await _people(desk)
    party = await desk.partner()
    token = await party.token(await desk.grant(party))
    pairs = [(one, other) for one in ids[:9] for other in (ids[8], ids[0])]
    found = await asyncio.gather(*(party.ask(token, TWO, one=one, other=other) for one, other in pairs))
    for (one, _), answer in zip(pairs, found, strict=True):
        withheld = one == ids[7]
        assert answer["data"]["one"] == (None if withheld else {"id": one})
        assert answer["data"]["other"] == {"givenName": "Ada"}
        assert answer.get("extensions") == ({"withheld": {"one": 1}} if withheld else None)
    assert len(await _disclosed(desk, party)) == len(pairs) * 2 - 2
    assert len(people) == 9


async def test_nobody_of_a_crowd_reads_under_a_revoked_grant(desk: Desk) -> None:
    _, ids = await _people(desk)
    party = await desk.partner()
    grant_id: UUID = await desk.grant(party)
    token = await party.token(grant_id)
    assert all(one["data"]["customer"] for one in await _at_once(party, token, ids[:7]))
    before = await _disclosed(desk, party)
    await desk.revoke(grant_id)
    for answer in await _at_once(party, token, ids[:9] * 2):
        assert [one["extensions"]["code"] for one in answer["errors"]] == ["PARTNER_GRANT_ENDED"]
        assert "Ada" not in json.dumps(answer)
    assert await _disclosed(desk, party) == before
