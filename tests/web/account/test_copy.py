"""The copy of somebody's data over HTTP: asked for, followed, fetched whole and in parts, removed; by nobody else."""

import asyncio
import hashlib
import zipfile
from io import BytesIO

import pyrage
import pytest
from sqlalchemy import func, select, update

from cdp.core.db import Role
from cdp.operations.requests.requests import COPIES_WINDOW, MOST_COPIES
from cdp.tables.export import export
from cdp.tables.request import privacy_request
from tests.browser import forms, submit
from tests.web.account.conftest import Desk

PASSPHRASE = "four words make one"


@pytest.fixture
async def ready(desk: Desk):
    """Somebody with a copy: person, browser, reference."""
    person, browser = await desk.newcomer()
    reference = await desk.copy(browser)
    await desk.engine.work()
    return person, browser, reference


async def test_the_page_offers_the_copy_once_it_is_made(desk: Desk):
    person, browser = await desk.newcomer()
    reference = await desk.copy(browser)
    page = f"/account/downloads/{reference}"
    assert "We write to you when it is ready" in (await browser.get(page)).text
    assert await desk.copy(browser) == reference  # whoever asks again joins
    await desk.engine.work()
    shown = (await browser.get(page)).text
    assert "Your copy is ready" in shown
    assert f"{page}/file" in shown
    assert reference in (await browser.get("/account/download")).text
    overview = (await browser.get("/account")).text
    assert f'href="{page}"' in overview
    assert person.email not in page


async def test_the_file_comes_whole_as_an_attachment(ready):
    person, browser, reference = ready
    answer = await browser.get(f"/account/downloads/{reference}/file")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="{reference}.zip"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["etag"] == f'"{hashlib.sha256(answer.content).hexdigest()}"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(BytesIO(answer.content)) as package:
        assert package.testzip() is None
        assert person.email in "".join(package.read(name).decode() for name in package.namelist())


@pytest.mark.parametrize(("asked", "part"), [("bytes=0-99", slice(0, 100)), ("bytes=100-", slice(100, None))])
async def test_a_part_of_it_can_be_asked_for(ready, asked, part):
    _, browser, reference = ready
    address = f"/account/downloads/{reference}/file"
    whole = (await browser.get(address)).content
    answer = await browser.get(address, headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == whole[part]
    start, end, _ = part.indices(len(whole))
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(whole)}"
    same = await browser.get(address, headers={"range": asked, "if-range": answer.headers["etag"]})
    assert same.status_code == 206
    other = await browser.get(address, headers={"range": asked, "if-range": '"of another file"'})
    assert (other.status_code, other.content) == (200, whole)


@pytest.mark.parametrize("asked", ["bytes=-5", "bytes=5-1", "bytes=0-1,4-5", "lines=1-2", "bytes=x", "bytes=--"])
async def test_a_range_we_do_not_know_is_ignored(ready, asked):
    _, browser, reference = ready
    answer = await browser.get(f"/account/downloads/{reference}/file", headers={"range": asked})
    assert answer.status_code == 200


async def test_a_range_behind_the_end_is_refused(ready):
    _, browser, reference = ready
    address = f"/account/downloads/{reference}/file"
    size = len((await browser.get(address)).content)
    answer = await browser.get(address, headers={"range": f"bytes={size}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{size}"


async def test_head_describes_the_file_and_is_no_download(ready):
    _, browser, reference = ready
    described = await browser.head(f"/account/downloads/{reference}/file")
    assert described.status_code == 200
    assert described.content == b""
    assert "fetched 0 times" in (await browser.get(f"/account/downloads/{reference}")).text
    fetched = await browser.get(f"/account/downloads/{reference}/file")
    for name in ("content-length", "etag", "content-disposition", "accept-ranges"):
        assert described.headers[name] == fetched.headers[name]
    assert "fetched 1 time." in (await browser.get(f"/account/downloads/{reference}")).text


async def test_head_before_it_is_ready_and_after_it_is_gone(desk: Desk):
    _, browser = await desk.newcomer()
    reference = await desk.copy(browser)
    address = f"/account/downloads/{reference}/file"
    assert (await browser.head(address)).status_code == 409
    assert (await browser.get(address)).status_code == 409
    await desk.engine.work()
    await submit(browser, f"/account/downloads/{reference}", action=f"/account/downloads/{reference}/remove")
    assert (await browser.head(address)).status_code == 410
    assert (await browser.get(address)).status_code == 410


async def test_removing_it_destroys_its_key_at_once(desk: Desk, ready):
    _, browser, reference = ready
    page = f"/account/downloads/{reference}"
    _, bystander = await desk.newcomer()
    other = await desk.copy(bystander)
    await desk.engine.work()
    before = set(desk.engine.keys("export-"))
    answer = await submit(browser, page, action=f"{page}/remove")
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    await desk.engine.work()
    assert len(before - set(desk.engine.keys("export-"))) == 1
    assert "This copy is gone" in (await browser.get(page)).text
    assert (await bystander.get(f"/account/downloads/{other}/file")).status_code == 200


async def test_making_it_can_be_stopped(desk: Desk):
    _, browser = await desk.newcomer()
    reference = await desk.copy(browser)
    page = f"/account/downloads/{reference}"
    await submit(browser, page, action=f"{page}/remove")
    assert (await desk.engine.status(reference)).value == "cancelled"
    await desk.engine.work()
    assert "This copy is gone" in (await browser.get(page)).text


async def test_live_parts_follow_the_work_and_end_with_it(desk: Desk):
    _, browser = await desk.newcomer()
    reference = await desk.copy(browser)
    following = asyncio.create_task(browser.get(f"/account/downloads/{reference}/events"))
    await asyncio.sleep(0.6)
    assert not following.done()
    await desk.engine.work()
    answer = await following
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    events = answer.text.split("\n\n")
    assert "0 of 1 systems collected." in events[0]
    assert "Your copy is ready" in events[-3]
    assert events[-2] == "event: end\ndata: settled"


async def test_a_settled_request_ends_its_stream_at_once_and_head_does_not_wait(ready):
    _, browser, reference = ready
    answer = await browser.get(f"/account/downloads/{reference}/events")
    assert answer.text.endswith("event: end\ndata: settled\n\n")
    head = await browser.head(f"/account/downloads/{reference}/events")
    assert (head.status_code, head.content) == (200, b"")


async def test_a_stream_ends_with_its_session(desk: Desk):
    person, browser = await desk.newcomer()
    reference = await desk.copy(browser)
    following = asyncio.create_task(browser.get(f"/account/downloads/{reference}/events"))
    await asyncio.sleep(0.6)
    await desk.sign_out_everywhere(person)
    await desk.engine.work()
    answer = await following
    assert "Your copy is ready" not in answer.text


async def test_a_stale_sign_in_has_to_be_renewed_first(desk: Desk, ready):
    person, browser, reference = ready
    page = f"/account/downloads/{reference}"
    form = forms(await browser.get("/account/download"))["/account/download"]
    await desk.grow_stale(person)
    for address in (f"{page}/file", "/account/download"):
        back = page if address.endswith("file") else address
        answer = await (browser.get(address) if address != back else browser.post(address, data=form))
        assert answer.status_code == 303
        assert answer.headers["location"] == f"/account/sign-in?next={back.replace('/', '%2F')}&reauth=1"
    assert (await browser.head(f"{page}/file")).status_code == 303
    assert "Sign in again to download" in (await browser.get(page)).text
    assert "Sign in again to go on" in (await browser.get("/account/download")).text
    renewed = await submit(
        browser, answer.headers["location"], action="/account/sign-in", password="plum-tree under snow"
    )
    assert renewed.headers["location"] == "/account/download"
    assert (await browser.get(f"{page}/file")).status_code == 200


async def test_somebody_elses_copy_is_not_there(desk: Desk, ready):
    _, browser, reference = ready
    _, thief = await desk.newcomer()
    csrf = forms(await thief.get("/account/download"))["/account/download"]
    page = f"/account/downloads/{reference}"
    for address in (page, f"{page}/file", f"{page}/events"):
        assert (await thief.get(address)).status_code == 404
    assert (await thief.head(f"{page}/file")).status_code == 404
    assert (await thief.post(f"{page}/remove", data=csrf)).status_code == 404
    assert (await thief.get("/account/downloads/EX-2222-2222")).status_code == 404
    assert (await browser.get(f"{page}/file")).status_code == 200


async def test_a_forged_form_changes_nothing(desk: Desk, ready):
    _, browser, reference = ready
    for address in ("/account/download", f"/account/downloads/{reference}/remove"):
        assert (await browser.post(address, data={})).status_code == 403
        form = forms(await browser.get("/account/download"))["/account/download"]
        elsewhere = {"origin": "https://elsewhere.example", "sec-fetch-site": "cross-site"}
        assert (await browser.post(address, data=form, headers=elsewhere)).status_code == 403
    assert (await browser.get(f"/account/downloads/{reference}/file")).status_code == 200


async def test_a_file_tampered_with_in_the_store_is_never_served_as_if_it_were_whole(desk: Desk, ready):
    _, browser, reference = ready
    blobs = desk.engine.platform.blobs
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        key = await tx.scalar(select(export.c.object_key).where(export.c.reference == reference))
    sealed = bytearray(await blobs.get(key))
    sealed[len(sealed) // 2] ^= 1
    await blobs.put(key, bytes(sealed))
    with pytest.raises(Exception, match="broke off"):
        await browser.get(f"/account/downloads/{reference}/file")


async def test_a_copy_that_is_gone_is_made_again(desk: Desk, ready):
    _, browser, reference = ready
    await submit(browser, f"/account/downloads/{reference}", action=f"/account/downloads/{reference}/remove")
    answer = await submit(browser, f"/account/downloads/{reference}", action="/account/download")
    following = answer.headers["location"]
    assert following != f"/account/downloads/{reference}"
    await desk.engine.work()
    assert "Your copy is ready" in (await browser.get(following)).text


async def test_copies_have_a_rolling_limit_of_their_own(desk: Desk):
    person, browser = await desk.newcomer()
    _, other = await desk.newcomer()
    for _ in range(MOST_COPIES):
        reference = await desk.copy(browser)
        page = f"/account/downloads/{reference}"
        assert (await submit(browser, page, action=f"{page}/remove")).status_code == 303
    refused = await submit(browser, "/account/download")
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 86_000
    assert await desk.copy(other)
    async with desk.engine.platform.db.transaction(Role.WORKER) as tx:
        oldest = select(func.min(privacy_request.c.requested_at)).where(
            mine := privacy_request.c.customer_id == person.customer_id
        )
        past = func.now() - COPIES_WINDOW
        await tx.execute(
            update(privacy_request)
            .where(mine, privacy_request.c.requested_at == oldest.scalar_subquery())
            .values(requested_at=past)
        )
    assert await desk.copy(browser)


async def test_a_copy_is_made_as_chosen_and_fetched_in_its_part(desk: Desk):
    person, browser = await desk.newcomer()
    page = await browser.get("/account/export")
    fields = forms(page)["/account/export"]
    chosen = {"category": ["orders", "choices"], "format": ["json"], "passphrase": PASSPHRASE, "part": str(100 * 2**20)}
    answer = await browser.post("/account/export", data={**fields, **chosen})
    assert answer.status_code == 303, answer.text
    reference = answer.headers["location"].rsplit("/", 1)[1]
    await desk.engine.work()
    shown = (await browser.get(f"/account/downloads/{reference}")).text
    assert "locked with your passphrase" in shown
    assert "Orders" in shown
    assert PASSPHRASE not in shown
    fetched = await browser.get(f"/account/downloads/{reference}/file?part=1")
    assert fetched.headers["content-disposition"] == f'attachment; filename="{reference}.zip.age.001"'
    package = zipfile.ZipFile(BytesIO(pyrage.passphrase.decrypt(fetched.content, PASSPHRASE)))
    assert "data/orders.json" in package.namelist()
    assert "index.html" not in package.namelist()
    assert person.email not in "".join(package.read(name).decode() for name in package.namelist())
    for part in ("2", "x", "-1"):
        assert (await browser.get(f"/account/downloads/{reference}/file?part={part}")).status_code == 416


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"format": ["json"]}, "at least one kind of data"),
        ({"category": ["orders"]}, "at least one kind of data"),
        ({"category": ["orders", "nonsense"], "format": ["json"], "passphrase": "short"}, "12 to 200 characters"),
        ({"category": ["orders"], "format": ["json"], "age-key": "age1x"}, "not an age key"),
        ({"category": ["orders"], "format": ["json"], "part": "1"}, "between 1 MB and 1 TB"),
    ],
)
async def test_choices_that_can_not_be_are_said_beside_the_field(desk: Desk, given, problem):
    _, browser = await desk.newcomer()
    fields = forms(await browser.get("/account/export"))["/account/export"]
    answer = await browser.post("/account/export", data={**fields, **given})
    assert answer.status_code == 422
    assert problem in answer.text
    assert "There is a problem" in answer.text
