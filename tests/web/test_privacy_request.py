"""Pages for people without an account: the form, the mailed proof, the status, the copy; the same for everybody."""

import secrets

import httpx
import pytest
from starlette.applications import Starlette

from cdp.core.platform import Platform
from tests.browser import submit, visitor
from tests.mailbox import mailed, mailed_code
from tests.population import make_person

HERE = "/privacy/request"


def stranger() -> str:
    return f"grace.{secrets.token_hex(6)}@example.net"


def somewhere() -> str:
    return f"198.51.100.{secrets.randbelow(250)}"


async def asked(browser: httpx.AsyncClient, email: str, kind: str = "erasure") -> None:
    answer = await submit(browser, HERE, type=kind, email=email)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{HERE}?sent=1")


async def test_from_the_form_to_the_status_page(app: Starlette, platform: Platform) -> None:
    email = stranger()
    async with visitor(app, address=somewhere()) as browser:
        await asked(browser, email)
        assert await mailed(platform, email) == ["request_proof"]
        code = await mailed_code(platform, email)
        answer = await submit(browser, f"{HERE}/confirm", code=code)
        assert answer.status_code == 303
        page = await browser.get(answer.headers["location"])
        assert page.status_code == 200
        assert "Your deletion" in page.text
        assert "change your mind" in page.text or "Asking every system" in page.text
        again = await submit(browser, f"{HERE}/confirm", code=code)
        assert again.status_code == 422
    async with visitor(app, address=somewhere()) as nobody:
        locked = await nobody.get(answer.headers["location"])
        assert "Status key" in locked.text
        assert "Asking every system" not in locked.text


async def test_an_undo_link_works_without_signing_in(app: Starlette, platform: Platform) -> None:
    email = stranger()
    async with visitor(app, address=somewhere()) as browser:
        await asked(browser, email)
        answer = await submit(browser, f"{HERE}/confirm", code=await mailed_code(platform, email))
        place = answer.headers["location"]
        undone = await submit(browser, place, action=f"{place}/undo")
        assert undone.status_code == 303
        assert "called off" in (await browser.get(place)).text


async def test_a_copy_shows_its_state_without_an_account(app: Starlette, platform: Platform) -> None:
    email = stranger()
    async with visitor(app, address=somewhere()) as browser:
        await asked(browser, email, "access")
        answer = await submit(browser, f"{HERE}/confirm", code=await mailed_code(platform, email))
        page = await browser.get(answer.headers["location"])
        assert "Your copy" in page.text
        assert "Stop making the copy" in page.text


async def test_known_and_unknown_addresses_are_answered_alike(app: Starlette, platform: Platform) -> None:
    known = (await make_person(platform.db)).email
    answers = []
    for email in (known, stranger()):
        async with visitor(app, address=somewhere()) as browser:
            answer = await submit(browser, HERE, type="erasure", email=email)
            answers.append((answer.status_code, answer.headers["location"], answer.text))
            assert await mailed(platform, email) == ["request_proof"]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"type": "erasure", "email": "nonsense"}, "not an e-mail address"),
        ({"type": "", "email": "a@example.net"}, "Choose what you would like."),
        ({"type": "rectification", "email": "a@example.net"}, "can not be asked for"),
    ],
)
async def test_what_is_not_taken(app: Starlette, form: dict[str, str], said: str) -> None:
    async with visitor(app, address=somewhere()) as browser:
        answer = await submit(browser, HERE, **form)
        assert answer.status_code == 422
        assert said in answer.text


@pytest.mark.parametrize("page", ["confirm", "file"])
@pytest.mark.parametrize("code", ["", "x", "x" * 43, "x" * 5000])
async def test_wrong_codes_open_nothing(app: Starlette, page: str, code: str) -> None:
    async with visitor(app, address=somewhere()) as browser:
        answer = await submit(browser, f"{HERE}/{page}", code=code)
        assert answer.status_code == 422
        assert "ask for a new one" in answer.text


async def test_a_mailbox_is_not_flooded(app: Starlette) -> None:
    email = stranger()
    async with visitor(app, address=somewhere()) as browser:
        for _ in range(4):
            await asked(browser, email)
        answer = await submit(browser, HERE, type="erasure", email=email)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
