"""Token exchange: staff act for a customer, for a reason, for minutes; who may not is refused, and all is recorded."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import httpx
import pytest
from joserfc import jwt
from sqlalchemy import select, update

from cdp.access.delegation import RIGHTS, lendable
from cdp.access.scopes import CUSTOMER_SCOPES, STAFF_SCOPES
from cdp.access.viewer import SYSTEM, Actor, Viewer
from cdp.core.db import Role
from cdp.core.ids import global_id
from cdp.operations.oauth import clients
from cdp.operations.oauth.clients import CODE_AND_REFRESH, EXCHANGE
from cdp.operations.oauth.tokens import issuer_of, viewer_from_bearer
from cdp.tables.account import account
from cdp.tables.audit import audit_event
from cdp.tables.customer import CustomerStatus, customer
from cdp.tables.oauth import oauth_grant
from cdp.tables.staff import staff
from tests.oauth.conftest import REDIRECT, Program

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
CUSTOMER = "urn:cdp:params:oauth:token-type:customer"
AGENT_SCOPE = "openid customers:read customers:act requests:work"


@dataclass
class Desk:
    """An app of staff, and a member of staff signed in with it."""

    program: Program
    name: str
    token: str
    browser: httpx.AsyncClient

    async def act(self, customer_id: UUID | str, **changed: str | None) -> httpx.Response:
        named = customer_id if isinstance(customer_id, str) else global_id("Customer", customer_id)
        wanted = {
            "subject_token": named,
            "subject_token_type": CUSTOMER,
            "actor_token": self.token,
            "actor_token_type": ACCESS_TOKEN,
            "reason": "asked on the phone to check the address",
            "case_ref": "CASE-7",
            **changed,
        }
        given = {name: value for name, value in wanted.items() if value is not None}
        return await self.program.post("/oauth/token", grant_type=EXCHANGE, **given)


Make = Callable[..., Awaitable[Desk]]


@pytest.fixture
async def new_desk(platform, new_program, new_staff, signed_in) -> Make:
    async def make(*roles: str, scope: str = AGENT_SCOPE) -> Desk:
        program = await _register(platform, await new_program())
        name = await new_staff(*roles)
        browser = await signed_in(name, page="/console/sign-in")
        tokens = await program.sign_in(browser, scope=scope)
        return Desk(program, name, tokens["access_token"], browser)

    return make


async def _register(platform, program: Program) -> Program:
    async with platform.db.transaction(Role.WORKER) as tx:
        added = await clients.add(
            tx,
            SYSTEM,
            "Desk",
            redirect_uris=[REDIRECT],
            confidential=True,
            grant_types=[*CODE_AND_REFRESH, EXCHANGE],
            scopes=sorted(CUSTOMER_SCOPES | STAFF_SCOPES),
            first_party=True,
        )
    return Program(added.client.client_id, added.secret, program.http)


@pytest.fixture
async def person(platform, new_customer) -> tuple[UUID, str]:
    email = await new_customer()
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(account.c.customer_id).where(account.c.username == email)), email


async def events(platform, customer_id: UUID, action: str):
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(customer.c.audit_ref).where(customer.c.id == customer_id).scalar_subquery()
        found = select(audit_event).where(audit_event.c.subject_ref == mine, audit_event.c.action == action)
        return await tx.all(found.order_by(audit_event.c.id))


async def staff_id(platform, name: str) -> UUID:
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.scalar(select(staff.c.id).where(staff.c.username == name))


async def ask(desk: Desk, token: str, query: str) -> dict:
    answer = await desk.program.http.post(
        "/graphql", json={"query": query}, headers={"authorization": f"Bearer {token}"}
    )
    return answer.json()


async def test_an_agent_acts_for_a_customer(platform, new_desk: Make, person):
    desk, (customer_id, _) = await new_desk("supervisor"), person
    answer = await desk.act(customer_id)
    body = answer.json()
    assert answer.status_code == 200, body
    assert (body["issued_token_type"], body["token_type"]) == (ACCESS_TOKEN, "Bearer")
    assert 0 < body["expires_in"] <= 300
    assert "refresh_token" not in body
    claims = jwt.decode(body["access_token"], issuer_of(platform).keys.key_set, ["RS256"]).claims
    agent = await staff_id(platform, desk.name)
    assert claims["sub"] == str(customer_id)
    assert claims["act"] == {"sub": str(agent), "client_id": desk.program.client_id}
    assert claims["exp"] - claims["iat"] == body["expires_in"]
    viewer = await viewer_from_bearer(platform, body["access_token"])
    assert (viewer.actor, viewer.customer_id, viewer.acting_staff_id) == (Actor.CUSTOMER, customer_id, agent)
    assert (viewer.staff_id, viewer.roles, viewer.doer) == (None, {"supervisor"}, (Actor.STAFF, agent))
    assert viewer.scopes == RIGHTS["supervisor"]
    (opened,) = await events(platform, customer_id, "delegation.opened")
    assert (opened.actor_kind, opened.actor_ref, opened.outcome) == ("staff", agent, "ok")
    assert opened.note_hash is not None
    assert "phone" not in str(opened.details)


async def test_what_an_agent_reads_is_masked_and_recorded(platform, new_desk: Make, person, new_customer):
    desk, (customer_id, email) = await new_desk("agent"), person
    token = (await desk.act(customer_id)).json()["access_token"]
    found = await ask(desk, token, "{ viewer { customer { givenName contacts { emails { address } } } } }")
    shown = found["data"]["viewer"]["customer"]
    assert shown["givenName"] == "Ada"
    assert shown["contacts"]["emails"][0]["address"] not in {email, None}
    (read,) = await events(platform, customer_id, "customer.read")
    agent = await staff_id(platform, desk.name)
    assert (read.actor_kind, read.actor_ref) == ("staff", agent)
    assert read.details["purpose"] == "customer_service"
    officer = await new_desk("privacy_officer")
    token = (await officer.act(customer_id)).json()["access_token"]
    found = await ask(officer, token, "{ viewer { customer { contacts { emails { address } } } } }")
    assert found["data"]["viewer"]["customer"]["contacts"]["emails"][0]["address"] == email


async def test_what_an_agent_changes_names_both(platform, new_desk: Make, person):
    desk, (customer_id, _) = await new_desk("supervisor"), person
    token = (await desk.act(customer_id, scope="profile:read profile:write")).json()["access_token"]
    found = await ask(desk, token, 'mutation { updateAccount(input: {givenName: "Grace"}) { customer { givenName } } }')
    assert found["data"]["updateAccount"]["customer"]["givenName"] == "Grace", found
    agent = await staff_id(platform, desk.name)
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = select(customer.c.audit_ref).where(customer.c.id == customer_id).scalar_subquery()
        rows = await tx.all(
            select(audit_event).where(audit_event.c.subject_ref == mine, audit_event.c.actor_ref == agent)
        )
    assert {"delegation.opened", "customer.updated"} <= {row.action for row in rows}
    assert all(row.actor_kind == "staff" for row in rows)


async def test_the_agent_reaches_nobody_else(new_desk: Make, person, new_customer, platform):
    desk, (customer_id, _) = await new_desk("privacy_officer"), person
    other = await new_customer()
    async with platform.db.transaction(Role.WORKER) as tx:
        other_id = await tx.scalar(select(account.c.customer_id).where(account.c.username == other))
    token = (await desk.act(customer_id)).json()["access_token"]
    found = await ask(desk, token, f'{{ customer(id: "{global_id("Customer", other_id)}") {{ givenName }} }}')
    assert not (found.get("data") or {}).get("customer")


@pytest.mark.parametrize("roles", [("analyst",), ("administrator",), ()], ids=str)
async def test_roles_without_the_right_are_refused(platform, new_desk: Make, person, roles):
    desk, (customer_id, _) = await new_desk(*roles), person
    answer = await desk.act(customer_id)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "DELEGATION_FORBIDDEN" in answer.json()["error_description"]
    (refused,) = await events(platform, customer_id, "delegation.opened")
    agent = await staff_id(platform, desk.name)
    assert (refused.outcome, refused.code, refused.actor_ref) == ("refused", "DELEGATION_FORBIDDEN", agent)
    async with platform.db.transaction(Role.WORKER) as tx:
        grants = select(oauth_grant.c.id).where(oauth_grant.c.acting_staff_id == agent)
        assert await tx.first(grants) is None


@pytest.mark.parametrize(
    ("role", "own", "asked", "answer"),
    [
        ("agent", AGENT_SCOPE, "profile:write", "invalid_scope"),
        ("supervisor", AGENT_SCOPE, "privacy:erase", "invalid_scope"),
        ("supervisor", AGENT_SCOPE, "customers:read", "invalid_scope"),
        ("supervisor", AGENT_SCOPE, "offline_access", "invalid_scope"),
        ("supervisor", "openid customers:read customers:act", "privacy:export", "invalid_scope"),
        ("supervisor", "openid customers:read requests:work", "profile:read", "invalid_request"),
        ("supervisor", "openid customers:read customers:act", "profile:read", None),
    ],
)
async def test_scopes_never_exceed_either_side(new_desk: Make, person, role, own, asked, answer):
    desk = await new_desk(role, scope=own)
    assert (await desk.act(person[0], scope=asked)).json().get("error") == answer


async def test_a_customer_can_not_act_for_another(platform, new_desk: Make, person, new_customer, signed_in):
    desk = await new_desk("agent")
    tokens = await desk.program.sign_in(await signed_in(await new_customer()))
    answer = await desk.act(person[0], actor_token=tokens["access_token"])
    assert "DELEGATION_FORBIDDEN" in answer.json()["error_description"]


async def test_nobody_acts_twice_removed(new_desk: Make, person):
    desk = await new_desk("privacy_officer")
    token = (await desk.act(person[0])).json()["access_token"]
    assert "DELEGATION_FORBIDDEN" in (await desk.act(person[0], actor_token=token)).json()["error_description"]


async def test_another_app_can_not_use_the_agents_token(new_desk: Make, person):
    desk, other = await new_desk("agent"), await new_desk("agent")
    stolen = await other.act(person[0], actor_token=desk.token)
    assert "DELEGATION_FORBIDDEN" in stolen.json()["error_description"]


@pytest.mark.parametrize(
    "values", [{"status": CustomerStatus.FROZEN}, {"restricted": True}, None], ids=["frozen", "restricted", "erased"]
)
async def test_some_customers_are_left_alone(platform, new_desk: Make, person, values):
    desk, (customer_id, _) = await new_desk("privacy_officer"), person
    if values is not None:
        changed = {"restricted_at": platform.clock()} if "restricted" in values else values
        async with platform.db.transaction(Role.WORKER) as tx:
            await tx.execute(update(customer).where(customer.c.id == customer_id).values(changed))
    answer = await desk.act(customer_id if values is not None else UUID(int=7))
    assert "CUSTOMER_NOT_SERVED" in answer.json()["error_description"]


async def test_a_stale_agent_signs_in_again(platform, new_desk: Make, person):
    desk = await new_desk("agent")
    viewer = await viewer_from_bearer(platform, desk.token)
    long_ago = platform.clock() - timedelta(hours=1)
    async with platform.db.transaction(Role.WORKER) as tx:
        table = account.metadata.tables["session"]
        await tx.execute(update(table).where(table.c.id == viewer.session_id).values(authenticated_at=long_ago))
    stale = await desk.program.sign_in(desk.browser, scope=AGENT_SCOPE)
    answer = await desk.act(person[0], actor_token=stale["access_token"])
    body = answer.json()
    assert (answer.status_code, body["error"]) == (400, "insufficient_user_authentication")
    assert body["max_age"] == platform.settings.step_up_max_age_s
    assert body["acr_values"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"reason": None}, "invalid_request"),
        ({"reason": "  "}, "invalid_request"),
        ({"case_ref": None}, "invalid_request"),
        ({"subject_token": "nonsense"}, "invalid_request"),
        ({"subject_token": None}, "invalid_request"),
        ({"subject_token_type": ACCESS_TOKEN}, "invalid_request"),
        ({"actor_token": "nonsense"}, "invalid_request"),
        ({"actor_token": None}, "invalid_request"),
        ({"actor_token_type": CUSTOMER}, "invalid_request"),
        ({"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"}, "invalid_request"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"audience": "elsewhere"}, "invalid_target"),
    ],
    ids=str,
)
async def test_a_bad_request_is_refused(new_desk: Make, person, changed, error):
    desk = await new_desk("agent")
    answer = await desk.act(person[0], **changed)
    assert (answer.status_code, answer.json()["error"]) == (400, error), answer.text


async def test_an_app_that_was_not_registered_for_it_is_refused(new_desk: Make, new_program, person):
    desk = await new_desk("agent")
    desk.program = await new_program(confidential=True)
    assert (await desk.act(person[0])).json()["error"] == "unauthorized_client"


async def test_it_dies_with_the_agents_own_token(platform, new_desk: Make, person, settle_revocations):
    desk, bystander = await new_desk("agent"), await new_desk("agent")
    token = (await desk.act(person[0])).json()["access_token"]
    other = (await bystander.act(person[0])).json()["access_token"]
    await desk.program.post("/oauth/revoke", token=desk.token)
    settle_revocations()
    answer = await ask(desk, token, "{ viewer { kind } }")
    assert "TOKEN_INVALID" in str(answer)
    assert (await viewer_from_bearer(platform, other)).customer_id == person[0]


async def test_it_is_no_consent_and_no_connected_app(new_desk: Make, person, signed_in):
    desk, (_, email) = await new_desk("agent"), person
    await desk.act(person[0])
    page = await (await signed_in(email)).get("/account/security")
    assert "Desk" not in page.text
    assert "Somebody of our staff could act for you" in page.text


def test_rights_are_of_customers_and_of_roles():
    assert all(scopes <= CUSTOMER_SCOPES - {"openid", "offline_access"} for scopes in RIGHTS.values())
    assert lendable(SYSTEM) == frozenset()
    assert lendable(Viewer(Actor.CUSTOMER, scopes=frozenset(STAFF_SCOPES), roles=frozenset(RIGHTS))) == frozenset()
