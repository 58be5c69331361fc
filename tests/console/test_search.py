"""Search: every way to find somebody, masked, recorded, and nothing of it in an address."""

import re
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from cdp.core.db import Database, Role
from cdp.core.ids import global_id
from cdp.tables.audit import audit_event
from cdp.tables.contact import phone_number
from cdp.tables.customer import customer
from cdp.tables.order import sales_order
from cdp.web.console import terms
from tests.console.conftest import Colleague, look_up
from tests.population import Person, make_person


async def known(db: Database, person: Person) -> dict[str, Any]:
    """What a caller would say about themselves."""
    async with db.transaction(Role.WORKER) as tx:
        number = await tx.scalar(select(sales_order.c.number).where(sales_order.c.id == person.order_id))
        phone = await tx.scalar(select(phone_number.c.e164).where(phone_number.c.id == person.phone_id))
        family = await tx.scalar(select(customer.c.family_name).where(customer.c.id == person.customer_id))
    return {"order": number, "phone": phone, "family": family}


def found(page: httpx.Response) -> list[str]:
    return re.findall(r'/console/customers/([A-Za-z0-9_-]+)"', page.text)


async def test_everything_a_caller_says_finds_them_and_nobody_else(
    db: Database, agent: httpx.AsyncClient, person: Person
):
    bystander = await make_person(db)
    says = await known(db, person)
    phone = says["phone"]
    ways = [
        person.email,
        person.email.upper(),
        phone,
        f"0049 ({phone[3:6]}) {phone[6:]}",
        f"0{phone[3:6]} / {phone[6:]}",
        says["order"],
        says["family"],
        says["family"][1:-1],
        f"{says['family']}, Ada",
        f"ada {says['family'].lower()}",
        f"user-{says['order'].partition('-')[2]}",
        str(person.customer_id),
        global_id("Customer", person.customer_id),
    ]
    for way in ways:
        page = await look_up(agent, way)
        assert page.status_code == 200
        assert set(found(page)) == {global_id("Customer", person.customer_id)}, way
        assert global_id("Customer", bystander.customer_id) not in page.text
        for secret in (person.email, phone):
            assert secret not in page.text.replace(f'value="{way}"', "").replace(f"“{way}”", "")
        assert "a***@e***.com" in page.text


async def test_nothing_typed_stands_in_an_address(agent: httpx.AsyncClient, person: Person):
    page = await look_up(agent, person.email)
    address = str(page.url)
    assert "found=" in address
    assert person.email.partition("@")[0] not in address
    assert person.email not in str(page.headers)


async def test_a_handle_is_for_who_searched(agent: httpx.AsyncClient, colleague: Colleague, person: Person):
    address = str((await look_up(agent, person.email)).url)
    other = await colleague("agent")
    for stolen in (address, f"{address}x", "/console?found=", "/console?found=%00", "/console?found=AAAA"):
        answer = await other.get(stolen)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")


async def test_a_search_is_recorded_by_its_fields_alone(db: Database, agent: httpx.AsyncClient, person: Person):
    await look_up(agent, person.email)
    async with db.transaction(Role.WORKER) as tx:
        recent = select(audit_event).where(audit_event.c.actor_kind == "staff").order_by(audit_event.c.id.desc())
        row = await tx.first(recent.limit(1))
    assert row is not None
    assert (row.action, row.details["root"], row.details["matched"]) == (
        "customer.read",
        "customers",
        ["EmailAddress.address"],
    )
    assert person.email not in str(row)


@pytest.mark.parametrize("typed", ["", " ", "ab", "@", "\u200b"])
async def test_too_little_to_look_for_is_said(agent: httpx.AsyncClient, typed: str):
    page = await look_up(agent, typed)
    assert page.status_code in {200, 422}
    assert not found(page)


@pytest.mark.parametrize(
    "typed", ["nobody@example.net", "%%%", "___", "Robert'); DROP", "\\\\\\", "ER-AAAA-AAAA", "a" * 5000]
)
async def test_nobody_found_says_so_and_gives_tips(agent: httpx.AsyncClient, typed: str):
    page = await look_up(agent, typed)
    assert page.status_code == 200
    assert "Nobody found" in page.text
    assert "What you can type" in page.text


@pytest.mark.parametrize("role", ["analyst", "administrator"])
async def test_other_staff_find_nobody(colleague: Colleague, person: Person, role: str):
    page = await look_up(await colleague(role), person.email)
    assert page.status_code == 403
    assert global_id("Customer", person.customer_id) not in page.text


async def test_a_customer_has_no_way_in(signed_in, new_customer):
    browser = await signed_in(await new_customer())
    answer = await browser.get("/console")
    assert answer.headers["location"].startswith("/console/sign-in")


def test_what_is_typed_is_read_as_what_it_can_be():
    assert terms.read("Ada@Example.org").email == "Ada@Example.org"
    assert not terms.read("Ada@Example.org").name
    assert terms.read("Lovelace, Ada").swapped == "Ada Lovelace"
    assert terms.read("er-7k2m-9qxd").reference == "ER-7K2M-9QXD"
    assert terms.read("+49 151 23456789").phones == ["+4915123456789"]
    assert "+4915123456789" in terms.read("0151 23456789").phones
    assert terms.read("so-17").number == ["SO-17", "so-17"]
    assert not terms.read("12").is_anything or terms.read("12").number == ["12"]
