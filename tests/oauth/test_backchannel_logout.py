"""Apps are told by back channel that somebody signed out: on every way out, signed, again when they do not answer."""

from dataclasses import dataclass, field, replace
from urllib.parse import parse_qs

import pytest
from joserfc import jwt
from sqlalchemy import select, update

from cdp.access.viewer import Actor, Viewer
from cdp.core.db import Role
from cdp.core.http import Outbound
from cdp.core.ids import CustomerId
from cdp.jobs.announce_logout import announce_logout
from cdp.jobs.workplace import Workplace
from cdp.operations import account_security
from cdp.operations.oauth import backchannel_logout, clients
from cdp.operations.oauth.backchannel_logout import EVENT
from cdp.operations.oauth.clients import InvalidRedirect
from cdp.operations.oauth.tokens import issuer_of
from cdp.operations.requests import freezing
from cdp.tables.account import account
from cdp.tables.audit import audit_event
from cdp.tables.logout import NoticeStatus, logout_notice
from cdp.tables.oauth import oauth_client
from tests.browser import submit
from tests.connectors.serving import Call, answer, hang, serving
from tests.engine import QUICK
from tests.oauth.conftest import Program
from tests.site import PASSWORD


@dataclass
class Party:
    """An app that wants to be told: what it heard, and how it answers next (200 when nothing is said)."""

    url: str = ""
    heard: list[str] = field(default_factory=list)
    next: list[int | None] = field(default_factory=list)

    async def respond(self, call: Call):
        assert (call.method, call.headers["content-type"]) == ("POST", "application/x-www-form-urlencoded")
        self.heard.append(parse_qs(call.body.decode())["logout_token"][0])
        status = self.next.pop(0) if self.next else 200
        if status is None:
            await hang()
        return answer(status or 200, {})


@pytest.fixture(scope="module")
def party():
    found = Party()
    with serving(found.respond) as found.url:
        yield found


@pytest.fixture
def place(app, platform) -> Workplace:
    quick = replace(platform, settings=platform.settings.model_copy(update=QUICK))
    return Workplace(quick, app.state.reader, "test")


@pytest.fixture
async def told(party, platform, new_program):
    """An app that is told, and what it heard."""
    party.heard.clear()
    party.next.clear()
    program = await new_program()
    await _tell_at(platform, program, f"{party.url}/logout")
    return program


async def _tell_at(platform, program: Program, url: str) -> None:
    async with platform.db.transaction(Role.WORKER) as tx:
        mine = update(oauth_client).where(oauth_client.c.client_id == program.client_id)
        await tx.execute(mine.values(backchannel_logout_uri=url))


async def _notices(platform, program: Program):
    of_it = select(logout_notice).join(oauth_client, oauth_client.c.id == logout_notice.c.client_id)
    async with platform.db.transaction(Role.WORKER) as tx:
        return await tx.all(of_it.where(oauth_client.c.client_id == program.client_id).order_by(logout_notice.c.id))


async def _work(place: Workplace, program: Program) -> list[NoticeStatus]:
    """Deliver what is due once; the statuses afterwards."""
    for notice in await _notices(place.platform, program):
        await announce_logout({"workplace": place}, str(notice.id))
    return [notice.status for notice in await _notices(place.platform, program)]


async def _customer_id(platform, username: str) -> CustomerId:
    async with platform.db.transaction(Role.WORKER) as tx:
        return CustomerId(await tx.scalar(select(account.c.customer_id).where(account.c.username == username)))


def _read(platform, token: str):
    return jwt.decode(token, issuer_of(platform).keys.key_set, ["RS256"])


async def test_signing_out_tells_the_app(platform, place, party, told, new_program, new_customer, signed_in):
    silent = await new_program()
    browser, bystander = await signed_in(await new_customer()), await signed_in(await new_customer())
    tokens = await told.sign_in(browser)
    await silent.sign_in(browser)
    await told.sign_in(bystander)
    await submit(browser, "/account/sign-out")
    assert await _work(place, told) == [NoticeStatus.SENT]
    assert await _notices(platform, silent) == []
    found, signed_in_as = _read(platform, party.heard[0]), _read(platform, tokens["id_token"]).claims
    assert found.header["typ"] == "logout+jwt"
    assert found.claims["events"] == {EVENT: {}}
    assert "nonce" not in found.claims
    assert {name: found.claims[name] for name in ("iss", "aud", "sub", "sid")} == {
        "iss": "http://localhost:8000",
        "aud": told.client_id,
        "sub": signed_in_as["sub"],
        "sid": signed_in_as["sid"],
    }
    assert found.claims["exp"] - found.claims["iat"] <= 120
    assert len(party.heard) == 1, "the bystander is signed in still"
    (notice,) = await _notices(platform, told)
    assert notice.subject is None, "who was meant is forgotten"
    async with platform.db.transaction(Role.WORKER) as tx:
        event = await tx.first(select(audit_event).where(audit_event.c.object_id == notice.id))
    assert (event.action, event.outcome, event.subject_ref) == ("logout.sent", "ok", notice.subject_ref)


async def test_a_logout_token_is_no_other_token(platform, place, party, told, new_customer, signed_in):
    browser = await signed_in(await new_customer())
    await told.sign_in(browser)
    await submit(browser, "/account/sign-out")
    await _work(place, told)
    assert (await told.userinfo(party.heard[0])).status_code == 401


async def _everywhere(platform, viewer: Viewer, browser) -> None:
    await account_security.end_everything(platform, viewer)


async def _new_password(platform, viewer: Viewer, browser) -> None:
    await submit(browser, "/account/security/password", password=PASSWORD + " and more")


async def _freeze(platform, viewer: Viewer, browser) -> None:
    """What opening a deletion does: the person's own transaction, then the worker's."""
    async with platform.db.transaction(Role.CUSTOMER, subject=viewer.subject) as tx:
        await freezing.freeze(tx, viewer.subject, now=platform.clock())
    async with platform.db.transaction(Role.WORKER) as tx:
        await freezing.end_grants(tx, {viewer.subject: platform.clock()})


async def _session_by_session(platform, viewer: Viewer, browser) -> None:
    security = await account_security.look(platform, viewer, actions=())
    for one in security.browsers:
        await account_security.end_session(platform, viewer, one.id)


@pytest.mark.parametrize(
    ("leave", "heard"),
    [(_everywhere, 2), (_new_password, 1), (_freeze, 2), (_session_by_session, 2)],
    ids=["everywhere", "new-password", "deletion", "one-by-one"],
)
async def test_every_way_out_is_told(platform, place, party, told, new_customer, signed_in, leave, heard):
    """Two browsers, one app: a new password keeps the browser it was set in."""
    name = await new_customer()
    one, other = await signed_in(name), await signed_in(name)
    await told.sign_in(one)
    await told.sign_in(other)
    viewer = Viewer(Actor.CUSTOMER, customer_id=await _customer_id(platform, name))
    await leave(platform, viewer, one)
    assert await _work(place, told) == [NoticeStatus.SENT] * heard
    assert len({_read(platform, token).claims["sid"] for token in party.heard}) == heard


async def test_an_app_without_openid_or_disconnected_is_not_told(platform, place, party, told, new_customer, signed_in):
    name = await new_customer()
    browser = await signed_in(name)
    await told.sign_in(browser, scope="profile:read")
    viewer = Viewer(Actor.CUSTOMER, customer_id=await _customer_id(platform, name))
    tokens = await told.sign_in(browser, scope="openid offline_access")
    await told.post("/oauth/revoke", token=tokens["refresh_token"])
    await account_security.end_everything(platform, viewer)
    assert await _notices(platform, told) == []


async def test_an_app_that_is_down_hears_later(platform, place, party, told, new_customer, signed_in):
    browser = await signed_in(await new_customer())
    await told.sign_in(browser)
    await submit(browser, "/account/sign-out")
    party.next[:] = [503, None, 429]
    for _ in range(3):
        assert await _work(place, told) == [NoticeStatus.QUEUED]
    assert await _work(place, told) == [NoticeStatus.SENT]
    tries = [_read(platform, token).claims for token in party.heard]
    assert len({one["jti"] for one in tries}) == 4
    assert await _work(place, told) == [NoticeStatus.SENT]
    assert len(party.heard) == 4, "it is told no more"


@pytest.mark.parametrize(("answers", "code"), [([400], "HTTP_400"), ([503] * 4, "HTTP_503"), ([302], "HTTP_302")])
async def test_an_app_that_refuses_is_left_alone(platform, place, party, told, new_customer, signed_in, answers, code):
    browser = await signed_in(await new_customer())
    await told.sign_in(browser)
    await submit(browser, "/account/sign-out")
    party.next[:] = answers
    for _ in range(len(answers) + 1):
        statuses = await _work(place, told)
    assert statuses == [NoticeStatus.FAILED]
    assert len(party.heard) == len(answers)
    (notice,) = await _notices(platform, told)
    assert (notice.code, notice.subject) == (code, None)


async def test_an_address_inside_is_never_called(platform, place, party, told, new_customer, signed_in):
    browser = await signed_in(await new_customer())
    await told.sign_in(browser)
    await submit(browser, "/account/sign-out")
    guarded = replace(place, platform=replace(place.platform, outbound=Outbound()))
    assert await _work(guarded, told) == [NoticeStatus.FAILED]
    assert (await _notices(platform, told))[0].code == "TARGET_FORBIDDEN"
    assert party.heard == []


async def test_only_the_newest_claim_settles(platform, place, party, told, new_customer, signed_in):
    browser = await signed_in(await new_customer())
    await told.sign_in(browser)
    await submit(browser, "/account/sign-out")
    (notice,) = await _notices(platform, told)
    settings = place.platform.settings
    async with platform.db.transaction(Role.WORKER) as tx:
        late = await backchannel_logout.claim(tx, notice.id, lease_s=0)
    async with platform.db.transaction(Role.WORKER) as tx:
        assert await backchannel_logout.claim(tx, notice.id, lease_s=60)
        assert await backchannel_logout.claim(tx, notice.id, lease_s=60) is None
    done = backchannel_logout.Delivered(backchannel_logout.Verdict.TAKEN)
    async with platform.db.transaction(Role.WORKER) as tx:
        assert await backchannel_logout.settle(tx, late, done, settings=settings) is None


@pytest.mark.parametrize("uri", ["http://shop.example/out", "com.shop:/out", "https://shop.example/#x", "nonsense"])
async def test_a_bad_address_is_refused(platform, uri):
    async with platform.db.transaction(Role.WORKER) as tx:
        with pytest.raises(InvalidRedirect):
            await clients.add(
                tx, Viewer(Actor.SYSTEM), "x", redirect_uris=["https://shop.example/"], backchannel_logout_uri=uri
            )
