"""The doors to bulk exports: /bulk over HTTP, GraphQL with its stream, and the command line."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from starlette.applications import Starlette

from cdp.access.bulk import APPROVE_SCOPE, EXPORT_SCOPE
from cdp.access.viewer import Viewer
from cdp.core.db import Role
from cdp.core.ids import global_id, new_id
from cdp.core.sign import Verdict, check
from cdp.operations.bulk import folders
from cdp.operations.oauth.clients import ensure_command_line
from cdp.operations.oauth.grants import open_grant
from cdp.operations.oauth.tokens import issuer_of
from cdp.operations.verification import verify_file
from cdp.schema.request import GraphQLRequest
from cdp.tables.audit import audit_event
from cdp.tables.bulk import BulkStatus
from tests.browser import BASE, serving
from tests.bulk.factory import QUERY, Bulk
from tests.population import make_person

RUN = """mutation R($input: BulkExportRunQueryInput!) { bulkExportRunQuery(input: $input) {
  bulkExport { id status reference } } }"""


@pytest.fixture(scope="module")
async def app(bulk: Bulk) -> AsyncIterator[Starlette]:
    for _ in range(4):
        await make_person(bulk.platform.db)
    async with serving(bulk.platform.settings) as found:
        yield found


@pytest.fixture
async def door(app: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
        yield client


async def bearer(app: Starlette, viewer: Viewer) -> dict[str, str]:
    platform = app.state.platform
    async with platform.db.transaction(Role.WORKER) as tx:
        client = await ensure_command_line(tx)
        grant = await open_grant(tx, viewer, client, " ".join(viewer.scopes), now=platform.clock())
    token = issuer_of(platform).access_token(grant, grant.scope, roles=viewer.roles)
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
async def analyst(bulk: Bulk) -> Viewer:
    return await bulk.member("analyst")


async def test_over_http_from_kick_off_to_destruction(
    app: Starlette, bulk: Bulk, door: httpx.AsyncClient, analyst: Viewer
) -> None:
    auth = await bearer(app, analyst)
    wanted = {"query": QUERY, "purpose": "orders"}
    asked = await door.post("/bulk/export", json=wanted, headers={**auth, "Idempotency-Key": "one"})
    assert asked.status_code == 202
    again = await door.post("/bulk/export", json=wanted, headers={**auth, "Idempotency-Key": "one"})
    assert again.headers["content-location"] == asked.headers["content-location"]
    place = "/bulk" + asked.headers["content-location"].partition("/bulk")[2]
    waiting = await door.get(place, headers=auth)
    assert (waiting.status_code, waiting.headers["x-progress"]) == (202, "queued")
    assert int(waiting.headers["retry-after"]) > 0
    await bulk.floor.drain()
    ready = await door.get(place, headers=auth)
    assert ready.status_code == 200
    assert ready.headers["expires"].endswith("GMT")
    manifest = ready.json()
    assert check(manifest, app.state.platform.signer.keys()) is Verdict.VALID
    file = manifest["output"][0]
    path = "/bulk" + file["url"].partition("/bulk")[2]
    whole = await door.get(path, headers=auth)
    assert (whole.status_code, len(whole.content)) == (200, file["bytes"])
    part = await door.get(path, headers={**auth, "Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, whole.content[5:10])
    assert part.headers["content-range"] == f"bytes 5-9/{file['bytes']}"
    beyond = await door.get(path, headers={**auth, "Range": f"bytes={file['bytes']}-"})
    assert beyond.status_code == 416
    stranger = await bearer(app, await bulk.member("analyst"))
    for method, where in (("GET", place), ("GET", path), ("DELETE", place), ("GET", place + "/../../etc/passwd")):
        answer = await door.request(method, where, headers=stranger)
        assert answer.status_code == 404
    assert (await door.get(place)).status_code == 401
    assert (await door.delete(place, headers=auth)).status_code == 202
    gone = await door.get(place, headers=auth)
    assert (gone.status_code, gone.json()["code"]) == (410, "BULK_EXPORT_GONE")
    await bulk.floor.drain()
    assert await bulk.platform.blobs.keys(f"bulk/{manifest['id']}/") == []
    actions = await bulk.audited((await bulk.row(manifest["id"])).id)
    assert "bulk_export.fetched" in actions
    assert "bulk_export.destroyed" in actions


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"nonsense", "BAD_REQUEST"),
        (b"[]", "BAD_REQUEST"),
        (b"{}", "BAD_REQUEST"),
        (b'{"query": 1, "purpose": "orders"}', "BAD_REQUEST"),
        (b'{"query": "{ a }", "format": "xml"}', "BAD_REQUEST"),
        (b'{"query": "{ customers { nodes { id } } }"}', "PURPOSE_REQUIRED"),
        (b'{"query": "{ viewer { kind } }", "purpose": "orders"}', "BULK_QUERY_REFUSED"),
    ],
)
async def test_a_bad_kick_off_is_refused(
    app: Starlette, door: httpx.AsyncClient, analyst: Viewer, body: bytes, code: str
) -> None:
    answer = await door.post("/bulk/export", content=body, headers=await bearer(app, analyst))
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_by_graphql_with_a_stream(app: Starlette, bulk: Bulk, analyst: Viewer) -> None:
    execution = app.state.graphql

    async def ask(viewer: Viewer, document: str, **variables: Any) -> dict[str, Any]:
        return json.loads((await execution.execute(GraphQLRequest(document, variables), viewer)).body)

    given = {"query": QUERY, "purpose": "orders", "format": "PARQUET"}
    answer = await ask(analyst, RUN, input=given)
    found = answer["data"]["bulkExportRunQuery"]["bulkExport"]
    assert found["status"] == "QUEUED"
    events: list[dict[str, Any]] = []

    async def watch() -> None:
        document = "subscription S($id: ID!) { bulkExportProgress(id: $id) { status partsDone partCount } }"
        stream = execution.stream(GraphQLRequest(document, {"id": found["id"]}), analyst)
        events.extend([json.loads(response)["data"]["bulkExportProgress"] async for response in stream])

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    await bulk.floor.drain()
    await watching
    assert events[-1]["status"] == "COMPLETED"
    assert events[-1]["partsDone"] == events[-1]["partCount"] > 0
    shown = await ask(
        analyst,
        """query Q($id: ID!) { bulkExport(id: $id) { status objectCount fileSize checksum url snapshotAt
          parts { objectCount checksum kind } } bulkExports(first: 1) { nodes { id } } }""",
        id=found["id"],
    )
    assert shown["data"]["bulkExport"]["objectCount"] == "4"
    assert shown["data"]["bulkExports"]["nodes"] == [{"id": found["id"]}]
    refused = await ask(analyst, RUN, input={**given, "query": "{ customers { nodes { givenName } } }"})
    assert refused["errors"][0]["extensions"]["code"] == "PERSONAL_FIELDS_REFUSED"
    assert refused["errors"][0]["extensions"]["path"] == ["customers", "givenName"]
    agent = await bulk.member("agent", scopes=(EXPORT_SCOPE,))
    denied = await ask(agent, "query Q($id: ID!) { bulkExport(id: $id) { status } }", id=found["id"])
    assert denied["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    live = await ask(analyst, "{ customers { nodes { id } } }")
    assert live["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_a_refusal_at_the_door_is_recorded(app: Starlette, bulk: Bulk, door: httpx.AsyncClient) -> None:
    agent = await bulk.member("agent", scopes=("profile:read",))
    headers = await bearer(app, agent)
    unknown = f"/bulk/export/{new_id()}"
    given = {"query": QUERY, "purpose": "orders"}
    tries = [
        await door.post("/bulk/export", json=given, headers=headers),
        await door.get(unknown, headers=headers),
        await door.get(f"{unknown}/output-00001.ndjson", headers=headers),
        await door.delete(unknown, headers=headers),
    ]
    assert {answer.status_code for answer in tries} == {403}
    async with bulk.platform.db.transaction(Role.WORKER) as tx:
        mine = select(audit_event.c.action, audit_event.c.outcome).where(audit_event.c.actor_ref == agent.staff_id)
        mine = mine.where(audit_event.c.action.like("bulk_export.%"))
        found = {(row.action, str(row.outcome)) for row in await tx.all(mine)}
    names = ("requested", "shown", "fetched", "cancelled")
    assert found == {(f"bulk_export.{name}", "refused") for name in names}


async def test_approval_and_cancelling_by_graphql(app: Starlette, bulk: Bulk, analyst: Viewer) -> None:
    execution = app.state.graphql

    async def ask(viewer: Viewer, name: str, export_id: str) -> dict[str, Any]:
        kind = f"{name[0].upper()}{name[1:]}Input!"
        document = f"mutation M($input: {kind}) {{ {name}(input: $input) {{ bulkExport {{ status }} }} }}"
        result = await execution.execute(GraphQLRequest(document, {"input": {"id": export_id}}), viewer)
        return json.loads(result.body)

    officer = await bulk.member("privacy_officer", scopes=(APPROVE_SCOPE,))
    asked = await bulk.ask(analyst, "{ customers { nodes { id givenName } } }", personal=True)
    export_id = global_id("BulkExport", asked.id)
    own = await ask(analyst, "bulkExportApprove", export_id)
    assert own["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    approved = await ask(officer, "bulkExportApprove", export_id)
    assert approved["data"]["bulkExportApprove"]["bulkExport"]["status"] == "QUEUED"
    others = await ask(await bulk.member("analyst"), "bulkExportCancel", export_id)
    assert others["errors"][0]["extensions"]["code"] == "BULK_EXPORT_NOT_FOUND"
    cancelled = await ask(analyst, "bulkExportCancel", export_id)
    assert cancelled["data"]["bulkExportCancel"]["bulkExport"]["status"] == "CANCELLED"
    second = await bulk.ask(analyst, "{ customers { nodes { id givenName } } }", personal=True)
    refused = await ask(officer, "bulkExportRefuse", global_id("BulkExport", second.id))
    assert refused["data"]["bulkExportRefuse"]["bulkExport"]["status"] == "CANCELLED"


async def cdp(bulk: Bulk, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    settings = bulk.platform.settings
    environment = {
        "PATH": os.environ["PATH"],
        "CDP_ENV": "test",
        "CDP_STATE_DIR": str(settings.state_dir),
        "CDP_DATABASE_URL": settings.database_url,
        "CDP_REDIS_URL": "unix:///nowhere/valkey.sock",
        "CDP_OBJECTS_URL": settings.objects_url,
    }
    command = [sys.executable, "-m", "cdp", "export", *map(str, arguments)]
    run = {"env": environment, "capture_output": True, "text": True, "timeout": 120, "check": False}
    return await asyncio.to_thread(subprocess.run, command, **run)


async def test_at_a_terminal(app: Starlette, bulk: Bulk, tmp_path: Path) -> None:
    query, out, keys = tmp_path / "q.graphql", tmp_path / "out", tmp_path / "keys.json"
    query.write_text(QUERY, encoding="utf-8")
    keys.write_text(json.dumps({"keys": bulk.platform.signer.keys()}), encoding="utf-8")
    create = ("create", "--query", query, "--format", "ndjson", "--compression", "zstd", "--json")
    refused = await cdp(bulk, *create)
    assert (refused.returncode, "PURPOSE_REQUIRED" in refused.stderr) == (1, True)
    running = asyncio.create_task(cdp(bulk, *create, "--purpose", "orders", "--out", out))
    while not running.done():
        await bulk.floor.drain()
        await asyncio.sleep(0.05)
    done = await running
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-2]["state"] == "completed"
    reference = lines[0]["reference"]
    valid = await cdp(bulk, "verify", out, "--keys", keys, "--json")
    assert (valid.returncode, json.loads(valid.stdout)["records"]) == (0, 4)
    file = next(one for one in sorted(out.iterdir()) if one.name.startswith("output"))
    whole = file.read_bytes()
    file.write_bytes(whole[:7])  # a download that broke off
    again = await cdp(bulk, "download", reference, "--out", out)
    assert again.returncode == 0, again.stderr
    assert file.read_bytes() == whole
    shown = json.loads((await cdp(bulk, "show", reference, "--json")).stdout)
    assert shown["manifest"]["exported"] == 4
    assert (await cdp(bulk, "cancel", reference)).returncode == 0
    assert (await bulk.row(lines[0]["id"])).status is BulkStatus.DESTROYED


async def test_a_folder_is_checked_to_the_byte(app: Starlette, bulk: Bulk, analyst: Viewer, tmp_path: Path) -> None:
    made = await bulk.export(analyst)
    folder, keys = tmp_path / "export", bulk.platform.signer.keys()
    told: list[int] = []
    await folders.download(bulk.platform, analyst, made.row.id, folder, told.append)
    assert sum(told) == made.manifest["output"][0]["bytes"] + sum(f["bytes"] for f in made.manifest["output"][1:])
    assert folders.verify_folder(folder, keys).is_valid
    assert folders.verify_folder(folder, {}).is_consistent
    assert verify_file(folder / "manifest.json", keys).is_valid
    file, manifest = folder / "output-00001.ndjson", folder / "manifest.json"
    whole, signed = file.read_bytes(), manifest.read_bytes()
    for broken in (whole[:-1] + b"x", whole[:-1], whole + whole, b""):
        file.write_bytes(broken)
        assert folders.verify_folder(folder, keys).problems == ("output-00001.ndjson was changed.",)
        assert not verify_file(manifest, keys).is_valid
    file.unlink()
    assert folders.verify_folder(folder, keys).problems == ("output-00001.ndjson is missing.",)
    file.write_bytes(whole)
    (folder / "more.ndjson").write_bytes(b"{}\n")
    assert folders.verify_folder(folder, keys).problems == ("more.ndjson is not in the manifest.",)
    (folder / "more.ndjson").unlink()
    for broken in (signed.replace(b'"exported":', b'"exported":1'), signed + b" ", b"{}", b"[]", b"", b"\xff"):
        manifest.write_bytes(broken)
        assert not folders.verify_folder(folder, keys).is_valid
    manifest.unlink()
    assert not folders.verify_folder(folder, keys).is_valid
