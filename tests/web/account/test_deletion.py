"""Deleting an account over HTTP: the preview, the confirmation, the status page by session or key, the way back."""

import asyncio
import json
import re
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from cdp.access.viewer import SYSTEM
from cdp.core.db import Role
from cdp.operations import systems
from cdp.operations.systems import Registration
from cdp.operations.verification import verify_addendum, verify_certificate
from cdp.tables.request import RequestStatus
from cdp.tables.system import system
from tests.browser import forms, submit, title
from tests.connectors.webhook_peer import served
from tests.population import picture
from tests.web.account.conftest import Desk

DELETE = "/account/delete"


def key_in_letters(desk: Desk, person) -> str:
    """The status key as the person was told it."""
    letter = next(text for text in desk.engine.letters(person) if "Your status key" in text)
    return letter.partition("#")[2].split()[0]


async def test_the_page_says_what_goes_what_stays_and_why(desk: Desk):
    person, browser = await desk.newcomer()
    before = await picture(desk.engine.platform.db, person)
    shown = (await browser.get(DELETE)).text
    for words in ("Deleted", "Kept, and why", "Made anonymous", "1 e-mail address", "1 order", "2 order lines"):
        assert words in shown
    assert "Accounting records: HGB § 257, AO § 147, until 15 January 2036" in shown
    assert "For <strong>7 days</strong> nothing is deleted" in shown
    assert 'href="/account/download">Download your data first' in shown
    assert await picture(desk.engine.platform.db, person) == before


LEDGER = {
    "tables": [
        {"name": "client", "rows": "delete", "identities": [{"column": "mail", "type": "email", "normalise": "lower"}]},
        {
            "name": "bill",
            "rows": "keep",
            "references": [{"columns": ["client_id"], "table": "client", "keys": ["id"]}],
            "columns": {"id": "preserve", "client_id": "null"},
            "retention": {"basis": "Accounting records"},
        },
        {
            "name": "item",
            "rows": "keep",
            "references": [{"columns": ["bill_id"], "table": "bill", "keys": ["id"]}],
            "columns": {"id": "preserve", "bill_id": "preserve"},
            "retention": {"basis": "Accounting records"},
        },
    ]
}


async def test_what_a_database_deletes_keeps_and_cuts_is_told_apart(desk: Desk, tmp_path: Path):
    """Two bills stay without the person, their three items name nobody: neither is deleted."""
    person, browser = await desk.newcomer()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as books:
        books.execute("CREATE TABLE client (id INTEGER PRIMARY KEY, mail TEXT NOT NULL)")
        books.execute("CREATE TABLE bill (id INTEGER PRIMARY KEY, client_id INTEGER REFERENCES client)")
        books.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, bill_id INTEGER REFERENCES bill)")
        books.execute("INSERT INTO client VALUES (1, ?)", [person.email])
        books.execute("INSERT INTO bill VALUES (1, 1), (2, 1)")
        books.execute("INSERT INTO item VALUES (1, 1), (2, 1), (3, 2)")
    books.close()
    configuration = {"url": f"sqlite:///{tmp_path}/ledger.sqlite", "mapping": LEDGER}
    await systems.add(desk.engine.platform, SYSTEM, Registration("ledger", "Ledger", "sql", configuration, {}))
    try:
        shown = (await browser.get(DELETE)).text
    finally:
        await forget(desk, "ledger")
    deleted, kept, anonymous = (shown.partition(f'<h2 id="{one}">')[2] for one in ("deleted", "kept", "anonymous"))
    told = [part.partition("</section>")[0] for part in (deleted, kept, anonymous)]
    told = [part.partition("<dt>Ledger</dt>")[2].partition("</dd>")[0] for part in told]
    assert [re.findall(r"\d+ (?:client|bill|item)s?", part) for part in told] == [
        ["1 client"],
        ["2 bills", "3 items"],
        ["2 bills"],
    ]


async def test_systems_that_can_not_look_for_somebody_are_named_before_and_after(desk: Desk, tmp_path: Path):
    _, browser = await desk.newcomer()
    with sqlite3.connect(tmp_path / "crm.sqlite") as books:
        books.execute("CREATE TABLE client (id INTEGER PRIMARY KEY, number TEXT NOT NULL)")
    books.close()
    identities = [{"column": "number", "type": "customer_number", "issuer": "crm"}]
    mapping = {"tables": [{"name": "client", "rows": "delete", "identities": identities}]}
    configuration = {"url": f"sqlite:///{tmp_path}/crm.sqlite", "mapping": mapping}
    await systems.add(desk.engine.platform, SYSTEM, Registration("crm", "Old CRM", "sql", configuration, {}))
    try:
        shown = (await browser.get(DELETE)).text
        unproven = shown.partition("Systems that can not look for you")[2].partition("What happens next")[0]
        assert "<dt>Old CRM</dt>" in unproven.partition("<h2>Other systems")[0]
        reference = await desk.deletion(browser)
        await desk.finish(reference)
        page = f"/account/requests/{reference}"
        after = (await browser.get(page)).text
        assert "Your data is deleted, but not everywhere" in after
        assert "Every system below has deleted" not in after
        document = await browser.get(f"{page}/certificate.json")
        checked = await submit(browser, "/verify", pasted=document.text)
        assert "It does not say that all is deleted." in checked.text
        assert "Old CRM: not erased (NO_IDENTIFIER)" in checked.text
    finally:
        await forget(desk, "crm")


@pytest.mark.parametrize("typed", ["", "DELET", "delete it", "somebody@example.com"])
async def test_nothing_happens_without_the_word(desk: Desk, typed):
    person, browser = await desk.newcomer()
    before = await picture(desk.engine.platform.db, person)
    answer = await submit(browser, DELETE, confirmation=typed, reason="I <b>leave</b>")
    assert answer.status_code == 422
    assert title(answer).startswith("Error: ")
    assert "Type DELETE or your user name to confirm." in answer.text
    assert "I &lt;b&gt;leave&lt;/b&gt;" in answer.text
    assert await picture(desk.engine.platform.db, person) == before


@pytest.mark.parametrize("typed", ["DELETE", " delete ", "the user name"])
async def test_the_word_or_the_user_name_confirms(desk: Desk, typed):
    person, browser = await desk.newcomer()
    bystander, _ = await desk.newcomer()
    before = await picture(desk.engine.platform.db, bystander)
    answer = await submit(browser, DELETE, confirmation=person.email.upper() if "name" in typed else typed)
    assert answer.status_code == 303
    reference = answer.headers["location"].removeprefix("/account/requests/")
    assert await desk.engine.status(reference) is RequestStatus.CHECKING
    shown = await browser.get(answer.headers["location"])
    assert "You can still change your mind" in shown.text
    assert (await browser.get("/account")).status_code == 303  # signed out
    assert await picture(desk.engine.platform.db, bystander) == before


async def test_it_runs_to_a_certificate_that_holds(desk: Desk):
    person, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    page = f"/account/requests/{reference}"
    await desk.engine.work()
    assert "Waiting period" in (await browser.get(page)).text
    assert (await browser.get(f"{page}/certificate.json")).status_code == 404
    await desk.finish(reference)
    shown = (await browser.get(page)).text
    assert "Your data is deleted" in shown
    assert "1 order in “Our own records”, without your name" in shown
    document = await browser.get(f"{page}/certificate.json")
    assert document.headers["content-disposition"] == f'attachment; filename="certificate-{reference}.json"'
    assert document.headers["cache-control"] == "no-store"
    assert verify_certificate(document.content, desk.engine.platform.signer.keys()).is_valid
    paper = await browser.get(f"{page}/certificate.pdf")
    assert paper.headers["content-type"] == "application/pdf"
    assert paper.content.startswith(b"%PDF-")
    assert person.email not in shown + document.text


async def test_the_addendum_follows_and_can_be_checked(desk: Desk):
    """Our own tables are looked through once more, later: the page says so before and after, and /verify reads it."""
    _, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    page, nightly = f"/account/requests/{reference}", desk.engine.with_settings(residual_every=timedelta(days=1))
    await nightly.work()
    await nightly.cool_off(reference)
    await nightly.work()
    assert "What that finds is told in an addendum, here." in (await browser.get(page)).text
    assert (await browser.get(f"{page}/addendum.json")).status_code == 404
    await desk.engine.work()
    shown = (await browser.get(page)).text
    assert f'href="{page}/addendum.json"' in shown
    assert "looked through every table of our own afterwards and found nothing of you" in shown
    addendum, certificate = await browser.get(f"{page}/addendum.json"), await browser.get(f"{page}/certificate.json")
    assert addendum.headers["content-disposition"] == f'attachment; filename="addendum-{reference}.json"'
    assert addendum.headers["cache-control"] == "no-store"
    keys = desk.engine.platform.signer.keys()
    assert verify_addendum(addendum.content, keys, certificate=certificate.content).is_valid
    for other in (await desk.stranger(), (await desk.newcomer())[1]):
        assert (await other.get(f"{page}/addendum.json")).status_code == 404

    checked = await checked_at_verify(desk, addendum.content)
    assert "This addendum is genuine" in checked
    assert json.loads(certificate.content)["reference"] in checked
    assert "<dt>Found</dt><dd>nothing</dd>" in checked
    for altered in (addendum.content.replace(b'"found":[]', b'"found":[1]'), addendum.content[:-1]):
        assert "is genuine" not in await checked_at_verify(desk, altered)


async def checked_at_verify(desk: Desk, document: bytes) -> str:
    """What the page for everybody says about a file."""
    stranger = await desk.stranger()
    csrf = forms(await stranger.get("/verify"))["/verify"]["csrf"]
    file = {"file": ("addendum.json", document, "application/json")}
    return (await stranger.post("/verify", data={"csrf": csrf}, files=file)).text


async def test_the_status_key_opens_the_page_to_a_browser_that_knows_nothing(desk: Desk):
    person, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    await desk.engine.work()
    page, stranger = f"/account/requests/{reference}", await desk.stranger()
    asked = await stranger.get(page)
    assert title(asked).startswith("Look at a request")
    assert "Customer" not in asked.text
    wrong = await submit(stranger, page, key="not the key at all")
    assert wrong.status_code == 422
    assert "This key does not open this request." in wrong.text
    key = key_in_letters(desk, person)
    opened = await submit(stranger, page, key=key)
    assert (opened.status_code, opened.headers["location"]) == (303, page)
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "You can still change your mind" in (await stranger.get(page)).text
    await desk.finish(reference)
    assert "Your data is deleted" in (await stranger.get(page)).text


async def test_a_key_opens_its_own_request_only(desk: Desk):
    person, browser = await desk.newcomer()
    await desk.deletion(browser)
    _, other = await desk.newcomer()
    foreign = await desk.deletion(other)
    await desk.engine.work()
    answer = await submit(await desk.stranger(), f"/account/requests/{foreign}", key=key_in_letters(desk, person))
    assert answer.status_code == 422
    unknown = await submit(await desk.stranger(), "/account/requests/ER-2222-2222", key="a key")
    assert unknown.status_code == 422


async def test_somebody_else_sees_nothing_of_it(desk: Desk):
    _, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    _, thief = await desk.newcomer()
    page = f"/account/requests/{reference}"
    assert "Asking every system" not in (await thief.get(page)).text
    for part in ("events", "certificate.json", "certificate.pdf"):
        assert (await thief.get(f"{page}/{part}")).status_code == 404
    csrf = forms(await thief.get(page))[page]
    assert (await thief.post(f"{page}/undo", data=csrf)).status_code == 404
    assert await desk.engine.status(reference) is RequestStatus.CHECKING


async def test_it_can_be_called_off_and_the_account_works_as_before(desk: Desk):
    person, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    await desk.engine.work()
    page = f"/account/requests/{reference}"
    answer = await submit(browser, page, action=f"{page}/undo")
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert "The deletion was called off" in (await browser.get(page)).text
    again = await desk.sign_in(person.email)
    shown = (await again.get("/account")).text
    assert "Delete your account" in shown
    assert "Called off" in shown
    assert (await again.get(DELETE)).status_code == 200


async def test_it_can_not_be_called_off_once_something_is_deleted(desk: Desk):
    _, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    await desk.engine.work()
    page = f"/account/requests/{reference}"
    form = forms(await browser.get(page))[f"{page}/undo"]
    await desk.finish(reference)
    assert (await browser.post(f"{page}/undo", data=form)).status_code == 303
    shown = (await browser.get(page)).text
    assert "Your data is deleted" in shown
    assert "call the deletion off" not in shown


async def test_who_signs_in_again_meanwhile_is_led_to_the_request(desk: Desk):
    person, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    await desk.engine.work()
    again = await desk.sign_in(person.email)
    overview = (await again.get("/account")).text
    assert "Your account is being deleted" in overview
    assert f'href="/account/requests/{reference}"' in overview
    assert (await again.get(DELETE)).headers["location"] == f"/account/requests/{reference}"
    download = await again.get("/account/download")
    assert "no new copy can be made" in download.text
    csrf = forms(download)["/display"]["csrf"]
    assert (await again.post("/account/download", data={"csrf": csrf})).status_code == 422
    second = await again.post(DELETE, data={"csrf": csrf, "confirmation": "DELETE"})
    assert second.headers["location"] == f"/account/requests/{reference}"
    assert "You can still change your mind" in (await again.get(second.headers["location"])).text


async def test_a_stale_sign_in_has_to_be_renewed_first(desk: Desk):
    person, browser = await desk.newcomer()
    form = forms(await browser.get(DELETE))[DELETE]
    await desk.grow_stale(person)
    for answer in (await browser.get(DELETE), await browser.post(DELETE, data={**form, "confirmation": "DELETE"})):
        assert answer.status_code == 303
        assert answer.headers["location"] == "/account/sign-in?next=%2Faccount%2Fdelete&reauth=1"
    assert "request.opened" not in await desk.engine.audited(person)


async def test_a_forged_form_deletes_nothing(desk: Desk):
    person, browser = await desk.newcomer()
    assert (await browser.post(DELETE, data={"confirmation": "DELETE"})).status_code == 403
    form = forms(await browser.get(DELETE))[DELETE]
    elsewhere = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
    answer = await browser.post(DELETE, data={**form, "confirmation": "DELETE"}, headers=elsewhere)
    assert answer.status_code == 403
    assert "request.opened" not in await desk.engine.audited(person)
    reference = await desk.deletion(browser)
    page = f"/account/requests/{reference}"
    for address in (page, f"{page}/undo"):
        assert (await browser.post(address, data={"key": "x"})).status_code == 403
    assert await desk.engine.status(reference) is RequestStatus.CHECKING


async def test_live_parts_follow_the_deletion_to_its_end(desk: Desk):
    _, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    following = asyncio.create_task(browser.get(f"/account/requests/{reference}/events"))
    for step in (desk.engine.work(), desk.engine.cool_off(reference), desk.engine.work()):
        await asyncio.sleep(0.6)
        assert not following.done()
        await step
    events = (await following).text
    assert events.index("0 of 1 systems asked.") < events.index("Waiting period. 1 of 1 systems asked.")
    assert "Your data is deleted" in events
    assert events.endswith("event: end\ndata: settled\n\n")


async def test_a_system_that_does_not_answer_is_named_and_a_person_looks_at_it(desk: Desk):
    with served() as peer:
        await desk.engine.connect(peer, "club")
        try:
            _, browser = await desk.newcomer()
            peer.answer = (503, {}, b"")
            assert "Other systems" in (await browser.get(DELETE)).text
            reference = await desk.deletion(browser)
            for _ in range(6):
                await desk.engine.work()
            shown = (await browser.get(f"/account/requests/{reference}")).text
            assert "A person is looking at it" in shown
            assert "Club" in shown
            assert "call the deletion off" in shown
        finally:
            await forget(desk, "club")


async def forget(desk: Desk, name: str) -> None:
    """Stop asking a system, so that other tests do not meet it."""
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        await tx.execute(update(system).where(system.c.name == name).values(enabled=False))


async def test_a_certificate_tells_the_same_on_the_page(desk: Desk):
    _, browser = await desk.newcomer()
    reference = await desk.deletion(browser)
    await desk.finish(reference)
    await desk.finish(reference)
    page = f"/account/requests/{reference}"
    said = json.loads((await browser.get(f"{page}/certificate.json")).content)
    shown = (await browser.get(page)).text
    for one in said["systems"]:
        assert one["title"] in shown
        for kept in one["retained"]:
            assert kept["basis"] in shown
