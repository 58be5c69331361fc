"""Device authorization: a program without a browser, a person with one, and those who guess codes."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import select, update
from starlette.applications import Starlette

from cdp.access.viewer import Actor
from cdp.core.db import Role
from cdp.core.platform import Platform
from cdp.operations.oauth import devices
from cdp.operations.oauth.clients import COMMAND_LINE, DEVICE_CODE
from cdp.operations.oauth.tokens import viewer_from_bearer
from cdp.tables.audit import audit_event
from cdp.tables.device import oauth_device_code
from cdp.tables.oauth import oauth_client
from tests.browser import forms, submit, title, visitor

SCOPE = "openid offline_access profile:read"
STAFF_SCOPE = "openid customers:read"


class Device:
    """A program at a terminal: it has two codes and asks again and again."""

    def __init__(self, http: httpx.AsyncClient, platform: Platform, begun: dict[str, object]) -> None:
        self.http, self.platform, self.begun = http, platform, begun

    @property
    def page(self) -> str:
        parts = urlsplit(str(self.begun["verification_uri_complete"]))
        return f"{parts.path}?{parts.query}"

    async def poll(self, *, patient: bool = True, **changed: str) -> httpx.Response:
        if patient:
            await self.change(polled_at=None)
        fields = {"grant_type": DEVICE_CODE, "client_id": COMMAND_LINE, "device_code": str(self.begun["device_code"])}
        return await self.http.post("/oauth/token", data=fields | changed)

    async def change(self, **values: object) -> None:
        code = devices._digest(str(self.begun["device_code"]))
        async with self.platform.db.transaction(Role.WORKER) as tx:
            mine = update(oauth_device_code).where(oauth_device_code.c.device_code_hash == code)
            await tx.execute(mine.values(**values))

    async def actions(self) -> list[str]:
        code = devices._digest(str(self.begun["device_code"]))
        mine = select(oauth_device_code.c.id).where(oauth_device_code.c.device_code_hash == code).scalar_subquery()
        async with self.platform.db.transaction(Role.WORKER) as tx:
            rows = await tx.all(
                select(audit_event.c.action).where(audit_event.c.object_id == mine).order_by(audit_event.c.id)
            )
        return [row.action for row in rows]


@pytest.fixture
async def new_device(app: Starlette, platform: Platform):
    async with visitor(app, address="198.51.100.7") as http:

        async def make(scope: str = SCOPE) -> Device:
            answer = await http.post("/oauth/device_authorization", data={"client_id": COMMAND_LINE, "scope": scope})
            assert answer.status_code == 200, answer.text
            return Device(http, platform, answer.json())

        yield make


Make = Callable[..., Awaitable[Device]]


async def decide(browser: httpx.AsyncClient, device: Device, answer: str, *, home: str = "account") -> httpx.Response:
    """Type the code that the address brought along, read who asks, answer."""
    asked = await submit(browser, device.page)
    assert asked.headers["location"].startswith(f"/{home}/device?ask="), asked.text
    question = await browser.get(asked.headers["location"])
    assert str(device.begun["user_code"]) in question.text
    fields = {**forms(question)[f"/{home}/device"], "answer": answer}
    return await browser.post(f"/{home}/device", data=fields)


async def test_a_person_lets_the_command_line_in(platform, new_device: Make, new_customer, signed_in):
    device, other = await new_device(), await new_device()
    assert device.begun["interval"] == 5
    assert device.begun["expires_in"] == 600
    assert (await device.poll()).json()["error"] == "authorization_pending"
    browser = await signed_in(await new_customer())
    done = await decide(browser, device, "yes")
    assert title(done).startswith("Your device is connected")
    tokens = (await device.poll()).json()
    assert tokens["scope"] == SCOPE
    viewer = await viewer_from_bearer(platform, tokens["access_token"])
    assert (viewer.actor, viewer.client_id) == (Actor.CUSTOMER, COMMAND_LINE)
    refreshed = await device.http.post(
        "/oauth/token",
        data={"grant_type": "refresh_token", "client_id": COMMAND_LINE, "refresh_token": tokens["refresh_token"]},
    )
    assert refreshed.status_code == 200
    assert (await device.poll()).json()["error"] == "invalid_grant", "a code is good once"
    assert await device.actions() == ["device.opened", "device.approved"]
    assert (await other.poll()).json()["error"] == "authorization_pending", "a bystander waits on"


async def test_the_page_says_who_asks_for_what(new_device: Make, new_customer, signed_in):
    device = await new_device()
    browser = await signed_in(await new_customer())
    asked = await submit(browser, device.page)
    question = await browser.get(asked.headers["location"])
    assert "Command line" in title(question)
    assert "Read your profile, orders and activity" in question.text
    assert "Delete" not in forms(question)


async def test_no_means_no(new_device: Make, new_customer, signed_in):
    device = await new_device()
    browser = await signed_in(await new_customer())
    assert title(await decide(browser, device, "no")).startswith("Nothing was connected")
    answer = await device.poll()
    assert (answer.status_code, answer.json()["error"]) == (400, "access_denied")
    assert await device.actions() == ["device.opened", "device.denied"]


async def test_whoever_is_not_signed_in_does_so_first(app, new_device: Make):
    device = await new_device()
    async with visitor(app, address="198.51.100.8") as browser:
        asked = await submit(browser, device.page)
        question = await browser.get(asked.headers["location"])
        assert question.headers["location"].startswith("/account/sign-in?next=%2Faccount%2Fdevice%3Fask")


async def test_staff_decide_at_the_console(platform, new_device: Make, new_staff, new_customer, signed_in):
    device = await new_device(STAFF_SCOPE)
    customer = await signed_in(await new_customer())
    asked = await submit(customer, device.page)
    sent = await customer.get(asked.headers["location"])
    assert sent.headers["location"].startswith("/console/sign-in?"), "a customer's session does not count"
    agent = await signed_in(await new_staff("agent"), page="/console/sign-in")
    await decide(agent, device, "yes", home="console")
    viewer = await viewer_from_bearer(platform, (await device.poll()).json()["access_token"])
    assert (viewer.actor, viewer.roles) == (Actor.STAFF, {"agent"})


async def test_a_customer_can_not_answer_for_staff(new_device: Make, new_customer, signed_in):
    device = await new_device(STAFF_SCOPE)
    browser = await signed_in(await new_customer())
    asked = await submit(browser, device.page)
    moved = asked.headers["location"].replace("/console/", "/account/")
    fields = {**forms(await browser.get(moved))["/account/device"], "answer": "yes"}
    assert (await browser.post("/account/device", data=fields)).status_code == 404
    assert (await device.poll()).json()["error"] == "authorization_pending"


async def test_haste_is_slowed_down(new_device: Make):
    device = await new_device()
    assert (await device.poll(patient=False)).json()["error"] == "authorization_pending"
    assert (await device.poll(patient=False)).json()["error"] == "slow_down"
    async with device.platform.db.transaction(Role.WORKER) as tx:
        code = devices._digest(str(device.begun["device_code"]))
        interval = select(oauth_device_code.c.interval_s).where(oauth_device_code.c.device_code_hash == code)
        assert await tx.scalar(interval) == 10
    assert (await device.poll()).json()["error"] == "authorization_pending"


async def test_time_runs_out(platform, new_device: Make, new_customer, signed_in):
    device = await new_device()
    await device.change(expires_at=platform.clock() - timedelta(seconds=1))
    assert (await device.poll()).json()["error"] == "expired_token"
    browser = await signed_in(await new_customer())
    shown = await submit(browser, device.page)
    assert (shown.status_code, title(shown)[:6]) == (422, "Error:")


async def test_another_client_can_not_take_the_tokens(platform, new_device: Make, new_program, new_customer, signed_in):
    device, thief = await new_device(), await new_program()
    async with platform.db.transaction(Role.WORKER) as tx:
        may = update(oauth_client).where(oauth_client.c.client_id == thief.client_id)
        await tx.execute(may.values(grant_types=[DEVICE_CODE]))
    await decide(await signed_in(await new_customer()), device, "yes")
    stolen = await device.poll(client_id=thief.client_id)
    assert stolen.json()["error"] == "invalid_grant"
    assert (await device.poll()).status_code == 200


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"client_id": COMMAND_LINE}, "invalid_scope"),
        ({"client_id": COMMAND_LINE, "scope": "everything"}, "invalid_scope"),
        ({"client_id": COMMAND_LINE, "scope": "profile:read customers:read"}, "invalid_scope"),
        ({"client_id": "nobody", "scope": SCOPE}, "invalid_client"),
        ({"scope": SCOPE}, "invalid_client"),
    ],
)
async def test_a_bad_beginning_is_refused(app, platform, fields, error):
    async with visitor(app) as http:
        assert (await http.post("/oauth/device_authorization", data=fields)).json()["error"] == error


async def test_an_app_that_was_not_registered_for_it_is_refused(new_program):
    program = await new_program()
    answer = await program.post("/oauth/device_authorization", scope=SCOPE)
    assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
    answer = await program.post("/oauth/token", grant_type=DEVICE_CODE, device_code="x")
    assert answer.json()["error"] == "unauthorized_client"


@pytest.mark.parametrize("device_code", ["", "x", "ü" * 50])
async def test_a_made_up_device_code_is_refused(new_device: Make, device_code):
    device = await new_device()
    answer = await device.poll(device_code=device_code)
    assert answer.json()["error"] in {"invalid_request", "invalid_grant"}


async def test_whoever_guesses_codes_has_to_wait(app, new_device: Make):
    device = await new_device()
    async with visitor(app, address="198.51.100.99") as guesser:
        answers = [await submit(guesser, "/device", user_code=f"BCDF-GHJ{letter}") for letter in "BCDFGHJKLMN"]
        assert {answer.status_code for answer in answers[:10]} == {422}
        late = await submit(guesser, device.page)
        assert late.status_code == 429
        assert int(late.headers["retry-after"]) >= 1
    async with visitor(app, address="198.51.100.98") as bystander:
        assert (await submit(bystander, device.page)).status_code == 303


@pytest.mark.parametrize("ask", ["", "nonsense", "AAAA", "ü"])
async def test_a_made_up_question_is_not_found(new_customer, signed_in, ask):
    browser = await signed_in(await new_customer())
    assert (await browser.get("/account/device", params={"ask": ask})).status_code == 404
